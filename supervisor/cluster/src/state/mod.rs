//! The replicated state and how commands change it.
//!
//! # Contract
//! * [`apply`] is deterministic: it reads the state and the command, and nothing else. No clock,
//!   no randomness, no I/O besides the state itself.
//! * Rows are small keys with small values (at most
//!   [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX) bytes), so that any store can hold them.
//! * Keys begin with a letter per family; see [`keys`].

pub mod artifacts;
#[cfg(test)]
mod artifacts_tests;
pub mod executions;
pub mod heaps;
pub mod keys;
pub mod mcp;
#[cfg(test)]
mod mcp_tests;
pub mod named;
pub mod nodes;
pub mod principals;
#[cfg(test)]
mod principals_tests;
pub mod quarantine;
pub mod rows;
mod seen;
pub mod sessions;
#[cfg(test)]
mod sessions_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::codec::{CodecError, decode, encode};
use crate::command::{Command, HeapHash, Reply};
use crate::hex;

/// Why the state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] sled::Error),
    /// The execution was forgotten while it was read.
    #[error("execution {0} was forgotten")]
    Forgotten(Uuid),
    /// A row does not decode.
    #[error("row {key} is damaged: {source}")]
    Row {
        /// The key, in hexadecimal.
        key: String,
        /// Why.
        source: CodecError,
    },
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Where rows are read from.
pub trait Rows {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StateError::Store`].
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// The first `limit` rows with this prefix, in order of their keys.
    ///
    /// # Errors
    /// [`StateError::Store`].
    fn first(&self, prefix: &[u8], limit: usize) -> Result<Vec<Row>, StateError>;

    /// The first `limit` rows behind `key` with this prefix, in order of their keys.
    ///
    /// # Errors
    /// [`StateError::Store`].
    fn after(&self, key: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Row>, StateError>;
}

impl Rows for sled::Tree {
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.get(key)?.map(|value| value.to_vec()))
    }

    fn first(&self, prefix: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        let rows = self.scan_prefix(prefix).take(limit);
        rows.map(|row| Ok(row.map(|(key, value)| (key.to_vec(), value.to_vec()))?)).collect()
    }

    fn after(&self, key: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        let mut found = Vec::new();
        for row in self.range::<&[u8], _>((Bound::Excluded(key), Bound::Unbounded)).take(limit) {
            let (key, value) = row?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push((key.to_vec(), value.to_vec()));
        }
        Ok(found)
    }
}

impl Rows for BTreeMap<Vec<u8>, Vec<u8>> {
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.get(key).cloned())
    }

    fn first(&self, prefix: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        let rows = self.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn after(&self, key: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        let rows = self.range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(prefix));
        Ok(rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Reads a row.
///
/// # Errors
/// [`StateError`].
pub fn read<T: DeserializeOwned>(rows: &dyn Rows, key: &[u8]) -> Result<Option<T>, StateError> {
    rows.row(key)?.map(|value| decode_row(key, &value)).transpose()
}

fn decode_row<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StateError> {
    decode(value).map_err(|source| StateError::Row { key: hex::encode(key), source })
}

/// Something that those who watch the state want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An execution was accepted, given to another owner, asked to stop, or has ended.
    Execution(Uuid),
    /// A node has come up or gone down.
    Nodes,
    /// The deaths of workers that are counted have changed.
    Quarantine,
    /// A session was moved, or another step has its turn there.
    Session(String),
    /// A heap is not needed any more.
    HeapForgotten(HeapHash),
}

/// Rows read through, changes kept aside until they are written all at once.
pub struct Transaction<'a> {
    rows: &'a dyn Rows,
    /// `None` deletes.
    pub(crate) writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What to tell those who watch.
    pub(crate) changes: Vec<Change>,
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("writes", &self.writes.len()).finish_non_exhaustive()
    }
}

impl<'a> Transaction<'a> {
    /// Nothing changed yet.
    pub fn new(rows: &'a dyn Rows) -> Self {
        Self { rows, writes: BTreeMap::new(), changes: Vec::new() }
    }

    fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.writes.insert(key, Some(encode(value)));
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StateError> {
        match self.writes.get(key) {
            Some(Some(value)) => decode_row(key, value).map(Some),
            Some(None) => Ok(None),
            None => read(self.rows, key),
        }
    }

    fn contains(&self, key: &[u8]) -> Result<bool, StateError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.is_some()),
            None => Ok(self.rows.row(key)?.is_some()),
        }
    }

    /// The first `limit` rows with this prefix, changes included.
    fn first(&self, prefix: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        let changed = || {
            let range = self.writes.range(prefix.to_vec()..);
            range.take_while(|(key, _)| key.starts_with(prefix))
        };
        // Each change can hide one row of the store at most.
        let stored = self.rows.first(prefix, limit.saturating_add(changed().count()))?;
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        for (key, value) in changed() {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().take(limit).collect())
    }
}

/// Applies one command of the entry at `index`.
///
/// # Errors
/// [`StateError`] when the state cannot be read; then nothing of the entry may be kept.
pub fn apply(
    state: &mut Transaction<'_>,
    index: u64,
    command: &Command,
) -> Result<Reply, StateError> {
    match command {
        Command::Found(found) => nodes::found(state, found),
        Command::NodeUp(up) => nodes::up(state, index, up),
        Command::NodeDown(down) => nodes::down(state, down),
        Command::Part(part) => executions::part(state, part),
        Command::Submit(submit) => executions::submit(state, submit),
        Command::Complete(complete) => sessions::complete_script(state, complete),
        Command::Cancel(cancel) => executions::cancel(state, cancel),
        Command::Reassign(reassign) => executions::reassign(state, reassign),
        Command::Expire(expire) => executions::expire(state, expire),
        Command::SetHeapTags(set) => {
            seen::once(state, set.id, |state| heaps::set(state, None, set))
        }
        Command::DeleteHeapTags(delete) => {
            seen::once(state, delete.id, |state| heaps::delete(state, None, delete))
        }
        Command::WorkerDied(died) => {
            seen::once(state, died.id, |state| quarantine::died(state, died))
        }
        Command::ForgetDeaths(forget) => {
            seen::once(state, forget.id, |state| quarantine::forget(state, forget))
        }
        Command::SubmitStep(step) => sessions::submit(state, step),
        Command::CompleteStep(step) => sessions::complete(state, step),
        Command::MoveSession(put) => seen::once(state, put.id, |state| sessions::put(state, put)),
        Command::FoundHeaps(found) => named::found(state, found),
        Command::DeleteSession(delete) => {
            seen::once(state, delete.id, |state| sessions::delete(state, delete))
        }
        Command::CompleteWithArtifacts(left) => artifacts::complete(state, left),
        Command::DeleteArtifact(delete) => {
            seen::once(state, delete.id, |state| artifacts::delete(state, delete))
        }
        Command::OpenMcpSession(open) => seen::once(state, open.id, |state| mcp::open(state, open)),
        Command::UseMcpSessions(uses) => mcp::note(state, uses),
        Command::CloseMcpSession(close) => mcp::close(state, close),
        Command::ExpireMcpSessions(expire) => mcp::expire(state, expire),
        Command::For(by) => principals::apply(state, by),
    }
}
