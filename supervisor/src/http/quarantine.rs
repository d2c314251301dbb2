//! `/api/quarantine`: what is quarantined, and how to lift that.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::error::{ApiError, ErrorBody};
use crate::access::Operator;
use crate::app::SharedApp;
use crate::executions::model::QuarantineList;

/// List the codes that killed workers
#[utoipa::path(
    get, path = "/api/quarantine", tag = "quarantine",
    responses(
        (status = 200, body = QuarantineList),
        (status = 403, description = "The caller is no operator", body = ErrorBody),
    )
)]
pub async fn list(_: Operator, State(app): State<SharedApp>) -> Json<QuarantineList> {
    Json(app.executions.quarantine())
}

/// Accept a code again and forget its deaths
#[utoipa::path(
    delete, path = "/api/quarantine/{hash}", tag = "quarantine",
    params(("hash" = String, Path, description = "SHA-256 of the code, 64 hexadecimal digits")),
    responses(
        (status = 204, description = "It is accepted again"),
        (status = 400, description = "Not a hash", body = ErrorBody),
        (status = 403, description = "The caller is no operator", body = ErrorBody),
        (status = 404, description = "No deaths are counted for it", body = ErrorBody),
        (status = 503, description = "The cluster has no majority", body = ErrorBody),
    )
)]
pub async fn lift(
    _: Operator,
    State(app): State<SharedApp>,
    hash: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let Path(hash) = hash?;
    app.executions.lift_quarantine(&hash).await?;
    Ok(StatusCode::NO_CONTENT)
}
