//! The thread that makes writes durable.
//!
//! # Contract
//! * Whoever waits here is told after `flush` of sled (its buffers are in the file) *and*
//!   `fdatasync` of that file through a handle of our own (the file is on the disk). sled's flush
//!   alone uses `sync_file_range`, which promises nothing.
//! * Group commit: all who ask while a sync is under way share the next one.
//! * After a failed sync nobody is told "kept" ever again: what the kernel did with the pages of
//!   a failed `fdatasync` is unknown.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::io_error;
use super::mark::Mark;
use crate::types::Types;

/// What somebody waits for.
enum Waiter {
    /// Entries up to this index.
    Entries(u64, IOFlushed<Types>),
    /// Whatever was written before.
    All(oneshot::Sender<io::Result<()>>),
}

/// Hands work to the thread.
#[derive(Debug)]
pub struct Syncer {
    waiters: Sender<Waiter>,
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
    pub fn start(db: sled::Db, directory: &Path, mark: Arc<Mark>) -> io::Result<Self> {
        let file = File::options().write(true).open(directory.join("db"))?;
        let (waiters, queue) = channel();
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || run(&db, &file, &mark, &queue, &counting))?;
        Ok(Self { waiters, counts })
    }

    /// Calls back once the entries up to `last` are durable.
    pub fn entries(&self, last: u64, callback: IOFlushed<Types>) {
        if let Err(failed) = self.waiters.send(Waiter::Entries(last, callback))
            && let Waiter::Entries(_, callback) = failed.0
        {
            callback.io_completed(Err(ended()));
        }
    }

    /// Returns once all that was written before is durable.
    pub async fn wait(&self) -> io::Result<()> {
        self.ask().await.unwrap_or_else(|_| Err(ended()))
    }

    /// The same, outside of a runtime.
    pub fn wait_blocking(&self) -> io::Result<()> {
        self.ask().blocking_recv().unwrap_or_else(|_| Err(ended()))
    }

    fn ask(&self) -> oneshot::Receiver<io::Result<()>> {
        let (done, wait) = oneshot::channel();
        // Without a thread the receiver fails.
        let _ = self.waiters.send(Waiter::All(done));
        wait
    }

    /// What was done so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that syncs the store has ended")
}

fn run(db: &sled::Db, file: &File, mark: &Mark, queue: &Receiver<Waiter>, counts: &Counts) {
    let mut failed: Option<String> = None;
    let mut marked = mark.read();
    let mut waiters = Vec::new();
    while let Ok(first) = queue.recv() {
        waiters.push(first);
        waiters.extend(queue.try_iter());
        if failed.is_none() {
            let begun = std::time::Instant::now();
            let synced = db.flush().map_err(io_error).and_then(|_| file.sync_data());
            counts.syncs.fetch_add(1, Ordering::Relaxed);
            let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            counts.micros.fetch_add(micros, Ordering::Relaxed);
            let last = waiters.iter().filter_map(|waiter| match waiter {
                Waiter::Entries(last, _) => Some(*last),
                Waiter::All(_) => None,
            });
            // The last to ask stands: after entries were taken away, indexes begin again below.
            let written = synced.and_then(|()| match last.last() {
                Some(last) if last != marked => {
                    marked = last;
                    mark.write(last)
                }
                _ => Ok(()),
            });
            if let Err(error) = written {
                tracing::error!(%error, "the store cannot be synced; this node keeps nothing more");
                failed = Some(error.to_string());
            }
        }
        let result = || failed.clone().map_or(Ok(()), |error| Err(io::Error::other(error)));
        for waiter in waiters.drain(..) {
            match waiter {
                Waiter::Entries(_, callback) => callback.io_completed(result()),
                // Nobody waits any more.
                Waiter::All(done) => drop(done.send(result())),
            }
        }
    }
}
