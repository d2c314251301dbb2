//! `/api/cluster`: every node, asked by the one that answers.

use axum::Json;
use axum::extract::State;

use crate::app::SharedApp;
use crate::overview::ClusterView;

/// Look at every node of the cluster, and at its workers
///
/// The node that answers asks the others; one that does not answer within a second is shown with the
/// reason. What was said is shown for half a second before they are asked again.
#[utoipa::path(
    get, path = "/api/cluster", tag = "cluster",
    responses((status = 200, body = ClusterView))
)]
pub async fn view(State(app): State<SharedApp>) -> Json<ClusterView> {
    Json(ClusterView::clone(&*app.overviews.get(&app).await))
}
