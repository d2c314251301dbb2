//! The thread that makes writes durable.
//!
//! # Contract
//! * Entries are durable once they are in the journal, by its `fdatasync`. All else is after
//!   `flush` of sled (its buffers are in the file) *and* `fdatasync` of that file through a handle
//!   of our own (the file is on the disk): sled's flush alone uses `sync_file_range`, which promises
//!   nothing.
//! * Group commit: all who ask while a sync is under way share the next one.
//! * Before a journal segment is written anew, another thread has made sled durable; normally it is
//!   done long before.
//! * After a failed sync nobody is told "kept" ever again: what the kernel did with the pages of
//!   a failed `fdatasync` is unknown.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::io_error;
use super::journal::{Journal, Records};
use super::mark::Mark;
use crate::types::Types;

/// What somebody waits for.
enum Waiter {
    /// Entries up to this index.
    Entries(u64, Records, IOFlushed<Types>),
    /// Whatever was written before.
    All(Done),
    /// The same; and what the journal has does not come back.
    Begin(Done),
}

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Hands work to the thread.
#[derive(Debug)]
pub struct Syncer {
    /// Gone when it is dropped, which ends the thread.
    waiters: Option<Sender<Waiter>>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

/// What the thread has done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Syncs.
    pub syncs: AtomicU64,
    /// Microseconds they took together.
    pub micros: AtomicU64,
}

impl Syncer {
    /// Starts the thread; it ends with the last handle.
    pub fn start(
        db: sled::Db,
        directory: &Path,
        journal: Journal,
        mark: Arc<Mark>,
    ) -> io::Result<Self> {
        let database = Database::open(db, directory)?;
        let checkpoints = Checkpoints::start(Arc::clone(&database))?;
        let (waiters, queue) = channel();
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        let thread = std::thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || Run { database, checkpoints, journal, mark }.run(&queue, &counting))?;
        Ok(Self { waiters: Some(waiters), thread: Some(thread), counts })
    }

    /// Calls back once the entries up to `last`, which are in `records`, are durable.
    pub fn entries(&self, last: u64, records: Records, callback: IOFlushed<Types>) {
        let failed = self.send(Waiter::Entries(last, records, callback));
        if let Some(Waiter::Entries(_, _, callback)) = failed {
            callback.io_completed(Err(ended()));
        }
    }

    /// Returns once all that was written before is durable.
    pub async fn wait(&self) -> io::Result<()> {
        self.ask(Waiter::All).await
    }

    /// Returns once all that was written before is durable, and the journal is empty: what it held
    /// would otherwise come back where it was taken away.
    pub async fn begin(&self) -> io::Result<()> {
        self.ask(Waiter::Begin).await
    }

    /// [`Syncer::begin`], for threads that may block.
    pub fn begin_blocking(&self) -> io::Result<()> {
        let (done, wait) = channel();
        self.send(Waiter::Begin(Box::new(move |result| drop(done.send(result)))));
        wait.recv().unwrap_or_else(|_| Err(ended()))
    }

    async fn ask(&self, waiter: impl FnOnce(Done) -> Waiter) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        // Without a thread it is dropped, and the one who waits sees that.
        self.send(waiter(Box::new(move |result| drop(done.send(result)))));
        wait.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Gives it back when there is no thread.
    fn send(&self, waiter: Waiter) -> Option<Waiter> {
        match &self.waiters {
            Some(waiters) => waiters.send(waiter).err().map(|failed| failed.0),
            None => Some(waiter),
        }
    }

    /// What was done so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Syncer {
    /// Waits for the end of the thread: it has the database open.
    fn drop(&mut self) {
        self.waiters = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // It has said why, if it panicked.
            let _ = thread.join();
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that syncs the store has ended")
}

/// The database and the file it is in.
#[derive(Debug)]
struct Database {
    db: sled::Db,
    file: File,
}

impl Database {
    fn open(db: sled::Db, directory: &Path) -> io::Result<Arc<Self>> {
        let file = File::options().write(true).open(directory.join("db"))?;
        Ok(Arc::new(Self { db, file }))
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(io_error)?;
        self.file.sync_data()
    }
}

/// Makes the database durable while the journal goes on.
#[derive(Debug)]
struct Checkpoints {
    /// Gone when it is dropped, which ends the thread.
    begin: Option<SyncSender<()>>,
    done: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
    under_way: bool,
}

impl Checkpoints {
    fn start(database: Arc<Database>) -> io::Result<Self> {
        let (begin, beginnings) = sync_channel(1);
        let (finished, done) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("store-flush".to_owned()).spawn(move || {
                while let Ok(()) = beginnings.recv() {
                    if finished.send(database.sync()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { begin: Some(begin), done, thread: Some(thread), under_way: false })
    }

    /// Begins one, after the one before has come to its end.
    fn begin(&mut self) -> io::Result<()> {
        self.finish()?;
        let begun = self.begin.as_ref().is_some_and(|begin| begin.send(()).is_ok());
        self.under_way = begun;
        if begun { Ok(()) } else { Err(ended()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.under_way) {
            return Ok(());
        }
        self.done.recv().unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Checkpoints {
    /// Waits for the end of the thread: it has the database open.
    fn drop(&mut self) {
        self.begin = None;
        if let Some(thread) = self.thread.take() {
            // It has said why, if it panicked.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
#[derive(Debug)]
struct Run {
    checkpoints: Checkpoints,
    database: Arc<Database>,
    journal: Journal,
    mark: Arc<Mark>,
}

impl Run {
    fn run(mut self, queue: &Receiver<Waiter>, counts: &Counts) {
        let mut failed: Option<String> = None;
        let mut waiters = Vec::new();
        let mut records = Records::default();
        while let Ok(first) = queue.recv() {
            waiters.push(first);
            waiters.extend(queue.try_iter());
            if failed.is_none() {
                let begun = std::time::Instant::now();
                let synced = self.sync(&mut waiters, &mut records);
                records.clear();
                counts.syncs.fetch_add(1, Ordering::Relaxed);
                let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                counts.micros.fetch_add(micros, Ordering::Relaxed);
                if let Err(error) = synced {
                    tracing::error!(
                        %error, "the store cannot be synced; this node keeps nothing more"
                    );
                    failed = Some(error.to_string());
                }
            }
            let result = || failed.clone().map_or(Ok(()), |error| Err(io::Error::other(error)));
            for waiter in waiters.drain(..) {
                match waiter {
                    Waiter::Entries(_, _, callback) => callback.io_completed(result()),
                    Waiter::All(done) | Waiter::Begin(done) => done(result()),
                }
            }
        }
    }

    /// Makes durable what `waiters` wait for.
    fn sync(&mut self, waiters: &mut [Waiter], records: &mut Records) -> io::Result<()> {
        let (mut all, mut begin, mut last) = (false, false, None);
        for waiter in waiters {
            match waiter {
                Waiter::Entries(index, new, _) => {
                    // The last to ask stands: after entries were taken away, indexes begin again
                    // below.
                    last = Some(*index);
                    records.append(std::mem::take(new));
                }
                Waiter::All(_) => all = true,
                Waiter::Begin(_) => begin = true,
            }
        }
        if all || begin || !Journal::can_hold(records) {
            // Entries are in sled as well.
            self.database.sync()?;
        } else if !records.is_empty() {
            if !self.journal.has_room(records) {
                // The other segment is free once the database has what it holds; what this one
                // holds is made durable meanwhile.
                self.checkpoints.begin()?;
                self.journal.turn()?;
            }
            self.journal.write(records)?;
        }
        if begin {
            self.journal.begin()?;
        }
        match last {
            Some(last) if last != self.mark.get() => self.mark.write(last),
            _ => Ok(()),
        }
    }
}
