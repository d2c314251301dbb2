//! HTTP: routers, listeners, and what all routes share.
//!
//! # Contract
//! * Errors are `{"error": "…"}` with the status that fits; a route or method that does not exist
//!   says so the same way.
//! * Every route is in the OpenAPI description, because both come from the same registration.

mod artifacts;
pub mod body;
mod cluster;
pub mod cluster_entrance;
mod console;
mod error;
mod exec;
mod executions;
mod guard;
mod health;
mod heaps;
mod in_flight;
mod meta;
mod observed;
mod patient;
mod quarantine;
mod raft;
mod refuse;
pub mod serve;
mod sessions;
pub mod tls;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mcp_v8_cluster::node::Node;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::BodyBudget;
pub use self::error::ApiError;
pub use self::guard::Guard;
use self::in_flight::InFlight;
use crate::access;
use crate::app::SharedApp;
use crate::limits::BODY_BYTES_MAX;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "mcp-v8",
        description = "Runs JavaScript and TypeScript, each script in a V8 process of its own.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "executions", description = "Run scripts and follow them"),
        (name = "sessions", description = "State that goes from script to script"),
        (name = "heaps", description = "Stored states and their tags"),
        (name = "artifacts", description = "What scripts leave under names"),
        (name = "cluster", description = "The nodes and their workers"),
        (name = "quarantine", description = "Code that killed workers"),
        (name = "server", description = "Version, documentation, health"),
    )
)]
struct ApiDoc;

fn documented() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(exec::exec))
        .routes(routes!(executions::list))
        .routes(routes!(executions::get))
        .routes(routes!(executions::output))
        .routes(routes!(executions::cancel))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::lift))
        .routes(routes!(meta::version))
        .routes(routes!(meta::root))
        .routes(routes!(meta::protected_resource))
        .routes(routes!(meta::llms_txt))
        .routes(routes!(meta::docs))
        .routes(routes!(meta::openapi_json))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(raft::status))
        .routes(routes!(console::console))
        .routes(routes!(cluster::view))
        .routes(routes!(workers::view))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::get, sessions::delete))
        .routes(routes!(sessions::snapshots))
        .routes(routes!(sessions::fork))
        .routes(routes!(sessions::reset))
        .routes(routes!(heaps::find))
        .routes(routes!(heaps::get))
        .routes(routes!(heaps::get_tags, heaps::set_tags, heaps::delete_tags))
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::get, artifacts::delete))
}

/// The OpenAPI description as JSON.
pub fn openapi() -> String {
    let (_, mut api) = documented().split_for_parts();
    // OpenAPI has no word for a parameter with slashes.
    let paths = std::mem::take(&mut api.paths.paths).into_iter();
    api.paths.paths = paths.map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    // Serialising our own static description cannot fail.
    api.to_pretty_json().unwrap_or_default()
}

/// REST, health and documentation, merged with a transport's own routes.
/// `in_flight` counts requests until they are answered.
pub fn router(app: SharedApp, guard: Guard, in_flight: TaskTracker, transport: Router) -> Router {
    let (rest, _) = documented().split_for_parts();
    let access = app.access.clone();
    let in_flight = InFlight { app: Arc::clone(&app), requests: in_flight };
    // Where clients look for it whose MCP is at these paths.
    let well_known = ["/mcp", "/sse"].into_iter().fold(Router::new(), |router, path| {
        let path = format!("{}{path}", access::METADATA_PATH);
        router.route(&path, get(meta::protected_resource))
    });
    rest.merge(well_known)
        .with_state(app)
        .merge(transport)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(BodyBudget::default(), body::account))
        .layer(middleware::from_fn_with_state(access, access::check))
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .layer(middleware::from_fn_with_state(in_flight, in_flight::track))
        .layer(middleware::from_fn(observed::observe))
}

/// The routes of the cluster port: those of the node, and health and metrics, which are put together
/// on the threads of `serving` so that whoever asks for them holds up nothing of Raft's.
pub fn cluster_router(app: SharedApp, node: Node, serving: Handle) -> Router {
    let elsewhere = move |request: Request, next: Next| {
        let answering = serving.spawn(next.run(request));
        async move { answering.await.unwrap_or_else(|error| failed(&error)) }
    };
    let health = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route_layer(middleware::from_fn(elsewhere))
        .with_state(app);
    mcp_v8_cluster::http::router(node)
        .merge(health)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
}

fn failed(error: &tokio::task::JoinError) -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

async fn no_route(method: Method, uri: Uri) -> ApiError {
    let message = format!("no such route: {method} {}; see /docs", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, message)
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}; see /docs", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

#[cfg(test)]
mod tests {

    #[test]
    fn the_description_names_every_route_and_shape() {
        let api: serde_json::Value = serde_json::from_str(&super::openapi()).unwrap();
        let paths = api["paths"].as_object().unwrap();
        for path in [
            "/api/exec",
            "/api/executions/{id}/output",
            "/api/quarantine",
            "/api/sessions",
            "/api/cluster",
            "/api/workers",
            "/console",
            "/api/sessions/{name}/snapshots",
            "/api/heaps/{hash}/tags",
            "/api/artifacts/{key}",
            "/api/quarantine/{hash}",
            "/api/version",
            "/readyz",
        ] {
            assert!(paths.contains_key(path), "{path} is missing");
        }
        let schemas = api["components"]["schemas"].as_object().unwrap();
        for schema in ["ExecutionInfo", "OutputPage", "QuarantineEntry", "ExecRequest", "ErrorBody"]
        {
            assert!(schemas.contains_key(schema), "{schema} is missing");
        }
    }
}
