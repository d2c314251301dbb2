//! Commands about artifacts: named files that scripts leave.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CompleteStep, HeapHash};

/// A file that a script has left; its bytes are durable on a majority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactLeft {
    /// Its name.
    pub key: String,
    /// Its media type.
    pub mime_type: String,
    /// Its bytes.
    pub bytes: u64,
    /// What it is stored as: a blob beside the heaps.
    pub blob: HeapHash,
    /// Bytes that takes where it is stored.
    pub stored_bytes: u64,
}

/// Ends an execution that has left artifacts. Counts as [`CompleteStep`] does, or, for an execution
/// that keeps no heap, as [`Complete`](super::Complete). The artifacts are there when it has completed,
/// all of them or none; each takes the place of one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteWithArtifacts {
    /// How it ended.
    pub step: CompleteStep,
    /// What it has left, each name once.
    pub artifacts: Vec<ArtifactLeft>,
}

/// Deletes an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteArtifact {
    /// Id of this command.
    pub id: Uuid,
    /// Its name.
    pub key: String,
}
