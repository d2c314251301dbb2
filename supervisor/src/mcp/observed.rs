//! Tool calls, whatever brought them: counted, timed, and a span in the trace of their request.
//!
//! # Contract
//! * A call without a request of HTTP (stdin) gets an id of its own. Where its request has no place in a
//!   trace, `traceparent` and `tracestate` of the message's `_meta` are heeded.
//! * What a call submits is told the id and the span ([`Origin`] in the extensions of its context).

use std::time::Instant;

use axum::http::request::Parts;
use opentelemetry::trace::SpanKind;
use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, JsonObject};
use rmcp::service::{RequestContext, RoleServer};
use tracing::Instrument;

use super::tools;
use crate::access::Principal;
use crate::app::App;
use crate::metrics;
use crate::observe::Origin;
use crate::observe::trace::Span;

/// A call under way.
struct Call {
    tool: &'static str,
    begun: Instant,
    outcome: &'static str,
    span: Span,
}

/// Calls a tool by name.
///
/// # Errors
/// As [`tools::call`].
pub(super) async fn call(
    app: &App,
    by: Principal,
    name: &str,
    arguments: JsonObject,
    mut context: RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let tool = tools::NAMES.iter().find(|known| **known == name).copied().unwrap_or("unknown");
    let parts = context.extensions.get::<Parts>();
    let origin = parts.and_then(|parts| parts.extensions.get::<Origin>()).cloned();
    let has_place = parts.is_some_and(|parts| parts.headers.contains_key("traceparent"));
    let mut origin = origin.unwrap_or_else(Origin::made);
    if !has_place {
        let (meta, state) = (context.meta.get_traceparent(), context.meta.get_tracestate());
        origin = origin.or_parent(meta, state);
    }
    let name_of_span = || format!("tools/call {tool}");
    let mut span = Span::begin(SpanKind::Internal, origin.parent.as_ref(), name_of_span);
    if let Some(own) = span.context() {
        span.set("mcp.method.name", "tools/call");
        span.set("gen_ai.tool.name", tool);
        span.set("mcp_v8.request.id", origin.request_id.as_str().to_owned());
        origin.parent = Some(own);
    }
    let log = tracing::info_span!(
        "request",
        request_id = origin.request_id.as_str(),
        trace_id = origin.trace_id(),
        tool,
    );
    context.extensions.insert(origin);
    let mut call = Call { tool, begun: Instant::now(), outcome: "cancelled", span };
    let cancelled = context.ct.clone();
    // Boxed: the futures of the tools are large, and this one is held by value in many places.
    let calling = Box::pin(tools::call(app, by, name, arguments, context));
    let answer = calling.instrument(log).await;
    call.outcome = match &answer {
        _ if cancelled.is_cancelled() => "cancelled",
        Ok(CallToolResponse::Complete(answer)) if answer.is_error == Some(true) => "error",
        Ok(_) => "ok",
        Err(_) => "refused",
    };
    answer
}

impl Drop for Call {
    fn drop(&mut self) {
        if matches!(self.outcome, "error" | "refused") {
            self.span.fail(self.outcome);
        }
        metrics::mcp_call(self.tool, self.outcome, self.begun.elapsed());
    }
}
