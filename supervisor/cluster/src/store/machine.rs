//! The state machine, for openraft: rows in the `state` database.
//!
//! # Contract
//! * The rows and the position they reflect change together (see [`super::redo`]). That is not
//!   synced; after a crash the rows may be those of an earlier position, and openraft applies the
//!   rest of the log again.
//! * A snapshot shows the state at one position while `apply` goes on: it reads the rows in order
//!   of their keys, a few at a time, and `apply` leaves it the old value of what it changes ahead.
//! * A snapshot is loaded into a tree of its own, which takes the place of the present one at once:
//!   nobody sees a part of it, and an interrupted one leaves everything as it was.

use std::collections::BTreeMap;
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

use super::redo::Writes;
use super::snapshot::{self, SnapshotFile};
use super::{Inner, io_error};
use crate::codec::{decode, encode};
use crate::limits::{APPLY_ENTRIES_MAX, SNAPSHOT_ROWS_PER_LOCK};
use crate::state::{Change, Row, Transaction, apply};
use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership, Types};

/// Prefix of the rows that say where the state machine stands; no part of the replicated state.
pub const OWN_ROWS: &[u8] = b"\0";
const POSITION: &[u8] = b"\0position";

/// The replicated state and the position in the log that it reflects.
type Position = (Option<LogId>, StoredMembership);

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
    /// Held while rows change and while a snapshot reads some.
    shared: Arc<Mutex<Shared>>,
    applied: watch::Sender<u64>,
}

struct Shared {
    position: Position,
    /// The snapshot being made, if one is.
    view: Option<View>,
    /// Counts views, so that one that was given up is not taken for the next.
    views: u64,
}

/// What a snapshot still has to read, as it was when it began.
struct View {
    number: u64,
    /// Keys up to here have been read.
    read_to: Option<Vec<u8>>,
    /// Values, at the time of the snapshot, of rows that changed since.
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
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
            shared: Arc::new(Mutex::new(Shared {
                position: Position::default(),
                view: None,
                views: 0,
            })),
            applied: watch::Sender::new(0),
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
    fn replace(&self, file: &SnapshotFile) -> io::Result<Position> {
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
        let before = std::mem::replace(&mut *self.store.state.write(), state);
        self.store.redo.forget(&before)?;
        db.drop_tree(before.name()).map_err(io_error)?;
        Ok(position)
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
        let membership = membership.unwrap_or_else(|| shared.position.1.clone());
        let position = (Some(last), membership);
        let Transaction { mut writes, changes, .. } = transaction;
        if let Some(view) = &mut shared.view {
            view.keep(&rows, &writes)?;
        }
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

impl View {
    /// Keeps the present values of rows that are about to change and have not been read.
    fn keep(&mut self, state: &sled::Tree, writes: &Writes) -> io::Result<()> {
        for key in writes.keys() {
            let read = self.read_to.as_ref().is_some_and(|to| key <= to);
            if !read && !self.before.contains_key(key) {
                let value = state.get(key).map_err(io_error)?.map(|value| value.to_vec());
                self.before.insert(key.clone(), value);
            }
        }
        Ok(())
    }

    /// The next rows as they were, and whether there may be more.
    fn next(&mut self, state: &sled::Tree) -> io::Result<(Vec<Row>, bool)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match &self.read_to {
            Some(to) => Excluded(to.clone()),
            None => Unbounded,
        };
        let stored: Vec<Row> = state
            .range::<Vec<u8>, _>((from.clone(), Unbounded))
            .take(SNAPSHOT_ROWS_PER_LOCK)
            .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(io_error))
            .collect::<io::Result<_>>()?;
        let more = stored.len() == SNAPSHOT_ROWS_PER_LOCK;
        let to = match stored.last() {
            Some((last, _)) if more => Included(last.clone()),
            _ => Unbounded,
        };
        let mut rows: BTreeMap<_, _> = stored.into_iter().collect();
        let changed: Vec<Vec<u8>> =
            self.before.range((from, to.clone())).map(|(key, _)| key.clone()).collect();
        for key in changed {
            match self.before.remove(&key) {
                Some(Some(value)) => rows.insert(key, value),
                _ => rows.remove(&key),
            };
        }
        if let Included(to) = to {
            self.read_to = Some(to);
        }
        rows.retain(|key, _| !key.starts_with(OWN_ROWS));
        Ok((rows.into_iter().collect(), more))
    }
}

/// Writes a snapshot of the state at the position it was made for.
#[derive(Debug)]
pub struct SnapshotBuilder {
    machine: Machine,
    meta: SnapshotMeta,
    view: u64,
}

impl SnapshotBuilder {
    /// `None` when the state was replaced meanwhile.
    fn write(&self) -> io::Result<Option<SnapshotFile>> {
        let directory = self.machine.directory();
        let mut writer = snapshot::Writer::create(&directory, &self.meta)?;
        loop {
            let (rows, more) = {
                let mut shared = self.machine.shared.lock();
                match &mut shared.view {
                    Some(view) if view.number == self.view => {
                        view.next(&self.machine.store.rows())?
                    }
                    _ => return Ok(None),
                }
            };
            for (key, value) in rows {
                writer.row(&key, &value)?;
            }
            if !more {
                break;
            }
        }
        // The log may be compacted up to here from now on; the rows need not start over then.
        self.machine.store.sync_state()?;
        let file = writer.finish()?;
        snapshot::remove_others(&directory, &file.path)?;
        Ok(Some(file))
    }
}

impl Drop for SnapshotBuilder {
    fn drop(&mut self) {
        let mut shared = self.machine.shared.lock();
        if shared.view.as_ref().is_some_and(|view| view.number == self.view) {
            shared.view = None;
        }
    }
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
        let builder = Self {
            machine: self.machine.clone(),
            meta: self.meta.clone(),
            // The copy ends the view when it is dropped; so does this one, to no effect.
            view: self.view,
        };
        let directory = self.machine.directory();
        let meta = self.meta.clone();
        let building = tokio::task::spawn_blocking(move || match builder.write()? {
            Some(snapshot) => Ok(Snapshot { meta, snapshot }),
            // The one that has replaced the state is newer than what was asked for.
            None => current(&directory)?
                .ok_or_else(|| io::Error::other("the snapshot that was installed is gone")),
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
        let mut shared = self.shared.lock();
        shared.views += 1;
        let number = shared.views;
        shared.view = Some(View { number, read_to: None, before: BTreeMap::new() });
        let (last_log_id, last_membership) = shared.position.clone();
        drop(shared);
        let meta = SnapshotMeta { last_log_id, last_membership };
        SnapshotBuilder { machine: self.clone(), meta, view: number }
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
            machine.shared.lock().view = None;
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
