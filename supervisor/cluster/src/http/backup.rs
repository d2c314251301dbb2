//! `GET /raft/backup`: the replicated state, in a file.
//!
//! # Contract
//! * Its length is known, so that a receiver can tell an end from a break.
//! * With a shared secret its checksum is proven, which the receiver compares with what came.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::guard::ProvenBySum;
use super::refusal;
use crate::node::Node;
use crate::node::backup::BackupError;

/// Takes a backup and sends it.
pub(super) async fn backup(State(node): State<Node>) -> Response {
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
    let proven = Extension(ProvenBySum(backup.sha256.clone()));
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, backup.bytes)
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))
        .body(Body::from_stream(backup.into_stream(&node)));
    match response {
        Ok(response) => (proven, response).into_response(),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}
