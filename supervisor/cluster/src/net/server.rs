//! Answers the calls of another node over a connection it has made.

use std::io;
use std::sync::Arc;

use tokio::io::split;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::client::{Connected, write_frames};
use super::frame::{Frame, FrameReader};
use super::message::{Request, Response};
use crate::codec::{decode_body, encode_into};
use crate::limits::{CALLS_AT_ONCE_MAX, FRAMES_QUEUED_MAX};

/// What answers.
pub trait Handler: Send + Sync + 'static {
    /// Answers one call. Calls that are not independent (see [`Handler::in_order`]) come one after
    /// another.
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send;

    /// Whether the next call must wait for this one.
    fn in_order(&self, request: &Request) -> bool;
}

/// Serves a connection until it ends, or until `stop`.
///
/// # Errors
/// When the other side breaks the protocol or the stream fails.
pub async fn serve<H: Handler>(
    (stream, seals): Connected,
    handler: Arc<H>,
    stop: CancellationToken,
) -> io::Result<()> {
    let (reading, writing) = split(stream);
    let (sends, receives) = seals.map(|seals| (seals.sends, seals.receives)).unzip();
    let (answers, queue) = mpsc::channel(FRAMES_QUEUED_MAX);
    let _writer = AbortOnDropHandle::new(tokio::spawn(async move {
        // A broken stream ends the reading as well.
        let _ = write_frames(writing, queue, sends).await;
    }));
    let slots = Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX));
    let mut frames = FrameReader::new(reading, receives);
    loop {
        let frame = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            frame = frames.next() => frame?,
        };
        let Some(Frame { call, body }) = frame else { return Ok(()) };
        let request: Request = decode_body(&body)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let answers = answers.clone();
        if handler.in_order(&request) {
            let response = handler.handle(request).await;
            if answers.send(answer(call, &response)).await.is_err() {
                return Ok(());
            }
            continue;
        }
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return Ok(()) };
        let handler = Arc::clone(&handler);
        tokio::spawn(async move {
            let response = handler.handle(request).await;
            // Nobody may be there to take it.
            let _ = answers.send(answer(call, &response)).await;
            drop(slot);
        });
    }
}

fn answer(call: u64, response: &Response) -> Frame {
    let mut body = Vec::with_capacity(64);
    encode_into(&mut body, response);
    Frame { call, body }
}
