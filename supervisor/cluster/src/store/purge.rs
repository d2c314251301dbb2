//! The thread that removes what is purged from the log.
//!
//! # Contract
//! * Raft does not wait for it: how far the log is purged is noted before, and nobody reads what is
//!   purged. Removing as many entries as one snapshot can stand for takes longer than an election.
//! * What is left of it when the process ends is removed after the next start.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Hands work to the thread.
#[derive(Debug)]
pub struct Purger {
    /// Gone when it is dropped, which ends the thread.
    upto: Option<Sender<u64>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Purger {
    /// Starts the thread for a tree whose keys begin with an index.
    pub fn start(log: sled::Tree) -> io::Result<Self> {
        let (upto, queue) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("store-purge".to_owned()).spawn(move || {
            for upto in queue {
                if let Err(error) = remove(&log, upto, &stopping) {
                    tracing::error!(%error, upto, "what is purged from the log cannot be removed");
                }
            }
        })?;
        Ok(Self { upto: Some(upto), stop, thread: Some(thread) })
    }

    /// Removes the entries up to `upto`, soon.
    pub fn remove_to(&self, upto: u64) {
        if let Some(queue) = &self.upto {
            // Without the thread it is removed after the next start.
            let _ = queue.send(upto);
        }
    }
}

/// Removes from the front, so that what a crash leaves has no hole.
fn remove(log: &sled::Tree, upto: u64, stop: &AtomicBool) -> sled::Result<()> {
    let end = upto.saturating_add(1).to_be_bytes();
    for key in log.range(..end).keys() {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        log.remove(key?)?;
    }
    Ok(())
}

impl Drop for Purger {
    /// Waits for the end of the thread: it has the database open.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.upto = None;
        if let Some(thread) = self.thread.take() {
            // It has said why, if it panicked.
            let _ = thread.join();
        }
    }
}
