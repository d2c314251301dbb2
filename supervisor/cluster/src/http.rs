//! The routes of the cluster port.
//!
//! `GET /raft/status`, `POST /raft/join`, `POST /raft/leave`, `POST /raft/transfer-leader`,
//! `GET /raft/backup`, and `GET /raft/stream`, where connections between nodes begin. There is no
//! route that writes state.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;

use crate::net::server;
use crate::node::JoinBody;
use crate::node::backup::BackupError;
use crate::node::status::Status;
use crate::node::{HELLO, MembershipError, Node, PROTOCOL, STREAM_PATH, hello_header, read_hello};

/// Bytes of a request body.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// The routes, for one node.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/raft/status", get(status))
        .route("/raft/join", post(join))
        .route("/raft/leave", post(leave))
        .route("/raft/transfer-leader", post(transfer))
        .route("/raft/backup", get(backup))
        .route(STREAM_PATH, get(stream))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(node)
}

/// `GET /raft/status`
pub async fn status(State(node): State<Node>) -> Json<Status> {
    Json(node.status())
}

fn refusal(code: StatusCode, problem: impl std::fmt::Display) -> Response {
    (code, Json(json!({ "error": problem.to_string() }))).into_response()
}

fn changed(result: Result<(), MembershipError>) -> Response {
    match result {
        Ok(()) => Json(json!({ "ok": true })).into_response(),
        Err(error @ MembershipError::Refused(_)) => refusal(StatusCode::CONFLICT, error),
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, error),
    }
}

async fn join(State(node): State<Node>, body: Result<Json<JoinBody>, JsonRejection>) -> Response {
    match body {
        Ok(Json(body)) => changed(node.join(body).await),
        Err(error) => refusal(error.status(), error.body_text()),
    }
}

/// The body of `POST /raft/leave`.
#[derive(Debug, Deserialize)]
struct LeaveBody {
    node_id: String,
}

async fn leave(State(node): State<Node>, body: Result<Json<LeaveBody>, JsonRejection>) -> Response {
    match body {
        Ok(Json(body)) => changed(node.leave(&body.node_id).await),
        Err(error) => refusal(error.status(), error.body_text()),
    }
}

/// The body of `POST /raft/transfer-leader`.
#[derive(Debug, Deserialize)]
struct TransferBody {
    /// To whom; to the one that lacks least when absent.
    #[serde(default)]
    to: Option<String>,
}

async fn transfer(
    State(node): State<Node>,
    body: Result<Json<TransferBody>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(body)) => changed(node.transfer_to(body.to.as_deref()).await),
        Err(error) => refusal(error.status(), error.body_text()),
    }
}

/// `GET /raft/backup`: the replicated state, in a file. Its length is known, so that a receiver can
/// tell an end from a break.
async fn backup(State(node): State<Node>) -> Response {
    let backup = match node.backup().await {
        Ok(backup) => backup,
        Err(error @ BackupError::NoRoom { .. }) => {
            return refusal(StatusCode::INSUFFICIENT_STORAGE, error);
        }
        Err(error @ (BackupError::Failed(_) | BackupError::Rows(_))) => {
            tracing::error!(%error, "no backup");
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, error);
        }
        Err(error) => return refusal(StatusCode::SERVICE_UNAVAILABLE, error),
    };
    let name = format!("mcp-v8-{}-{}.backup", backup.head.cluster, backup.head.index);
    Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, backup.bytes)
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))
        .body(Body::from_stream(backup.into_stream(&node)))
        .unwrap_or_else(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, error))
}

/// Begins a connection between nodes.
async fn stream(State(node): State<Node>, headers: HeaderMap, mut request: Request) -> Response {
    let asked = headers.get(header::UPGRADE).is_some_and(|value| value == PROTOCOL);
    if !asked {
        let problem = format!("connections between nodes: Upgrade: {PROTOCOL}");
        return refusal(StatusCode::UPGRADE_REQUIRED, problem);
    }
    let hello = match read_hello(&headers) {
        Ok(hello) => hello,
        Err(problem) => return refusal(StatusCode::BAD_REQUEST, problem),
    };
    if let Err(error) = node.admit(&hello).await {
        tracing::debug!(caller = hello.name, %error, "a node was refused");
        return refusal(StatusCode::FORBIDDEN, error);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let answers = Arc::new(node.answers(&hello));
    let serving = node.clone();
    node.spawn_connection(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let stream = Box::new(TokioIo::new(upgraded));
                if let Err(error) = server::serve(stream, answers, serving.stopping()).await {
                    tracing::debug!(caller = hello.name, %error, "a connection has ended");
                }
            }
            Err(error) => tracing::debug!(%error, "a connection did not come about"),
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .header(HELLO, hello_header(&node.hello()))
        .body(Body::empty())
        .unwrap_or_else(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, error))
}
