//! Ending a script from another thread.
//!
//! Terminating V8 once is not enough: V8 forgets it as soon as the last JavaScript frame has
//! unwound, and a script may wait where no JavaScript runs at all. So a stop is a flag that every
//! entry into JavaScript checks, a termination, and a wake-up of the event loop's sleep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Stops the script of one [`Runtime`](crate::Runtime). May be sent to another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
    isolate: v8::IsolateHandle,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Stopper {
    pub(crate) fn new(isolate: v8::IsolateHandle) -> Self {
        Self { shared: Arc::default(), isolate }
    }

    /// Stops the script: it never runs another line, and its outcome says it was stopped. May be
    /// called again: each call also terminates whatever has started since.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.isolate.terminate_execution();
        let guard = self.shared.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.wake.notify_all();
        drop(guard);
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::SeqCst)
    }

    /// Sleeps until `deadline` or until stopped.
    pub(crate) fn sleep_until(&self, deadline: Instant) {
        let mut guard = self.shared.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_stopped() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            if left.is_zero() {
                return;
            }
            guard = match self.shared.wake.wait_timeout(guard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}
