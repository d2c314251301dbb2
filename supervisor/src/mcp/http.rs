//! MCP over Streamable HTTP at `/mcp`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Mcp;
use crate::app::SharedApp;
use crate::limits::{
    BODY_BYTES_MAX, LIBRARY_ERROR_BYTES_MAX, MCP_SESSION_IDLE_MAX, MCP_SESSIONS_MAX,
};

const SESSION_HEADER: &str = "mcp-session-id";

/// Later revisions have no sessions.
const LAST_REVISION_WITH_SESSIONS: &str = "2025-11-25";

/// The routes. `stop` ends open streams.
pub fn router(app: SharedApp, stop: CancellationToken) -> Router {
    // Hosts and origins are checked by our own guard, for every route alike.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(BODY_BYTES_MAX)
        .with_cancellation_token(stop);
    let handler = Mcp::new(app);
    let mut manager = LocalSessionManager::default();
    manager.session_config.keep_alive = Some(MCP_SESSION_IDLE_MAX);
    let used = Used { manager: Arc::new(manager), at: Arc::default() };
    let service =
        StreamableHttpService::new(move || Ok(handler.clone()), Arc::clone(&used.manager), config);
    Router::new()
        .route_service("/mcp", service)
        .layer(middleware::from_fn_with_state(used, bound_sessions))
        .layer(middleware::from_fn(mend_answers))
}

/// When each session was last used. Holds every open one, and forgets the others when it has as many
/// entries as there may be sessions.
#[derive(Clone)]
struct Used {
    manager: Arc<LocalSessionManager>,
    at: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Used {
    /// Makes room for a session by closing the one that was not used for longest. Its client finds
    /// it gone (404) and opens another, as the specification has it.
    async fn make_room(&self) {
        if self.at.lock().len() < MCP_SESSIONS_MAX {
            return;
        }
        let open: HashSet<_> = self.manager.sessions.read().await.keys().cloned().collect();
        let oldest = {
            let mut at = self.at.lock();
            at.retain(|id, _| open.contains(id.as_str()));
            open.iter().min_by_key(|id| at.get(&***id).copied()).cloned()
        };
        if let Some(oldest) = oldest
            && open.len() >= MCP_SESSIONS_MAX
        {
            // One that has ended in this moment is closed already.
            let _ = self.manager.close_session(&oldest).await;
        }
    }
}

/// Keeps the number of sessions within its bound. A request without a session id and of a revision
/// that has sessions can only be the beginning of one.
async fn bound_sessions(State(used): State<Used>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let version = headers.get("mcp-protocol-version").and_then(|value| value.to_str().ok());
    let session = headers.get(SESSION_HEADER).and_then(|value| value.to_str().ok());
    if let Some(id) = session {
        if let Some(at) = used.at.lock().get_mut(id) {
            *at = Instant::now();
        }
    } else if request.method() == Method::POST
        // Revisions are dates, so they compare as text.
        && version.is_none_or(|version| version <= LAST_REVISION_WITH_SESSIONS)
    {
        used.make_room().await;
    }
    let response = next.run(request).await;
    if let Some(id) = response.headers().get(SESSION_HEADER).and_then(|id| id.to_str().ok()) {
        used.at.lock().insert(id.to_owned(), Instant::now());
    }
    response
}

/// Two answers of the library that real clients stumble over.
///
/// * Malformed JSON gets 415 and plain text. JSON-RPC 2.0 §5.1 wants error -32700, and a client
///   wants to know where.
/// * The end of a session gets 202. The specification names no code, but SDKs take 200 and 204 only
///   and log a failure for anything else.
async fn mend_answers(request: Request, next: Next) -> Response {
    let ends_session = request.method() == Method::DELETE;
    let is_json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().starts_with("application/json"));
    let mut response = next.run(request).await;
    if ends_session && response.status() == StatusCode::ACCEPTED {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    if !is_json || response.status() != StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), LIBRARY_ERROR_BYTES_MAX).await;
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let message = format!("Malformed JSON-RPC message: {text}");
    let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": message}});
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}
