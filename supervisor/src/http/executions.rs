//! `/api/executions`: list, look at, read, cancel.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, ErrorBody};
use crate::access::Caller;
use crate::app::SharedApp;
use crate::executions::model::{ExecutionInfo, ExecutionList, Origin, OutputPage};
use crate::executions::{PageBy, Wait};
use crate::requests::PageQuery;

type Params<T> = Result<Query<T>, QueryRejection>;
type Id = Result<Path<String>, PathRejection>;

/// Which executions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Most rows (1 to 1000). Default 100.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Also the node and the session of each. Default false.
    #[serde(default)]
    details: bool,
}

/// List executions, newest first
#[utoipa::path(
    get, path = "/api/executions", tag = "executions", params(ListQuery),
    responses((status = 200, body = ExecutionList), (status = 400, body = ErrorBody))
)]
pub async fn list(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    query: Params<ListQuery>,
) -> Result<Json<ExecutionList>, ApiError> {
    let Query(query) = query?;
    let ListQuery { limit, cursor, details } = query;
    Ok(Json(app.executions.list(by, limit, cursor.as_deref(), details).await?))
}

/// Whether to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Wait at most so many seconds for the end (0 to 300).
    wait: Option<u64>,
}

/// An execution and where it comes from.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ExecutionShown {
    /// The execution.
    #[serde(flatten)]
    info: ExecutionInfo,
    /// Where it comes from.
    #[serde(flatten)]
    origin: Origin,
}

/// Look at an execution
#[utoipa::path(
    get, path = "/api/executions/{id}", tag = "executions",
    params(("id" = String, Path, description = "The execution"), WaitQuery),
    responses(
        (status = 200, body = ExecutionShown),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn get(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    id: Id,
    query: Params<WaitQuery>,
) -> Result<Json<ExecutionShown>, ApiError> {
    let (Path(id), Query(query)) = (id?, query?);
    let wait = Wait::seconds("wait", query.wait.unwrap_or(0))?;
    let execution = app.executions.get(by, &id).await?;
    wait.until_finished(&app.executions, &execution).await;
    let origin = app.executions.origin(&execution)?;
    Ok(Json(ExecutionShown { info: execution.info(), origin }))
}

/// Which page to read, and whether to wait for it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OutputQuery {
    /// First line, from 1. Default 1.
    line_offset: Option<u64>,
    /// Most lines. Default 100.
    line_limit: Option<u64>,
    /// First byte, from 0. Given, the page is counted in bytes.
    byte_offset: Option<u64>,
    /// Most bytes. Default 4096.
    byte_limit: Option<u64>,
    /// Wait at most so many seconds for output behind the page's start, or the end (0 to 300).
    wait: Option<u64>,
}

/// Read console output, also while the script runs
#[utoipa::path(
    get, path = "/api/executions/{id}/output", tag = "executions",
    params(("id" = String, Path, description = "The execution"), OutputQuery),
    responses(
        (status = 200, body = OutputPage),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn output(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    id: Id,
    query: Params<OutputQuery>,
) -> Result<Json<OutputPage>, ApiError> {
    let (Path(id), Query(query)) = (id?, query?);
    let OutputQuery { line_offset, line_limit, byte_offset, byte_limit, wait } = query;
    let page = PageQuery { line_offset, line_limit, byte_offset, byte_limit }.page()?;
    let wait = Wait::seconds("wait", wait.unwrap_or(0))?;
    let execution = app.executions.get(by, &id).await?;
    if !wait.duration().is_zero() {
        let seen = match page {
            PageBy::Bytes { offset, .. } => offset,
            PageBy::Lines { .. } => execution.page(page).start_byte,
        };
        wait.until_output(&app.executions, &execution, seen).await;
    }
    Ok(Json(execution.page(page)))
}

/// Whether it worked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CancelAnswer {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Cancel an execution and wait until it has ended
#[utoipa::path(
    post, path = "/api/executions/{id}/cancel", tag = "executions",
    params(("id" = String, Path, description = "The execution")),
    responses(
        (status = 200, description = "It is cancelled", body = CancelAnswer),
        (status = 400, description = "It was over already, or there is none", body = CancelAnswer),
    )
)]
pub async fn cancel(
    State(app): State<SharedApp>,
    Caller(by): Caller,
    id: Id,
) -> Result<Response, ApiError> {
    let Path(id) = id?;
    let error = app.executions.cancel(by, &id).await.err().map(|error| error.to_string());
    let status = if error.is_none() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let answer = CancelAnswer { ok: error.is_none(), error };
    Ok((status, Json(answer)).into_response())
}
