//! Makes the store of a founder of a new cluster from a backup.
//!
//! # Contract
//! * The store begins with the state of the backup, as if its log had been compacted one entry
//!   behind it: an entry that nobody wrote, in a term of its own, by which the founders became the
//!   members. It is the same on every founder of the same backup, list and token.
//! * The new cluster has an id of its own, made of the token, the checksum of the backup and the
//!   list of founders: founders that were given different ones are strangers to each other, and to
//!   every node of the old cluster.
//! * No node of the old cluster is known to the new one. So nothing counts that one of them says of
//!   an execution: what ran goes to another node under a new attempt, or fails, by the ordinary
//!   rules.
//! * Nothing that exists is written over. The store gets its name when everything in it is on the
//!   disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use openraft::Membership;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::file::Reader;
use super::{FileError, Summary, check};
use crate::codec::encode;
use crate::node::founders;
use crate::state::keys;
use crate::store::{Identity, OpenError, Store, snapshot};
use crate::types::{LogId, Member, NodeId, SnapshotMeta, StoredMembership, Vote};

/// What is to be made of a backup.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The backup.
    pub file: PathBuf,
    /// The store that is made; the node's, as the server names it.
    pub store: PathBuf,
    /// Name of the node.
    pub name: String,
    /// Where others reach it; empty for a node without a cluster port.
    pub advertise: String,
    /// Names and addresses of the other founders.
    pub peers: Vec<(String, String)>,
    /// The same text on every founder, and another one each time that a backup is restored. Makes
    /// the new cluster's id.
    pub token: String,
}

/// A store that was made.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Of what.
    pub backup: Summary,
    /// The new cluster.
    pub cluster_id: Uuid,
    /// Index of the last entry that the store reflects.
    pub applied_index: u64,
    /// Names and addresses of all founders, in order of their names.
    pub founders: Vec<(String, String)>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is not used.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is something in its place.
    #[error(
        "{0} exists: a restore never writes over a store. If what is in it is not needed any more, \
         stop its node and move it away (mv {0} {0}.old), then restore again"
    )]
    Exists(PathBuf),
    /// A restore was interrupted here, or is going on.
    #[error(
        "{0} exists: another restore is going on, or was interrupted. If none is, remove it (rm -r \
         {0}) and restore again"
    )]
    Unfinished(PathBuf),
    /// The store cannot be written.
    #[error("{path} cannot be made: {source}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be made.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The backup is whole and makes no sense.
    #[error("{path}: {problem}")]
    Contents {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The id of the cluster that is made of a backup: version 8 (RFC 9562), from a hash.
pub fn cluster_id(token: &str, backup: &str, founders: &str) -> Uuid {
    let mut hash = Sha256::new();
    for part in ["mcp-v8 restore 1", token, backup, founders] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Makes the store. Blocks.
///
/// # Errors
/// [`RestoreError`]; then there is no store, and what was there is as it was.
pub fn restore(plan: &Plan) -> Result<Restored, RestoreError> {
    let backup = check(&plan.file)?;
    if plan.store.symlink_metadata().is_ok() {
        return Err(RestoreError::Exists(plan.store.clone()));
    }
    let mut name = plan.store.as_os_str().to_owned();
    name.push(".restoring");
    let unfinished = PathBuf::from(name);
    let failed = |source| RestoreError::Write { path: unfinished.clone(), source };
    let directory = |recursive: bool| {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(recursive).mode(0o700);
        builder
    };
    if let Some(parent) = plan.store.parent() {
        directory(true).create(parent).map_err(failed)?;
    }
    match directory(false).create(&unfinished) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(RestoreError::Unfinished(unfinished));
        }
        result => result.map_err(failed)?,
    }
    let made = fill(plan, backup, &unfinished).and_then(|restored| {
        sync_all(&unfinished).map_err(failed)?;
        // Not over anything that has come meanwhile.
        match renameat_with(CWD, &unfinished, CWD, &plan.store, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => Err(RestoreError::Exists(plan.store.clone())),
            result => result.map_err(|error| failed(error.into())),
        }?;
        if let Some(parent) = plan.store.parent() {
            crate::store::sync_directory(parent).map_err(failed)?;
        }
        Ok(restored)
    });
    if made.is_err() {
        // Ours, and of no use.
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    made
}

/// Makes a store of this directory, which is empty.
fn fill(plan: &Plan, backup: Summary, directory: &Path) -> Result<Restored, RestoreError> {
    let failed = |source| RestoreError::Write { path: directory.to_owned(), source };
    let contents = |problem: String| RestoreError::Contents { path: plan.file.clone(), problem };
    let mut all = plan.peers.clone();
    all.push((plan.name.clone(), plan.advertise.clone()));
    all.sort_unstable();
    let list = founders::list(&all);
    let cluster = cluster_id(&plan.token, &backup.sha256, &list);

    let store = Store::open(directory, &plan.name)?;
    let identity = store.identity();
    let members: BTreeMap<NodeId, Member> = all
        .iter()
        .map(|(name, address)| (NodeId::founder(name), Member::founder(address)))
        .map(|(id, member)| {
            // Alone there is nobody to agree with.
            let storage = plan.peers.is_empty().then_some(identity.storage);
            (id, Member { storage, ..member })
        })
        .collect();
    let voters: BTreeSet<NodeId> = members.keys().cloned().collect();
    let (term, index) =
        next(&backup).ok_or_else(|| contents("its position is no position".into()))?;
    let last = LogId::new_term_index(term, index);
    // In this term nobody else is voted for: it is the term of the entry that nobody wrote.
    let first = voters.first().cloned().unwrap_or_default();
    let vote = Vote::new(term, first);
    let membership = Membership::new(vec![voters], members)
        .map_err(|error| contents(format!("these founders: {error}")))?;
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership),
    };

    let snapshots = directory.join(snapshot::DIRECTORY);
    let mut writer = snapshot::Writer::create(&snapshots, &meta).map_err(failed)?;
    let mut reader = Reader::open(&plan.file)?;
    let mut named = false;
    while let Some((key, value)) = reader.row()? {
        if key.starts_with(keys::NODES) {
            continue;
        }
        let is_id = key == keys::CLUSTER;
        named |= is_id;
        let value = if is_id { encode(&cluster) } else { value };
        writer.row(&key, &value).map_err(failed)?;
    }
    if reader.finish()?.sha256 != backup.sha256 {
        return Err(contents("it changed while it was read".to_owned()));
    }
    if !named {
        return Err(contents("it names no cluster".to_owned()));
    }
    let snapshot = writer.finish().map_err(failed)?;
    let identity = Identity {
        node: Some(NodeId::founder(&plan.name)),
        cluster: Some(cluster),
        fingerprint: (!plan.peers.is_empty()).then(|| founders::fingerprint(&list)),
        ..identity
    };
    store.begin_at(&snapshot, &vote, identity).map_err(failed)?;
    Ok(Restored { backup, cluster_id: cluster, applied_index: index, founders: all })
}

/// The position behind a backup, in a term of its own.
fn next(backup: &Summary) -> Option<(u64, u64)> {
    Some((backup.term.checked_add(1)?, backup.applied_index.checked_add(1)?))
}

/// Makes everything in a directory durable, names and contents.
fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    crate::store::sync_directory(directory)
}
