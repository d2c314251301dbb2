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
use std::thread::JoinHandle;

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
    All(Box<dyn FnOnce(io::Result<()>) + Send>),
}

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
    pub fn start(db: sled::Db, directory: &Path, mark: Arc<Mark>) -> io::Result<Self> {
        let file = File::options().write(true).open(directory.join("db"))?;
        let (waiters, queue) = channel();
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        let thread = std::thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || run(&db, &file, &mark, &queue, &counting))?;
        Ok(Self { waiters: Some(waiters), thread: Some(thread), counts })
    }

    /// Calls back once the entries up to `last` are durable.
    pub fn entries(&self, last: u64, callback: IOFlushed<Types>) {
        let failed = self.send(Waiter::Entries(last, callback));
        if let Some(Waiter::Entries(_, callback)) = failed {
            callback.io_completed(Err(ended()));
        }
    }

    /// Returns once all that was written before is durable.
    pub async fn wait(&self) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.ask(move |result| drop(done.send(result)));
        wait.await.unwrap_or_else(|_| Err(ended()))
    }

    /// The same, for threads that may block.
    pub fn wait_blocking(&self) -> io::Result<()> {
        let (done, wait) = channel();
        self.ask(move |result| drop(done.send(result)));
        wait.recv().unwrap_or_else(|_| Err(ended()))
    }

    fn ask(&self, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        // Without a thread it is dropped, and the one who waits sees that.
        self.send(Waiter::All(Box::new(done)));
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

fn run(db: &sled::Db, file: &File, mark: &Mark, queue: &Receiver<Waiter>, counts: &Counts) {
    let mut failed: Option<String> = None;
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
            let mut last = waiters.iter().filter_map(|waiter| match waiter {
                Waiter::Entries(last, _) => Some(*last),
                Waiter::All(_) => None,
            });
            // The last to ask stands: after entries were taken away, indexes begin again below.
            let written = synced.and_then(|()| match last.next_back() {
                Some(last) if last != mark.get() => mark.write(last),
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
                Waiter::All(done) => done(result()),
            }
        }
    }
}
