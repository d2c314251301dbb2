//! Version and documentation.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, ErrorBody};
use crate::app::{SharedApp, VERSION};
use crate::docs;

/// The version of the server.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Version {
    version: String,
}

fn text(content_type: &'static str, body: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}

/// The version of the server
#[utoipa::path(get, path = "/api/version", tag = "server", responses((status = 200, body = Version)))]
pub async fn version() -> Json<Version> {
    Json(Version { version: VERSION.to_owned() })
}

/// Whom to ask for a token (RFC 9728)
#[utoipa::path(
    get, path = "/.well-known/oauth-protected-resource", tag = "server",
    responses(
        (status = 200, description = "resource, authorization_servers", body = Object),
        (status = 404, description = "The operator has not said (--jwt-resource)", body = ErrorBody),
    )
)]
pub async fn protected_resource(State(app): State<SharedApp>) -> Response {
    match app.access.metadata() {
        Some(metadata) => Json(metadata).into_response(),
        None => {
            let message = "this server names nobody who gives tokens (--jwt-resource)";
            ApiError::new(StatusCode::NOT_FOUND, message).into_response()
        }
    }
}

/// Leads to /llms.txt
#[utoipa::path(get, path = "/", tag = "server", responses((status = 308)))]
pub async fn root() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "/llms.txt")]).into_response()
}

/// What this server is, for language models
#[utoipa::path(
    get, path = "/llms.txt", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub async fn llms_txt() -> Response {
    text("text/plain; charset=utf-8", docs::llms_txt())
}

/// The manual, in Markdown
#[utoipa::path(
    get, path = "/docs", tag = "server",
    responses((status = 200, body = String, content_type = "text/markdown"))
)]
pub async fn docs() -> Response {
    text("text/markdown; charset=utf-8", docs::README)
}

/// This description
#[utoipa::path(
    get, path = "/api-doc/openapi.json", tag = "server",
    responses((status = 200, body = String, content_type = "application/json"))
)]
pub async fn openapi_json() -> Response {
    text("application/json", docs::openapi())
}
