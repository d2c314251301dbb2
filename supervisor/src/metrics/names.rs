//! Every metric: its name, its type, its unit, and the text that Prometheus shows for it.
//!
//! # Contract
//! * Names are stable once released. Everything is prefixed `mcp_v8_`; seconds and bytes are the base
//!   units, as Prometheus asks.
//! * What each one means, and what to watch it for, is in docs/metrics.md; a test holds that page against
//!   what servers give (`tests/tests/metrics.rs`).

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Of what type a metric is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its unit; none where it counts things.
    unit: Option<Unit>,
    /// Its help text.
    help: &'static str,
}

impl Metric {
    /// Tells the recorder about it.
    pub fn describe(self) {
        let unit = self.unit.unwrap_or(Unit::Count);
        match self.kind {
            Kind::Counter => describe_counter!(self.name, unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, unit, self.help),
            Kind::Histogram => describe_histogram!(self.name, unit, self.help),
        }
    }
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($unit:ident)?] $help:literal;)*) => {
        $(pub(super) const $id: &str = $name;)*

        /// All of them.
        pub const ALL: &[Metric] = &[
            $(Metric {
                name: $name,
                kind: Kind::$kind,
                unit: metrics!(@unit $($unit)?),
                help: $help,
            },)*
        ];
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(Unit::$unit) };
}

metrics! {
    BUILD Gauge "mcp_v8_build_info" [] "1, with the version of this server";

    FINISHED Counter "mcp_v8_executions_finished_total" [] "Executions that ended, by status";
    FAILED Counter "mcp_v8_executions_failed_total" [] "Executions that ended with an error, by its kind";
    REFUSED Counter "mcp_v8_executions_refused_total" [] "Submissions that were not accepted, by reason";
    SECONDS Histogram "mcp_v8_execution_seconds" [Seconds] "Time a worker had an execution";
    QUEUE_SECONDS Histogram "mcp_v8_execution_queue_seconds" [Seconds] "Time an execution waited at its node before it had a slot";
    ACTIVE Gauge "mcp_v8_executions_active" [] "Executions waiting or running";
    QUEUE_DEPTH Gauge "mcp_v8_queue_depth" [] "Executions waiting for a worker";
    QUEUE_DEPTH_MAX Gauge "mcp_v8_queue_depth_max" [] "Executions that may wait";
    RETAINED Gauge "mcp_v8_executions_retained" [] "Finished executions kept in memory";
    RETAINED_BYTES Gauge "mcp_v8_executions_retained_bytes" [Bytes] "Memory of finished executions";
    QUARANTINED Gauge "mcp_v8_quarantined" [] "Codes that are refused because they killed workers";

    WORKER_EXITS Counter "mcp_v8_worker_exits_total" [] "Worker processes that ended, by cause";
    WORKER_START_FAILURES Counter "mcp_v8_worker_start_failures_total" [] "Worker processes that did not get ready";
    WORKER_START_SECONDS Histogram "mcp_v8_worker_start_seconds" [Seconds] "Time until a worker process was ready";
    WORKERS_IDLE Gauge "mcp_v8_workers_idle" [] "Workers that are ready and wait for a script";
    TEMPLATES_RENEWED Counter "mcp_v8_templates_renewed_total" [] "Templates of worker processes replaced, by reason";
    TEMPLATE_START_SECONDS Histogram "mcp_v8_template_start_seconds" [Seconds] "Time from spawn to a ready template";
    SANDBOX Gauge "mcp_v8_sandbox_layer" [] "Layers of the workers' sandbox: 1 when on";

    HTTP_REQUESTS Counter "mcp_v8_http_requests_total" [] "Requests on the ports for clients that were answered or given up, by method, route and class of status";
    HTTP_SECONDS Histogram "mcp_v8_http_request_seconds" [Seconds] "Time from the head of a request to the end of its answer, by route";
    MCP_CALLS Counter "mcp_v8_mcp_calls_total" [] "MCP tool calls that ended, by tool and outcome";
    MCP_SECONDS Histogram "mcp_v8_mcp_call_seconds" [Seconds] "Time an MCP tool call took, by tool";

    STEPS_KEPT Counter "mcp_v8_heaps_kept_total" [] "Heaps that scripts have left here";
    STEP_STORED_BYTES Counter "mcp_v8_heaps_kept_stored_bytes_total" [Bytes] "Bytes they were stored in";
    HEAP_SPREAD_SECONDS Histogram "mcp_v8_heap_spread_seconds" [Seconds] "Time until a majority of the nodes, or the bucket, had a heap or an artifact";
    HEAPS_FETCHED Counter "mcp_v8_heaps_fetched_total" [] "Heaps and artifacts that were missing here and fetched, by where from";
    HEAPS_STORED Gauge "mcp_v8_heaps_stored" [] "Heaps and artifacts on the disk of this node";
    HEAPS_MISSING Gauge "mcp_v8_heaps_missing" [] "Heaps and artifacts that this node should have and does not have yet";
    HEAPS_STORED_BYTES Gauge "mcp_v8_heaps_stored_bytes" [Bytes] "Bytes of their files";
    ARTIFACTS_KEPT Counter "mcp_v8_artifacts_kept_total" [] "Artifacts that scripts have left here";
    ARTIFACTS_KEPT_BYTES Counter "mcp_v8_artifacts_kept_bytes_total" [Bytes] "Bytes of those artifacts";

    ACCESS_REFUSED Counter "mcp_v8_access_refused_total" [] "Requests that were refused for their tokens, by reason";
    KEYS_AGE Gauge "mcp_v8_access_keys_age_seconds" [Seconds] "Since the keys of tokens were fetched";

    COMMIT_SECONDS Histogram "mcp_v8_commit_seconds" [Seconds] "Time until a command was committed and applied";
    COMMIT_FAILURES Counter "mcp_v8_commit_failures_total" [] "Commands that are not known to be committed, by reason";
    RAFT_TERM Gauge "mcp_v8_raft_term" [] "Term of Raft";
    RAFT_LEADER Gauge "mcp_v8_raft_is_leader" [] "1 on the leader";
    RAFT_HAS_LEADER Gauge "mcp_v8_raft_has_leader" [] "1 where a leader is known";
    RAFT_COMMIT Gauge "mcp_v8_raft_commit_index" [] "Index of the last entry known to be committed";
    RAFT_APPLIED Gauge "mcp_v8_raft_applied_index" [] "Index of the last entry applied here";
    RAFT_LOG Gauge "mcp_v8_raft_log_entries" [] "Log entries that are not compacted";
    RAFT_SYNCS Counter "mcp_v8_raft_log_syncs_total" [] "Times the log was made durable";
    RAFT_SYNC_SECONDS Gauge "mcp_v8_raft_log_sync_seconds_total" [Seconds] "Time that took altogether";
    DISK_FREE Gauge "mcp_v8_disk_free_bytes" [Bytes] "Room on the disk of the store";
    RAFT_LAG Gauge "mcp_v8_raft_peer_lag_entries" [] "Entries a member lacks, by member; on the leader";
    CLUSTER_PEER_AUTH Gauge "mcp_v8_cluster_peer_auth" [] "1 for how nodes prove themselves: none, secret, mtls or mtls+secret";
    CLUSTER_REFUSED Counter "mcp_v8_cluster_refused_total" [] "Callers of the cluster port that were refused, by reason";

    TRACE_SPANS Counter "mcp_v8_trace_spans_total" [] "Spans that ended, were exported, and failed to be, where --otlp-endpoint is given";
}
