//! TLS on the ports of the clients.
//!
//! # Contract
//! * TLS 1.3 and 1.2; HTTP/1.1 only, by ALPN where a client asks.
//! * A handshake takes at most [`TLS_HANDSHAKE_MAX`]. At most [`TLS_HANDSHAKES_MAX`] are under way, and
//!   [`TLS_HANDSHAKES_PER_ADDRESS_MAX`] of one address, so that whoever begins many leaves places for
//!   others; one more is closed.
//! * Files that change are taken up within [`TLS_LOOK`], for new connections, if they are right; else
//!   the old ones go on. What is wrong with them is said at the start, with the flag.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use mcp_v8_cluster::auth::tls::{Source, Stamp, TlsError, stamp};
use mcp_v8_cluster::net::places::Places;
use parking_lot::RwLock;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::patient::Patient;
use super::serve::Entrance;
use crate::limits::{
    TLS_HANDSHAKE_MAX, TLS_HANDSHAKES_MAX, TLS_HANDSHAKES_PER_ADDRESS_MAX, TLS_LOOK,
};

/// Lets clients in over TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cert: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
    handshakes: Places,
}

impl Tls {
    /// Reads the files, and again whenever they have changed.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub async fn start(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let (config, mut seen) = look(cert.clone(), key.clone()).await;
        let shared = Arc::new(Shared {
            cert,
            key,
            config: RwLock::new(config?),
            handshakes: Places::new(TLS_HANDSHAKES_MAX, TLS_HANDSHAKES_PER_ADDRESS_MAX),
        });
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TLS_LOOK).await;
                let Some(shared) = weak.upgrade() else { return };
                let stamps = stamps(shared.cert.clone(), shared.key.clone()).await;
                if stamps == seen {
                    continue;
                }
                let (config, looked_at) = look(shared.cert.clone(), shared.key.clone()).await;
                seen = looked_at;
                match config {
                    Ok(config) => {
                        *shared.config.write() = config;
                        tracing::info!("the certificate of the clients' ports was taken up");
                    }
                    Err(error) => tracing::warn!(%error, "the certificate before stays in use"),
                }
            }
        });
        Ok(Self { shared })
    }
}

impl Entrance for Tls {
    type Stream = Patient<TlsStream<TcpStream>>;

    async fn enter(
        self,
        stream: TcpStream,
        from: SocketAddr,
        router: Router,
    ) -> Option<(Self::Stream, Router)> {
        let _place = self.shared.handshakes.take(from.ip().to_canonical())?;
        let config = Arc::clone(&self.shared.config.read());
        let shaking = TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(TLS_HANDSHAKE_MAX, shaking).await {
            Ok(Ok(stream)) => Some((Patient::new(stream, None), router)),
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "no TLS");
                None
            }
            Err(_) => {
                tracing::debug!(%from, "no TLS in time");
                None
            }
        }
    }
}

type Stamps = [Option<Stamp>; 2];

/// Which files there are.
async fn stamps(cert: PathBuf, key: PathBuf) -> Stamps {
    let looking = tokio::task::spawn_blocking(move || [stamp(&cert), stamp(&key)]);
    looking.await.unwrap_or_default()
}

/// What is made of the files, and which they were.
async fn look(cert: PathBuf, key: PathBuf) -> (Result<Arc<ServerConfig>, TlsError>, Stamps) {
    let reading = tokio::task::spawn_blocking(move || {
        // Before they are read: a change in between is seen the next time.
        let stamps = [stamp(&cert), stamp(&key)];
        (read(&cert, &key), stamps)
    });
    match reading.await {
        Ok(read) => read,
        // A blocking task fails only when the runtime is going down.
        Err(error) => {
            let source = Source { flag: "tls-cert", path: std::path::Path::new("") };
            (Err(source.wrong(error.to_string())), Stamps::default())
        }
    }
}

fn read(cert: &std::path::Path, key: &std::path::Path) -> Result<Arc<ServerConfig>, TlsError> {
    let cert = Source { flag: "tls-cert", path: cert };
    let key = Source { flag: "tls-key", path: key };
    let (chain, private) = (cert.certificates()?, key.key()?);
    let wrong = |error: rustls::Error| match error {
        rustls::Error::InconsistentKeys(_) => {
            key.wrong(format!("it is not the key of {}", cert.path.display()))
        }
        error => cert.wrong(error.to_string()),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(wrong)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
