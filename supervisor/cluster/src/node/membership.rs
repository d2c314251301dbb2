//! Who belongs to the cluster: joining, leaving, handing leadership over.
//!
//! # Contract
//! * Everything is a change of the membership in the log; the leader does it, whoever is asked.
//! * Joining is idempotent by name and disk. A node with a known name and another disk takes the
//!   place of the old one only when that one is silent.
//! * A change that would leave a membership without a living majority is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Node;
use super::asking::{JoinBody, status_of};
use super::config::check_address;
use crate::limits::{LEASE_MS, NODE_NAME_BYTES_MAX, PROPOSE_MS_MAX};
use crate::net::CallError;
use crate::net::ask::AskError;
use crate::net::message::{Join, Request, Response};
use crate::state::nodes;
use crate::types::{Member, NodeId, check_name};

/// How many entries a learner may lack and still become a voter.
const CAUGHT_UP_ENTRIES: u64 = 200;

/// How long handing leadership over may take.
const TRANSFER: Duration = Duration::from_millis(1500);

/// Why a membership is not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MembershipError {
    /// This is not the leader.
    #[error("this node does not lead")]
    NotLeader(Option<NodeId>),
    /// There is no leader, or it has no majority.
    #[error("the cluster has no leader at the moment; try again")]
    NoLeader,
    /// It makes no sense, or would do harm.
    #[error("{0}")]
    Refused(String),
    /// It may or may not have happened.
    #[error("it may or may not have happened: {0}; look at the status and try again")]
    Unknown(String),
}

impl From<Result<(), MembershipError>> for Response {
    fn from(result: Result<(), MembershipError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(MembershipError::NotLeader(leader)) => Self::NotLeader(leader),
            Err(MembershipError::NoLeader) => Self::NotLeader(None),
            Err(MembershipError::Refused(problem)) => Self::Refused(problem),
            Err(MembershipError::Unknown(problem)) => Self::Unknown(problem),
        }
    }
}

fn refused(problem: impl Into<String>) -> MembershipError {
    MembershipError::Refused(problem.into())
}

impl Node {
    /// Lets a node in, or notes its new address.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn join(&self, body: JoinBody) -> Result<(), MembershipError> {
        check_name(&body.node_id).map_err(|error| refused(format!("`node_id`: {error}")))?;
        if check_address("addr", &body.addr).is_err() {
            return Err(refused(format!("`addr` is '{}'; accepted: host:port", body.addr)));
        }
        let join = Join {
            name: body.node_id,
            address: body.addr,
            storage: body.storage_id,
            cluster: body.cluster_id,
            learner: body.as_learner,
            runs_scripts: body.runs_scripts,
        };
        self.ask_leader(Request::Join(join)).await
    }

    /// Removes a node.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn leave(&self, name: &str) -> Result<(), MembershipError> {
        self.ask_leader(Request::Leave { node: name.to_owned() }).await
    }

    /// Hands leadership to the named node, else to the one that lacks least.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn transfer_to(&self, name: Option<&str>) -> Result<(), MembershipError> {
        self.ask_leader(Request::TransferTo { node: name.map(str::to_owned) }).await
    }

    /// Has the named node run no more scripts and give what it has to others, until it is started
    /// again. It goes on replicating and voting. Returns once that node has begun.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn drain(&self, name: &str) -> Result<(), MembershipError> {
        if name == self.name() {
            return self.drain_here().await;
        }
        let id = self.peers().into_iter().find(|id| id.name() == name);
        let peer = id.and_then(|id| self.peer(&id));
        let Some(peer) = peer else {
            let members = self.peers().into_iter().map(|id| id.name().to_owned());
            let members: Vec<_> = members.chain([self.name().to_owned()]).collect();
            let members = members.join(", ");
            return Err(refused(format!("`node_id`: '{name}' is no member; members: {members}")));
        };
        match peer.call(&Request::Drain, Duration::from_millis(PROPOSE_MS_MAX)).await {
            Ok(Response::Done) => Ok(()),
            Ok(Response::Refused(problem)) => Err(MembershipError::Refused(problem)),
            Ok(other) => Err(MembershipError::Unknown(format!("{other:?}"))),
            Err(error) => Err(MembershipError::Unknown(error.to_string())),
        }
    }

    /// The same for this node.
    pub(super) async fn drain_here(&self) -> Result<(), MembershipError> {
        if !self.config().runs_scripts {
            let name = self.name();
            return Err(refused(format!(
                "'{name}' runs no scripts of the cluster: stop it as it is"
            )));
        }
        // Another may have been drained a moment ago.
        let barrier = self.barrier().await;
        barrier.map_err(|error| MembershipError::Unknown(error.to_string()))?;
        let takers = self.takers().map_err(|error| MembershipError::Unknown(error.to_string()))?;
        if takers.is_empty() {
            let name = self.name();
            return Err(refused(format!(
                "no other node takes what '{name}' has; let one in, or stop '{name}' with SIGTERM"
            )));
        }
        let Some(application) = self.inner.application.get() else {
            return Err(refused(format!("'{}' runs no scripts", self.name())));
        };
        application.drain();
        Ok(())
    }

    async fn ask_leader(&self, request: Request) -> Result<(), MembershipError> {
        let deadline = Instant::now() + Duration::from_millis(PROPOSE_MS_MAX / 2);
        // Who joins twice or leaves twice does so once.
        let again = matches!(request, Request::Join(_) | Request::Leave { .. });
        let mut unknown = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(unknown.map_or(MembershipError::NoLeader, MembershipError::Unknown));
            }
            let response: Response = match self.leader() {
                None => Response::NotLeader(None),
                Some(leader) if Some(&leader) == self.id().as_ref() => match &request {
                    Request::Join(join) => self.join_here(join.clone()).await.into(),
                    Request::Leave { node } => self.leave_here(node).await.into(),
                    Request::TransferTo { node } => {
                        self.transfer_here(node.as_deref()).await.into()
                    }
                    _ => return Err(refused("no change of the membership")),
                },
                Some(leader) => match self.peer(&leader) {
                    Some(peer) => {
                        match peer.call(&request, Duration::from_millis(PROPOSE_MS_MAX)).await {
                            Ok(response) => response,
                            // Nothing was asked: it may be gone, and another about to lead.
                            Err(CallError::Unreachable { .. }) => Response::NotLeader(None),
                            Err(error) => Response::Unknown(error.to_string()),
                        }
                    }
                    None => Response::NotLeader(None),
                },
            };
            match response {
                Response::Done => return Ok(()),
                Response::Refused(problem) => return Err(MembershipError::Refused(problem)),
                Response::Unknown(problem) if !again => {
                    return Err(MembershipError::Unknown(problem));
                }
                Response::Unknown(problem) => {
                    // The leader may just be gone, and another about to lead.
                    unknown = Some(problem);
                    sleep(Duration::from_millis(50).min(left)).await;
                }
                _ => sleep(Duration::from_millis(50).min(left)).await,
            }
        }
    }

    fn check_leads(&self) -> Result<(), MembershipError> {
        if !self.is_leader() {
            return Err(MembershipError::NotLeader(self.leader()));
        }
        match self.without_majority() {
            Some(_) => Err(MembershipError::NoLeader),
            None => Ok(()),
        }
    }

    /// Members and which of them vote.
    fn membership(&self) -> (BTreeMap<NodeId, Member>, BTreeSet<NodeId>) {
        let Some(metrics) = self.metrics() else { return Default::default() };
        let membership = metrics.membership_config.membership();
        let nodes = membership.nodes().map(|(id, member)| (id.clone(), member.clone()));
        (nodes.collect(), membership.voter_ids().collect())
    }

    /// Whether a member has answered lately, as this leader sees it.
    fn hears(&self, id: &NodeId) -> bool {
        if Some(id) == self.id().as_ref() {
            return true;
        }
        let Some(metrics) = self.metrics() else { return false };
        let heard = metrics.heartbeat.and_then(|heard| heard.get(id).cloned().flatten());
        heard.is_some_and(|heard| heard.elapsed() < Duration::from_millis(LEASE_MS / 2))
    }

    /// How many of these answer to what is sent to them from now on, at least as soon as they are a
    /// majority: who was heard of a second ago may be gone.
    async fn alive_now(&self, voters: &BTreeSet<NodeId>) -> usize {
        let begun = Instant::now();
        let me = self.id();
        let patience = Duration::from_millis(self.config().timing.election_max * 2);
        loop {
            let heard = self.metrics().and_then(|metrics| metrics.heartbeat).unwrap_or_default();
            let answers = |id: &&NodeId| {
                let sent = heard.get(*id).cloned().flatten();
                Some(*id) == me.as_ref()
                    || sent.is_some_and(|sent| sent.elapsed() < begun.elapsed())
            };
            let alive = voters.iter().filter(answers).count();
            if alive * 2 > voters.len() || begun.elapsed() > patience {
                return alive;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn change(
        &self,
        change: ChangeMembers<NodeId, Member>,
        retain: bool,
    ) -> Result<(), MembershipError> {
        let raft = self.raft().ok_or(MembershipError::NoLeader)?;
        let patience = Duration::from_millis(PROPOSE_MS_MAX);
        match tokio::time::timeout(patience, raft.change_membership(change, retain)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => match error.forward_to_leader() {
                Some(to) => Err(MembershipError::NotLeader(to.leader_id.clone())),
                None => Err(MembershipError::Unknown(error.to_string())),
            },
            Err(_) => Err(MembershipError::Unknown("not committed in time".to_owned())),
        }
    }

    /// Lets a node in, as the leader.
    pub(super) async fn join_here(&self, join: Join) -> Result<(), MembershipError> {
        self.check_leads()?;
        let (storage, cluster) = match join.storage {
            Some(storage) => (storage, join.cluster),
            None => self.ask_disk(&join).await?,
        };
        // Its log is of another history.
        if let (Some(here), Some(there)) = (self.inner.context.cluster(), cluster)
            && here != there
        {
            return Err(refused(format!(
                "node '{}' at {} belongs to cluster {there}, and this is cluster {here}. To let it \
                 in as a new node, stop it, move its store away and start it with --join",
                join.name, join.address,
            )));
        }
        let (members, voters) = self.membership();
        let member = Member {
            address: join.address.clone(),
            storage: Some(storage),
            votes: !join.learner,
            runs_scripts: join.runs_scripts,
        };
        let joined = NodeId::joined(&join.name, storage);
        let same_name: Vec<_> = members.iter().filter(|(id, _)| id.name() == join.name).collect();
        let known = same_name.iter().find(|(id, known)| {
            let met = || {
                let met = self.store().identity().met;
                met.into_iter().find(|(other, _)| other == *id).map(|(_, storage)| storage)
            };
            let disk = known.storage.or_else(met);
            **id == joined || disk.is_none_or(|known| known == storage)
        });
        if let Some((id, known)) = known {
            let votes = if voters.contains(id) { known.votes } else { member.votes };
            let member = Member { votes, ..member };
            if **known == member {
                return Ok(());
            }
            let nodes = [((*id).clone(), member)].into();
            return self.change(ChangeMembers::SetNodes(nodes), true).await;
        }
        for (old, known) in &same_name {
            if self.hears(old) || self.answers_as_noted(known).await {
                return Err(refused(format!(
                    "the name '{}' belongs to a living node at {} with another disk ({old}); choose \
                     another --node-id, or stop that node first",
                    join.name, known.address,
                )));
            }
        }
        if let Some((id, _)) = members
            .iter()
            .find(|(id, known)| known.address == join.address && id.name() != join.name)
        {
            return Err(refused(format!(
                "the address {} belongs to node '{}'; remove that one first (POST /raft/leave)",
                join.address,
                id.name(),
            )));
        }
        tracing::info!(node = join.name, address = join.address, "joins");
        self.change(ChangeMembers::AddNodes([(joined, member)].into()), true).await
    }

    /// Whether a node is there with its disk. One whose disk has just been noted has perhaps not been
    /// heard yet.
    async fn answers_as_noted(&self, known: &Member) -> bool {
        let status = status_of(&self.inner.context, &known.address).await;
        known.storage.is_some()
            && status.is_ok_and(|status| Some(status.storage_id) == known.storage)
    }

    /// Asks a node for its disk and its cluster, when whoever lets it in does not say.
    async fn ask_disk(&self, join: &Join) -> Result<(Uuid, Option<Uuid>), MembershipError> {
        let status = status_of(&self.inner.context, &join.address).await.map_err(|error| {
            let address = &join.address;
            match error {
                AskError::Unreachable(_) => refused(format!(
                    "{address} does not answer GET /raft/status; start the node first"
                )),
                error => refused(format!("{address}: {error}")),
            }
        })?;
        if status.node_id == join.name {
            Ok((status.storage_id, status.cluster_id))
        } else {
            let (address, there) = (&join.address, &status.node_id);
            Err(refused(format!("the node at {address} is '{there}', not '{}'", join.name)))
        }
    }

    /// Removes a node, as the leader.
    pub(super) async fn leave_here(&self, name: &str) -> Result<(), MembershipError> {
        self.check_leads()?;
        let (members, voters) = self.membership();
        let gone: BTreeSet<NodeId> =
            members.keys().filter(|id| id.name() == name).cloned().collect();
        if gone.is_empty() {
            // One that was a member has been up at some time, and has left already.
            let was = nodes::node(&self.rows(), name);
            if was.map_err(|error| MembershipError::Unknown(error.to_string()))?.is_some() {
                return Ok(());
            }
            let names: BTreeSet<&str> = members.keys().map(NodeId::name).collect();
            let names: Vec<&str> = names.into_iter().collect();
            return Err(refused(format!(
                "'{}' is no member; members: {}",
                name.chars().take(NODE_NAME_BYTES_MAX).collect::<String>(),
                names.join(", ")
            )));
        }
        let rest: BTreeSet<NodeId> = voters.difference(&gone).cloned().collect();
        if rest.len() == voters.len() {
            return self.change(ChangeMembers::RemoveNodes(gone), false).await;
        }
        if rest.is_empty() {
            return Err(refused(format!("'{name}' is the last voter; a cluster has at least one")));
        }
        let alive = self.alive_now(&rest).await;
        if alive * 2 <= rest.len() {
            return Err(refused(format!(
                "without '{name}' there would be {} voters of which {alive} are heard of: no \
                 majority. Bring others back, or remove one that is silent first",
                rest.len(),
            )));
        }
        tracing::info!(node = name, "leaves");
        self.change(ChangeMembers::ReplaceAllVoters(rest), false).await?;
        let learners: BTreeSet<NodeId> = gone.difference(&voters).cloned().collect();
        if learners.is_empty() {
            return Ok(());
        }
        self.change(ChangeMembers::RemoveNodes(learners), false).await
    }

    /// Hands leadership over, as the leader; returns when the other one has it.
    pub(super) async fn transfer_here(&self, name: Option<&str>) -> Result<(), MembershipError> {
        self.check_leads()?;
        let (_, voters) = self.membership();
        let (Some(raft), Some(me)) = (self.raft(), self.id()) else {
            return Err(MembershipError::NoLeader);
        };
        let metrics = raft.metrics().borrow_watched().clone();
        let replication = metrics.replication.unwrap_or_default();
        let target = match name {
            Some(name) => voters.iter().find(|id| id.name() == name).cloned().ok_or_else(|| {
                let names: Vec<&str> = voters.iter().map(NodeId::name).collect();
                refused(format!("'{name}' is no voter; voters: {}", names.join(", ")))
            })?,
            None => voters
                .iter()
                .filter(|id| **id != me && self.hears(id))
                .max_by_key(|id| replication.get(*id).cloned().flatten())
                .cloned()
                .ok_or_else(|| refused("no other voter is heard of"))?,
        };
        if target == me {
            return Ok(());
        }
        if !self.hears(&target) {
            return Err(refused(format!("'{}' is not heard of", target.name())));
        }
        let unknown = |error: &dyn std::fmt::Display| MembershipError::Unknown(error.to_string());
        raft.trigger().transfer_leader(target.clone()).await.map_err(|error| unknown(&error))?;
        let deadline = Instant::now() + TRANSFER;
        while Instant::now() < deadline {
            match self.leader() {
                Some(leader) if leader == target => return Ok(()),
                _ => self.leader_change(Duration::from_millis(20)).await,
            }
        }
        Err(unknown(&format!("'{}' has not taken over within {TRANSFER:?}", target.name())))
    }

    /// Makes voters of those who have caught up; removes whose place they take; notes the disks of
    /// founders that have been met.
    pub(super) async fn look_after_members(&self) {
        let (members, voters) = self.membership();
        let identity = self.store().identity();
        let met = |id: &NodeId| {
            let mine = (Some(id) == identity.node.as_ref()).then_some(identity.storage);
            mine.or_else(|| identity.met.iter().find(|(other, _)| other == id).map(|met| met.1))
        };
        let known: BTreeMap<NodeId, Member> = members
            .iter()
            .filter(|(_, member)| member.storage.is_none())
            .filter_map(|(id, member)| {
                Some((id.clone(), Member { storage: Some(met(id)?), ..member.clone() }))
            })
            .collect();
        if !known.is_empty()
            && let Err(error) = self.change(ChangeMembers::SetNodes(known), true).await
        {
            tracing::debug!(%error, "the disks of founders are not noted yet");
        }
        let Some(metrics) = self.metrics() else { return };
        let Some(replication) = metrics.replication else { return };
        let last = metrics.last_log_index.unwrap_or_default();
        let ready = members.iter().find(|(id, member)| {
            let matched = replication.get(*id).cloned().flatten().map(|id| id.index());
            let near = matched.is_some_and(|matched| matched + CAUGHT_UP_ENTRIES >= last);
            member.votes && !voters.contains(*id) && near && self.hears(id)
        });
        let Some((id, _)) = ready else { return };
        let replaced = |other: &&NodeId| other.name() == id.name() && *other != id;
        let mut next: BTreeSet<NodeId> =
            voters.iter().filter(|other| !replaced(other)).cloned().collect();
        next.insert(id.clone());
        tracing::info!(node = %id, "has caught up and votes from now on");
        if let Err(error) = self.change(ChangeMembers::ReplaceAllVoters(next), false).await {
            tracing::warn!(node = %id, %error, "does not vote yet");
        }
    }
}
