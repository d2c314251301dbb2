//! Artifacts: named files that scripts leave.
//!
//! # Contract
//! * What an execution has left is there from the moment it has completed, all of it or none; of an
//!   execution that ends otherwise nothing is.
//! * An artifact stays until it is deleted or another takes its name; it outlives its execution. Its
//!   bytes are a blob beside the heaps, named by it.
//! * There are never more than [`ARTIFACTS_MAX`], nor more bytes than [`ARTIFACTS_BYTES_MAX`].

use std::collections::BTreeMap;

use uuid::Uuid;

use super::rows::{ArtifactRow, ArtifactTotals};
use super::{Rows, StateError, Transaction, decode_row, executions, keys, named, read, sessions};
use crate::command::{
    ArtifactLeft, CompleteWithArtifacts, DeleteArtifact, HeapLeft, Reply, Status,
};
use crate::limits::{ARTIFACTS_BYTES_MAX, ARTIFACTS_MAX};
use crate::principal::{PrincipalId, list_after, prefix};

/// Ends an execution that has left artifacts.
pub fn complete(
    state: &mut Transaction<'_>,
    left: &CompleteWithArtifacts,
) -> Result<Reply, StateError> {
    let complete = &left.step.complete;
    let row = match executions::ending(state, complete)? {
        Ok(row) => row,
        Err(reply) => return Ok(reply),
    };
    let completed = complete.end.status == Status::Completed && !row.cancelled;
    // A name twice would count twice: the last is meant.
    let artifacts: BTreeMap<&str, &ArtifactLeft> =
        left.artifacts.iter().map(|artifact| (artifact.key.as_str(), artifact)).collect();
    if completed && !fit(state, &artifacts)? {
        return Ok(Reply::TooManyArtifacts);
    }
    let reply = sessions::complete(state, &left.step)?;
    if reply == Reply::Ended(Status::Completed) {
        let keys: Vec<&str> = artifacts.keys().copied().collect();
        state.put(keys::artifacts_of(complete.execution), &keys);
        for artifact in artifacts.into_values() {
            keep(state, artifact, complete.execution, complete.end.ended_ms)?;
        }
    }
    Ok(reply)
}

/// Whether there is room for these, in the place of those of the same names.
fn fit(
    state: &Transaction<'_>,
    artifacts: &BTreeMap<&str, &ArtifactLeft>,
) -> Result<bool, StateError> {
    let mut totals: ArtifactTotals = state.get(keys::ARTIFACT_TOTALS)?.unwrap_or_default();
    for (key, artifact) in artifacts {
        if let Some(before) = state.get::<ArtifactRow>(&keys::artifact(key))? {
            totals.rows = totals.rows.saturating_sub(1);
            totals.bytes = totals.bytes.saturating_sub(before.bytes);
        }
        totals.rows += 1;
        totals.bytes = totals.bytes.saturating_add(artifact.bytes);
    }
    Ok(totals.rows <= ARTIFACTS_MAX && totals.bytes <= ARTIFACTS_BYTES_MAX)
}

fn keep(
    state: &mut Transaction<'_>,
    artifact: &ArtifactLeft,
    execution: Uuid,
    created_ms: u64,
) -> Result<(), StateError> {
    let ArtifactLeft { key, mime_type, bytes, blob, stored_bytes } = artifact;
    // It stands by itself, so that it can be kept.
    named::keep(state, &HeapLeft { hash: *blob, stored_bytes: *stored_bytes, parent: None })?;
    named::name(state, blob)?;
    remove(state, key)?;
    let mut totals: ArtifactTotals = state.get(keys::ARTIFACT_TOTALS)?.unwrap_or_default();
    totals.rows += 1;
    totals.bytes += bytes;
    state.put(keys::ARTIFACT_TOTALS.to_vec(), &totals);
    let mime_type = mime_type.clone();
    let row = ArtifactRow { mime_type, bytes: *bytes, blob: *blob, execution, created_ms };
    state.put(keys::artifact(key), &row);
    Ok(())
}

/// Removes an artifact; says whether it was there.
fn remove(state: &mut Transaction<'_>, key: &str) -> Result<bool, StateError> {
    let Some(row) = state.get::<ArtifactRow>(&keys::artifact(key))? else { return Ok(false) };
    named::unname(state, &row.blob)?;
    let mut totals: ArtifactTotals = state.get(keys::ARTIFACT_TOTALS)?.unwrap_or_default();
    totals.rows = totals.rows.saturating_sub(1);
    totals.bytes = totals.bytes.saturating_sub(row.bytes);
    state.put(keys::ARTIFACT_TOTALS.to_vec(), &totals);
    state.delete(keys::artifact(key));
    Ok(true)
}

/// Deletes an artifact.
pub fn delete(state: &mut Transaction<'_>, delete: &DeleteArtifact) -> Result<Reply, StateError> {
    Ok(if remove(state, &delete.key)? { Reply::Done } else { Reply::NoArtifact })
}

/// An execution is forgotten; what it has left stays.
pub(super) fn forgotten(state: &mut Transaction<'_>, id: Uuid) -> Result<(), StateError> {
    if state.contains(&keys::artifacts_of(id))? {
        state.delete(keys::artifacts_of(id));
    }
    Ok(())
}

/// An artifact.
///
/// # Errors
/// [`StateError`].
pub fn artifact(rows: &dyn Rows, key: &str) -> Result<Option<ArtifactRow>, StateError> {
    read(rows, &keys::artifact(key))
}

/// The first `limit` artifacts of a caller after a name, in order of their names, as the caller says
/// them.
///
/// # Errors
/// [`StateError`].
pub fn list(
    rows: &dyn Rows,
    whose: Option<PrincipalId>,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, ArtifactRow)>, StateError> {
    let (own, after) = (keys::artifact(&prefix(whose)), keys::artifact(&list_after(whose, after)));
    let found = rows.after(&after, &own, limit)?;
    let named = |(key, value): (Vec<u8>, Vec<u8>)| {
        let row = decode_row(&key, &value)?;
        Ok((String::from_utf8_lossy(&key[own.len()..]).into_owned(), row))
    };
    found.into_iter().map(named).collect()
}

/// Names of the artifacts that an execution has left, in their order.
///
/// # Errors
/// [`StateError`].
pub fn of(rows: &dyn Rows, id: Uuid) -> Result<Vec<String>, StateError> {
    Ok(read(rows, &keys::artifacts_of(id))?.unwrap_or_default())
}

/// How many there are.
///
/// # Errors
/// [`StateError`].
pub fn totals(rows: &dyn Rows) -> Result<ArtifactTotals, StateError> {
    Ok(read(rows, keys::ARTIFACT_TOTALS)?.unwrap_or_default())
}
