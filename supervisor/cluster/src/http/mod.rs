//! The routes of the cluster port.
//!
//! `GET /raft/status`, `GET /raft/overview`, `POST /raft/join`, `POST /raft/leave`, `POST /raft/drain`,
//! `POST /raft/transfer-leader`,
//! `GET /raft/backup`, and `GET /raft/stream`, where connections between nodes begin. There is no
//! route that writes state. Who may use which is decided in [`guard`], before any of them.

mod backup;
mod guard;
mod stream;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::node::overview::{OVERVIEW_PATH, Overview};
use crate::node::status::Status;
use crate::node::{JoinBody, MembershipError, Node, STREAM_PATH};

/// Bytes of a request body.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// The routes, for one node.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/raft/status", get(status))
        .route(OVERVIEW_PATH, get(overview))
        .route("/raft/join", post(join))
        .route("/raft/leave", post(leave))
        .route("/raft/transfer-leader", post(transfer))
        .route("/raft/drain", post(drain))
        .route("/raft/backup", get(backup::backup))
        .route(STREAM_PATH, get(stream::stream))
        .route_layer(middleware::from_fn_with_state(node.clone(), guard::guard))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(node)
}

/// `GET /raft/status`
pub async fn status(State(node): State<Node>) -> Json<Status> {
    Json(node.status())
}

/// `GET /raft/overview`: the same, and what the server above says of itself.
async fn overview(State(node): State<Node>) -> Json<Overview> {
    Json(node.overview())
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

/// The body of `POST /raft/leave` and of `POST /raft/drain`.
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

async fn drain(State(node): State<Node>, body: Result<Json<LeaveBody>, JsonRejection>) -> Response {
    match body {
        Ok(Json(body)) => changed(node.drain(&body.node_id).await),
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
