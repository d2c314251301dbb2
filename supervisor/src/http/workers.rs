//! `/api/workers`: the worker processes of the node that answers.

use axum::Json;
use axum::extract::State;

use crate::app::SharedApp;
use crate::overview::Workers;

/// Look at the workers of the node that answers, and at what keeps them in
#[utoipa::path(
    get, path = "/api/workers", tag = "cluster",
    responses((status = 200, body = Workers))
)]
pub async fn view(State(app): State<SharedApp>) -> Json<Workers> {
    Json(app.workers())
}
