//! Commits commands, from any node.
//!
//! # Contract
//! * Group commit: commands that come while entries are under way go into the next one.
//! * On a follower the commands go to the leader over one connection.
//! * A command is tried again until it is known to be committed or its time is over: `apply` makes
//!   the second of two equal commands harmless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Node;
use crate::command::{
    Act, ArtifactLeft, Batch, Command, Complete, DeleteHeapTags, MoveSession, MoveTo,
    OpenMcpSession, Reply, Submit, SubmitStep, Text,
};
use crate::limits::{
    COMMAND_BYTES_MAX, ENTRY_COMMANDS_MAX, FULL_MS_MAX, PROPOSALS_IN_FLIGHT_MAX,
    PROPOSALS_QUEUED_MAX, PROPOSE_MS_MAX,
};
use crate::net::CallError;
use crate::net::message::{Request, Response};
use crate::types::NodeId;

/// A command that is committed and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its answer.
    pub reply: Reply,
    /// The index of its entry.
    pub index: u64,
}

/// Why a command is not known to be committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Too many wait. Nothing was proposed.
    #[error("{PROPOSALS_QUEUED_MAX} commands wait to be committed; try again later")]
    Overloaded,
    /// There was no leader, or it had no majority, for the whole time.
    #[error("the cluster has no majority: {0}. It may or may not have happened")]
    Unavailable(String),
    /// The node is stopping.
    #[error("this node is stopping")]
    Stopping,
    /// The disk is too full, and there is nobody else to commit it. Nothing was proposed.
    #[error("{0}")]
    Full(String),
    /// The command is too long to be committed. Nothing was proposed.
    #[error("a command of {0} bytes; accepted: {COMMAND_BYTES_MAX}")]
    TooLong(usize),
}

/// Histogram of the time until a command is committed and applied, in seconds.
pub const COMMIT_SECONDS: &str = "mcp_v8_commit_seconds";

/// Counts commands that are not known to be committed, by `reason`.
pub const COMMIT_FAILURES: &str = "mcp_v8_commit_failures_total";

/// The reasons, in metrics.
pub const COMMIT_REASONS: &[&str] = &["overloaded", "unavailable", "stopping", "full", "too_long"];

impl ProposeError {
    /// Its name in metrics. Stable.
    fn reason(&self) -> &'static str {
        match self {
            Self::Overloaded => COMMIT_REASONS[0],
            Self::Unavailable(_) => COMMIT_REASONS[1],
            Self::Stopping => COMMIT_REASONS[2],
            Self::Full(_) => COMMIT_REASONS[3],
            Self::TooLong(_) => COMMIT_REASONS[4],
        }
    }
}

struct Proposal {
    command: Command,
    answer: oneshot::Sender<Result<Proposed, ProposeError>>,
    deadline: Instant,
}

/// Takes commands.
#[derive(Debug)]
pub struct Proposer {
    queue: mpsc::Sender<Proposal>,
}

/// The other end of a [`Proposer`].
pub struct Proposals(mpsc::Receiver<Proposal>);

impl Proposer {
    /// The two ends of the queue.
    pub fn new() -> (Self, Proposals) {
        let (queue, proposals) = mpsc::channel(PROPOSALS_QUEUED_MAX);
        (Self { queue }, Proposals(proposals))
    }
}

impl Node {
    /// Commits a command.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(&self, command: Command) -> Result<Proposed, ProposeError> {
        let begun = std::time::Instant::now();
        let proposed = self.propose_uncounted(command).await;
        match &proposed {
            Ok(_) => histogram!(COMMIT_SECONDS).record(begun.elapsed()),
            Err(error) => counter!(COMMIT_FAILURES, "reason" => error.reason()).increment(1),
        }
        proposed
    }

    async fn propose_uncounted(&self, command: Command) -> Result<Proposed, ProposeError> {
        let bytes = size(&command);
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong(bytes));
        }
        // Where others vote, one of them leads soon.
        if self.is_full() && self.votes_alone() {
            // Those who ask again and again are slowed down.
            let patience = Duration::from_millis(FULL_MS_MAX);
            if timeout(patience, self.room_returns()).await.is_err() {
                return Err(ProposeError::Full(self.full().unwrap_or_default()));
            }
        }
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + Duration::from_millis(PROPOSE_MS_MAX);
        let proposal = Proposal { command, answer, deadline };
        self.inner.proposer.queue.try_send(proposal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopping,
        })?;
        answered.await.unwrap_or(Err(ProposeError::Stopping))
    }

    /// Commits commands as one entry, if this node leads.
    pub(super) async fn propose_here(
        &self,
        commands: Vec<Command>,
        patience: Duration,
    ) -> Response {
        let Some(raft) = self.raft() else { return Response::NotLeader(None) };
        if !self.is_leader() {
            return Response::NotLeader(self.leader());
        }
        if let Some(long) = commands.iter().map(size).find(|bytes| *bytes > COMMAND_BYTES_MAX) {
            return Response::Refused(ProposeError::TooLong(long).to_string());
        }
        if let Some(problem) = self.full().or_else(|| self.without_majority()) {
            return Response::Refused(problem);
        }
        match timeout(patience, raft.client_write(Batch::new(commands))).await {
            Ok(Ok(written)) => {
                Response::Proposed { replies: written.data, index: written.log_id.index() }
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Response::NotLeader(to.leader_id)
            }
            Ok(Err(error)) => Response::Unknown(error.to_string()),
            Err(_) => Response::Unknown(format!("not committed within {patience:?}")),
        }
    }

    /// Why a leader cannot commit at the moment: a majority has been silent for longer than an
    /// election takes.
    pub(super) fn without_majority(&self) -> Option<String> {
        // Asked for with every entry: looked at, not copied.
        let metrics = self.raft()?.metrics();
        let metrics = metrics.borrow_watched();
        // Without another voter there is nobody to hear from: openraft counts only others.
        metrics.membership_config.membership().voter_ids().nth(1)?;
        let patience = Duration::from_millis(self.config().timing.election_max * 2);
        let acked = metrics.last_quorum_acked?;
        let silent = acked.elapsed();
        (silent > patience).then(|| format!("a majority has been silent for {silent:?}"))
    }
}

/// Forms entries and commits them.
pub async fn run(node: Node, proposals: Proposals) {
    let Proposals(mut queue) = proposals;
    let slots = Arc::new(Semaphore::new(PROPOSALS_IN_FLIGHT_MAX));
    loop {
        let mut batch = Vec::new();
        if queue.recv_many(&mut batch, 1).await == 0 {
            return;
        }
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        while batch.len() < ENTRY_COMMANDS_MAX
            && weight(&batch) < crate::limits::ENTRY_BYTES_MAX
            && let Ok(proposal) = queue.try_recv()
        {
            batch.push(proposal);
        }
        let node = node.clone();
        tokio::spawn(async move {
            deliver(&node, batch).await;
            drop(slot);
        });
    }
}

/// About how many bytes the last of these take, and the rest at their bound.
fn weight(batch: &[Proposal]) -> usize {
    batch.iter().map(|proposal| size(&proposal.command)).sum()
}

fn size(command: &Command) -> usize {
    match command {
        Command::Part(part) => 64 + part.text.len(),
        Command::Submit(submit) => submitted(submit),
        Command::SubmitStep(step) => step_submitted(step),
        Command::For(by) => 64 + done_for(&by.act),
        Command::Complete(complete) => ended(complete),
        Command::CompleteStep(step) => 128 + ended(&step.complete),
        Command::CompleteWithArtifacts(left) => {
            let one = |artifact: &ArtifactLeft| artifact.key.len() + artifact.mime_type.len() + 64;
            128 + ended(&left.step.complete) + left.artifacts.iter().map(one).sum::<usize>()
        }
        Command::DeleteArtifact(delete) => 64 + delete.key.len(),
        Command::OpenMcpSession(open) => opened(open),
        Command::UseMcpSessions(uses) => {
            64 + uses.sessions.iter().map(|session| session.len() + 10).sum::<usize>()
        }
        Command::CloseMcpSession(close) => 64 + close.session.len(),
        Command::MoveSession(put) => moved(put),
        Command::DeleteSession(delete) => 64 + delete.session.len(),
        Command::SetHeapTags(set) => 64 + tags(&set.tags),
        Command::DeleteHeapTags(delete) => untagged(delete),
        Command::Reassign(reassign) => 256 + reassign.error.len(),
        Command::WorkerDied(died) => 256 + died.reason.len(),
        Command::Found(_)
        | Command::NodeUp(_)
        | Command::NodeDown(_)
        | Command::Cancel(_)
        | Command::ForgetDeaths(_)
        | Command::FoundHeaps(_)
        | Command::Expire(_)
        | Command::ExpireMcpSessions(_) => 256,
    }
}

fn tags(tags: &BTreeMap<String, String>) -> usize {
    tags.iter().map(|(key, value)| key.len() + value.len() + 20).sum()
}

fn done_for(act: &Act) -> usize {
    match act {
        Act::Submit(submit) => submitted(submit),
        Act::SubmitStep(step) => step_submitted(step),
        Act::SetHeapTags(set) => 64 + tags(&set.tags),
        Act::DeleteHeapTags(delete) => untagged(delete),
        Act::MoveSession(put) => moved(put),
        Act::OpenMcpSession(open) => opened(open),
    }
}

fn step_submitted(step: &SubmitStep) -> usize {
    let session = step.session.as_ref().map_or(0, String::len);
    64 + submitted(&step.submit) + session + tags(&step.tags)
}

fn untagged(delete: &DeleteHeapTags) -> usize {
    64 + delete.keys.iter().flatten().map(|key| key.len() + 10).sum::<usize>()
}

fn moved(put: &MoveSession) -> usize {
    let other = if let MoveTo::Session(other) = &put.to { other.len() } else { 0 };
    128 + put.session.len() + other
}

fn opened(open: &OpenMcpSession) -> usize {
    64 + open.session.len() + open.client.len()
}

fn submitted(submit: &Submit) -> usize {
    let key = submit.key.as_ref().map_or(0, |key| key.text.len() + 40);
    256 + key + text(&submit.code)
}

fn ended(complete: &Complete) -> usize {
    let end = &complete.end;
    let optional = [&end.result, &end.error];
    let optional: usize = optional.into_iter().flatten().map(text).sum();
    256 + optional + text(&end.output)
}

fn text(text: &Text) -> usize {
    match text {
        Text::Inline(text) => text.len(),
        Text::Parts(_) => 0,
    }
}

/// Commits commands as one entry and answers each.
async fn deliver(node: &Node, batch: Vec<Proposal>) {
    let deadline = batch.iter().map(|proposal| proposal.deadline).min();
    let Some(deadline) = deadline else { return };
    let commands: Vec<Command> = batch.iter().map(|proposal| proposal.command.clone()).collect();
    let outcome = commit(node, commands, deadline).await;
    match outcome {
        Ok((replies, index)) => {
            for (proposal, reply) in batch.into_iter().zip(replies) {
                // Whoever asked may have gone.
                let _ = proposal.answer.send(Ok(Proposed { reply, index }));
            }
        }
        Err(error) => {
            for proposal in batch {
                let _ = proposal.answer.send(Err(error.clone()));
            }
        }
    }
}

async fn commit(
    node: &Node,
    commands: Vec<Command>,
    deadline: Instant,
) -> Result<(Vec<Reply>, u64), ProposeError> {
    let mut problem = "there is no leader".to_owned();
    let mut pause = Duration::from_millis(5);
    let request = Request::Propose(commands.clone());
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ProposeError::Unavailable(problem));
        }
        let response = match node.leader() {
            None => {
                problem = "there is no leader".to_owned();
                node.leader_change(left.min(Duration::from_millis(250))).await;
                continue;
            }
            Some(leader) if Some(&leader) == node.id().as_ref() => {
                node.propose_here(commands.clone(), left).await
            }
            Some(leader) => match node.peer(&leader) {
                Some(peer) => node.while_leader(&leader, peer.call(&request, left)).await,
                None => Response::NotLeader(None),
            },
        };
        match response {
            Response::Proposed { replies, index } => return Ok((replies, index)),
            Response::Unknown(text) | Response::Refused(text) => problem = text,
            // It may know of a newer leader before we do, but not for long.
            _ => "the leader has changed".clone_into(&mut problem),
        }
        node.leader_change(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

impl Node {
    /// The answer to a call of `leader`, as long as that one leads: one that is stopped or cut off
    /// would answer nobody until the end of their patience.
    pub(super) async fn while_leader(
        &self,
        leader: &NodeId,
        call: impl Future<Output = Result<Response, CallError>>,
    ) -> Response {
        let deposed = async {
            while self.leader().as_ref() == Some(leader) {
                self.leader_change(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            answer = call => answer.unwrap_or_else(|error| Response::Unknown(error.to_string())),
            () = deposed => Response::NotLeader(None),
        }
    }

    /// Returns when the leader changes, at most after `patience`.
    pub(super) async fn leader_change(&self, patience: Duration) {
        let Some(raft) = self.raft() else {
            return sleep(patience.min(Duration::from_millis(20))).await;
        };
        let mut metrics = raft.server_metrics();
        let before = metrics.borrow_watched().current_leader.clone();
        let deadline = Instant::now() + patience;
        while metrics.borrow_watched().current_leader == before {
            match timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Complete, End, Owner, Status};
    use crate::node::config::Config;

    /// A command of an execution that nobody knows, so long.
    fn command(bytes: usize) -> Command {
        let with = |text: String| {
            let end = End {
                status: Status::Completed,
                ended_ms: 1,
                result: None,
                error: None,
                output: Text::Inline(text),
                output_bytes: 0,
            };
            let owner = Owner { node: "node1".to_owned(), epoch: 1 };
            let execution = uuid::Uuid::from_u128(1);
            Command::Complete(Complete { execution, attempt: 1, owner, end })
        };
        let around = size(&with(String::new()));
        with("x".repeat(bytes - around))
    }

    #[test]
    fn a_command_at_the_bound_is_committed_and_one_past_it_is_refused_before_it_is_proposed() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::single("node1", dir.path().join("cluster-node1"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let node = Node::start(config).unwrap();
            node.owner_within(Duration::from_secs(20)).await.expect("it leads itself");
            let (fits, past) = (command(COMMAND_BYTES_MAX), command(COMMAND_BYTES_MAX + 1));
            let encoded = crate::codec::encode(&fits).len();
            assert!(encoded <= COMMAND_BYTES_MAX, "{encoded} bytes, more than estimated");
            assert_eq!(node.propose(fits).await.unwrap().reply, Reply::NoExecution);
            let error = node.propose(past.clone()).await.unwrap_err().to_string();
            assert_eq!(error, "a command of 65537 bytes; accepted: 65536");
            // Nor when another node sends it.
            let patience = Duration::from_secs(5);
            let refused = node.propose_here(vec![past], patience).await;
            assert!(matches!(refused, Response::Refused(why) if why == error));
            node.stop().await;
        });
    }
}
