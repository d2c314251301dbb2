//! What rows hold. Fields are only ever added through a new version of the row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command::{Base, HeapHash, Key, Limits, Owner, Status};

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

/// A session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The heap it stands at; none while that is empty.
    pub head: Option<HeapHash>,
    /// Number of the oldest entry of its history that is kept.
    pub first_entry: u64,
    /// Number of the next one.
    pub next_entry: u64,
    /// Number of the next step's turn.
    pub next_ticket: u64,
    /// When it was last moved, in milliseconds since 1970.
    pub changed_ms: u64,
}

/// An entry of a session's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow {
    /// The execution whose step it is; none for a fork or a reset.
    pub execution: Option<Uuid>,
    /// Where the session stood, or what it was copied from.
    pub input: Option<HeapHash>,
    /// Where it stood afterwards.
    pub output: Option<HeapHash>,
    /// Pieces of the step's source that are kept here.
    pub code_parts: u32,
    /// Whether that is all of it.
    pub code_whole: bool,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What an execution has to do with heaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// The session whose step it is.
    pub session: Option<String>,
    /// Its turn there.
    pub ticket: u64,
    /// What it begins with.
    pub base: Base,
    /// Tags of the heap it leaves.
    pub tags: BTreeMap<String, String>,
    /// The heap it has left.
    pub output: Option<HeapHash>,
}

/// A heap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapRow {
    /// Bytes it takes where it is stored.
    pub stored_bytes: u64,
    /// The heap it is stored against.
    pub parent: Option<HeapHash>,
    /// How often it is named: by sessions, entries of their histories, executions, tags, artifacts,
    /// and heaps that are stored against it.
    pub names: u64,
}

/// An artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// Its media type.
    pub mime_type: String,
    /// Its bytes.
    pub bytes: u64,
    /// What it is stored as.
    pub blob: HeapHash,
    /// The execution that has left it.
    pub execution: Uuid,
    /// When that ended, in milliseconds since 1970.
    pub created_ms: u64,
}

/// How many artifacts there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactTotals {
    /// Artifacts.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A session of an MCP client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpSessionRow {
    /// The parameters of its `initialize`, as JSON.
    pub client: String,
    /// When it was last known to be used, in milliseconds since 1970.
    pub used_ms: u64,
}
