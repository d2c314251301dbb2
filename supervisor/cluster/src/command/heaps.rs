//! Commands about tags of heaps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Adds tags to a heap, replacing those of the same keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetHeapTags {
    /// Id of this command.
    pub id: Uuid,
    /// SHA-256 of the heap.
    pub heap: [u8; 32],
    /// The tags.
    pub tags: BTreeMap<String, String>,
}

/// Deletes tags of a heap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteHeapTags {
    /// Id of this command.
    pub id: Uuid,
    /// SHA-256 of the heap.
    pub heap: [u8; 32],
    /// The keys to delete; `None` deletes all.
    pub keys: Option<Vec<String>>,
}
