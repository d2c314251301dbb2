//! What a connection between nodes runs over: TCP, or TLS on it.
//!
//! # Contract
//! * Plain connections are handed through untouched.
//! * A TLS handshake ends within [`TLS_HANDSHAKE_MS_MAX`]; who does not speak TLS is told in words
//!   that it is needed.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::auth::{Auth, Caller, Credentials, Reason, Refusal, tls};
use crate::limits::TLS_HANDSHAKE_MS_MAX;

/// A connection.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Plain(TcpStream),
    /// TLS on it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// How a TLS connection begins: the type of its first record (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// What somebody without TLS is told.
const TLS_NEEDED: &str = "this cluster port speaks TLS; accepted: nodes started with \
    --cluster-tls-cert, --cluster-tls-key and --cluster-tls-ca, `mcp-v8 cluster` with --tls-cert, \
    --tls-key and --tls-ca, and https";

impl Transport {
    /// Connects to `host:port`, and proves to each other who is who if there are certificates.
    ///
    /// # Errors
    /// As TCP and TLS have them; see [`tls::cause`].
    pub async fn connect(credentials: &Credentials, address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &credentials.tls else { return Ok(Self::Plain(stream)) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = tls::server_name(host)
            .map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?;
        let connecting = TlsConnector::from(tls.client()).connect(name, stream);
        let stream = handshake(connecting).await?;
        Ok(Self::Tls(Box::new(TlsStream::Client(stream))))
    }

    /// Takes a connection. `None` when it is none; that is counted.
    pub async fn accept(
        auth: &Auth,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Option<(Self, Caller)> {
        let ip = from.ip().to_canonical();
        let Some(tls) = &auth.credentials.tls else {
            return Some((Self::Plain(stream), Caller { ip, certified: false }));
        };
        let mut first = [0];
        let peek = stream.peek(&mut first);
        match timeout(Duration::from_millis(TLS_HANDSHAKE_MS_MAX), peek).await {
            // Gone without a word, as those who look whether a port is open.
            Ok(Ok(0) | Err(_)) | Err(_) => return None,
            Ok(Ok(_)) if first[0] != HANDSHAKE_RECORD => {
                auth.refusals.note(&Refusal::new(Reason::Plaintext, TLS_NEEDED), &ip);
                // It may be gone.
                let _ = handshake(tell_plainly(stream)).await;
                return None;
            }
            Ok(Ok(_)) => {}
        }
        let patience = Duration::from_millis(TLS_HANDSHAKE_MS_MAX);
        let accepting = TlsAcceptor::from(tls.server()).accept(stream).into_fallible();
        match timeout(patience, accepting).await {
            Ok(Ok(stream)) => {
                let certified = stream.get_ref().1.peer_certificates().is_some();
                let stream = Self::Tls(Box::new(TlsStream::Server(stream)));
                Some((stream, Caller { ip, certified }))
            }
            Ok(Err((error, stream))) => {
                auth.refusals.note(&refusal(&error), &ip);
                // The alert that says why was sent; it may be gone.
                let _ = handshake(close(stream)).await;
                None
            }
            Err(_) => {
                let problem = format!("no TLS handshake within {patience:?}");
                auth.refusals.note(&Refusal::new(Reason::Tls, problem), &ip);
                None
            }
        }
    }
}

async fn handshake<T>(shaking: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let patience = Duration::from_millis(TLS_HANDSHAKE_MS_MAX);
    timeout(patience, shaking).await.unwrap_or_else(|_| {
        let problem = format!("no TLS handshake within {patience:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, problem))
    })
}

fn refusal(error: &io::Error) -> Refusal {
    match tls::cause(error) {
        Some(cause @ rustls::Error::InvalidCertificate(_)) => Refusal::new(
            Reason::Certificate,
            format!("{cause}; accepted: certificates of the authority in --cluster-tls-ca"),
        ),
        Some(rustls::Error::AlertReceived(alert)) => Refusal::new(
            Reason::Certificate,
            format!("the caller does not take this node's certificate ({alert:?})"),
        ),
        _ => Refusal::new(Reason::Tls, error.to_string()),
    }
}

/// Answers a plain HTTP request.
async fn tell_plainly(mut stream: TcpStream) -> io::Result<()> {
    let reason = Reason::Plaintext.as_str();
    let body = serde_json::json!({ "error": TLS_NEEDED, "reason": reason }).to_string();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    close(stream).await
}

/// Closes once the other side has: while something it sent is unread, closing would take back what
/// we have sent (RFC 9112, 9.6).
async fn close(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
