//! What rows hold. Fields are only ever added through a new version of the row.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command::{Key, Limits, Owner, Status};

/// An execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionRow {
    /// Where it stands.
    pub status: Status,
    /// Who runs it, or ran it last.
    pub owner: Owner,
    /// How often it was given to a node, from 1.
    pub attempt: u32,
    /// Whether somebody asked for its end.
    pub cancelled: bool,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_ms: u64,
    /// Its idempotency key.
    pub key: Option<Key>,
    /// Its limits.
    pub limits: Limits,
    /// Pieces of its source.
    pub code_parts: u32,
    /// Bytes of all its texts.
    pub bytes: u64,
    /// Its end.
    pub end: Option<EndRow>,
}

/// The end of an execution. Its texts are in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRow {
    /// When, in milliseconds since 1970.
    pub ended_ms: u64,
    /// Pieces of the result, if it has one.
    pub result_parts: Option<u32>,
    /// Pieces of the error, if it has one.
    pub error_parts: Option<u32>,
    /// Pieces of the console text.
    pub output_parts: u32,
    /// Bytes of the console text.
    pub output_bytes: u64,
}

/// What an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// SHA-256 of the submission.
    pub digest: [u8; 32],
    /// The execution.
    pub execution: Uuid,
}

/// A node that has been up at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its latest epoch.
    pub epoch: u64,
    /// Which run of its process that is.
    pub incarnation: Uuid,
    /// Whether it is up.
    pub up: bool,
    /// Whether it takes executions: not where it runs none, and not any more when it stops.
    pub runs_scripts: bool,
}

/// How much is kept of what has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Ended executions.
    pub rows: u64,
    /// Bytes of their texts.
    pub bytes: u64,
}
