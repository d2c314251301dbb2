//! A server that cannot open its store yet, because its disk is full, says so instead of ending.
//!
//! # Contract
//! * Ending would have whoever looks after the process start it again, to the same end. It waits, and
//!   goes on by itself once there is room.
//! * Meanwhile its ports for clients answer: `/livez` that it is alive, everything else with 503
//!   and the reason. The cluster port does not answer: to the other nodes it is not there.
//! * Without a port nobody would see why nothing happens: then it is an error.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use mcp_v8_cluster::node::room::too_full;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::serve::{Anybody, serve_for_now};
use crate::http::tls::Tls;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks between two lines in the log.
const LOOKS_PER_LINE: u32 = 60;

/// When a client may ask again, in seconds.
const RETRY_SECS: &str = "5";

/// Why it does not wait.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// Nobody would see it.
    #[error("{0}")]
    Full(String),
    /// It cannot be known, or said.
    #[error("--session-db-path: its disk cannot be asked for its room: {0}")]
    Disk(#[from] io::Error),
}

/// Returns once the store at `path` can be opened. `clients` are the ports for clients; `served` is
/// whether there is any port. Clients that are to come over TLS do so now as well.
pub async fn for_room(
    path: &Path,
    clients: &[&TcpListener],
    tls: Option<&Tls>,
    served: bool,
) -> Result<(), WaitError> {
    let look = async || {
        let path = path.to_owned();
        // Of a disk over the network even this may take its time.
        let looked = tokio::task::spawn_blocking(move || too_full(&path)).await;
        looked.unwrap_or_else(|error| Err(io::Error::other(error)))
    };
    let Some(reason) = look().await? else { return Ok(()) };
    if !served {
        return Err(WaitError::Full(reason));
    }
    let stop = CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    for listener in clients {
        let (listener, router, stop) = (copy(listener)?, router(reason.clone()), stop.clone());
        match tls {
            Some(tls) => tokio::spawn(serve_for_now(listener, tls.clone(), router, stop)),
            None => tokio::spawn(serve_for_now(listener, Anybody, router, stop)),
        };
    }
    let mut looks = 0;
    loop {
        if looks % LOOKS_PER_LINE == 0 {
            tracing::error!("{reason}");
        }
        looks += 1;
        tokio::time::sleep(LOOK).await;
        if look().await?.is_none() {
            tracing::info!("there is room: starting");
            return Ok(());
        }
    }
}

/// The same port once more.
fn copy(listener: &TcpListener) -> io::Result<TcpListener> {
    use std::os::fd::AsFd;
    let listener = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn router(reason: String) -> Router {
    let ready = json!({ "status": "not ready", "reasons": [&reason], "sandbox": {} });
    let status = json!({ "error": &reason, "waiting_for": &reason, "member": false });
    let other = json!({ "error": &reason });
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async || refused(ready)))
        .route("/raft/status", get(async || refused(status)))
        .fallback(async || refused(other))
}

fn refused(body: Value) -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_SECS)];
    (StatusCode::SERVICE_UNAVAILABLE, retry, Json(body)).into_response()
}
