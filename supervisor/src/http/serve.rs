//! The accept loop.
//!
//! # Contract
//! * A permit is taken before each accept (as mini-redis does), so at most [`CONNECTIONS_MAX`]
//!   connections are open; the next ones wait in the kernel's backlog.
//! * A client that does not finish its request head within [`HEADER_READ_MAX`] is closed.
//! * What a connection passes through before its first request, such as TLS, happens beside the
//!   accepting and holds nobody up ([`Entrance`]).
//! * On shutdown: no new connections; those that wait in the backlog and those that exist have
//!   [`LAST_REQUEST_MAX`] for a request, then idle ones are closed; requests under way finish within
//!   [`CONNECTION_DRAIN_MAX`].

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::patient::Patient;
use super::refuse;
use crate::limits::{
    CONNECTION_DRAIN_MAX, CONNECTIONS_MAX, CONNECTIONS_WAITING_MAX, HEADER_READ_MAX,
    LAST_REQUEST_MAX,
};

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The host is no address and no name.
    #[error("--bind-host {host}: {source}")]
    Host {
        /// What was given.
        host: String,
        /// Why it is none.
        source: io::Error,
    },
    /// The port is taken or not allowed.
    #[error("cannot listen on {address}: {source}{}", hint(.source, .flag))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The flag that named the port.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn hint(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; another program uses this port: stop it or choose another with {flag}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("; ports below 1024 need privileges: choose another with {flag}")
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: choose another with --bind-host".to_owned()
        }
        _ => String::new(),
    }
}

/// Binds a listener. `flag` is the one that named the port.
///
/// # Errors
/// [`BindError`].
pub async fn bind(host: &str, port: u16, flag: &'static str) -> Result<TcpListener, BindError> {
    let host_error = |source| BindError::Host { host: host.to_owned(), source };
    let mut addresses = lookup_host((host, port)).await.map_err(host_error)?;
    let address = addresses
        .next()
        .ok_or_else(|| host_error(io::Error::new(io::ErrorKind::NotFound, "no address found")))?;
    listen(address).map_err(|source| BindError::Bind { address, flag, source })
}

/// Like [`TcpListener::bind`], whose queue holds 128. Whoever comes when it is full believes to be connected
/// and is heard a second later, or not at all if the port is closed by then.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(CONNECTIONS_WAITING_MAX)
}

/// What a connection passes through before its first request.
pub trait Entrance: Clone + Send + Sync + 'static {
    /// What it is afterwards.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Lets a connection in, to these routes; `None` when it is refused. Ends within a bounded time.
    fn enter(
        self,
        stream: TcpStream,
        from: SocketAddr,
        router: Router,
    ) -> impl Future<Output = Option<(Self::Stream, Router)>> + Send;
}

/// Lets everybody in.
#[derive(Debug, Clone, Copy)]
pub struct Anybody;

impl Entrance for Anybody {
    type Stream = Patient<TcpStream>;

    async fn enter(
        self,
        stream: TcpStream,
        _: SocketAddr,
        router: Router,
    ) -> Option<(Patient<TcpStream>, Router)> {
        Some((Patient::new(stream, None), router))
    }
}

/// Serves until `stop`, then closes the port and lets connections finish.
pub async fn serve(
    listener: TcpListener,
    entrance: impl Entrance,
    router: Router,
    stop: CancellationToken,
) {
    let (listener, connections) = accept_until(listener, entrance, router, stop).await;
    // Who has connected by now is answered; later ones are refused.
    refuse::close(listener, |stream, from| connections.take(stream, from, None)).await;
    connections.finish().await;
}

/// Serves at a port that somebody else goes on with after `stop`: it stays open, and who waits there
/// to be accepted goes on waiting.
pub async fn serve_for_now(
    listener: TcpListener,
    entrance: impl Entrance,
    router: Router,
    stop: CancellationToken,
) {
    let (listener, connections) = accept_until(listener, entrance, router, stop).await;
    drop(listener);
    connections.finish().await;
}

async fn accept_until<E: Entrance>(
    listener: TcpListener,
    entrance: E,
    router: Router,
    stop: CancellationToken,
) -> (TcpListener, Connections<E>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // HTTP/1.1 only: what proxies speak to servers behind them. Telling two versions apart would
    // mean waiting for a client's first bytes without a bound.
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_MAX);
    let open = TaskTracker::new();
    let connections = Connections { builder, entrance, router, stop: stop.clone(), open };
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&permits).acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            biased;
            () = stop.cancelled() => return (listener, connections),
            next = next => next,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a connection that was gone before we took it.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        connections.take(stream, from, permit);
    }
}

/// What every connection of a listener has in common.
struct Connections<E> {
    builder: Builder,
    entrance: E,
    router: Router,
    stop: CancellationToken,
    open: TaskTracker,
}

impl<E: Entrance> Connections<E> {
    /// Waits for the end of all connections, but not for long.
    async fn finish(self) {
        self.open.close();
        if tokio::time::timeout(CONNECTION_DRAIN_MAX, self.open.wait()).await.is_err() {
            tracing::debug!("connections were still open at the end");
        }
    }

    /// Serves a connection, which gives its place back at its end.
    fn take(&self, stream: TcpStream, from: SocketAddr, place: Option<OwnedSemaphorePermit>) {
        // Small answers must not wait for more data; an error only costs latency.
        let _ = stream.set_nodelay(true);
        let entering = self.entrance.clone().enter(stream, from, self.router.clone());
        let (builder, stop) = (self.builder.clone(), self.stop.clone());
        self.open.spawn(async move {
            let Some((stream, router)) = entering.await else { return };
            let service = TowerToHyperService::new(router);
            let connection =
                builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = pin!(connection);
            let stopping = async {
                stop.cancelled().await;
                // A request may be on its way to a server that looked well when it was sent.
                tokio::time::sleep(LAST_REQUEST_MAX).await;
            };
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopping => {
                    // The request under way is answered, then it closes.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn answer(mut client: TcpStream) -> String {
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// One waits in the backlog when the server stops, one has been accepted and not asked yet.
    #[tokio::test]
    async fn who_has_connected_when_the_server_stops_is_answered_and_the_idle_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let waiting = TcpStream::connect(address).await.unwrap();
        let mut idle = TcpStream::connect(address).await.unwrap();
        let router = Router::new().route("/", get(|| async { "served" }));
        let begun = Instant::now();
        let serving = tokio::spawn(serve(listener, Anybody, router, stop));
        assert!(answer(waiting).await.ends_with("served"));
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert!(begun.elapsed() >= LAST_REQUEST_MAX);
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
