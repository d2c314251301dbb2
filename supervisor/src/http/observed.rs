//! Every request on the ports for clients: its id, its place in a trace, its duration.
//!
//! # Contract
//! * The id of a request ([`RequestId`](crate::observe::RequestId)) is in its answer, whatever that is.
//! * A request lasts until its answer was sent or its client has gone; a stream of events that a client
//!   keeps open for whatever comes counts when it was opened.
//! * Routes are named by their patterns, never by what a caller wrote.
//! * Probes begin no traces.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use opentelemetry::trace::SpanKind;
use tracing::Instrument;

use crate::metrics;
use crate::observe::Origin;
use crate::observe::limit::Limit;
use crate::observe::trace::Span;

static FAILURES: Limit = Limit::new();

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Routes that are asked every second or so by what watches this server.
const PROBES: [&str; 4] = ["/livez", "/readyz", "/metrics", "/raft/status"];

/// Routes of MCP: what answers them may outlive the request, and knows its ids by itself.
pub(super) const MCP: [&str; 3] = ["/mcp", "/sse", "/message"];

/// Whether an answer is a stream of events.
pub(super) fn is_events(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// What is known of a request when it ends.
#[derive(Debug)]
struct Watched {
    method: &'static str,
    route: String,
    begun: Instant,
    status: Option<StatusCode>,
    /// It was opened, and that is all.
    is_stream: bool,
    span: Span,
    log: tracing::Span,
}

/// The middleware.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let mut origin = Origin::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    let (route, method) = (route.to_owned(), known(request.method()));
    let log = tracing::info_span!(
        "request",
        request_id = origin.request_id.as_str(),
        trace_id = origin.trace_id(),
    );
    let mut span = Span::none();
    if origin.parent.is_some() || !PROBES.contains(&route.as_str()) {
        let name = || format!("{method} {route}");
        span = Span::begin(SpanKind::Server, origin.parent.as_ref(), name);
        if let Some(own) = span.context() {
            span.set("http.request.method", method);
            span.set("http.route", route.clone());
            span.set("mcp_v8.request.id", origin.request_id.as_str().to_owned());
            if origin.parent.is_none() {
                log.record("trace_id", own.trace_id().to_string());
            }
            origin.parent = Some(own);
        }
    }
    let id = HeaderValue::from_str(origin.request_id.as_str());
    request.extensions_mut().insert(origin);
    let (is_get, is_mcp) = (request.method() == Method::GET, MCP.contains(&route.as_str()));
    let (begun, status, is_stream) = (Instant::now(), None, false);
    let mut watched = Watched { method, route, begun, status, is_stream, span, log };
    let answering = next.run(request);
    let mut response =
        if is_mcp { answering.await } else { answering.instrument(watched.log.clone()).await };
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    watched.status = Some(response.status());
    watched.is_stream = is_get && is_mcp && is_events(&response);
    if watched.is_stream {
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // Held by the body, so it ends when that has been sent or dropped.
            let _held = &watched;
            frame
        }))
    })
}

/// The methods that labels tell apart.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

/// The class of a status; `gone` for a client that did not wait for one.
fn class(status: Option<StatusCode>) -> &'static str {
    match status.map(|status| status.as_u16() / 100) {
        None => "gone",
        Some(1) => "1xx",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let (took, class) = (self.begun.elapsed(), class(self.status));
        if self.is_stream {
            metrics::http_stream(self.method, &self.route, class);
        } else {
            metrics::http_request(self.method, &self.route, class, took);
        }
        let status = self.status.map(|status| status.as_u16());
        if let Some(status) = status {
            self.span.set("http.response.status_code", i64::from(status));
        }
        // 503 is said where it comes from.
        let failed = status.is_some_and(|status| status >= 500);
        if failed {
            self.span.fail("5xx");
        }
        let unsaid = if failed && status != Some(503) { FAILURES.pass("5xx") } else { None };
        let (method, route, ms) = (self.method, self.route.as_str(), took.as_millis() as u64);
        // Within it: the span of an event's own is not told in JSON.
        self.log.in_scope(|| match unsaid {
            Some(unsaid) => tracing::warn!(method, route, status, ms, unsaid, "a request failed"),
            None => tracing::debug!(method, route, status, ms, "a request has ended"),
        });
    }
}
