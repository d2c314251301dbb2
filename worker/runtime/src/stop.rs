//! Ending a script from another thread.
//!
//! Terminating V8 once is not enough: V8 forgets it as soon as the last JavaScript frame has
//! unwound, and a script may wait where no JavaScript runs at all. So a stop is a flag that every
//! entry into JavaScript checks, a termination, and a wake-up of the event loop's sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::thread::futex;

/// Stops the script of one [`Runtime`](crate::Runtime). May be sent to another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    /// 1 once stopped. What the event loop sleeps on.
    stopped: Arc<AtomicU32>,
    isolate: v8::IsolateHandle,
}

impl Stopper {
    pub(crate) fn new(isolate: v8::IsolateHandle) -> Self {
        Self { stopped: Arc::default(), isolate }
    }

    /// Stops the script: it never runs another line, and its outcome says it was stopped. May be
    /// called again: each call also terminates whatever has started since.
    ///
    /// Allocates nothing and takes no lock but V8's own, briefly: the handler of a signal may call
    /// it where a hang would be noticed.
    pub fn stop(&self) {
        self.stopped.store(1, Ordering::SeqCst);
        // There is no other way to fail than that nobody sleeps.
        let _ = futex::wake(&self.stopped, futex::Flags::PRIVATE, 1);
        self.isolate.terminate_execution();
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst) != 0
    }

    /// Sleeps until `deadline` or until stopped, by another thread or by a signal.
    pub(crate) fn sleep_until(&self, deadline: Instant) {
        while !self.is_stopped() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            if left.is_zero() {
                return;
            }
            // Too long for the kernel is as good as without end.
            let left = futex::Timespec::try_from(left).ok();
            // It wakes for a stop, for any signal, when the time is over, or not at all if the stop
            // came first; the loop looks which.
            let _ = futex::wait(&self.stopped, futex::Flags::PRIVATE, 0, left.as_ref());
        }
    }
}
