//! MCP over Streamable HTTP at `/mcp`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cancelled::Unfinished;
use super::sessions::{Sessions, id_of, name_none};
use super::{Handler, cancelled};
use crate::access::Caller;
use crate::app::SharedApp;
use crate::executions::Executions;
use crate::http::ApiError;
use crate::limits::{BODY_BYTES_MAX, LIBRARY_ERROR_BYTES_MAX, MCP_SESSION_IDLE_MAX};

/// Later revisions have no sessions.
const LAST_REVISION_WITH_SESSIONS: &str = "2025-11-25";

/// The routes. `stop` ends open streams; `in_flight` counts requests until they are dealt with.
pub fn router(app: SharedApp, stop: CancellationToken, in_flight: TaskTracker) -> Router {
    // Hosts and origins are checked by our own guard, for every route alike.
    let mut config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(BODY_BYTES_MAX)
        .with_cancellation_token(stop.clone());
    let (node, told) = (app.node.clone(), app.executions.cancelled_elsewhere());
    let executions = app.executions.clone();
    let handler = Handler::new(app);
    let mut manager = LocalSessionManager::default();
    manager.session_config.keep_alive = Some(MCP_SESSION_IDLE_MAX);
    let manager = Arc::new(manager);
    let sessions = Sessions::new(Arc::clone(&manager), node, executions.clone());
    config.session_store = sessions.store();
    tokio::spawn(sessions.clone().look_after(stop.clone()));
    if let Some(told) = told {
        tokio::spawn(cancelled::take(Arc::clone(&manager), told, stop));
    }
    let service = StreamableHttpService::new(move || Ok(handler.clone()), manager, config);
    Router::new()
        .route_service("/mcp", service)
        .layer(middleware::from_fn_with_state((sessions, executions, in_flight), bound_sessions))
        .layer(middleware::from_fn(mend_answers))
}

/// Keeps the number of sessions within its bound, and this node's agreeing with the cluster's, and each
/// session its caller's: another's is answered as one that is not there, because none is asked for. A
/// request without a session id and of a revision that has sessions can only be the beginning of one.
async fn bound_sessions(
    State((sessions, executions, in_flight)): State<(Sessions, Executions, TaskTracker)>,
    Caller(by): Caller,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let version = headers.get("mcp-protocol-version").and_then(|value| value.to_str().ok());
    let session = id_of(headers).map(str::to_owned);
    let ends = request.method() == Method::DELETE;
    if let Some(id) = &session {
        let known = if ends { sessions.end(by, id).await } else { sessions.asked(by, id).await };
        match known {
            Ok(true) => {
                request.extensions_mut().insert(Unfinished::among(&in_flight));
            }
            Ok(false) => name_none(request.headers_mut()),
            Err(problem) => return unavailable(&problem),
        }
    } else if request.method() == Method::POST
        // Revisions are dates, so they compare as text.
        && version.is_none_or(|version| version <= LAST_REVISION_WITH_SESSIONS)
    {
        if let Err(often) = executions.count(by) {
            return ApiError::from(often).into_response();
        }
        sessions.make_room(by).await;
    }
    let response = match sessions.begin(by, next.run(request)).await {
        Ok(response) => response,
        Err(problem) => return unavailable(&problem),
    };
    if let Some(id) = session.filter(|_| !ends && response.status().is_success()) {
        sessions.used(by, &id);
    }
    response
}

fn unavailable(problem: &str) -> Response {
    let message = format!("unavailable: {problem}");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
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
