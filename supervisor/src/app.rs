//! What every surface shares: the executions, the pool, the texts and the metrics.

use std::sync::Arc;

use mcp_v8_cluster::node::Node;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::access::{Access, Principal};
use crate::executions::{Drained, Executions};
use crate::metrics;
use crate::overview::Overviews;
use crate::pool::{Health, Pool};
use crate::sessions::{SessionError, Sessions};

/// Version of this release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Instructions shown to a client's model unless `--instructions` replaces them.
pub const INSTRUCTIONS: &str = "Runs JavaScript and TypeScript, each script in a fresh V8 process \
with no files and no network. Call run_js with `code`; print with console.log, or end with an \
expression to get its value. Top-level await works. Name a `session` to find globalThis as your last \
script in it left it; leave files with artifact(key, mimeType, bytes).";

/// Why a server that was drained is not ready.
pub const DRAINED: &str = "drained on request: it runs no scripts until it is started again";

/// Texts that the operator may replace.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// `--instructions`.
    pub instructions: Option<String>,
    /// `--run-js-description`.
    pub run_js_description: Option<String>,
}

/// The state behind all transports.
#[derive(Debug)]
pub struct App {
    /// Runs scripts.
    pub executions: Executions,
    /// Who may use the server.
    pub access: Access,
    /// The processes they run in.
    pub pool: Pool,
    /// This node of the cluster; absent where nothing is kept.
    pub node: Option<Node>,
    /// Texts for clients.
    pub texts: Texts,
    /// Whether `run_js` may read `file`.
    pub allow_file: bool,
    /// The session of scripts that name none.
    pub session: Option<String>,
    /// What the nodes have said of themselves lately.
    pub overviews: Overviews,
    /// Renders the metrics; absent where nobody asks for them.
    pub metrics: Option<PrometheusHandle>,
}

/// Shared by every connection.
pub type SharedApp = Arc<App>;

impl App {
    /// Why this server should get no traffic, or nothing.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.pool.health() {
            Health::Ready => {}
            Health::Starting => reasons.push("no worker process is ready yet".to_owned()),
            Health::Broken(reason) => {
                reasons.push(format!("worker processes do not start: {reason}"));
            }
        }
        if let Some(node) = &self.node {
            reasons.extend(node.not_ready());
        }
        // What is wrong with them is in the log: everybody may ask this.
        let keys = self.access.not_ready();
        reasons.extend(keys.map(|_| "the keys of tokens are not known; see the log".to_owned()));
        match self.executions.drained() {
            Drained::Begun => {
                let active = self.executions.active();
                reasons.push(format!("draining on request: {active} executions are still here"));
            }
            Drained::Done => reasons.push(DRAINED.to_owned()),
            Drained::No if self.executions.closing() => reasons.push("shutting down".to_owned()),
            Drained::No => {}
        }
        reasons
    }

    /// Sessions and heaps of a caller.
    ///
    /// # Errors
    /// [`SessionError::NotKept`] where nothing is kept.
    pub fn sessions(&self, by: Principal) -> Result<Sessions<'_>, SessionError> {
        Sessions::new(self.node.as_ref().filter(|_| self.executions.are_replicated()), by)
    }

    /// Instructions for a client's model.
    pub fn instructions(&self) -> String {
        self.texts.instructions.clone().unwrap_or_else(|| INSTRUCTIONS.to_owned())
    }

    /// The metrics in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        self.executions.publish_gauges();
        self.access.publish_gauges();
        // Whether workers have control groups of their own may change.
        if let Some(sandbox) = self.pool.sandbox() {
            metrics::sandbox(&sandbox);
        }
        if let Some(node) = &self.node {
            metrics::raft(node);
        }
        self.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }
}
