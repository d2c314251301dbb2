//! `/api/sessions`: names, histories, and moving a session on request.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use mcp_v8_cluster::command::MoveTo;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, ErrorBody};
use crate::access::Caller;
use crate::app::SharedApp;
use crate::sessions::{SessionInfo, SessionList, SnapshotList, heap_id};

type Name = Result<Path<String>, PathRejection>;

/// That it worked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Done {
    ok: bool,
}

impl Done {
    /// It did.
    pub const OK: Json<Self> = Json(Self { ok: true });
}

fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, ApiError> {
    let Json(body) =
        body.map_err(|error| ApiError::bad_request(format!("body: {}", error.body_text())))?;
    Ok(body)
}

/// Which sessions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Most names (1 to 1000). Default 1000.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List sessions
#[utoipa::path(
    get, path = "/api/sessions", tag = "sessions", params(ListQuery),
    responses(
        (status = 200, body = SessionList),
        (status = 400, body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn list(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<SessionList>, ApiError> {
    let Query(ListQuery { limit, cursor }) = query?;
    Ok(Json(app.sessions(by)?.names(limit, cursor).await?))
}

/// Look at a session
#[utoipa::path(
    get, path = "/api/sessions/{name}", tag = "sessions",
    params(("name" = String, Path, description = "The session")),
    responses(
        (status = 200, body = SessionInfo),
        (status = 400, body = ErrorBody),
        (status = 404, description = "There is no such session", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn get(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    name: Name,
) -> Result<Json<SessionInfo>, ApiError> {
    let Path(name) = name?;
    Ok(Json(app.sessions(by)?.session(&name).await?))
}

/// Which entries of a history to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotsQuery {
    /// Fields separated by commas: index, input_heap, output_heap, code, timestamp, execution_id.
    /// Default all.
    fields: Option<String>,
    /// Most entries (1 to 1000). Default 1000; a page also ends after some 256 KiB.
    limit: Option<u64>,
    /// The first entry; `next_cursor` of the page before.
    cursor: Option<u64>,
}

/// Read the history of a session, oldest entry first
#[utoipa::path(
    get, path = "/api/sessions/{name}/snapshots", tag = "sessions",
    params(("name" = String, Path, description = "The session"), SnapshotsQuery),
    responses(
        (status = 200, body = SnapshotList),
        (status = 400, body = ErrorBody),
        (status = 404, description = "There is no such session", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn snapshots(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    name: Name,
    query: Result<Query<SnapshotsQuery>, QueryRejection>,
) -> Result<Json<SnapshotList>, ApiError> {
    let (Path(name), Query(query)) = (name?, query?);
    let SnapshotsQuery { fields, limit, cursor } = query;
    Ok(Json(app.sessions(by)?.snapshots(&name, fields.as_deref(), limit, cursor).await?))
}

/// What a new session begins as.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRequest {
    /// A copy of where this session stands.
    session: Option<String>,
    /// Instead: this heap, 64 hexadecimal digits.
    heap: Option<String>,
}

/// Make a session as a copy of another, or at a heap
#[utoipa::path(
    post, path = "/api/sessions/{name}/fork", tag = "sessions",
    params(("name" = String, Path, description = "The new session")),
    request_body(content = ForkRequest, example = json!({"session": "analysis"})),
    responses(
        (status = 200, body = Done),
        (status = 400, body = ErrorBody),
        (status = 404, description = "There is no such session or heap to begin as", body = ErrorBody),
        (status = 409, description = "There is a session of that name", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn fork(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    name: Name,
    request: Result<Json<ForkRequest>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let Path(name) = name?;
    let from = match body(request)? {
        ForkRequest { session: Some(session), heap: None } => MoveTo::Session(session),
        ForkRequest { session: None, heap: Some(heap) } => MoveTo::Heap(heap_id("heap", &heap)?.0),
        _ => {
            let message = "body: give either `session`, the session to copy, or `heap`";
            return Err(ApiError::bad_request(message));
        }
    };
    app.sessions(by)?.fork(&name, from).await?;
    Ok(Done::OK)
}

/// Where a session is put.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// At this heap, 64 hexadecimal digits; at its beginning, an empty heap, when absent.
    heap: Option<String>,
}

/// Put a session back at an earlier heap, or at its beginning; its history stays
#[utoipa::path(
    post, path = "/api/sessions/{name}/reset", tag = "sessions",
    params(("name" = String, Path, description = "The session")),
    request_body(content = ResetRequest, example = json!({})),
    responses(
        (status = 200, body = Done),
        (status = 400, body = ErrorBody),
        (status = 404, description = "There is no such session or heap", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn reset(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    name: Name,
    request: Result<Json<ResetRequest>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let Path(name) = name?;
    let heap = body(request)?.heap;
    let heap = heap.map(|heap| heap_id("heap", &heap)).transpose()?;
    app.sessions(by)?.reset(&name, heap).await?;
    Ok(Done::OK)
}

/// Forget a session and its history
#[utoipa::path(
    delete, path = "/api/sessions/{name}", tag = "sessions",
    params(("name" = String, Path, description = "The session")),
    responses(
        (status = 200, body = Done),
        (status = 404, description = "There is no such session", body = ErrorBody),
        (status = 409, description = "It has executions that have not ended", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn delete(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    name: Name,
) -> Result<Json<Done>, ApiError> {
    let Path(name) = name?;
    app.sessions(by)?.delete(&name).await?;
    Ok(Done::OK)
}
