//! Connections whose other side has to take what is sent to it.
//!
//! # Contract
//! * Whoever takes nothing of what waits for them within [`WRITE_STALL_MAX`] is closed, so that nobody
//!   holds a place and memory by reading nothing. Whoever takes something, however slowly, is not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use mcp_v8_cluster::net::places::Place;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::WRITE_STALL_MAX;

/// A connection that fails when the other side takes nothing for too long.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    /// Since when it takes nothing, as the end of the patience.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<Place>,
}

impl<S> Patient<S> {
    /// Over this connection, which gives its place back at its end.
    pub fn new(stream: S, place: Option<Place>) -> Self {
        Self { stream, stalled: None, _place: place }
    }

    /// Passes on what came of writing, or that it takes too long.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let patience = || Box::pin(sleep_until(Instant::now() + WRITE_STALL_MAX));
        let stalled = self.stalled.get_or_insert_with(patience);
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judge(context, wrote)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_flush(context);
        this.judge(context, wrote)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_shutdown(context);
        this.judge(context, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.judge(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use mcp_v8_cluster::net::places::Places;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_is_given_up_at_the_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, from) = listener.accept().await.unwrap();
        let place = Places::new(1, 1).take(from.ip()).unwrap();
        let mut patient = Patient::new(stream, Some(place));
        let chunk = vec![0; 1 << 20];
        // What the kernel keeps for the other side goes first.
        let (mut begun, error) = (
            Instant::now(),
            loop {
                match patient.write(&chunk).await {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            },
        );
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        begun += WRITE_STALL_MAX;
        assert!(Instant::now() >= begun);
        drop(silent);
    }
}
