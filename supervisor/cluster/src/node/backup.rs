//! Backups of a running cluster, taken by any of its nodes.
//!
//! # Contract
//! * A backup reflects everything that was acknowledged anywhere before it was asked for: a read
//!   barrier comes first.
//! * It is written to a file without a name, at the speed of the disk, and sent from there: a slow
//!   receiver holds up nothing, costs a few chunks of memory, and is given up after
//!   [`BACKUP_STALL_MS_MAX`].
//! * At most [`BACKUPS_AT_ONCE_MAX`] are taken or sent at once, and none that would take the room
//!   that the log needs.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::{Node, Unavailable};
use crate::backup::Member;
use crate::backup::file::{Head, Writer};
use crate::hex;
use crate::limits::{
    BACKUP_CHUNK_BYTES, BACKUP_KEPT_BYTES_MAX, BACKUP_STALL_MS_MAX, BACKUPS_AT_ONCE_MAX,
};
use crate::state::{StateError, nodes};
use crate::store::room::Room;
use crate::store::rowfile::Written;
use crate::store::snapshot;
use crate::store::{Ended, Machine, Position};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It could not be known what was acknowledged.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Others are being taken.
    #[error(
        "{BACKUPS_AT_ONCE_MAX} backups are being taken from this node; try again later, or ask another node"
    )]
    Busy,
    /// The cluster has just been founded.
    #[error("the cluster has no id yet; try again")]
    NoCluster,
    /// It would take the room of the log.
    #[error(
        "a backup needs up to {needed} bytes beside the store for a while, and {free} are free there \
         (of which {reserve} stay free): make room, or ask another node"
    )]
    NoRoom {
        /// What the rows take at most.
        needed: u64,
        /// What there is.
        free: u64,
        /// What is not used up.
        reserve: u64,
    },
    /// The rows were not to be had as they were at one position.
    #[error("{0}; try again, when less is written or at another node")]
    Ended(#[from] Ended),
    /// The disk or the rows failed.
    #[error("the backup cannot be written: {0}")]
    Failed(#[from] io::Error),
    /// The rows failed.
    #[error(transparent)]
    Rows(#[from] StateError),
}

/// A backup that is ready to be sent.
#[derive(Debug)]
pub struct Backup {
    file: File,
    /// Its length.
    pub bytes: u64,
    /// Its checksum, in hexadecimal.
    pub sha256: String,
    /// What it is of.
    pub head: Head,
    slot: OwnedSemaphorePermit,
}

/// Places for backups that are taken or sent.
#[derive(Debug)]
pub struct Backups(Arc<Semaphore>);

impl Default for Backups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BACKUPS_AT_ONCE_MAX)))
    }
}

impl Node {
    /// Takes a backup.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn backup(&self) -> Result<Backup, BackupError> {
        let slots = Arc::clone(&self.inner.backups.0);
        let slot = slots.try_acquire_owned().map_err(|_| BackupError::Busy)?;
        self.barrier().await?;
        let node = self.clone();
        // Whoever asked may go meanwhile: the file has no name and goes with it.
        let taking = tokio::task::spawn_blocking(move || node.take_backup(slot));
        taking.await.map_err(io::Error::other)?
    }

    fn take_backup(&self, slot: OwnedSemaphorePermit) -> Result<Backup, BackupError> {
        let store = self.store();
        let room = Room::of(store.path())?;
        let needed = store.state_bytes()?;
        if room.free < needed + room.reserve() {
            let (free, reserve) = (room.free, room.reserve());
            return Err(BackupError::NoRoom { needed, free, reserve });
        }
        let directory = store.path().join(snapshot::DIRECTORY);
        let path = directory.join(format!("{}.backup", uuid::Uuid::new_v4().simple()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        // If this process dies in between, it is removed with the next start.
        std::fs::remove_file(&path)?;
        self.write_backup(&self.inner.machine, file, slot)
    }

    fn write_backup(
        &self,
        machine: &Machine,
        file: File,
        slot: OwnedSemaphorePermit,
    ) -> Result<Backup, BackupError> {
        // Before the rows are fixed, so that it is one of them.
        let cluster = nodes::cluster(&self.rows())?.ok_or(BackupError::NoCluster)?;
        let reading = machine.read_all(BACKUP_KEPT_BYTES_MAX);
        let head = head(cluster, &reading.position);
        let mut writer = Writer::begin(BufWriter::new(file), &head)?;
        loop {
            let (rows, more) = reading.next()??;
            writer.add(&rows)?;
            if !more {
                break;
            }
        }
        let Written { out, bytes, sum } = writer.finish()?;
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Backup { file, bytes, sha256: hex::encode(&sum), head, slot })
    }
}

/// What a backup of this position says about itself.
pub fn head(cluster: uuid::Uuid, (last, membership): &Position) -> Head {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let membership = membership.membership();
    let voters: Vec<_> = membership.voter_ids().collect();
    let members = membership.nodes().map(|(id, member)| Member {
        name: id.name().to_owned(),
        address: member.address.clone(),
        voter: voters.contains(id),
    });
    Head {
        cluster,
        term: last.as_ref().map_or(0, |id| id.committed_leader_id().term),
        index: last.as_ref().map_or(0, |id| id.index()),
        taken_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        members: members.collect(),
    }
}

impl Backup {
    /// Its bytes, in order. The stream ends early, which whoever knows the length sees, when the
    /// receiver takes nothing for too long or the node stops.
    pub fn into_stream(self, node: &Node) -> impl Stream<Item = io::Result<Bytes>> + use<> {
        let (chunks, receiver) = mpsc::channel(1);
        node.spawn(send(self, chunks));
        futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        })
    }
}

async fn send(backup: Backup, chunks: mpsc::Sender<io::Result<Bytes>>) {
    let Backup { mut file, slot, .. } = backup;
    loop {
        let reading = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(BACKUP_CHUNK_BYTES);
            let read = (&mut file).take(BACKUP_CHUNK_BYTES as u64).read_to_end(&mut chunk);
            (file, read.map(|_| Bytes::from(chunk)))
        });
        let Ok((back, chunk)) = reading.await else { break };
        file = back;
        let last = chunk.as_ref().map_or(true, Bytes::is_empty);
        let sent = timeout(Duration::from_millis(BACKUP_STALL_MS_MAX), chunks.send(chunk)).await;
        match sent {
            Ok(Ok(())) if !last => {}
            Err(_) => {
                tracing::warn!("a backup was given up: its receiver takes nothing");
                break;
            }
            _ => break,
        }
    }
    drop(slot);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backup of three chunks, and the places it has one of.
    fn backup() -> (Backup, Arc<Semaphore>) {
        let mut file = tempfile::tempfile().unwrap();
        let bytes = BACKUP_CHUNK_BYTES * 2 + 1;
        io::Write::write_all(&mut file, &vec![7; bytes]).unwrap();
        file.rewind().unwrap();
        let places = Arc::new(Semaphore::new(1));
        let slot = Arc::clone(&places).try_acquire_owned().unwrap();
        let head = head(uuid::Uuid::nil(), &Position::default());
        (Backup { file, bytes: bytes as u64, sha256: String::new(), head, slot }, places)
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_takes_nothing_is_given_up_at_the_bound() {
        let (backup, places) = backup();
        let (chunks, mut receiver) = mpsc::channel(1);
        let begun = tokio::time::Instant::now();
        let sending = tokio::spawn(send(backup, chunks));
        sending.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_millis(BACKUP_STALL_MS_MAX));
        assert_eq!(places.available_permits(), 1);
        // One was on its way; then it breaks off, without the last one that would be its end.
        assert_eq!(receiver.recv().await.unwrap().unwrap().len(), BACKUP_CHUNK_BYTES);
        assert!(receiver.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_receiver_gets_all_chunks_in_order() {
        let (backup, places) = backup();
        let bytes = backup.bytes;
        let (chunks, mut receiver) = mpsc::channel(1);
        tokio::spawn(send(backup, chunks));
        let mut received = 0;
        while let Some(chunk) = receiver.recv().await {
            received += chunk.unwrap().len() as u64;
        }
        assert_eq!((received, places.available_permits()), (bytes, 1));
    }
}
