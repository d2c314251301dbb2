//! The bytes of artifacts as blobs beside the heaps: stored, spread, fetched and removed like those.
//!
//! A blob begins with a mark that no heap begins with, so that what a script has written is never taken
//! for a heap, and is of an engine that no worker restores.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use mcp_v8_cluster::command::ArtifactLeft;
use mcp_v8_cluster::state::rows::ArtifactRow;

use super::model::Artifact;
use crate::heaps::store::StoreError;
use crate::heaps::{Engine, Engines, Heap, HeapFile, HeapId, Heaps, HeapsError, NO_ENGINE};

/// What a blob begins with.
const MARK: &[u8; 16] = b"mcp8 artifact 1\n";

/// In the place of V8's version.
const NAME: &str = "artifact";

/// Stores artifacts, each key once: the last that was left under it.
pub(super) async fn store(
    heaps: &Heaps,
    artifacts: Vec<Artifact>,
) -> Result<Vec<ArtifactLeft>, HeapsError> {
    let last: BTreeMap<String, Artifact> =
        artifacts.into_iter().map(|artifact| (artifact.key.clone(), artifact)).collect();
    let mut left = Vec::with_capacity(last.len());
    for Artifact { key, mime_type, bytes } in last.into_values() {
        let length = bytes.len() as u64;
        let writing = tokio::task::spawn_blocking(move || write(&bytes));
        let blob = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let blob = blob.map_err(StoreError::Disk)?;
        let id = blob.id();
        let kept = heaps.put(blob, None).await?;
        let stored_bytes = kept.bytes;
        left.push(ArtifactLeft { key, mime_type, bytes: length, blob: id.0, stored_bytes });
    }
    Ok(left)
}

fn write(bytes: &[u8]) -> io::Result<Heap> {
    let file = HeapFile::of(&[MARK, bytes]).map_err(io::Error::other)?;
    Heap::written(file, Engine { v8_version: NAME.into(), hash: NO_ENGINE })
}

/// The bytes of an artifact, from wherever they are.
pub(super) async fn read(heaps: &Heaps, row: &ArtifactRow) -> Result<Bytes, HeapsError> {
    let engines = Engines { v8_version: NAME.into(), accepted: [NO_ENGINE].into() };
    let blob = heaps.get(HeapId(row.blob), engines).await?;
    let reading = tokio::task::spawn_blocking(move || {
        let mapped = blob.map()?;
        let bytes = mapped.strip_prefix(MARK);
        bytes.map(Bytes::copy_from_slice).ok_or_else(|| io::Error::other("it is no artifact"))
    });
    let bytes = reading.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    Ok(bytes.map_err(StoreError::Disk)?)
}
