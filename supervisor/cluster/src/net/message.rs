//! What nodes say to each other.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command::{Command, Reply};
use crate::types::{NodeId, SnapshotMeta, Types, Vote};

/// A call.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Raft: entries, or a heartbeat.
    Append(AppendEntriesRequest<Types>),
    /// Raft: asks for a vote.
    Vote(VoteRequest<Types>),
    /// Raft: asks whether there would be a vote.
    PreVote(VoteRequest<Types>),
    /// Raft: hands leadership over.
    Transfer(TransferLeaderRequest<Types>),
    /// A snapshot begins; its bytes follow in [`Request::SnapshotBytes`] on the same connection.
    SnapshotBegin {
        /// The leader that sends it.
        vote: Vote,
        /// What it is of.
        meta: SnapshotMeta,
        /// Its length.
        bytes: u64,
    },
    /// The next bytes of the snapshot; none at its end.
    SnapshotBytes(Vec<u8>),
    /// To the leader: commit these.
    Propose(Vec<Command>),
    /// To the leader: up to where must be applied before a read is up to date?
    Barrier,
    /// To the leader: this node, in this epoch, is alive.
    Renew {
        /// Its name.
        node: String,
        /// Its epoch.
        epoch: u64,
    },
    /// To the leader: let this node in.
    Join(Join),
    /// To the leader: remove this node.
    Leave {
        /// Its name.
        node: String,
    },
    /// To the leader: hand leadership to another node, to this one if it is named.
    TransferTo {
        /// Its name.
        node: Option<String>,
    },
    /// For the server above: an encoded call of its own.
    Application(Vec<u8>),
    /// To any node: run no more scripts, and give what you have to others.
    Drain,
}

/// A node that wants to be a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Join {
    /// Its name.
    pub name: String,
    /// Where its cluster port is reached.
    pub address: String,
    /// Its disk, when it says so itself.
    pub storage: Option<Uuid>,
    /// The cluster that its disk belongs to, if any.
    pub cluster: Option<Uuid>,
    /// Whether it stays a learner.
    pub learner: bool,
    /// Whether it runs scripts.
    pub runs_scripts: bool,
}

/// The answer to a call.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Append`].
    Append(AppendEntriesResponse<Types>),
    /// To [`Request::Vote`] and [`Request::PreVote`].
    Vote(VoteResponse<Types>),
    /// To [`Request::Transfer`].
    Transfer(TransferLeaderResponse<Types>),
    /// The snapshot is installed.
    Snapshot(SnapshotResponse<Types>),
    /// Go on.
    Continue,
    /// To [`Request::Propose`]: an answer for each command, and the index they were applied at.
    Proposed {
        /// The answers.
        replies: Vec<Reply>,
        /// The index of the entry.
        index: u64,
    },
    /// To [`Request::Barrier`].
    Barrier(u64),
    /// To [`Request::Renew`]: whether that epoch is still this node's.
    Renewed(bool),
    /// To [`Request::Join`], [`Request::Leave`], [`Request::TransferTo`] and [`Request::Drain`].
    Done,
    /// To [`Request::Application`].
    Application(Vec<u8>),
    /// Not here: there is the leader, if anywhere.
    NotLeader(Option<NodeId>),
    /// What was asked for did not happen, and why.
    Refused(String),
    /// Whether it happened is unknown: ask again.
    Unknown(String),
}
