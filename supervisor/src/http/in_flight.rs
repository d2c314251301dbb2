//! Requests whose answers are still on their way.
//!
//! A stopping server waits for these before it ends what has no end of its own, such as the streams
//! that clients keep open for messages from the server.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use tokio_util::task::TaskTracker;

/// Counts every request but GETs until its answer has been sent or its client has gone.
pub async fn track(State(in_flight): State<TaskTracker>, request: Request, next: Next) -> Response {
    if request.method() == Method::GET {
        return next.run(request).await;
    }
    let token = in_flight.token();
    next.run(request).await.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // Held by the body, so given back when it has been sent or dropped.
            let _held = &token;
            frame
        }))
    })
}
