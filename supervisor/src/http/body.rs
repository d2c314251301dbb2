//! Memory of request bodies that are being read.
//!
//! # Contract
//! * Bodies count by their announced length, or by the most a body may have when they announce none,
//!   from the first byte until they have been read or dropped. Together they hold at most
//!   [`BODIES_BYTES_MAX`]; the next one is answered 503 at once.
//! * A length past [`BODY_BYTES_MAX`] is refused before anything is read.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use super::error::ApiError;
use crate::limits::{BODIES_BYTES_MAX, BODY_BYTES_MAX};

/// Bytes that one permit stands for; the semaphore counts in 32 bits.
const PERMIT_BYTES: usize = 4096;

/// The budget of all bodies of one listener.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    permits: Arc<Semaphore>,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(BODIES_BYTES_MAX / PERMIT_BYTES)) }
    }
}

/// The middleware.
pub async fn account(State(budget): State<BodyBudget>, request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let length = match announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok()) {
        Some(length) => length,
        None if announced.is_none()
            && !chunked
            && http_body::Body::is_end_stream(request.body()) =>
        {
            0
        }
        None => BODY_BYTES_MAX,
    };
    if length == 0 {
        return next.run(request).await;
    }
    if length > BODY_BYTES_MAX {
        let message = format!("body: is {length} bytes; accepted: up to {BODY_BYTES_MAX}");
        return ApiError::bad_request(message).into_response();
    }
    let permits = u32::try_from(length.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
    let Ok(permit) = budget.permits.try_acquire_many_owned(permits) else {
        let message = "overloaded: too many request bodies at once; try again in a moment";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let request = request.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // Held by the body, so given back when it has been read or dropped.
            let _held = &permit;
            frame
        }))
    });
    next.run(request).await
}
