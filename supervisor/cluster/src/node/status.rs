//! What a node says about itself: `GET /raft/status`.

use std::collections::BTreeMap;

use openraft::async_runtime::WatchReceiver;
use openraft::{LogIdOptionExt, ServerState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Node;

/// The answer of `GET /raft/status`. Tells no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The name of this node.
    pub node_id: String,
    /// `Leader`, `Follower`, `Candidate` or `Learner`.
    pub role: String,
    /// The name of the leader, when there is one.
    pub leader_id: Option<String>,
    /// The term.
    pub term: u64,
    /// Index of the last entry known to be committed.
    pub commit_index: u64,
    /// Index of the last entry applied here.
    pub last_applied: u64,
    /// Entries in the log that are not compacted.
    pub log_length: u64,
    /// Addresses of the other members.
    pub peers: Vec<String>,
    /// Addresses of all members, by name.
    pub peer_addrs: BTreeMap<String, String>,
    /// Addresses of learners.
    pub learners: Vec<String>,
    /// Whether this node is one.
    pub is_learner: bool,
    /// The cluster, once it has an id.
    pub cluster_id: Option<Uuid>,
    /// The disk of this node.
    pub storage_id: Uuid,
    /// Whether this node has found its cluster.
    pub member: bool,
    /// The list of founders it was started with, while that matters.
    pub founders: Option<String>,
    /// Fingerprint of that.
    pub fingerprint: Option<u64>,
    /// What it waits for: its cluster, room on its disk; when no leader has let it in, why it and
    /// others do not trust each other, if so.
    pub waiting_for: Option<String>,
    /// Every member.
    pub members: Vec<MemberStatus>,
    /// How far the log is compacted.
    pub snapshot_index: u64,
    /// How nodes prove themselves: `none`, `secret`, `mtls` or `mtls+secret`.
    pub peer_auth: String,
    /// Random, new with every start of the process: a proof of the secret names it. Null without a
    /// secret.
    #[serde(default)]
    pub instance: Option<Uuid>,
    /// Once the cluster knows that this node takes no more executions, because it stops or is drained:
    /// how many it still has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<u64>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its id in the membership.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its cluster port is reached.
    pub address: String,
    /// Its disk, once it was met.
    pub storage_id: Option<Uuid>,
    /// Whether it votes, and the change that made it a voter is committed.
    pub voter: bool,
    /// Entries it lacks; on the leader only.
    pub lag: Option<u64>,
}

impl Node {
    /// What this node says about itself.
    pub fn status(&self) -> Status {
        let identity = self.store().identity();
        let config = self.config();
        let auth = &self.inner.context.auth;
        let mut status = Status {
            node_id: identity.name.clone(),
            role: "Follower".to_owned(),
            leader_id: None,
            term: 0,
            commit_index: 0,
            last_applied: self.applied(),
            log_length: self.inner.log.length(),
            peers: config.peers.iter().map(|peer| peer.address.clone()).collect(),
            peer_addrs: BTreeMap::new(),
            learners: Vec::new(),
            is_learner: false,
            cluster_id: identity.cluster,
            storage_id: identity.storage,
            member: false,
            founders: None,
            fingerprint: identity.fingerprint,
            waiting_for: self.full().or_else(|| self.inner.looking.borrow().clone()),
            members: Vec::new(),
            snapshot_index: 0,
            peer_auth: auth.credentials.method().to_owned(),
            instance: auth.credentials.secret.as_ref().map(|_| auth.instance),
            draining: self.draining(),
        };
        if identity.cluster.is_none() && !config.alone() {
            status.founders = Some(self.inner.context.founders());
        }
        let Some(raft) = self.raft() else { return status };
        let metrics = raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: Vec<_> = membership.voter_ids().collect();
        let settled = self.inner.machine.settled_voters();
        status.role = match metrics.state {
            ServerState::Leader => "Leader",
            ServerState::Candidate => "Candidate",
            ServerState::Learner if voters.contains(raft.node_id()) => "Follower",
            ServerState::Learner => "Learner",
            _ => "Follower",
        }
        .to_owned();
        status.leader_id = metrics.current_leader.as_ref().map(|id| id.name().to_owned());
        // A leader may be known from the time before this node was started: it counts once it has
        // let this node in.
        if status.leader_id.is_none() || self.owner().is_none() {
            status.waiting_for = status.waiting_for.or_else(|| self.inner.context.troubles.text());
        }
        status.term = metrics.current_term;
        let committed = metrics.local_committed.as_ref().max(metrics.last_applied.as_ref());
        status.commit_index = committed.map_or(0, |id| id.index());
        status.snapshot_index = metrics.snapshot.index().unwrap_or_default();
        status.member = !voters.is_empty();
        status.peers.clear();
        for (id, member) in membership.nodes() {
            let voter = settled.contains(id);
            if id != raft.node_id() {
                status.peers.push(member.address.clone());
            }
            if !voter {
                status.learners.push(member.address.clone());
                status.is_learner |= id == raft.node_id();
            }
            status.peer_addrs.insert(id.name().to_owned(), member.address.clone());
            let matched = metrics.replication.as_ref().and_then(|all| all.get(id));
            let last = metrics.last_log_index.unwrap_or_default();
            status.members.push(MemberStatus {
                id: id.to_string(),
                name: id.name().to_owned(),
                address: member.address.clone(),
                storage_id: member.storage,
                voter,
                lag: matched.map(|matched| {
                    last.saturating_sub(matched.as_ref().map_or(0, |id| id.index()))
                }),
            });
        }
        status
    }

    /// Why this node should get no traffic, or nothing.
    pub fn not_ready(&self) -> Vec<String> {
        let Some(raft) = self.raft() else {
            let waiting = self.inner.looking.borrow().clone();
            return vec![waiting.unwrap_or_else(|| "the node is starting".to_owned())];
        };
        let metrics = raft.metrics().borrow_watched().clone();
        let mut reasons = Vec::new();
        if let Err(error) = &metrics.running_state {
            reasons.push(format!("Raft has stopped: {error}"));
        } else if let Some(full) = self.full() {
            reasons.push(full);
        } else if metrics.current_leader.is_none() {
            reasons.push("the cluster has no leader".to_owned());
        } else if let Some(problem) = self.without_majority() {
            reasons.push(problem);
        } else if self.owner().is_none() && self.config().runs_scripts {
            reasons.push("this node has not been let in yet".to_owned());
        }
        if !reasons.is_empty() {
            reasons.extend(self.inner.context.troubles.text());
        }
        reasons
    }
}
