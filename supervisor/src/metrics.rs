//! Metrics: names, units, and the one place where each is touched.
//!
//! Names are stable once released. Everything is prefixed `mcp_v8_`; seconds and bytes are the base
//! units, as Prometheus asks.

use std::time::Duration;

use mcp_v8_cluster::node::Node;
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::executions::SubmitError;
use crate::executions::model::Status;
use crate::heaps::store::HeapFileEntry;
use crate::pool::sandbox::Judgement;

const FINISHED: &str = "mcp_v8_executions_finished_total";
const REFUSED: &str = "mcp_v8_executions_refused_total";
const SECONDS: &str = "mcp_v8_execution_seconds";
const ACTIVE: &str = "mcp_v8_executions_active";
const QUEUE_DEPTH: &str = "mcp_v8_queue_depth";
const QUEUE_DEPTH_MAX: &str = "mcp_v8_queue_depth_max";
const RETAINED: &str = "mcp_v8_executions_retained";
const RETAINED_BYTES: &str = "mcp_v8_executions_retained_bytes";
const WORKER_EXITS: &str = "mcp_v8_worker_exits_total";
const WORKER_START_FAILURES: &str = "mcp_v8_worker_start_failures_total";
const WORKER_START_SECONDS: &str = "mcp_v8_worker_start_seconds";
const TEMPLATES_RENEWED: &str = "mcp_v8_templates_renewed_total";
const TEMPLATE_START_SECONDS: &str = "mcp_v8_template_start_seconds";
const SANDBOX: &str = "mcp_v8_sandbox_layer";
const QUARANTINED: &str = "mcp_v8_quarantined";
const WORKERS_IDLE: &str = "mcp_v8_workers_idle";

const STEPS_KEPT: &str = "mcp_v8_heaps_kept_total";
const STEP_STORED_BYTES: &str = "mcp_v8_heaps_kept_stored_bytes_total";
const HEAP_SPREAD_SECONDS: &str = "mcp_v8_heap_spread_seconds";
const HEAPS_STORED: &str = "mcp_v8_heaps_stored";
const HEAPS_MISSING: &str = "mcp_v8_heaps_missing";
const HEAPS_STORED_BYTES: &str = "mcp_v8_heaps_stored_bytes";

const ACCESS_REFUSED: &str = "mcp_v8_access_refused_total";
const KEYS_AGE: &str = "mcp_v8_access_keys_age_seconds";

const RAFT_TERM: &str = "mcp_v8_raft_term";
const RAFT_LEADER: &str = "mcp_v8_raft_is_leader";
const RAFT_HAS_LEADER: &str = "mcp_v8_raft_has_leader";
const RAFT_COMMIT: &str = "mcp_v8_raft_commit_index";
const RAFT_APPLIED: &str = "mcp_v8_raft_applied_index";
const RAFT_LOG: &str = "mcp_v8_raft_log_entries";
const RAFT_SYNCS: &str = "mcp_v8_raft_log_syncs_total";
const RAFT_SYNC_SECONDS: &str = "mcp_v8_raft_log_sync_seconds_total";
const DISK_FREE: &str = "mcp_v8_disk_free_bytes";
const RAFT_LAG: &str = "mcp_v8_raft_peer_lag_entries";
const CLUSTER_PEER_AUTH: &str = "mcp_v8_cluster_peer_auth";
const CLUSTER_REFUSED: &str = "mcp_v8_cluster_refused_total";

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
    describe_gauge!(RAFT_TERM, "Term of Raft");
    describe_gauge!(RAFT_LEADER, "1 on the leader");
    describe_gauge!(RAFT_HAS_LEADER, "1 where a leader is known");
    describe_gauge!(RAFT_COMMIT, "Index of the last entry known to be committed");
    describe_gauge!(RAFT_APPLIED, "Index of the last entry applied here");
    describe_gauge!(RAFT_LOG, "Log entries that are not compacted");
    describe_counter!(RAFT_SYNCS, "Times the log was made durable");
    describe_gauge!(RAFT_SYNC_SECONDS, Unit::Seconds, "Time that took altogether");
    describe_gauge!(DISK_FREE, Unit::Bytes, "Room on the disk of the store");
    describe_gauge!(RAFT_LAG, "Entries a member lacks, by member; on the leader");
    describe_gauge!(
        CLUSTER_PEER_AUTH,
        "1 for how nodes prove themselves: none, secret, mtls or mtls+secret"
    );
    describe_counter!(CLUSTER_REFUSED, "Callers of the cluster port that were refused, by reason");
    describe_counter!(ACCESS_REFUSED, "Requests that were refused for their tokens, by reason");
    describe_gauge!(KEYS_AGE, Unit::Seconds, "Since the keys of tokens were fetched");
    describe_counter!(FINISHED, "Executions that ended, by status");
    describe_counter!(REFUSED, "Submissions that were not accepted, by reason");
    describe_histogram!(SECONDS, Unit::Seconds, "Time a worker had an execution");
    describe_gauge!(ACTIVE, "Executions waiting or running");
    describe_gauge!(QUEUE_DEPTH, "Executions waiting for a worker");
    describe_gauge!(QUEUE_DEPTH_MAX, "Executions that may wait");
    describe_gauge!(RETAINED, "Finished executions kept");
    describe_gauge!(RETAINED_BYTES, Unit::Bytes, "Memory of finished executions");
    describe_counter!(WORKER_EXITS, "Worker processes that ended, by cause");
    describe_counter!(WORKER_START_FAILURES, "Worker processes that did not get ready");
    describe_histogram!(WORKER_START_SECONDS, Unit::Seconds, "Time from spawn to ready");
    describe_counter!(TEMPLATES_RENEWED, "Templates of worker processes replaced, by reason");
    describe_histogram!(
        TEMPLATE_START_SECONDS,
        Unit::Seconds,
        "Time from spawn to a ready template"
    );
    describe_gauge!(SANDBOX, "Layers of the workers' sandbox: 1 when on");
    describe_gauge!(QUARANTINED, "Codes that are refused because they killed workers");
    describe_gauge!(WORKERS_IDLE, "Workers that are ready and wait for a script");
    describe_counter!(STEPS_KEPT, "Heaps that scripts have left here");
    describe_counter!(STEP_STORED_BYTES, Unit::Bytes, "Bytes they were stored in");
    describe_histogram!(
        HEAP_SPREAD_SECONDS,
        Unit::Seconds,
        "Time until a majority of the nodes had a heap"
    );
    describe_gauge!(HEAPS_STORED, "Heaps on the disk of this node");
    describe_gauge!(HEAPS_MISSING, "Heaps that this node should have and does not have yet");
    describe_gauge!(HEAPS_STORED_BYTES, Unit::Bytes, "Bytes of their files");
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

/// An execution ended; `ran` is how long a worker had it, if one had.
pub fn finished(status: Status, ran: Option<Duration>) {
    counter!(FINISHED, "status" => status.as_str()).increment(1);
    if let Some(ran) = ran {
        histogram!(SECONDS).record(ran);
    }
}

/// A submission was refused.
pub fn refused(error: &SubmitError) {
    let reason = match error {
        SubmitError::Invalid { .. } => "invalid",
        SubmitError::NoHeap(_) => "no_heap",
        SubmitError::TooManySessions => "too_many_sessions",
        SubmitError::KeyConflict => "key_conflict",
        SubmitError::TooManyRunning { .. } => "too_many_running",
        SubmitError::TooOften { .. } => "too_often",
        SubmitError::Overloaded { .. } => "overloaded",
        SubmitError::Unavailable { .. } => "unavailable",
        SubmitError::Cluster(_) => "no_majority",
        SubmitError::ShuttingDown => "shutting_down",
        SubmitError::Quarantined(_) => "quarantined",
    };
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// A request was refused, for this reason.
pub fn access_refused(reason: &'static str) {
    counter!(ACCESS_REFUSED, "reason" => reason).increment(1);
}

/// How old the keys of tokens are.
pub fn keys_age(age: Duration) {
    gauge!(KEYS_AGE).set(age.as_secs_f64());
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
