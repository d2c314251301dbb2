//! Requests whose answers are still on their way.
//!
//! # Contract
//! * A stopping server waits for these before it ends what has no end of its own: the event streams
//!   that clients keep open for messages from the server, which do not count.
//! * While it stops, each answer closes its connection, so that the next request of that client goes
//!   to another server instead of into a connection that is about to end (RFC 9112, 9.6).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use tokio_util::task::TaskTracker;

use super::observed;
use crate::app::SharedApp;

/// What the middleware needs.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// The server, which may be stopping.
    pub app: SharedApp,
    /// Counts the requests.
    pub requests: TaskTracker,
}

/// Counts every request until its answer has been sent or its client has gone.
pub async fn track(State(in_flight): State<InFlight>, request: Request, next: Next) -> Response {
    let token = in_flight.requests.token();
    // Of other routes that type is what a script has called its artifact.
    let may_stay = request.method() == Method::GET && observed::MCP.contains(&request.uri().path());
    let mut response = next.run(request).await;
    if in_flight.app.executions.closing() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if may_stay && observed::is_events(&response) {
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // Held by the body, so given back when it has been sent or dropped.
            let _held = &token;
            frame
        }))
    })
}
