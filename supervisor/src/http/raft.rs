//! The state of the cluster, on the port of the clients.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::error::ErrorBody;
use crate::app::SharedApp;

/// The state of this node and its cluster; for load balancers, 503 when it should get no traffic
#[utoipa::path(
    get, path = "/raft/status", tag = "server",
    responses(
        (status = 200, description = "node_id, role, leader_id, term, commit_index, last_applied, log_length, peers, peer_addrs, learners, is_learner, members", body = Object),
        (status = 404, description = "Nothing is kept here (--stateless)", body = ErrorBody),
        (status = 503, description = "The same as 200, from a node that should get no traffic", body = Object),
    )
)]
pub async fn status(State(app): State<SharedApp>) -> Response {
    let Some(node) = &app.node else {
        let error = "this server keeps nothing (--stateless): it has no Raft".to_owned();
        return (StatusCode::NOT_FOUND, Json(ErrorBody { error })).into_response();
    };
    let ready = app.not_ready().is_empty();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(node.status())).into_response()
}
