//! The cluster at a glance: what every node says of itself, and its workers.
//!
//! # Contract
//! * What a node says of itself is counters and texts that are there already.
//! * The others are asked at most every [`OVERVIEW_FRESH`], however many people look: those who come
//!   meanwhile share an answer. A node that does not answer is shown with the reason.

use std::sync::Arc;
use std::time::Instant;

use mcp_v8_cluster::node::overview::{Described, Heard, Overview};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::app::{App, SharedApp, VERSION};
use crate::executions::Load;
use crate::limits::{OVERVIEW_FRESH, QUEUE_DEPTH_MAX};
use crate::pool::state::PoolState;

/// The workers of one node, and the scripts it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// The node; null where nothing is kept.
    pub node: Option<String>,
    /// Version of its server.
    pub version: String,
    /// Whether it runs scripts (`--metadata-only`).
    pub runs_scripts: bool,
    /// Scripts that a worker has at the moment.
    pub running: u64,
    /// As many may run at once.
    pub running_max: u64,
    /// Scripts that wait for a worker, or for their turn in a session.
    pub waiting: u64,
    /// As many may wait.
    pub waiting_max: u64,
    /// Codes that are refused because they killed workers.
    pub quarantined: u64,
    /// The processes.
    #[serde(flatten)]
    pub pool: PoolState,
}

/// The nodes of the cluster, as the node sees them that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// The node that answers; null where nothing is kept.
    pub node: Option<String>,
    /// Whether it is one of a cluster: without a cluster port it is alone.
    pub clustered: bool,
    /// The cluster, once it has an id.
    pub cluster_id: Option<String>,
    /// The leader, when the node that answers knows one.
    pub leader: Option<String>,
    /// How nodes prove themselves to each other: `none`, `secret`, `mtls` or `mtls+secret`; null where it
    /// is alone.
    pub peer_auth: Option<String>,
    /// Every member; the node that answers alone while it has not found its cluster.
    pub nodes: Vec<NodeView>,
}

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Where its cluster port is reached.
    pub address: Option<String>,
    /// Whether it votes.
    pub voter: bool,
    /// Why it has told nothing, and all below is unknown; null when it has.
    pub problem: Option<String>,
    /// Whether it should get traffic.
    pub ready: bool,
    /// Why not.
    pub not_ready: Vec<String>,
    /// `Leader`, `Follower`, `Candidate` or `Learner`; null where nothing is kept.
    pub role: Option<String>,
    /// Its term.
    pub term: Option<u64>,
    /// Index of the last entry that it knows to be committed.
    pub commit_index: Option<u64>,
    /// Index of the last entry applied there.
    pub last_applied: Option<u64>,
    /// Committed entries that are not applied there, by the node that knows of most. The nodes are not
    /// asked in the same moment: under load a few are always missing.
    pub lag: Option<u64>,
    /// Entries in its log that are not compacted.
    pub log_length: Option<u64>,
    /// Executions it still has, while it takes no more.
    pub draining: Option<u64>,
    /// Its workers; null when it has not told.
    pub workers: Option<Workers>,
}

/// What the nodes have said of themselves lately.
#[derive(Debug, Default)]
pub struct Overviews(Mutex<Option<(Instant, Arc<ClusterView>)>>);

impl Overviews {
    /// Every node, as they said at most [`OVERVIEW_FRESH`] ago.
    pub async fn get(&self, app: &App) -> Arc<ClusterView> {
        // Held while the nodes are asked: whoever comes meanwhile wants the same.
        let mut known = self.0.lock().await;
        if let Some((at, view)) = &*known
            && is_fresh(*at, Instant::now())
        {
            return Arc::clone(view);
        }
        let view = Arc::new(app.cluster_view().await);
        *known = Some((Instant::now(), Arc::clone(&view)));
        view
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= OVERVIEW_FRESH
}

/// Has the node of the cluster tell the others what this server is doing.
pub fn tell(app: &SharedApp) {
    let Some(node) = &app.node else { return };
    let app = Arc::downgrade(app);
    node.describe_with(move || match app.upgrade() {
        Some(app) => Described {
            not_ready: app.not_ready(),
            // A struct of numbers and texts.
            server: serde_json::to_value(app.workers()).unwrap_or_default(),
        },
        None => Described {
            not_ready: vec!["shutting down".to_owned()],
            server: serde_json::Value::Null,
        },
    });
}

impl App {
    /// The workers of this server.
    pub fn workers(&self) -> Workers {
        let Load { running, running_max, waiting, quarantined } = self.executions.load();
        Workers {
            node: self.node.as_ref().map(|node| node.name().to_owned()),
            version: VERSION.to_owned(),
            runs_scripts: self.node.as_ref().is_none_or(|node| node.config().runs_scripts),
            running: running as u64,
            running_max: running_max as u64,
            waiting: waiting as u64,
            waiting_max: QUEUE_DEPTH_MAX as u64,
            quarantined: quarantined as u64,
            pool: self.pool.state(),
        }
    }

    async fn cluster_view(&self) -> ClusterView {
        let Some(node) = &self.node else {
            let not_ready = self.not_ready();
            let alone = NodeView {
                name: "this server".to_owned(),
                ready: not_ready.is_empty(),
                not_ready,
                workers: Some(self.workers()),
                ..NodeView::default()
            };
            return ClusterView {
                node: None,
                clustered: false,
                cluster_id: None,
                leader: None,
                peer_auth: None,
                nodes: vec![alone],
            };
        };
        let clustered = !node.config().alone();
        let mut nodes: Vec<NodeView> = node.overviews().await.into_iter().map(member).collect();
        let own = node.overview();
        if nodes.is_empty() {
            nodes.push(told(
                NodeView { name: own.status.node_id.clone(), ..NodeView::default() },
                &own,
            ));
        }
        if !clustered {
            // Nobody reaches it there.
            nodes.iter_mut().for_each(|node| node.address = None);
        }
        let most = nodes.iter().filter_map(|node| node.commit_index).max();
        for node in &mut nodes {
            let applied = node.last_applied;
            node.lag = most.zip(applied).map(|(most, applied)| most.saturating_sub(applied));
        }
        ClusterView {
            node: Some(own.status.node_id),
            clustered,
            cluster_id: own.status.cluster_id.map(|id| id.to_string()),
            leader: own.status.leader_id,
            peer_auth: clustered.then_some(own.status.peer_auth),
            nodes,
        }
    }
}

/// A member and what it has said.
fn member(heard: Heard) -> NodeView {
    let Heard { member, said } = heard;
    let view = NodeView {
        name: member.name,
        address: Some(member.address),
        voter: member.voter,
        ..NodeView::default()
    };
    match said {
        Ok(overview) => told(view, &overview),
        Err(problem) => NodeView { problem: Some(problem), ..view },
    }
}

fn told(view: NodeView, overview: &Overview) -> NodeView {
    let Overview { status, described } = overview;
    NodeView {
        ready: described.not_ready.is_empty(),
        not_ready: described.not_ready.clone(),
        role: Some(status.role.clone()),
        term: Some(status.term),
        commit_index: Some(status.commit_index),
        last_applied: Some(status.last_applied),
        log_length: Some(status.log_length),
        draining: status.draining,
        // Another release may say it otherwise.
        workers: serde_json::from_value(described.server.clone()).ok(),
        ..view
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_said_is_shown_up_to_its_bound_and_not_past_it() {
        let at = Instant::now();
        assert!(is_fresh(at, at) && is_fresh(at, at + OVERVIEW_FRESH));
        assert!(!is_fresh(at, at + OVERVIEW_FRESH + Duration::from_nanos(1)));
    }
}
