//! Calls to another node over one connection that is kept.
//!
//! # Contract
//! * Connects when first used and again after a failure; a call does not outlive its deadline.
//! * Calls go out in the order they are made; answers come in any order.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::frame::{Frame, FrameReader};
use super::message::{Request, Response};
use crate::codec::{decode_body, encode_into};
use crate::limits::{CONNECT_MS_MAX, FRAME_BYTES_MAX, FRAMES_QUEUED_MAX};

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// There is no connection, so nothing was asked.
    #[error("{address} is not reached: {problem}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        problem: String,
    },
    /// It was asked, and there was no answer.
    #[error("{address} did not answer: {problem}")]
    NoAnswer {
        /// Who.
        address: String,
        /// Why.
        problem: String,
    },
}

/// A stream to another node after the handshake.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Makes connections: the handshake is the node's matter.
pub trait Connector: Send + Sync + 'static {
    /// Connects.
    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Box<dyn Stream>>> + Send;
}

/// Another node, as somebody to call. Cheap to clone.
#[derive(Debug)]
pub struct Peer<C> {
    shared: Arc<Shared<C>>,
}

impl<C> Clone for Peer<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<C> {
    address: String,
    connector: C,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

#[derive(Debug, Clone)]
struct Connection {
    frames: mpsc::Sender<Frame>,
    calls: Arc<Calls>,
    /// Ends with the last user of the connection.
    _tasks: Arc<[AbortOnDropHandle<()>; 2]>,
}

#[derive(Debug, Default)]
struct Calls {
    next: AtomicU64,
    /// Answers that came.
    answers: AtomicU64,
    /// `None` once the connection has failed.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Vec<u8>>>>>,
}

impl Calls {
    fn end(&self) {
        // Those who wait see their sender go.
        *self.waiting.lock() = None;
    }
}

impl<C: Connector> Peer<C> {
    /// The node at `address`. Does not connect yet.
    pub fn new(address: &str, connector: C) -> Self {
        let connection = tokio::sync::Mutex::new(None);
        Self { shared: Arc::new(Shared { address: address.to_owned(), connector, connection }) }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Asks, and waits for the answer at most `patience`.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::NoAnswer`] the other node may have done what was asked.
    pub async fn call(&self, request: &Request, patience: Duration) -> Result<Response, CallError> {
        let deadline = Instant::now() + patience;
        let connection = self.connection(deadline).await?;
        let mut body = Vec::with_capacity(256);
        encode_into(&mut body, request);
        if body.len() > FRAME_BYTES_MAX {
            let problem = format!("a message of {} bytes; accepted: {FRAME_BYTES_MAX}", body.len());
            return Err(CallError::Unreachable { address: self.shared.address.clone(), problem });
        }
        let (answer, answered) = oneshot::channel();
        let call = connection.calls.next.fetch_add(1, Ordering::Relaxed);
        match &mut *connection.calls.waiting.lock() {
            Some(waiting) => waiting.insert(call, answer),
            None => return Err(self.no_answer("the connection has ended")),
        };
        let answers = connection.calls.answers.load(Ordering::Relaxed);
        let forget = Forget { calls: &connection.calls, call };
        match timeout_at(deadline, connection.frames.send(Frame { call, body })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.no_answer("the connection has ended")),
            Err(_) => return Err(self.no_answer("it does not take what is sent")),
        }
        let body = match timeout_at(deadline, answered).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(self.no_answer("the connection has ended")),
            Err(_) => {
                if connection.calls.answers.load(Ordering::Relaxed) == answers {
                    // Nothing has come at all: what is queued would only come too late.
                    connection.calls.end();
                    let mut present = self.shared.connection.lock().await;
                    // Somebody may have connected anew by now.
                    present.take_if(|present| Arc::ptr_eq(&present.calls, &connection.calls));
                }
                return Err(self.no_answer(&format!("not within {patience:?}")));
            }
        };
        drop(forget);
        decode_body(&body).map_err(|error| self.no_answer(&error.to_string()))
    }

    fn no_answer(&self, problem: &str) -> CallError {
        CallError::NoAnswer { address: self.shared.address.clone(), problem: problem.to_owned() }
    }

    async fn connection(&self, deadline: Instant) -> Result<Connection, CallError> {
        let unreachable = |problem: String| CallError::Unreachable {
            address: self.shared.address.clone(),
            problem,
        };
        let connecting = async {
            let mut connection = self.shared.connection.lock().await;
            if let Some(connection) = &*connection
                && connection.calls.waiting.lock().is_some()
            {
                return Ok(connection.clone());
            }
            *connection = None;
            let patience = Duration::from_millis(CONNECT_MS_MAX);
            let stream = self.shared.connector.connect(&self.shared.address);
            let stream = timeout(patience, stream)
                .await
                .map_err(|_| unreachable(format!("no connection within {patience:?}")))?
                .map_err(|error| unreachable(error.to_string()))?;
            Ok(connection.insert(Connection::start(stream)).clone())
        };
        timeout_at(deadline, connecting)
            .await
            .unwrap_or_else(|_| Err(unreachable("no connection in time".to_owned())))
    }
}

/// Forgets a call that nobody waits for any more.
struct Forget<'a> {
    calls: &'a Calls,
    call: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.calls.waiting.lock() {
            waiting.remove(&self.call);
        }
    }
}

impl Connection {
    fn start(stream: Box<dyn Stream>) -> Self {
        let (reading, writing) = split(stream);
        let (frames, queue) = mpsc::channel(FRAMES_QUEUED_MAX);
        let calls = Arc::new(Calls {
            next: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let (writer_calls, reader_calls) = (Arc::clone(&calls), Arc::clone(&calls));
        let writer = tokio::spawn(async move {
            // The reader sees a broken stream as well.
            let _ = write_frames(writing, queue).await;
            writer_calls.end();
        });
        let reader = tokio::spawn(async move {
            let _ = read_answers(reading, &reader_calls).await;
            reader_calls.end();
        });
        let tasks = [AbortOnDropHandle::new(writer), AbortOnDropHandle::new(reader)];
        Self { frames, calls, _tasks: Arc::new(tasks) }
    }
}

/// Sends what is queued, all that is there in one write.
pub(super) async fn write_frames(
    mut stream: WriteHalf<Box<dyn Stream>>,
    mut queue: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    const TOGETHER_BYTES: usize = 256 * 1024;
    let mut bytes = Vec::new();
    while let Some(frame) = queue.recv().await {
        frame.write_to(&mut bytes);
        while bytes.len() < TOGETHER_BYTES
            && let Ok(frame) = queue.try_recv()
        {
            frame.write_to(&mut bytes);
        }
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        bytes.clear();
        bytes.shrink_to(TOGETHER_BYTES);
    }
    Ok(())
}

async fn read_answers(stream: ReadHalf<Box<dyn Stream>>, calls: &Calls) -> io::Result<()> {
    let mut frames = FrameReader::new(stream);
    while let Some(frame) = frames.next().await? {
        calls.answers.fetch_add(1, Ordering::Relaxed);
        let waiting = calls.waiting.lock().as_mut().and_then(|calls| calls.remove(&frame.call));
        if let Some(waiting) = waiting {
            // It may have given up just now.
            let _ = waiting.send(frame.body);
        }
    }
    Ok(())
}
