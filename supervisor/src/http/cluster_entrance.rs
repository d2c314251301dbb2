//! The entrance of the cluster port.
//!
//! # Contract
//! * TLS where it is configured; who calls is noted for the routes.
//! * One address has at most [`CLUSTER_CONNECTIONS_PER_ADDRESS_MAX`] connections, so that one stranger
//!   leaves room for everybody else.
//! * Whoever does not take what is sent to them within [`WRITE_STALL_MAX`] is closed.
//! * Handshakes are calculated on the threads that serve clients, not on the one that carries Raft.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::{Extension, Router};
use mcp_v8_cluster::net::places::{Place, Places};
use mcp_v8_cluster::net::transport::Transport;
use mcp_v8_cluster::node::Node;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::serve::Entrance;
use crate::limits::{CLUSTER_CONNECTIONS_PER_ADDRESS_MAX, CONNECTIONS_MAX, WRITE_STALL_MAX};

/// Lets callers of the cluster port in.
#[derive(Debug, Clone)]
pub struct ClusterEntrance {
    node: Node,
    calculating: Handle,
    open: Places,
}

impl ClusterEntrance {
    /// Of this node; handshakes are calculated by `calculating`.
    pub fn new(node: Node, calculating: Handle) -> Self {
        Self { node, calculating, open: places() }
    }
}

/// Places for all connections of the port.
fn places() -> Places {
    Places::new(CONNECTIONS_MAX, CLUSTER_CONNECTIONS_PER_ADDRESS_MAX)
}

impl Entrance for ClusterEntrance {
    type Stream = Patient;

    async fn enter(
        self,
        stream: TcpStream,
        from: SocketAddr,
        router: Router,
    ) -> Option<(Patient, Router)> {
        let place = self.open.take(from.ip().to_canonical())?;
        let node = self.node.clone();
        let accepting = async move { Transport::accept(node.auth(), stream, from).await };
        let (stream, caller) = if self.node.auth().credentials.tls.is_some() {
            self.calculating.spawn(accepting).await.ok().flatten()?
        } else {
            accepting.await?
        };
        let stream = Patient { stream, stalled: None, _place: place };
        Some((stream, router.layer(Extension(caller))))
    }
}

/// A connection that fails when the other side takes nothing for too long.
#[derive(Debug)]
pub struct Patient {
    stream: Transport,
    /// Since when it takes nothing, as the end of the patience.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Patient {
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

impl AsyncRead for Patient {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
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
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_has_its_connections_and_not_one_more() {
        let (places, one, other) = (places(), [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let own: Vec<Place> =
            (0..CLUSTER_CONNECTIONS_PER_ADDRESS_MAX).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none() && places.take(other).is_some());
        drop(own);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_is_given_up_at_the_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, from) = listener.accept().await.unwrap();
        let place = Places::new(1, 1).take(from.ip()).unwrap();
        let stream = Transport::Plain(stream);
        let mut patient = Patient { stream, stalled: None, _place: place };
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
