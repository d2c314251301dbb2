//! Metrics: the one place where each is touched. What there are is in [`names`].
//!
//! # Contract
//! * Labels take values of this program, never of a caller's, so that their number is bounded.
//! * What can be counted is there from the start, with 0, where its labels are known: a rate has a
//!   beginning, and an alert something to look at. (The cluster counts commits itself, under a name of
//!   its own that is described here.)

pub mod names;

use std::time::Duration;

use mcp_v8_cluster::node::Node;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use self::names::*;
use crate::app::VERSION;
use crate::executions::model::{ErrorKind, Status};
use crate::heaps::store::HeapFileEntry;
use crate::pool::sandbox::Judgement;

/// Buckets of durations, in seconds.
const SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0,
];

/// Installs the recorder of this process and returns what renders it.
///
/// # Errors
/// When one is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)?
        .install_recorder()?;
    names::ALL.iter().for_each(|metric| metric.describe());
    begin();
    Ok(handle)
}

/// A script has left a heap, which was stored in so many bytes.
pub fn heap_kept(stored_bytes: u64) {
    counter!(STEPS_KEPT).increment(1);
    counter!(STEP_STORED_BYTES).increment(stored_bytes);
}

/// A majority of the nodes has a heap after `took`.
pub fn heap_spread(took: Duration) {
    histogram!(HEAP_SPREAD_SECONDS).record(took);
}

/// The heaps on the disk of this node, and how many are not there that should.
pub fn heaps_stored(files: &[HeapFileEntry], missing: usize) {
    gauge!(HEAPS_MISSING).set(missing as f64);
    gauge!(HEAPS_STORED).set(files.len() as f64);
    gauge!(HEAPS_STORED_BYTES).set(files.iter().map(|file| file.bytes).sum::<u64>() as f64);
}

/// What can be counted before anything has happened.
fn begin() {
    gauge!(BUILD, "version" => VERSION).set(1.0);
    for name in
        [WORKER_START_FAILURES, STEPS_KEPT, STEP_STORED_BYTES, ARTIFACTS_KEPT, ARTIFACTS_KEPT_BYTES]
    {
        counter!(name).increment(0);
    }
    for (name, label, values) in [
        (FINISHED, "status", &["completed", "failed", "cancelled", "timed_out"][..]),
        (REFUSED, "reason", REFUSALS),
        (WORKER_EXITS, "cause", EXITS),
        (TEMPLATES_RENEWED, "reason", &["forks", "age", "fault"]),
        (HEAPS_FETCHED, "from", &["node", "bucket"]),
        (COMMIT_FAILURES, "reason", mcp_v8_cluster::node::COMMIT_REASONS),
        (TRACE_SPANS, "outcome", &["ended", "exported", "failed"]),
    ] {
        values.iter().for_each(|value| counter!(name, label => *value).increment(0));
    }
    for name in [
        SECONDS,
        QUEUE_SECONDS,
        WORKER_START_SECONDS,
        TEMPLATE_START_SECONDS,
        HEAP_SPREAD_SECONDS,
        COMMIT_SECONDS,
    ] {
        // Known from here on, without a value.
        drop(histogram!(name));
    }
    [HEAPS_STORED, HEAPS_MISSING, HEAPS_STORED_BYTES].iter().for_each(|name| {
        gauge!(*name).set(0.0);
    });
}

/// Why submissions are refused.
const REFUSALS: &[&str] = &[
    "invalid",
    "no_heap",
    "too_many_sessions",
    "key_conflict",
    "overloaded",
    "unavailable",
    "no_majority",
    "shutting_down",
    "quarantined",
    "too_many_running",
    "too_often",
];

/// How workers end.
const EXITS: &[&str] = &[
    "done",
    "protocol",
    "killed_at_deadline",
    "killed_on_cancel",
    "out_of_memory",
    "heap_not_saved",
    "signal",
    "exit",
    "idle",
];

/// An execution ended, with this kind of error if with one; `ran` is how long a worker had it, if one
/// had.
pub fn finished(status: Status, kind: Option<ErrorKind>, ran: Option<Duration>) {
    counter!(FINISHED, "status" => status.as_str()).increment(1);
    if let Some(kind) = kind {
        counter!(FAILED, "kind" => kind.as_str()).increment(1);
    }
    if let Some(ran) = ran {
        histogram!(SECONDS).record(ran);
    }
}

/// An execution has a slot after it has waited so long.
pub fn queued(waited: Duration) {
    histogram!(QUEUE_SECONDS).record(waited);
}

/// A request was refused for its token, or for want of one.
pub fn access_refused(reason: &'static str) {
    counter!(ACCESS_REFUSED, "reason" => reason).increment(1);
}

/// How old the keys of tokens are.
pub fn keys_age(age: Duration) {
    gauge!(KEYS_AGE).set(age.as_secs_f64());
}

/// A submission was refused.
pub fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// A request was answered, or given up.
pub fn http_request(method: &'static str, route: &str, status: &'static str, took: Duration) {
    let route = route.to_owned();
    counter!(HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    histogram!(HTTP_SECONDS, "route" => route).record(took);
}

/// A stream of events was opened, which has no end to wait for.
pub fn http_stream(method: &'static str, route: &str, status: &'static str) {
    let route = route.to_owned();
    counter!(HTTP_REQUESTS, "method" => method, "route" => route, "status" => status).increment(1);
}

/// A tool call ended.
pub fn mcp_call(tool: &'static str, outcome: &'static str, took: Duration) {
    counter!(MCP_CALLS, "tool" => tool, "outcome" => outcome).increment(1);
    histogram!(MCP_SECONDS, "tool" => tool).record(took);
}

/// A script has left so many artifacts.
pub fn artifacts_kept(count: usize, bytes: u64) {
    counter!(ARTIFACTS_KEPT).increment(count as u64);
    counter!(ARTIFACTS_KEPT_BYTES).increment(bytes);
}

/// A heap or an artifact was fetched from there.
pub fn heap_fetched(from: &'static str) {
    counter!(HEAPS_FETCHED, "from" => from).increment(1);
}

/// What became of spans.
pub fn trace_spans(outcome: &'static str, spans: u64) {
    counter!(TRACE_SPANS, "outcome" => outcome).increment(spans);
}

/// Publishes what is counted elsewhere.
pub fn execution_gauges(
    active: usize,
    queue: usize,
    queue_max: usize,
    retained: usize,
    bytes: usize,
) {
    gauge!(ACTIVE).set(active as f64);
    gauge!(QUEUE_DEPTH).set(queue as f64);
    gauge!(QUEUE_DEPTH_MAX).set(queue_max as f64);
    gauge!(RETAINED).set(retained as f64);
    gauge!(RETAINED_BYTES).set(bytes as f64);
}

/// How this node of the cluster stands.
pub fn raft(node: &Node) {
    let status = node.status();
    let (syncs, micros) = node.syncs();
    gauge!(RAFT_TERM).set(status.term as f64);
    gauge!(RAFT_LEADER).set(f64::from(u8::from(status.role == "Leader")));
    gauge!(RAFT_HAS_LEADER).set(f64::from(u8::from(status.leader_id.is_some())));
    gauge!(RAFT_COMMIT).set(status.commit_index as f64);
    gauge!(RAFT_APPLIED).set(status.last_applied as f64);
    gauge!(RAFT_LOG).set(status.log_length as f64);
    counter!(RAFT_SYNCS).absolute(syncs);
    gauge!(RAFT_SYNC_SECONDS).set(micros as f64 / 1e6);
    gauge!(DISK_FREE).set(node.room().free as f64);
    if !node.config().alone() {
        gauge!(CLUSTER_PEER_AUTH, "method" => node.auth().credentials.method()).set(1.0);
        for (reason, count) in node.auth().refusals.counts() {
            counter!(CLUSTER_REFUSED, "reason" => reason.as_str()).absolute(count);
        }
    }
    for member in status.members {
        if let Some(lag) = member.lag {
            gauge!(RAFT_LAG, "member" => member.name).set(lag as f64);
        }
    }
}

/// How many codes are refused because they killed workers.
pub fn quarantined(codes: usize) {
    gauge!(QUARANTINED).set(codes as f64);
}

/// A worker process ended.
pub fn worker_exit(cause: &'static str) {
    counter!(WORKER_EXITS, "cause" => cause).increment(1);
}

/// A worker process did not get ready.
pub fn worker_start_failed() {
    counter!(WORKER_START_FAILURES).increment(1);
}

/// A worker got ready after `took`.
pub fn worker_started(took: Duration) {
    histogram!(WORKER_START_SECONDS).record(took);
}

/// A template got ready after `took`.
pub fn template_started(took: Duration) {
    histogram!(TEMPLATE_START_SECONDS).record(took);
}

/// A template was replaced.
pub fn template_renewed(reason: &'static str) {
    counter!(TEMPLATES_RENEWED, "reason" => reason).increment(1);
}

/// What keeps workers in.
pub fn sandbox(judgement: &Judgement) {
    for (layer, missing) in &judgement.layers {
        gauge!(SANDBOX, "layer" => *layer).set(if missing.is_none() { 1.0 } else { 0.0 });
    }
}

/// The number of ready workers changed.
pub fn idle_workers(change: f64) {
    gauge!(WORKERS_IDLE).increment(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_prefixed_differ_and_are_those_that_the_cluster_counts_by() {
        for (at, metric) in names::ALL.iter().enumerate() {
            assert!(metric.name.starts_with("mcp_v8_"), "{}", metric.name);
            assert!(names::ALL[..at].iter().all(|other| other.name != metric.name));
        }
        assert_eq!(COMMIT_SECONDS, mcp_v8_cluster::node::COMMIT_SECONDS);
        assert_eq!(COMMIT_FAILURES, mcp_v8_cluster::node::COMMIT_FAILURES);
    }
}
