//! A backup from the store of a node that is stopped: of a server without a cluster port, and of
//! what is left of a cluster that has lost its majority.
//!
//! # Contract
//! * The backup holds what the node has applied, and every entry of its log behind that, whether it
//!   is known to be committed or not: an acknowledged entry may be one of those, and one that was
//!   not acknowledged may be there or not in any case.
//! * The store stays as it is; its node can go on with it.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use super::file::Writer;
use crate::codec::decode;
use crate::limits::APPEND_BYTES_MAX;
use crate::node::backup::head;
use crate::state::{Change, StateError, Transaction, apply, keys, nodes};
use crate::store::{Machine, OWN_ROWS, Observer, OpenError, Store};
use crate::types::StoredMembership;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum StoppedError {
    /// There is no store.
    #[error(
        "there is no store of a node in {0}; name its directory with --session-db-path and the node \
         with --node-id, as it was started"
    )]
    None(PathBuf),
    /// The store does not open: also when its node runs.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// It belongs to no cluster yet.
    #[error("the node in {0} has not found its cluster: there is nothing in its store")]
    Empty(PathBuf),
    /// It cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// It cannot be read or the backup not be written.
    #[error("the backup cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Hears nothing.
struct Deaf;

impl Observer for Deaf {
    fn applied(&self, _: u64, _: &[Change]) {}
    fn replaced(&self, _: u64) {}
}

/// Writes a backup of the store of node `name`. Blocks.
///
/// # Errors
/// [`StoppedError`], also when the node runs.
pub fn take(path: &Path, name: &str, out: &mut File) -> Result<(), StoppedError> {
    // Opening would make one.
    if !path.join("db").exists() {
        return Err(StoppedError::None(path.to_owned()));
    }
    let store = Store::open(path, name)?;
    let log = store.log()?;
    let machine = store.machine(Arc::new(Deaf))?;
    write(path, &store, &log, &machine, out)
}

fn write(
    path: &Path,
    store: &Store,
    log: &crate::store::LogStore,
    machine: &Machine,
    out: &mut File,
) -> Result<(), StoppedError> {
    let rows = store.rows();
    let (mut last, mut membership) = machine.position();
    let mut transaction = Transaction::new(&rows);
    loop {
        let next = last.as_ref().map_or(0, |id| id.index() + 1);
        let entries = log.read_from(next, APPEND_BYTES_MAX)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let id = entry.log_id();
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(batch) => {
                    for command in batch.0.iter() {
                        apply(&mut transaction, id.index(), command)?;
                    }
                }
                EntryPayload::Membership(config) => {
                    membership = StoredMembership::new(Some(id), config);
                }
            }
            last = Some(id);
        }
    }
    let changed = transaction.writes;
    let cluster = match changed.get(keys::CLUSTER) {
        Some(Some(value)) => decode(value).ok(),
        _ => nodes::cluster(&rows)?,
    };
    let cluster = cluster.ok_or_else(|| StoppedError::Empty(path.to_owned()))?;
    let mut writer = Writer::begin(BufWriter::new(out), &head(cluster, &(last, membership)))?;
    let mut changed = changed.into_iter().peekable();
    for row in rows.iter() {
        let (key, value) = row.map_err(StateError::from)?;
        while let Some((new, value)) = changed.next_if(|(new, _)| new[..] < key[..]) {
            put(&mut writer, new, value)?;
        }
        let value = match changed.next_if(|(new, _)| new[..] == key[..]) {
            Some((_, value)) => value,
            None => Some(value.to_vec()),
        };
        put(&mut writer, key.to_vec(), value)?;
    }
    for (key, value) in changed {
        put(&mut writer, key, value)?;
    }
    let out = writer.finish()?.out;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

fn put<W: io::Write>(
    writer: &mut Writer<W>,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
) -> io::Result<()> {
    match value {
        Some(value) if !key.starts_with(OWN_ROWS) => writer.add(&[(key, value)]),
        _ => Ok(()),
    }
}
