//! Artifacts: named files that scripts leave for whoever asks for them.
//!
//! # Contract
//! * What a script has left is there when it has completed, all of it or none, and then any node has it.
//! * Each caller has keys of its own: what it lists, reads or deletes is its own, and another's is not
//!   found, exactly as what does not exist.
//! * It stays until it is deleted or another takes its name; it outlives its execution.
//! * Where nothing is kept it is in the memory of this server, within
//!   [`ARTIFACTS_MEMORY_BYTES_MAX`](crate::limits::ARTIFACTS_MEMORY_BYTES_MAX); the oldest go first.

mod blobs;
mod memory;
mod model;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::SystemTime;

use mcp_v8_cluster::command::{ArtifactLeft, Command, DeleteArtifact, Reply};
use mcp_v8_cluster::node::Node;
use mcp_v8_cluster::state::rows::ArtifactRow;
use mcp_v8_cluster::state::{StateError, artifacts};
use mcp_v8_protocol::check_artifact_key;
use parking_lot::Mutex;
use uuid::Uuid;

use self::memory::Memory;
pub use self::model::{Artifact, ArtifactInfo, ArtifactList, ArtifactsError, Content, Encoding};
use crate::access::Principal;
use crate::executions::model::rfc3339;
use crate::executions::{SubmitError, time};
use crate::heaps::{Heaps, HeapsError};
use crate::limits::LIST_MAX;

/// The artifacts, wherever they are.
#[derive(Debug)]
pub struct Artifacts {
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Memory(Mutex<Memory>),
    Cluster { node: Node, heaps: Heaps },
}

/// What a script has left, before it counts.
#[derive(Debug)]
pub enum Stored {
    /// In memory.
    Memory(Vec<Artifact>),
    /// Durable on this disk.
    Disk(Vec<ArtifactLeft>),
}

impl Stored {
    /// The keys, in their order, each once.
    pub fn keys(&self) -> Vec<String> {
        let keys: BTreeSet<&String> = match self {
            Self::Memory(artifacts) => artifacts.iter().map(|artifact| &artifact.key).collect(),
            Self::Disk(artifacts) => artifacts.iter().map(|artifact| &artifact.key).collect(),
        };
        keys.into_iter().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Memory(artifacts) => artifacts.len(),
            Self::Disk(artifacts) => artifacts.len(),
        }
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Memory(artifacts) => {
                artifacts.iter().map(|artifact| artifact.bytes.len() as u64).sum()
            }
            Self::Disk(artifacts) => artifacts.iter().map(|artifact| artifact.bytes).sum(),
        }
    }
}

fn unavailable(error: impl Display) -> ArtifactsError {
    ArtifactsError::Unavailable(error.to_string())
}

impl Artifacts {
    /// In the memory of this server.
    pub fn in_memory() -> Self {
        Self { kept: Kept::Memory(Mutex::default()) }
    }

    /// In the replicated state, with their bytes beside the heaps.
    pub fn replicated(node: Node, heaps: Heaps) -> Self {
        Self { kept: Kept::Cluster { node, heaps } }
    }

    /// Makes what a script has left durable here, under keys as they are kept. It does not count yet.
    ///
    /// # Errors
    /// [`HeapsError`].
    pub async fn store(&self, artifacts: Vec<Artifact>) -> Result<Stored, HeapsError> {
        match &self.kept {
            Kept::Memory(_) => Ok(Stored::Memory(artifacts)),
            Kept::Cluster { heaps, .. } => Ok(Stored::Disk(blobs::store(heaps, artifacts).await?)),
        }
    }

    /// Puts what an execution has left in its place, where that is in memory.
    pub fn publish(&self, stored: Stored, execution: Uuid, at: SystemTime) {
        if let (Kept::Memory(memory), Stored::Memory(artifacts)) = (&self.kept, stored) {
            let mut memory = memory.lock();
            for artifact in artifacts {
                memory.put(artifact, execution, at);
            }
        }
    }

    /// Those of a caller.
    pub fn of(&self, by: Principal) -> ArtifactsOf<'_> {
        ArtifactsOf { kept: &self.kept, by }
    }
}

/// The artifacts of one caller, by the keys that it says.
#[derive(Debug, Clone, Copy)]
pub struct ArtifactsOf<'a> {
    kept: &'a Kept,
    by: Principal,
}

impl ArtifactsOf<'_> {
    /// Artifacts in order of their keys, after `cursor`.
    ///
    /// # Errors
    /// [`ArtifactsError`].
    pub async fn list(
        &self,
        limit: Option<u64>,
        cursor: Option<String>,
    ) -> Result<ArtifactList, ArtifactsError> {
        let limit = limit.unwrap_or(LIST_MAX);
        crate::executions::check_range("limit", limit, 1, LIST_MAX, "")?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let by = self.by;
        let mut found = match self.kept {
            Kept::Memory(memory) => {
                let after = by.list_after(cursor.as_deref());
                let found = memory.lock().list(&by.prefix(), &after, limit + 1);
                found.into_iter().map(|info| self.said(info)).collect()
            }
            Kept::Cluster { node, .. } => {
                node.barrier().await.map_err(unavailable)?;
                let rows = node.rows();
                let reading = tokio::task::spawn_blocking(move || {
                    artifacts::list(&rows, by.id(), cursor.as_deref(), limit + 1)
                });
                let found = reading.await.map_err(unavailable)?.map_err(unavailable)?;
                found.into_iter().map(|(key, row)| shown(key, &row)).collect::<Vec<_>>()
            }
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = if more { found.last().map(|last| last.key.clone()) } else { None };
        Ok(ArtifactList { artifacts: found, next_cursor })
    }

    /// An artifact, without its bytes.
    ///
    /// # Errors
    /// [`ArtifactsError`].
    pub async fn info(&self, key: &str) -> Result<ArtifactInfo, ArtifactsError> {
        checked(key)?;
        let not_found = || ArtifactsError::NotFound(key.to_owned());
        let kept = self.by.kept(key);
        match self.kept {
            Kept::Memory(memory) => {
                let found = memory.lock().get(&kept);
                found.map(|content| self.said(content.info)).ok_or_else(not_found)
            }
            Kept::Cluster { node, .. } => {
                let row = row(node, &kept).await?;
                row.map(|row| shown(key.to_owned(), &row)).ok_or_else(not_found)
            }
        }
    }

    /// An artifact and its bytes.
    ///
    /// # Errors
    /// [`ArtifactsError`].
    pub async fn get(&self, key: &str) -> Result<Content, ArtifactsError> {
        checked(key)?;
        let not_found = || ArtifactsError::NotFound(key.to_owned());
        let kept = self.by.kept(key);
        match self.kept {
            Kept::Memory(memory) => {
                let Content { info, bytes } = memory.lock().get(&kept).ok_or_else(not_found)?;
                Ok(Content { info: self.said(info), bytes })
            }
            Kept::Cluster { node, heaps } => {
                let row = row(node, &kept).await?.ok_or_else(not_found)?;
                let bytes = match blobs::read(heaps, &row).await {
                    Ok(bytes) => bytes,
                    // Another may have taken its name since, and its bytes are gone.
                    Err(error) => match self::row(node, &kept).await? {
                        None => return Err(not_found()),
                        Some(now) if now != row => {
                            let again = blobs::read(heaps, &now).await.map_err(unavailable)?;
                            return Ok(Content { info: shown(key.to_owned(), &now), bytes: again });
                        }
                        Some(_) => return Err(unavailable(error)),
                    },
                };
                Ok(Content { info: shown(key.to_owned(), &row), bytes })
            }
        }
    }

    /// Deletes an artifact.
    ///
    /// # Errors
    /// [`ArtifactsError`].
    pub async fn delete(&self, key: &str) -> Result<(), ArtifactsError> {
        checked(key)?;
        let not_found = || ArtifactsError::NotFound(key.to_owned());
        let kept = self.by.kept(key);
        match self.kept {
            Kept::Memory(memory) => memory.lock().delete(&kept).then_some(()).ok_or_else(not_found),
            Kept::Cluster { node, .. } => {
                let delete = DeleteArtifact { id: Uuid::now_v7(), key: kept };
                let proposed = node.propose(Command::DeleteArtifact(delete)).await;
                match proposed.map_err(unavailable)?.reply {
                    Reply::Done => Ok(()),
                    Reply::NoArtifact => Err(not_found()),
                    other => Err(unavailable(format!("{other:?}"))),
                }
            }
        }
    }
}

impl ArtifactsOf<'_> {
    /// With the key as this caller says it.
    fn said(&self, info: ArtifactInfo) -> ArtifactInfo {
        ArtifactInfo { key: self.by.said(&info.key), ..info }
    }
}

/// The row of an artifact, up to date.
async fn row(node: &Node, key: &str) -> Result<Option<ArtifactRow>, ArtifactsError> {
    node.barrier().await.map_err(unavailable)?;
    artifacts::artifact(&node.rows(), key).map_err(|error: StateError| unavailable(error))
}

fn shown(key: String, row: &ArtifactRow) -> ArtifactInfo {
    ArtifactInfo {
        encoding: Encoding::of(&row.mime_type),
        key,
        mime_type: row.mime_type.clone(),
        size_bytes: row.bytes,
        created_at: rfc3339(time(row.created_ms)),
        execution_id: row.execution.to_string(),
    }
}

fn checked(key: &str) -> Result<(), ArtifactsError> {
    check_artifact_key(key).map_err(|error| {
        let problem = format!("is not the key of an artifact: {error}");
        ArtifactsError::Invalid(SubmitError::Invalid { field: "key", problem })
    })
}
