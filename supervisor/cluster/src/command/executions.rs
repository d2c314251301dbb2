//! Commands about executions: from acceptance to being forgotten.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Accepted and not ended.
    Running,
    /// Ran to its end.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by its caller.
    Cancelled,
    /// Ended at its wall clock limit.
    TimedOut,
}

/// The node that runs an execution, in one of its lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its name.
    pub node: String,
    /// Its epoch.
    pub epoch: u64,
}

/// What makes a submission recognisable when it comes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The caller's idempotency key.
    pub text: String,
    /// SHA-256 over all that the submission says.
    pub digest: [u8; 32],
}

/// The limits an execution runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall clock, in seconds.
    pub wall_secs: u64,
    /// JavaScript heap, in bytes.
    pub heap_bytes: u64,
    /// Console text, in bytes.
    pub console_bytes: u64,
}

/// A text of any length: here, or in parts that were sent before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Text {
    /// The text itself.
    Inline(String),
    /// The number of parts it was sent in.
    Parts(u32),
}

/// What a part is a piece of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PartKind {
    /// The source.
    Code,
    /// The console text.
    Output,
    /// The result.
    Result,
    /// The error.
    Error,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The execution; for its code, one that will be submitted.
    pub execution: Uuid,
    /// The attempt that wrote it; 0 for code.
    pub attempt: u32,
    /// What it is a piece of.
    pub kind: PartKind,
    /// Its place, from 0.
    pub number: u32,
    /// The piece, at most [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX) bytes.
    pub text: String,
}

/// Accepts an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// Its id, a version 7 UUID: ids sort by time of acceptance.
    pub execution: Uuid,
    /// Who runs it.
    pub owner: Owner,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_ms: u64,
    /// Its idempotency key.
    pub key: Option<Key>,
    /// Its limits.
    pub limits: Limits,
    /// Its source.
    pub code: Text,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Not [`Status::Running`].
    pub status: Status,
    /// When, in milliseconds since 1970.
    pub ended_ms: u64,
    /// The value of its last expression.
    pub result: Option<Text>,
    /// The error, as the owner describes it.
    pub error: Option<Text>,
    /// What it printed.
    pub output: Text,
    /// Bytes of that.
    pub output_bytes: u64,
}

/// Ends an execution. Counts only if it is running under this attempt and owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// The execution.
    pub execution: Uuid,
    /// The attempt that ended.
    pub attempt: u32,
    /// Who ran it.
    pub owner: Owner,
    /// How it ended.
    pub end: End,
}

/// Asks for the end of an execution; its owner stops it when it sees this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The execution.
    pub execution: Uuid,
}

/// Gives an execution whose owner is lost, or takes no more, to another node, under a new attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassign {
    /// The execution.
    pub execution: Uuid,
    /// The attempt that was lost or is given away.
    pub from_attempt: u32,
    /// Who runs the next one; without one, or after the last attempt, the execution fails.
    pub to: Option<Owner>,
    /// When, in milliseconds since 1970: the end of an execution that fails here.
    pub at_ms: u64,
    /// The error of an execution that fails here, as owners describe errors.
    pub error: String,
}

/// Forgets ended executions that are old, or more than may be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expire {
    /// What ended before this is forgotten, in milliseconds since 1970.
    pub before_ms: u64,
    /// Ended executions that stay at most.
    pub rows_max: u64,
    /// Bytes of them that stay at most.
    pub bytes_max: u64,
}
