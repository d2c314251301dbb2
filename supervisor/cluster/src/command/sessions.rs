//! Commands about heaps that are kept, and about sessions: named lines of heaps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Complete, Submit};

/// SHA-256 of a heap.
pub type HeapHash = [u8; 32];

/// The heap a step begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// Where its session stands when its turn comes; an empty heap without a session, or in a new
    /// one.
    Head,
    /// This one.
    Heap(HeapHash),
}

/// Accepts an execution that keeps its heap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitStep {
    /// The execution.
    pub submit: Submit,
    /// The session whose next step it is; made when there is none of that name.
    pub session: Option<String>,
    /// What it begins with.
    pub base: Base,
    /// Tags of the heap it leaves.
    pub tags: BTreeMap<String, String>,
}

/// A heap that is durable on a majority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapLeft {
    /// Its hash.
    pub hash: HeapHash,
    /// Bytes it takes where it is stored.
    pub stored_bytes: u64,
    /// The heap it is stored against, without which it cannot be read.
    pub parent: Option<HeapHash>,
}

/// Ends an execution that keeps its heap. Counts as [`Complete`] does, and, when it has completed,
/// only if it is its session's turn and the session still stands where it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteStep {
    /// How it ended.
    pub complete: Complete,
    /// The heap it began with; none when that was empty.
    pub input: Option<HeapHash>,
    /// The heap it has left; only, and always, when it has completed.
    pub heap: Option<HeapLeft>,
}

/// Puts a session at a heap: makes it, as a copy of another, or moves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveSession {
    /// Id of this command.
    pub id: Uuid,
    /// The session.
    pub session: String,
    /// Where it is to stand.
    pub to: MoveTo,
    /// Whether it must be new, or must be there.
    pub new: bool,
    /// When that was asked for, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Where a session is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveTo {
    /// At its beginning: an empty heap.
    Empty,
    /// At a heap.
    Heap(HeapHash),
    /// Where another session stands.
    Session(String),
}

/// Forgets a session, a piece of its history at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteSession {
    /// Id of this command.
    pub id: Uuid,
    /// The session.
    pub session: String,
}

/// Gives the cluster the key of its heaps' codes, unless it has one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundHeaps {
    /// The key: random, and secret.
    pub key: [u8; 32],
}

impl std::fmt::Debug for FoundHeaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FoundHeaps(secret)")
    }
}
