//! The story of an execution, from its acceptance to its end: two log lines, and a span with its phases.
//!
//! # Contract
//! * At `debug`: with some thousand executions a second these two would be most of a log. What went
//!   wrong without the script's doing is a warning, and limited.
//! * Phases are noted only where spans are exported, and [`PHASES_MAX`] of them at most.

use std::time::{Duration, Instant, SystemTime};

use opentelemetry::KeyValue;

use super::limit::Limit;
use super::trace::{self, Told};
use crate::executions::model::{ErrorKind, Status};
use crate::executions::{Execution, SubmitError};
use crate::limits::PHASES_MAX;
use crate::metrics;

static REFUSALS: Limit = Limit::new();
static FAILURES: Limit = Limit::new();

/// A part of an execution's life.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// What it was.
    name: &'static str,
    begun: SystemTime,
    took: Duration,
    /// Why it failed, if it did.
    failed: Option<&'static str>,
}

/// The phases of an execution so far.
#[derive(Debug, Default)]
pub struct Phases(Vec<Phase>);

impl Phases {
    /// Notes one that began then and ends now.
    pub fn note(&mut self, name: &'static str, begun: Instant, failed: Option<&'static str>) {
        if trace::enabled() && self.0.len() < PHASES_MAX {
            let took = begun.elapsed();
            let now = SystemTime::now();
            let begun = now.checked_sub(took).unwrap_or(now);
            self.0.push(Phase { name, begun, took, failed });
        }
    }
}

/// The log span of what is done for an execution.
pub fn span(execution: &Execution) -> tracing::Span {
    let origin = execution.origin();
    tracing::info_span!(
        "execution",
        execution_id = %execution.id(),
        session = execution.session(),
        request_id = origin.map(|origin| origin.request_id.as_str()),
        trace_id = origin.and_then(|origin| origin.trace_id()),
    )
}

/// A submission was not accepted.
pub fn refused(reason: &'static str, error: &SubmitError) {
    metrics::refused(reason);
    if let Some(unsaid) = REFUSALS.pass(reason) {
        tracing::warn!(reason, %error, unsaid, "a submission was refused");
    }
}

/// An execution was accepted, to run here or at the node that is named.
pub fn accepted(execution: &Execution, node: Option<&str>) {
    let origin = execution.origin();
    tracing::debug!(
        execution_id = %execution.id(),
        session = execution.session(),
        request_id = origin.map(|origin| origin.request_id.as_str()),
        trace_id = origin.and_then(|origin| origin.trace_id()),
        node,
        attempt = execution.attempt(),
        "an execution is accepted"
    );
}

/// An execution that ran here has ended, and that counts. `ran` is how long a worker had it.
pub fn ended(execution: &Execution, node: Option<&str>, ran: Option<Duration>) {
    let (status, kind) = execution.ending();
    metrics::finished(status, kind, ran);
    let error_kind = kind.map(ErrorKind::as_str);
    let origin = execution.origin();
    let request_id = origin.map(|origin| origin.request_id.as_str());
    let (queued_ms, wall_ms) = (execution.queued().map(millis), ran.map(millis));
    let ours = kind.is_some_and(ErrorKind::is_ours);
    macro_rules! say {
        ($level:ident, $($more:tt)*) => {
            tracing::$level!(
                execution_id = %execution.id(),
                session = execution.session(),
                request_id,
                trace_id = origin.and_then(|origin| origin.trace_id()),
                node,
                attempt = execution.attempt(),
                status = status.as_str(),
                error_kind,
                queued_ms,
                wall_ms,
                $($more)*
            )
        };
    }
    match error_kind.filter(|_| ours).and_then(|kind| FAILURES.pass(kind)) {
        Some(unsaid) => say!(warn, unsaid, "an execution has ended"),
        None => say!(debug, "an execution has ended"),
    }
    if trace::enabled() {
        tell(execution, node, status, error_kind);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn tell(
    execution: &Execution,
    node: Option<&str>,
    status: Status,
    error_kind: Option<&'static str>,
) {
    let origin = execution.origin();
    let mut attributes = vec![
        KeyValue::new("mcp_v8.execution.id", execution.id().to_string()),
        KeyValue::new("mcp_v8.execution.status", status.as_str()),
        KeyValue::new("mcp_v8.execution.attempt", i64::from(execution.attempt())),
    ];
    let optional = [
        ("mcp_v8.session", execution.session()),
        ("mcp_v8.node", node),
        ("mcp_v8.request.id", origin.map(|origin| origin.request_id.as_str())),
        ("error.type", error_kind),
    ];
    for (key, value) in optional {
        attributes.extend(value.map(|value| KeyValue::new(key, value.to_owned())));
    }
    let whole = Told {
        name: "execution",
        begun: execution.begun_at(),
        ended: SystemTime::now(),
        attributes,
        failed: error_kind,
    };
    let parts = execution.take_phases().0.into_iter().map(|phase| Told {
        name: phase.name,
        begun: phase.begun,
        ended: phase.begun + phase.took,
        attributes: Vec::new(),
        failed: phase.failed,
    });
    whole.tell(origin.and_then(|origin| origin.parent.as_ref()), parts);
}
