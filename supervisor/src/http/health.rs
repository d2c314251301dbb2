//! Health and metrics.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::SharedApp;

/// Whether the server should get traffic.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    status: String,
    /// Why not.
    reasons: Vec<String>,
    /// Layers of the sandbox: null when on, else why not. Empty when it is off.
    sandbox: BTreeMap<String, Option<String>>,
}

/// Whether the process answers at all
#[utoipa::path(
    get, path = "/livez", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the server should get traffic
#[utoipa::path(
    get, path = "/readyz", tag = "server",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub async fn readyz(State(app): State<SharedApp>) -> Response {
    let reasons = app.not_ready();
    let (code, status) = if reasons.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let sandbox = app.pool.sandbox().unwrap_or_default().layers;
    let sandbox = sandbox.into_iter().map(|(layer, why)| (layer.to_owned(), why)).collect();
    (code, Json(Readiness { status: status.to_owned(), reasons, sandbox })).into_response()
}

/// Metrics in Prometheus' text format
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub async fn metrics(State(app): State<SharedApp>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], app.render_metrics()).into_response()
}
