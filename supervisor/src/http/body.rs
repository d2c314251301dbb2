//! Memory and time of request bodies that are being read.
//!
//! # Contract
//! * Bytes count from their arrival until the body has been read or dropped. All bodies of a
//!   listener together hold at most [`BODIES_BYTES_MAX`]; the one that would go past it fails.
//! * A body arrives within [`BODY_READ_MAX`] or fails. Announcing one costs the server nothing.
//! * A length past [`BODY_BYTES_MAX`] is refused before anything is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use super::error::ApiError;
use crate::limits::{BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_READ_MAX};

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    /// All bodies together are too large.
    #[error("overloaded: too many request bodies at once; try again in a moment")]
    Overloaded,
    /// It did not arrive in time.
    #[error("did not arrive within {} s", BODY_READ_MAX.as_secs())]
    TooSlow,
    /// The connection broke, or the encoding is wrong.
    #[error(transparent)]
    Read(#[from] axum::Error),
}

/// The budget of all bodies of one listener.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    bytes: Arc<Semaphore>,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self { bytes: Arc::new(Semaphore::new(BODIES_BYTES_MAX)) }
    }
}

/// The middleware.
pub async fn account(State(budget): State<BodyBudget>, request: Request, next: Next) -> Response {
    if HttpBody::is_end_stream(request.body()) {
        return next.run(request).await;
    }
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = announced
        && length > BODY_BYTES_MAX
    {
        let message = format!("body: is {length} bytes; accepted: up to {BODY_BYTES_MAX}");
        return ApiError::bad_request(message).into_response();
    }
    let request = request.map(|body| {
        let deadline = Box::pin(sleep(BODY_READ_MAX));
        Body::new(Counted { body, budget: budget.bytes, held: None, deadline })
    });
    next.run(request).await
}

/// Reads a whole body.
///
/// # Errors
/// 400 for one that is too long or broken, 408 for a slow one, 503 past the budget.
pub async fn read(body: Body) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = source {
            match inner.downcast_ref() {
                Some(overloaded @ BodyError::Overloaded) => {
                    return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, overloaded.to_string());
                }
                Some(slow @ BodyError::TooSlow) => {
                    return ApiError::new(StatusCode::REQUEST_TIMEOUT, format!("body: {slow}"));
                }
                _ => source = inner.source(),
            }
        }
        ApiError::bad_request(format!("body: {error}; accepted: up to {BODY_BYTES_MAX} bytes"))
    })
}

/// A body that pays for what it brings.
struct Counted {
    body: Body,
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    deadline: Pin<Box<Sleep>>,
}

impl Counted {
    fn pay(&mut self, bytes: usize) -> Result<(), BodyError> {
        let bytes = u32::try_from(bytes).map_err(|_| BodyError::Overloaded)?;
        let permit = Arc::clone(&self.budget).try_acquire_many_owned(bytes);
        let permit = permit.map_err(|_| BodyError::Overloaded)?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            held @ None => *held = Some(permit),
        }
        Ok(())
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(match frame {
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    Some(self.pay(bytes).map(|()| frame))
                }
                Some(Err(error)) => Some(Err(error.into())),
                None => None,
            });
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyError::TooSlow)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
