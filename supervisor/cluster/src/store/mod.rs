//! What a node keeps on its disk: log, vote, membership, state machine, snapshots.
//!
//! # Contract
//! * Log, vote and identity are in a sled database at `{session-db-path}/cluster-{node-id}`, the
//!   rows of the state machine in one of their own below it: what is applied never waits for the
//!   disk, and must not make what is appended wait. Snapshots are files (see [`snapshot`]).
//! * A vote is reported as kept only after `fdatasync` of the database file, an entry after that
//!   of the journal, which holds what the database file does not have yet (see [`sync`] and
//!   [`journal`]); sled's own `flush` does not do that.
//! * What was reported as kept and is not there when the store is opened again is found, and
//!   opening refuses (see [`mark`]). A state machine that does not match the log is made again
//!   from snapshot and log.
//! * One process at a time (see [`lock`]).
//!
//! Layout: tree `log` holds pieces of entries under index and piece number; tree `meta` the vote,
//! what was purged, who this is. The database `state` holds the state machine's rows and, changed
//! together with them, the position that they reflect; it is synced with each snapshot. Whatever is wrong
//! with it, it can be made again.

mod identity;
mod journal;
mod lock;
mod log;
mod machine;
mod mark;
mod purge;
mod redo;
pub mod room;
pub(crate) mod rowfile;
pub mod snapshot;
mod sync;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub use self::identity::Identity;
use self::journal::Journal;
use self::lock::Lock;
pub use self::lock::LockError;
pub use self::log::LogStore;
pub(crate) use self::machine::OWN_ROWS;
pub use self::machine::{Machine, Observer, Position, SnapshotBuilder};
use self::mark::Mark;
use self::purge::Purger;
use self::redo::Redo;
use self::snapshot::SnapshotFile;
use self::sync::Syncer;
pub use self::view::Ended;
use crate::limits::{DATABASE_LOCK_MS_MAX, PAGE_CACHE_BYTES, SLED_SEGMENT_BYTES};
use crate::state::StateError;
use crate::types::Vote;

/// Where the rows of the state machine are, below the store.
const STATE: &str = "state";

/// Names of trees of rows begin with this.
const FIRST_TREE: &[u8] = b"rows";
/// Says which tree holds the present rows.
const CURRENT_TREE: &[u8] = b"current";

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error("{path}: {source}")]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database does not open.
    #[error(
        "the database in {path} is damaged: {problem}. This node must come back as a new one: move \
         the directory away and start it again; it takes everything from the other nodes. Without \
         other nodes, restore a backup with `mcp-v8 cluster restore`"
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The store belongs to another node.
    #[error(
        "the store in {path} belongs to node '{owner}'; start this node with --node-id={owner} or \
         give it another --session-db-path"
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
}

/// An open store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    db: sled::Db,
    log: sled::Tree,
    meta: sled::Tree,
    state_db: sled::Db,
    /// The present rows; a snapshot is loaded into a tree of its own and takes their place.
    state: RwLock<sled::Tree>,
    redo: Redo,
    identity: Mutex<Identity>,
    mark: Arc<Mark>,
    syncer: Syncer,
    purger: Purger,
    /// Held for as long as the store is open.
    _lock: Lock,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store of node `name` in `path`, or makes it.
    ///
    /// Blocks: recovery reads the database.
    ///
    /// # Errors
    /// [`OpenError`], with what to do about it.
    pub fn open(path: &Path, name: &str) -> Result<Self, OpenError> {
        let directory = |source| OpenError::Directory { path: path.to_owned(), source };
        let damaged = |problem: String| OpenError::Damaged { path: path.to_owned(), problem };
        std::fs::create_dir_all(path.join(snapshot::DIRECTORY)).map_err(directory)?;
        let lock = Lock::take(path)?;
        remove_unfinished(path).map_err(directory)?;
        snapshot::remove_unfinished(&path.join(snapshot::DIRECTORY)).map_err(directory)?;
        let mark = Arc::new(Mark::open(path).map_err(directory)?);
        let db = open_database(path).map_err(damaged)?;
        let tree = |name: &str| db.open_tree(name).map_err(|error| damaged(error.to_string()));
        let (log, meta) = (tree("log")?, tree("meta")?);
        let (state_db, state, redo) = open_state(&path.join(STATE)).map_err(damaged)?;
        let identity = Identity::load(&meta, name).map_err(|problem| match problem {
            identity::LoadError::OtherNode(owner) => {
                OpenError::OtherNode { path: path.to_owned(), owner }
            }
            identity::LoadError::Damaged(problem) => damaged(problem),
        })?;
        // Entries that were purged since would leave a hole behind them.
        let purged = log::purged(&meta).map_err(damaged)?.map(|id| id.index());
        let journal = Journal::open(path, |index, sealed| match purged {
            Some(purged) if index <= purged => Ok(()),
            _ => log::insert(&log, index, sealed),
        })
        .map_err(directory)?;
        let syncer = Syncer::start(db.clone(), path, journal, Arc::clone(&mark));
        let syncer = syncer.map_err(directory)?;
        let purger = Purger::start(log.clone()).map_err(directory)?;
        let inner = Inner {
            path: path.to_owned(),
            db,
            log,
            meta,
            state_db,
            state: RwLock::new(state),
            redo,
            identity: Mutex::new(identity),
            mark,
            syncer,
            purger,
            _lock: lock,
        };
        let store = Self { inner: Arc::new(inner) };
        // The directory's entries must survive as well as what is in them.
        sync_directory(path).map_err(directory)?;
        store.inner.syncer.begin_blocking().map_err(directory)?;
        Ok(store)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Who it belongs to.
    pub fn identity(&self) -> Identity {
        self.inner.identity.lock().clone()
    }

    /// Changes who it belongs to; on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn set_identity(&self, change: impl FnOnce(&mut Identity)) -> io::Result<()> {
        {
            let mut identity = self.inner.identity.lock();
            change(&mut identity);
            identity.save(&self.inner.meta)?;
        }
        self.inner.syncer.wait().await
    }

    /// The log, for openraft.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when entries are missing or do not decode.
    pub fn log(&self) -> Result<LogStore, OpenError> {
        LogStore::open(Arc::clone(&self.inner))
            .map_err(|problem| OpenError::Damaged { path: self.inner.path.clone(), problem })
    }

    /// The state machine, for openraft; `observer` hears of every change.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when it can be made neither from its rows nor from a snapshot.
    pub fn machine(&self, observer: Arc<dyn Observer>) -> Result<Machine, OpenError> {
        Machine::open(Arc::clone(&self.inner), observer)
            .map_err(|problem| OpenError::Damaged { path: self.inner.path.clone(), problem })
    }

    /// Makes a store that holds nothing begin at a snapshot, as if its log had been compacted there.
    /// Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn begin_at(
        &self,
        snapshot: &SnapshotFile,
        vote: &Vote,
        identity: Identity,
    ) -> io::Result<()> {
        struct Deaf;
        impl Observer for Deaf {
            fn applied(&self, _: u64, _: &[crate::state::Change]) {}
            fn replaced(&self, _: u64) {}
        }
        let machine = self.machine(Arc::new(Deaf)).map_err(io_error)?;
        let (last, _) = machine.replace(snapshot)?;
        log::begin_behind(&self.inner.meta, last, vote)?;
        identity.save(&self.inner.meta)?;
        *self.inner.identity.lock() = identity;
        self.inner.syncer.begin_blocking()
    }

    /// The rows of the state machine, for reading: those of one life of the state machine, also
    /// when a snapshot takes their place meanwhile.
    pub fn rows(&self) -> sled::Tree {
        self.inner.rows()
    }

    /// A hash over all rows: equal on nodes that have applied the same entries. Reads everything.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn state_hash(&self) -> Result<u32, StateError> {
        let mut hash = crc32fast::Hasher::new();
        for row in self.rows().iter() {
            let (key, value) = row?;
            if key.starts_with(machine::OWN_ROWS) {
                continue;
            }
            hash.update(&(key.len() as u32).to_le_bytes());
            hash.update(&key);
            hash.update(&(value.len() as u32).to_le_bytes());
            hash.update(&value);
        }
        Ok(hash.finalize())
    }

    /// Bytes of the rows on disk: more than they are, and not less by much than a copy of them.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn state_bytes(&self) -> Result<u64, StateError> {
        // What is not written yet is in one segment.
        Ok(self.inner.state_db.size_on_disk()? + SLED_SEGMENT_BYTES as u64)
    }

    /// Makes the rows durable. Blocks.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sync_rows(&self) -> io::Result<()> {
        self.inner.sync_state()
    }

    /// Bytes of the latest snapshot; 0 without one. Blocks.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn snapshot_bytes(&self) -> io::Result<u64> {
        let latest = snapshot::latest(&self.inner.path.join(snapshot::DIRECTORY))?;
        Ok(latest.map_or(0, |file| file.bytes))
    }

    /// Bytes on disk, snapshots not included.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn bytes(&self) -> Result<u64, StateError> {
        Ok(self.inner.db.size_on_disk()? + self.inner.state_db.size_on_disk()?)
    }
}

/// A crash while sled writes a snapshot of its page table leaves a file that makes every later
/// open fail (sled issue 1527); it was never finished and is not needed.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a database that is there was made with; sled opens it with nothing else.
fn segment_bytes(path: &Path) -> usize {
    // Text, and a checksum behind it.
    let conf = std::fs::read(path.join("conf")).unwrap_or_default();
    let conf = String::from_utf8_lossy(&conf);
    let size = conf.lines().find_map(|line| line.strip_prefix("segment_size: ")?.parse().ok());
    size.unwrap_or(SLED_SEGMENT_BYTES)
}

/// Waits until nobody holds sled's own lock of a database, for at most [`DATABASE_LOCK_MS_MAX`].
///
/// The store is this process's by then ([`Lock`]), so the holder is a thread of sled's that still
/// works for a database which was closed a moment ago. What opening says afterwards counts.
fn await_lock(path: &Path) {
    let Ok(file) = std::fs::File::open(path.join("db")) else { return };
    let begun = Instant::now();
    // Taken and given back: the file is closed at the end.
    while flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
        && begun.elapsed().as_millis() < u128::from(DATABASE_LOCK_MS_MAX)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn open_database(path: &Path) -> Result<sled::Db, String> {
    await_lock(path);
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(PAGE_CACHE_BYTES)
        .segment_size(segment_bytes(path))
        // We decide when.
        .flush_every_ms(None);
    // sled panics over some damage that it does not expect.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
    match opened {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its structure is inconsistent".to_owned()),
    }
}

/// Opens the rows of the state machine; starts over when they cannot be opened.
fn open_state(path: &Path) -> Result<(sled::Db, sled::Tree, Redo), String> {
    let open = || {
        std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
        remove_unfinished(path).map_err(|error| error.to_string())?;
        let db = open_database(path)?;
        let text = |error: sled::Error| error.to_string();
        let current = db.get(CURRENT_TREE).map_err(text)?;
        let name = current.unwrap_or_else(|| FIRST_TREE.into());
        for other in db.tree_names() {
            // A snapshot that was not loaded to its end.
            if other != name && other.starts_with(FIRST_TREE) {
                db.drop_tree(&other).map_err(text)?;
            }
        }
        let rows = db.open_tree(&name).map_err(text)?;
        let redo = Redo::open(&db).map_err(text)?;
        redo.finish(&rows)?;
        Ok::<_, String>((db, rows, redo))
    };
    open().or_else(|problem| {
        tracing::warn!(%problem, "the rows of the state machine are damaged: they are made again");
        std::fs::remove_dir_all(path).map_err(|error| error.to_string())?;
        open()
    })
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

impl Inner {
    fn rows(&self) -> sled::Tree {
        self.state.read().clone()
    }

    /// Makes the rows of the state machine durable. Blocks.
    fn sync_state(&self) -> io::Result<()> {
        self.state_db.flush().map_err(io_error)?;
        std::fs::File::open(self.path.join(STATE).join("db"))?.sync_data()
    }
}

fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
