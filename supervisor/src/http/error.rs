//! Errors of the REST interface.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::artifacts::ArtifactsError;
use crate::executions::{LiftError, LookupError, SubmitError, whole_seconds};
use crate::sessions::SessionError;

/// The body of every error.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What was refused, why, and what would be accepted.
    pub error: String,
}

/// A status and a sentence.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    /// After how many seconds it may be otherwise.
    retry_after: Option<u64>,
}

impl ApiError {
    /// An error with this status and message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { status, message: message.into(), retry_after }
    }

    /// 429, for so many seconds at least.
    fn too_many(secs: u64, error: &SubmitError) -> Self {
        let retry_after = Some(secs.max(1));
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()) }
    }

    /// 400 with this message.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.message })).into_response();
        if let Some(secs) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let status = match error {
            SubmitError::Invalid { .. } => StatusCode::BAD_REQUEST,
            SubmitError::NoHeap(_) => StatusCode::NOT_FOUND,
            SubmitError::KeyConflict | SubmitError::TooManySessions => StatusCode::CONFLICT,
            // The request is well formed and its caller may do this; it is the code itself that is
            // not processed, and other code would be. 403 is for who asks, 409 for what exists.
            SubmitError::Quarantined(_) => StatusCode::UNPROCESSABLE_ENTITY,
            SubmitError::TooManyRunning { .. } => return Self::too_many(1, &error),
            SubmitError::TooOften { wait, .. } => {
                return Self::too_many(whole_seconds(wait), &error);
            }
            SubmitError::Overloaded { .. }
            | SubmitError::Unavailable { .. }
            | SubmitError::Cluster(_)
            | SubmitError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let status = match error {
            SessionError::Invalid(error) => return error.into(),
            SessionError::NotKept | SessionError::TooManyTags => StatusCode::BAD_REQUEST,
            SessionError::NoSession(_) | SessionError::NoHeap(_) => StatusCode::NOT_FOUND,
            SessionError::Exists(_) | SessionError::Busy(_) => StatusCode::CONFLICT,
            SessionError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ArtifactsError> for ApiError {
    fn from(error: ArtifactsError) -> Self {
        let status = match error {
            ArtifactsError::Invalid(error) => return error.into(),
            ArtifactsError::NotFound(_) => StatusCode::NOT_FOUND,
            ArtifactsError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let status = match error {
            LookupError::NotFound(_) => StatusCode::NOT_FOUND,
            LookupError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<LiftError> for ApiError {
    fn from(error: LiftError) -> Self {
        let status = match error {
            LiftError::Malformed => StatusCode::BAD_REQUEST,
            LiftError::NotFound(_) => StatusCode::NOT_FOUND,
            LiftError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(format!("query: {}", rejection.body_text()))
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(format!("path: {}", rejection.body_text()))
    }
}
