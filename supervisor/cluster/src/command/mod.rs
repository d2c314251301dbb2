//! What can be asked of the cluster. A log entry holds a [`Batch`] of commands.
//!
//! # Contract
//! * A command carries all that `apply` needs: times and ids travel in it.
//! * Every command can be sent twice: either what it names makes the second one harmless (an
//!   execution and its attempt), or it carries an id of its own and `apply` answers a known id with
//!   the first answer.
//! * Variants are only ever added at the end: their position is their encoding.

pub mod artifacts;
pub mod executions;
pub mod heaps;
pub mod mcp;
pub mod nodes;
pub mod principals;
pub mod quarantine;
pub mod sessions;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::artifacts::{ArtifactLeft, CompleteWithArtifacts, DeleteArtifact};
pub use self::executions::{
    Cancel, Complete, End, Expire, Key, Limits, Owner, Part, PartKind, Reassign, Status, Submit,
    Text,
};
pub use self::heaps::{DeleteHeapTags, SetHeapTags};
pub use self::mcp::{CloseMcpSession, ExpireMcpSessions, OpenMcpSession, UseMcpSessions};
pub use self::nodes::{Found, NodeDown, NodeUp};
pub use self::principals::{Act, For};
pub use self::quarantine::{ForgetDeaths, WorkerDied};
pub use self::sessions::{
    Base, CompleteStep, DeleteSession, FoundHeaps, HeapHash, HeapLeft, MoveSession, MoveTo,
    SubmitStep,
};

/// One change of the replicated state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives the cluster its id.
    Found(Found),
    /// A node has started.
    NodeUp(NodeUp),
    /// A node is lost, or has stopped.
    NodeDown(NodeDown),
    /// A piece of a text that is too long for one command.
    Part(Part),
    /// Accepts an execution.
    Submit(Submit),
    /// Ends one.
    Complete(Complete),
    /// Asks for the end of one.
    Cancel(Cancel),
    /// Gives an execution of a lost node to another.
    Reassign(Reassign),
    /// Forgets what is old.
    Expire(Expire),
    /// Sets tags of a heap.
    SetHeapTags(SetHeapTags),
    /// Deletes tags of a heap.
    DeleteHeapTags(DeleteHeapTags),
    /// Counts a worker that a script killed.
    WorkerDied(WorkerDied),
    /// Forgets those of a code.
    ForgetDeaths(ForgetDeaths),
    /// Accepts an execution that keeps its heap.
    SubmitStep(SubmitStep),
    /// Ends one.
    CompleteStep(CompleteStep),
    /// Puts a session at a heap.
    MoveSession(MoveSession),
    /// Gives the cluster the key of its heaps.
    FoundHeaps(FoundHeaps),
    /// Forgets a session.
    DeleteSession(DeleteSession),
    /// Ends an execution that has left artifacts.
    CompleteWithArtifacts(CompleteWithArtifacts),
    /// Deletes an artifact.
    DeleteArtifact(DeleteArtifact),
    /// A client has begun a session.
    OpenMcpSession(OpenMcpSession),
    /// Sessions of clients were used.
    UseMcpSessions(UseMcpSessions),
    /// A client has ended its session.
    CloseMcpSession(CloseMcpSession),
    /// Ends sessions of clients that were not used for long.
    ExpireMcpSessions(ExpireMcpSessions),
    /// Does something for one of several callers.
    For(For),
}

/// The answer to one command, in the order of the commands of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, or already done.
    Done,
    /// The execution that stands for this submission; an earlier one when the key was known.
    Accepted(Uuid),
    /// The idempotency key belongs to another submission.
    KeyConflict,
    /// The node has this epoch.
    Epoch(u64),
    /// The id of the cluster, given by the first command that named one.
    Cluster(Uuid),
    /// There is no such execution.
    NoExecution,
    /// The execution has ended.
    Ended(Status),
    /// The execution has gone on under another attempt or owner.
    Fenced,
    /// There are more tags than a heap may have.
    TooManyTags,
    /// The execution had ended: what counts is in its row.
    EndedBefore,
    /// No deaths are counted for the code.
    NoDeaths,
    /// The cluster has no such heap.
    NoHeap(HeapHash),
    /// There is no such session.
    NoSession,
    /// There is a session of that name.
    SessionExists,
    /// There are more sessions than may be kept.
    TooManySessions,
    /// The session was moved while the step ran, or it is not this step's turn.
    HeadMoved,
    /// The session has executions that have not ended.
    SessionBusy,
    /// A part is done; the command is to be given again, under a new id.
    More,
    /// There are more artifacts, or more bytes of them, than may be kept.
    TooManyArtifacts,
    /// There is no such artifact.
    NoArtifact,
    /// The caller has as many executions that have not ended as it may.
    TooManyRunning,
}

/// The commands of one log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch(pub Arc<Vec<Command>>);

impl Batch {
    /// An entry's worth of commands.
    pub fn new(commands: Vec<Command>) -> Self {
        Self(Arc::new(commands))
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.0.len())
    }
}

impl Serialize for Batch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Command>::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests;
