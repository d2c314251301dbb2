//! The ports of the server: which are opened, and what is said of them.
//!
//! # Contract
//! * A port that cannot be had is an error that names its flag, before anything is served.

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServeError;
use crate::app::VERSION;
use crate::http::serve::{Anybody, BindError, bind, serve};
use crate::http::tls::Tls;

/// Serves clients until `closing`, over TLS where there is a certificate.
pub(super) fn spawn_serving(
    listeners: &TaskTracker,
    listener: TcpListener,
    tls: Option<Tls>,
    router: axum::Router,
    closing: CancellationToken,
) {
    match tls {
        Some(tls) => listeners.spawn(serve(listener, tls, router, closing)),
        None => listeners.spawn(serve(listener, Anybody, router, closing)),
    };
}

pub(super) fn port_from_environment() -> Result<Option<u16>, ServeError> {
    match std::env::var("PORT") {
        Err(_) => Ok(None),
        Ok(text) => match text.parse() {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => Err(ServeError::Port(text)),
        },
    }
}

pub(super) async fn listen(
    host: &str,
    port: Option<u16>,
    flag: &'static str,
) -> Result<Option<TcpListener>, BindError> {
    match port {
        Some(port) => bind(host, port, flag).await.map(Some),
        None => Ok(None),
    }
}

pub(super) fn say_listening(listener: &TcpListener, tls: bool, path: &str) {
    if let Ok(address) = listener.local_addr() {
        let scheme = if tls { "https" } else { "http" };
        tracing::info!(version = VERSION, %address, "listening; MCP at {scheme}://{address}{path}");
    }
}
