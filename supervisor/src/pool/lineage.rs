//! What the children of one template have in common, and when they are given up.
//!
//! # Contract
//! * A child that died of a fault, or broke the protocol, may have learned something about the memory
//!   layout it shares with its siblings. No sibling gets a job any more: idle ones are ended, running
//!   ones finish.
//! * Making another template costs far more than an execution, so that scripts that crash could slow
//!   everybody down: at most [`FAULT_RENEWALS_BURST`] at once and one more in [`FAULT_RENEWAL_EVERY`].
//!   Past that the siblings go on until the next is due.
//! * The process that holds the children's process namespace lives until the last child and the
//!   template are done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::process::Process;
use crate::limits::{FAULT_RENEWAL_EVERY, FAULT_RENEWALS_BURST};

/// How many renewals for faults there may be at the moment; shared by all lineages. A token bucket.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Option<(Instant, u32)>>);

impl Faults {
    /// Takes one, if there is one at `now`.
    fn take(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        let (since, left) = state.unwrap_or((now, FAULT_RENEWALS_BURST));
        let every = FAULT_RENEWAL_EVERY.as_nanos();
        let due = u32::try_from(now.duration_since(since).as_nanos() / every).unwrap_or(u32::MAX);
        let left = left.saturating_add(due).min(FAULT_RENEWALS_BURST);
        let since =
            if left == FAULT_RENEWALS_BURST { now } else { since + FAULT_RENEWAL_EVERY * due };
        *state = Some((since, left.saturating_sub(1)));
        left > 0
    }
}

/// One template and its children.
#[derive(Debug)]
pub struct Lineage {
    faults: Arc<Faults>,
    faulted: AtomicBool,
    distrusted: CancellationToken,
    holder: Mutex<Option<Process>>,
}

impl Lineage {
    /// A template without children.
    pub fn new(faults: Arc<Faults>) -> Self {
        let (distrusted, holder) = (CancellationToken::new(), Mutex::new(None));
        Self { faults, faulted: AtomicBool::new(false), distrusted, holder }
    }

    /// Takes over the process that holds the namespace. It is killed and reaped with the lineage.
    pub fn hold(&self, holder: Process) {
        *self.holder.lock() = Some(holder);
    }

    /// A child ended as an attack on it may end.
    pub fn note_fault(&self, now: Instant) {
        self.faulted.store(true, Ordering::Relaxed);
        self.is_distrusted(now);
    }

    /// Whether its children get no more jobs.
    pub fn is_distrusted(&self, now: Instant) -> bool {
        if self.distrusted.is_cancelled() {
            return true;
        }
        let given_up = self.faulted.load(Ordering::Relaxed) && self.faults.take(now);
        if given_up {
            self.distrusted.cancel();
        }
        given_up
    }

    /// Returns when its children get no more jobs.
    pub async fn distrusted(&self) {
        self.distrusted.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_for_faults_come_in_a_burst_and_then_one_at_a_time() {
        let faults = Arc::new(Faults::default());
        let fault = |now| {
            let lineage = Lineage::new(Arc::clone(&faults));
            lineage.note_fault(now);
            lineage
        };
        let start = Instant::now();
        for n in 0..FAULT_RENEWALS_BURST {
            assert!(fault(start).is_distrusted(start), "{n}");
        }
        let held = fault(start);
        assert!(!held.is_distrusted(start));
        let early = start + FAULT_RENEWAL_EVERY - std::time::Duration::from_nanos(1);
        assert!(!held.is_distrusted(early));
        // What was put off is not forgotten.
        assert!(held.is_distrusted(start + FAULT_RENEWAL_EVERY));
        assert!(!fault(start + FAULT_RENEWAL_EVERY).is_distrusted(start + FAULT_RENEWAL_EVERY));
        let later = start + FAULT_RENEWAL_EVERY * 100;
        for n in 0..FAULT_RENEWALS_BURST {
            assert!(fault(later).is_distrusted(later), "{n}");
        }
        assert!(!fault(later).is_distrusted(later));
    }

    #[test]
    fn without_a_fault_nothing_is_distrusted() {
        let lineage = Lineage::new(Arc::default());
        assert!(!lineage.is_distrusted(Instant::now()));
    }
}
