//! The state machine, for openraft: rows in the `state` database.
//!
//! # Contract
//! * The rows and the position they reflect change together (see [`super::redo`]). That is not
//!   synced; after a crash the rows may be those of an earlier position, and openraft applies the
//!   rest of the log again.
//! * A snapshot shows the state at one position while `apply` goes on (see [`view`](super::view)).
//! * A snapshot is loaded into a tree of its own, which takes the place of the present one at once:
//!   nobody sees a part of it, and an interrupted one leaves everything as it was.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{
    ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot,
};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::log::LogStore;
use super::room::Room;
use super::snapshot::{self, SnapshotFile};
use super::view::{Chunk, Ended, Views};
use super::{Inner, io_error};
use crate::codec::{decode, encode};
use crate::limits::{APPLY_ENTRIES_MAX, SNAPSHOT_ROWS_PER_LOCK};
use crate::state::{Change, Transaction, apply};
use crate::types::{Entry, LogId, NodeId, SnapshotMeta, StoredMembership, Types};

/// Prefix of the rows that say where the state machine stands; no part of the replicated state.
pub const OWN_ROWS: &[u8] = b"\0";
const POSITION: &[u8] = b"\0position";

/// The replicated state and the position in the log that it reflects.
pub type Position = (Option<LogId>, StoredMembership);

/// Hears what `apply` does, on this node.
pub trait Observer: Send + Sync + 'static {
    /// Rows were written: `changes` of entries up to `index`. Must return at once.
    fn applied(&self, index: u64, changes: &[Change]);

    /// The whole state was replaced by a snapshot at `index`.
    fn replaced(&self, index: u64);
}

/// The state machine. Cheap to clone; all clones are one machine.
#[derive(Clone)]
pub struct Machine {
    store: Arc<Inner>,
    observer: Arc<dyn Observer>,
    /// Held while rows change and while somebody reads some of all of them.
    shared: Arc<Mutex<Shared>>,
    applied: watch::Sender<u64>,
    /// The last membership that is applied, for those who may not wait for `shared`.
    membership: watch::Sender<StoredMembership>,
}

#[derive(Default)]
struct Shared {
    position: Position,
    /// Who reads all rows at the moment.
    views: Views,
    /// Whether there was no room for the last snapshot that was wanted.
    no_room: bool,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Machine {
    /// Opens the state machine, or makes it again from the latest snapshot when it is damaged.
    pub(super) fn open(store: Arc<Inner>, observer: Arc<dyn Observer>) -> Result<Self, String> {
        let machine = Self {
            store,
            observer,
            shared: Arc::default(),
            applied: watch::Sender::new(0),
            membership: watch::Sender::default(),
        };
        let loaded = machine.load().and_then(|position| machine.check_reach(position));
        let position = match loaded {
            Ok(position) => position,
            Err(problem) => {
                tracing::warn!(%problem, "the state machine is made again from snapshot and log");
                let rebuilt = machine.rebuild().map_err(|error| error.to_string())?;
                machine.check_reach(rebuilt)?
            }
        };
        machine.stand_at(position);
        Ok(machine)
    }

    fn stand_at(&self, position: Position) {
        let index = position.0.as_ref().map_or(0, |id| id.index());
        self.membership.send_replace(position.1.clone());
        self.shared.lock().position = position;
        self.applied.send_replace(index);
    }

    fn directory(&self) -> PathBuf {
        self.store.path.join(snapshot::DIRECTORY)
    }

    /// Reads every row, so that damage is found now and not when somebody needs the row.
    fn load(&self) -> Result<Position, String> {
        let state = self.store.rows();
        let text = |error: sled::Error| error.to_string();
        let mut any = false;
        for row in state.iter() {
            let (key, value) = row.map_err(text)?;
            any = true;
            if value.first() != Some(&crate::codec::VERSION) {
                return Err(format!("row {key:?} is damaged"));
            }
        }
        match state.get(POSITION).map_err(text)? {
            Some(bytes) => decode(&bytes).map_err(|error| error.to_string()),
            None if any => Err("its position is missing".to_owned()),
            None => Ok(Position::default()),
        }
    }

    /// Whether the log goes on where the rows end: what is compacted cannot be applied again.
    fn check_reach(&self, position: Position) -> Result<Position, String> {
        let purged = super::log::purged(&self.store.meta)?;
        if position.0 < purged {
            let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index());
            return Err(format!(
                "its rows end at entry {}, and the log begins behind entry {}",
                index(&position.0),
                index(&purged)
            ));
        }
        Ok(position)
    }

    /// Starts over from the latest snapshot; openraft applies the log from there.
    fn rebuild(&self) -> io::Result<Position> {
        match snapshot::latest(&self.directory())? {
            Some(file) => self.replace(&file),
            None => {
                let rows = self.store.rows();
                self.store.redo.forget(&rows)?;
                rows.clear().map_err(io_error)?;
                Ok(Position::default())
            }
        }
    }

    /// Replaces all rows by those of a snapshot that is whole.
    pub(super) fn replace(&self, file: &SnapshotFile) -> io::Result<Position> {
        let meta = snapshot::check(&file.path)?;
        let db = &self.store.state_db;
        let name = [super::FIRST_TREE, db.generate_id().map_err(io_error)?.to_string().as_bytes()]
            .concat();
        let state = db.open_tree(&name).map_err(io_error)?;
        let mut reader = snapshot::Reader::open(&file.path)?;
        let mut batch = sled::Batch::default();
        let mut rows = 0;
        while let Some((key, value)) = reader.row()? {
            batch.insert(key, value);
            rows += 1;
            if rows % SNAPSHOT_ROWS_PER_LOCK == 0 {
                state.apply_batch(std::mem::take(&mut batch)).map_err(io_error)?;
            }
        }
        let position = (meta.last_log_id, meta.last_membership);
        batch.insert(POSITION, encode(&position));
        state.apply_batch(batch).map_err(io_error)?;
        self.store.sync_state()?;
        db.insert(super::CURRENT_TREE, name).map_err(io_error)?;
        self.store.sync_state()?;
        let before = {
            // Whoever begins to read all rows gets the old ones, and is told, or the new ones with
            // their position.
            let mut shared = self.shared.lock();
            shared.views.replaced();
            shared.position = position.clone();
            std::mem::replace(&mut *self.store.state.write(), state)
        };
        self.store.redo.forget(&before)?;
        db.drop_tree(before.name()).map_err(io_error)?;
        Ok(position)
    }

    /// Where it stands.
    pub(crate) fn position(&self) -> Position {
        self.shared.lock().position.clone()
    }

    /// Whether the disk has room for another snapshot beside the log.
    fn room_for_snapshot(&self) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let room = Room::of(&self.store.path).map_err(text)?;
        // The next one is about as long as the last one.
        let needed = match snapshot::latest(&self.directory()).map_err(text)? {
            Some(latest) => latest.bytes + latest.bytes / 4,
            None => self.store.state_db.size_on_disk().map_err(|error| error.to_string())?,
        };
        let (free, reserve) = (room.free, room.reserve());
        if free < needed + reserve {
            return Err(format!(
                "a snapshot may take {needed} bytes, and {free} are free, of which {reserve} stay free"
            ));
        }
        Ok(())
    }

    /// Who votes whatever happens next: the voters of the last applied membership, and while that
    /// one passes from some voters to others, those it passes from. A new voter is not among them
    /// until the whole change is committed; a majority with it may elect nobody before that
    /// (Ongaro's thesis, 4.3: joint consensus needs the majorities of both).
    pub fn settled_voters(&self) -> BTreeSet<NodeId> {
        let membership = self.membership.borrow();
        membership.membership().get_joint_config().first().cloned().unwrap_or_default()
    }

    /// Whether nobody else is in the membership, nor in one that `log` has after it. What cannot be read
    /// is for Raft to report.
    pub(crate) fn is_alone(&self, log: &LogStore) -> bool {
        const BYTES: usize = 1 << 20;
        if self.membership.borrow().membership().nodes().nth(1).is_some() {
            return false;
        }
        let mut next = *self.applied.borrow() + 1;
        loop {
            let entries = log.read_from(next, BYTES).unwrap_or_default();
            let Some(last) = entries.last() else { return true };
            next = last.log_id().index() + 1;
            let lets_others_in = |entry: &Entry| match &entry.payload {
                EntryPayload::Membership(membership) => membership.nodes().nth(1).is_some(),
                _ => false,
            };
            if entries.iter().any(lets_others_in) {
                return false;
            }
        }
    }

    /// The index of the last applied entry, as it grows.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Applies entries in one write and answers them.
    fn apply_all(
        &self,
        entries: Vec<(Entry, Option<ApplyResponder<Types>>)>,
    ) -> Result<(), io::Error> {
        let Some(last) = entries.last().map(|(entry, _)| entry.log_id()) else { return Ok(()) };
        let mut shared = self.shared.lock();
        let mut membership = None;
        let mut answers = Vec::new();
        let rows = self.store.rows();
        let mut transaction = Transaction::new(&rows);
        for (entry, responder) in entries {
            let index = entry.index();
            let mut replies = Vec::new();
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(batch) => {
                    for command in batch.0.iter() {
                        let reply = apply(&mut transaction, index, command).map_err(io_error)?;
                        replies.push(reply);
                    }
                }
                EntryPayload::Membership(config) => {
                    membership = Some(StoredMembership::new(Some(entry.log_id()), config.clone()));
                }
            }
            if let Some(responder) = responder {
                answers.push((responder, replies));
            }
        }
        if let Some(membership) = &membership {
            self.membership.send_replace(membership.clone());
        }
        let membership = membership.unwrap_or_else(|| shared.position.1.clone());
        let position = (Some(last), membership);
        let Transaction { mut writes, changes, .. } = transaction;
        shared.views.keep(&rows, &writes)?;
        writes.insert(POSITION.to_vec(), Some(encode(&position)));
        self.store.redo.write(&rows, writes)?;
        shared.position = position;
        drop(shared);
        self.applied.send_replace(last.index());
        self.observer.applied(last.index(), &changes);
        for (responder, replies) in answers {
            responder.send(replies);
        }
        Ok(())
    }
}

/// Reads all rows as they were at one position.
#[derive(Debug)]
pub(crate) struct Reading {
    machine: Machine,
    view: u64,
    /// The position.
    pub position: Position,
}

impl Machine {
    /// Begins to read all rows as they are now; what changes meanwhile may take `bytes_max` bytes of
    /// memory.
    pub(crate) fn read_all(&self, bytes_max: usize) -> Reading {
        let mut shared = self.shared.lock();
        let view = shared.views.begin(bytes_max);
        Reading { machine: self.clone(), view, position: shared.position.clone() }
    }
}

impl Reading {
    /// The next rows, in order of their keys, and whether there may be more. Blocks.
    pub(crate) fn next(&self) -> io::Result<Result<Chunk, Ended>> {
        let mut shared = self.machine.shared.lock();
        // Under the lock: what takes the place of the rows ends the views first.
        let rows = self.machine.store.rows();
        shared.views.next(self.view, &rows)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.machine.shared.lock().views.forget(self.view);
    }
}

/// Writes a snapshot of the state at the position it was made for.
#[derive(Debug)]
pub struct SnapshotBuilder {
    /// Until it is built.
    reading: Option<Reading>,
}

/// Writes what is read to a snapshot; `None` when the state was replaced meanwhile.
fn write_snapshot(reading: &Reading) -> io::Result<Option<MachineSnapshot>> {
    let directory = reading.machine.directory();
    let (last_log_id, last_membership) = reading.position.clone();
    let meta = SnapshotMeta { last_log_id, last_membership };
    let mut writer = snapshot::Writer::create(&directory, &meta)?;
    loop {
        let Ok((rows, more)) = reading.next()? else { return Ok(None) };
        for (key, value) in rows {
            writer.row(&key, &value)?;
        }
        if !more {
            break;
        }
    }
    // The log may be compacted up to here from now on; the rows need not start over then.
    reading.machine.store.sync_state()?;
    let file = writer.finish()?;
    snapshot::remove_others(&directory, &file.path)?;
    Ok(Some(Snapshot { meta, snapshot: file }))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

type MachineSnapshot = openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>;

/// The latest snapshot in a directory, and what it is of.
fn current(directory: &std::path::Path) -> io::Result<Option<MachineSnapshot>> {
    loop {
        let Some(file) = snapshot::latest(directory)? else { return Ok(None) };
        match snapshot::Reader::open(&file.path) {
            Ok(reader) => return Ok(Some(Snapshot { meta: reader.meta, snapshot: file })),
            // A newer one took its place between the two looks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<MachineSnapshot, io::Error> {
        let reading = self.reading.take();
        let reading = reading.ok_or_else(|| io::Error::other("a builder builds once"))?;
        let building = tokio::task::spawn_blocking(move || match write_snapshot(&reading) {
            Ok(Some(snapshot)) => Ok(snapshot),
            // The one that has replaced the state is newer than what was asked for.
            Ok(None) => current(&reading.machine.directory())?
                .ok_or_else(|| io::Error::other("the snapshot that was installed is gone")),
            Err(error) if is_full(&error) => {
                tracing::error!(%error, "the log is not compacted");
                // One that is not newer than what there is counts for nothing. An error would end
                // this node, which has lost nothing.
                let none = SnapshotFile { path: PathBuf::new(), bytes: 0 };
                let none = Snapshot { meta: SnapshotMeta::default(), snapshot: none };
                Ok(current(&reading.machine.directory())?.unwrap_or(none))
            }
            Err(error) => Err(error),
        });
        building.await.map_err(io_error)?
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<Position, io::Error> {
        Ok(self.shared.lock().position.clone())
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        while let Some(entry) = entries.next().await {
            batch.push(entry?);
            if batch.len() == APPLY_ENTRIES_MAX {
                self.apply_all(std::mem::take(&mut batch))?;
            }
        }
        self.apply_all(batch)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        // Made at the speed of the disk, and the log cannot be compacted without: no bound.
        SnapshotBuilder { reading: Some(self.read_all(usize::MAX)) }
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let machine = self.clone();
        let room = tokio::task::spawn_blocking(move || machine.room_for_snapshot()).await;
        // It is asked for again after as many entries: said once.
        let problem = room.ok().and_then(Result::err);
        let said = std::mem::replace(&mut self.shared.lock().no_room, problem.is_some());
        match problem {
            Some(problem) if !force => {
                if !said {
                    tracing::warn!(%problem, "the log is not compacted until there is room");
                }
                None
            }
            _ => Some(self.get_snapshot_builder().await),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<(), io::Error> {
        let machine = self.clone();
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index());
        let position = tokio::task::spawn_blocking(move || {
            // A snapshot being made of what is replaced is of no use.
            machine.shared.lock().views.replaced();
            let file = snapshot::adopt(&machine.directory(), file)?;
            let position = machine.replace(&file)?;
            snapshot::remove_others(&machine.directory(), &file.path)?;
            Ok::<_, io::Error>(position)
        })
        .await
        .map_err(io_error)??;
        self.stand_at(position);
        self.observer.replaced(index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<MachineSnapshot>, io::Error> {
        let directory = self.directory();
        tokio::task::spawn_blocking(move || current(&directory)).await.map_err(io_error)?
    }
}
