//! `/api/heaps/{hash}/tags`: labels of a heap, replicated, the same on every node.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use mcp_v8_cluster::command::{Command, DeleteHeapTags, Reply, SetHeapTags};
use mcp_v8_cluster::hex;
use mcp_v8_cluster::limits::{TAGS_BYTES_MAX, TAGS_MAX};
use mcp_v8_cluster::node::{Node, ProposeError};
use mcp_v8_cluster::state::heaps;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::error::{ApiError, ErrorBody};
use crate::app::{App, SharedApp};

/// Tags of a heap.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// Values by key.
    tags: BTreeMap<String, String>,
}

/// That it worked.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    ok: bool,
}

type Hash = Result<Path<String>, PathRejection>;

fn node(app: &App) -> Result<&Node, ApiError> {
    app.node.as_ref().ok_or_else(|| {
        ApiError::bad_request("this server keeps nothing (--stateless), so there are no heaps")
    })
}

fn heap(hash: Hash) -> Result<[u8; 32], ApiError> {
    let Path(text) = hash?;
    hex::decode_array(text.as_bytes())
        .ok_or_else(|| ApiError::bad_request("path: a heap is 64 hexadecimal digits"))
}

fn unavailable(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

async fn commit(node: &Node, command: Command) -> Result<Json<Done>, ApiError> {
    let proposed = node.propose(command).await.map_err(|error| match error {
        ProposeError::TooLong(_) => ApiError::bad_request(format!("body: {error}")),
        error => unavailable(&error),
    })?;
    match proposed.reply {
        Reply::Done => Ok(Json(Done { ok: true })),
        Reply::TooManyTags => Err(ApiError::bad_request(format!(
            "`tags`: with those it has the heap would have too many; accepted: {TAGS_MAX} tags and \
             {TAGS_BYTES_MAX} bytes of keys and values"
        ))),
        other => Err(unavailable(&format!("{other:?}"))),
    }
}

/// Read the tags of a heap
#[utoipa::path(
    get, path = "/api/heaps/{hash}/tags", tag = "heaps",
    params(("hash" = String, Path, description = "The heap, 64 hexadecimal digits")),
    responses(
        (status = 200, body = Tags),
        (status = 400, description = "Not a hash", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn get_tags(State(app): State<SharedApp>, hash: Hash) -> Result<Json<Tags>, ApiError> {
    let heap = heap(hash)?;
    let node = node(&app)?;
    node.barrier().await.map_err(|error| unavailable(&error))?;
    let tags = heaps::tags(&node.rows(), &heap).map_err(|error| unavailable(&error))?;
    Ok(Json(Tags { tags }))
}

/// Set tags of a heap; keys that are not named stay as they are
#[utoipa::path(
    put, path = "/api/heaps/{hash}/tags", tag = "heaps",
    params(("hash" = String, Path, description = "The heap, 64 hexadecimal digits")),
    request_body = Tags,
    responses(
        (status = 200, body = Done),
        (status = 400, description = "Not a hash, or too many tags", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn set_tags(
    State(app): State<SharedApp>,
    hash: Hash,
    body: Result<Json<Tags>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let heap = heap(hash)?;
    let Json(Tags { tags }) =
        body.map_err(|error| ApiError::bad_request(format!("body: {}", error.body_text())))?;
    let command = SetHeapTags { id: Uuid::now_v7(), heap, tags };
    commit(node(&app)?, Command::SetHeapTags(command)).await
}

/// Which tags to delete.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteQuery {
    /// Keys separated by commas; all when absent.
    keys: Option<String>,
}

/// Delete tags of a heap
#[utoipa::path(
    delete, path = "/api/heaps/{hash}/tags", tag = "heaps",
    params(("hash" = String, Path, description = "The heap, 64 hexadecimal digits"), DeleteQuery),
    responses(
        (status = 200, body = Done),
        (status = 400, description = "Not a hash", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn delete_tags(
    State(app): State<SharedApp>,
    hash: Hash,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<Json<Done>, ApiError> {
    let heap = heap(hash)?;
    let Query(DeleteQuery { keys }) = query?;
    let keys = keys.map(|keys| keys.split(',').map(str::to_owned).collect());
    let command = DeleteHeapTags { id: Uuid::now_v7(), heap, keys };
    commit(node(&app)?, Command::DeleteHeapTags(command)).await
}
