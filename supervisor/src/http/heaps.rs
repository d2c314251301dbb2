//! `/api/heaps`: what is stored, and its tags; the same on every node.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, ErrorBody};
use super::sessions::Done;
use crate::access::Caller;
use crate::app::SharedApp;
use crate::heaps::HeapId;
use crate::requests::tags_of;
use crate::sessions::{HeapInfo, TaggedHeaps, heap_id};

/// Tags of a heap.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// Values by key.
    tags: BTreeMap<String, String>,
}

type Hash = Result<Path<String>, PathRejection>;

fn heap(hash: Hash) -> Result<HeapId, ApiError> {
    let Path(text) = hash?;
    Ok(heap_id("hash", &text)?)
}

/// Look at a stored heap
#[utoipa::path(
    get, path = "/api/heaps/{hash}", tag = "heaps",
    params(("hash" = String, Path, description = "The heap, 64 hexadecimal digits")),
    responses(
        (status = 200, body = HeapInfo),
        (status = 400, description = "Not a hash", body = ErrorBody),
        (status = 404, description = "There is no such heap", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn get(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    hash: Hash,
) -> Result<Json<HeapInfo>, ApiError> {
    Ok(Json(app.sessions(by)?.heap(heap(hash)?).await?))
}

/// Which heaps to find.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FindQuery {
    /// The tags they have, whatever others: a JSON object of texts.
    #[param(example = r#"{"stage":"clean"}"#)]
    tags: String,
}

/// Find heaps by their tags
#[utoipa::path(
    get, path = "/api/heaps", tag = "heaps", params(FindQuery),
    responses(
        (status = 200, body = TaggedHeaps),
        (status = 400, description = "Not a JSON object of texts", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn find(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    query: Result<Query<FindQuery>, QueryRejection>,
) -> Result<Json<TaggedHeaps>, ApiError> {
    let Query(FindQuery { tags }) = query?;
    Ok(Json(app.sessions(by)?.tagged(tags_of(&tags)?).await?))
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
pub async fn get_tags(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    hash: Hash,
) -> Result<Json<Tags>, ApiError> {
    let tags = app.sessions(by)?.tags(heap(hash)?).await?;
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
    Caller(by): Caller,
    hash: Hash,
    body: Result<Json<Tags>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let heap = heap(hash)?;
    let Json(Tags { tags }) =
        body.map_err(|error| ApiError::bad_request(format!("body: {}", error.body_text())))?;
    app.sessions(by)?.set_tags(heap, tags).await?;
    Ok(Done::OK)
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
    Caller(by): Caller,
    hash: Hash,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<Json<Done>, ApiError> {
    let heap = heap(hash)?;
    let Query(DeleteQuery { keys }) = query?;
    app.sessions(by)?.delete_tags(heap, keys.as_deref()).await?;
    Ok(Done::OK)
}
