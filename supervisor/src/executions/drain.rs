//! How executions stop with their server.
//!
//! # Contract
//! * From [`Executions::close`] on nothing new runs here. Where other nodes take executions, what is
//!   submitted is committed with one of them as its owner, and its caller is answered from here as if
//!   it had run here; where none does, it is refused. Executions that only this server knows
//!   (`--stateless`) are accepted until it drains.
//! * [`Executions::drain`] lets what runs end. Where other nodes take executions, what waits for a
//!   worker goes to them at once, and so does what still runs when the time is over; it runs again
//!   there, as another attempt. Where none does, what waits runs here, and what does not end in time
//!   ends with the error `shutting_down`.
//! * Whoever waits here for an execution that another node has taken over goes on waiting, until it
//!   has ended there or [`Executions::end_waits`]: then they hear that it still runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::ledger::Ledger;
use super::{Executions, StopCause, ledger};
use crate::limits::{CANCELS_MAX, STOP_MAX};

/// Where a drain on request stands, of a server that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nobody has asked.
    No,
    /// What is here ends, or goes to other nodes.
    Begun,
    /// Nothing is here any more.
    Done,
}

impl Executions {
    /// Drains on request: leadership and what is here go to other nodes, and nothing new comes, until
    /// the server is started again. It goes on answering. Once.
    pub(super) async fn drain_on_request(&self) {
        let Some(node) = self.shared.ledger.as_ref().map(Ledger::node) else { return };
        let first = self.shared.drained.send_if_modified(|drained| {
            let first = *drained == Drained::No;
            if first {
                *drained = Drained::Begun;
            }
            first
        });
        if !first {
            return;
        }
        tracing::info!("drains on request");
        self.close();
        tokio::join!(node.step_down(), node.takes_no_more());
        self.drain(self.shared.settings.drain).await;
        tracing::info!("drained: nothing runs here until it is started again");
        self.shared.drained.send_replace(Drained::Done);
    }

    /// Where a drain on request stands.
    pub fn drained(&self) -> Drained {
        *self.shared.drained.borrow()
    }

    /// Executions that have not ended here.
    pub fn active(&self) -> usize {
        *self.shared.active.borrow()
    }

    /// Begins to stop: this server should get no traffic any more.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
    }

    /// Whether [`Executions::close`] was called.
    pub fn closing(&self) -> bool {
        self.shared.closing.load(Ordering::SeqCst)
    }

    /// Whether other nodes know of what runs here.
    pub fn are_replicated(&self) -> bool {
        self.shared.ledger.is_some()
    }

    /// Closes; returns once nothing runs or waits here any more, shortly after `patience` at the
    /// latest.
    pub async fn drain(&self, patience: Duration) {
        self.close();
        {
            // An admission in memory sees this, or has counted what it admitted.
            let _admission = self.shared.registry.lock();
            self.shared.draining.store(true, Ordering::SeqCst);
        }
        tokio::select! {
            idle = timeout(patience, self.idle()) => if idle.is_ok() { return },
            () = ledger::give_waiting(&self.shared) => {}
        }
        // Whatever this does not reach is stopped.
        let _ = timeout(STOP_MAX, ledger::give_running(&self.shared)).await;
        let rows = self.shared.registry.lock().all();
        for row in rows {
            // What another node has got is not ours to end.
            if self.shared.ledger.is_none() || row.runs_here() {
                // One that has just ended needs no stop.
                let _ = self.stop(&row, StopCause::ShuttingDown);
            }
        }
        // They end within the kill grace; a stop must not hang on one that does not.
        let _ = timeout(STOP_MAX, self.idle()).await;
    }

    async fn idle(&self) {
        let mut active = self.shared.active.subscribe();
        // The sender lives as long as `self`.
        let _ = active.wait_for(|active| *active == 0).await;
    }

    /// Returns once every execution whose call was given up is cancelled, after [`CANCELS_MAX`] at the
    /// latest. To be called when there are no calls any more.
    pub async fn cancelled(&self) {
        self.shared.cancels.close();
        if timeout(CANCELS_MAX, self.shared.cancels.wait()).await.is_err() {
            tracing::error!(
                cancels = self.shared.cancels.len(),
                "not everything that was cancelled has ended"
            );
        }
    }

    /// Lets nobody wait for an execution any more: they hear where it stands.
    pub fn end_waits(&self) {
        self.shared.hurry.cancel();
    }

    /// Returns after [`Executions::end_waits`].
    pub(super) async fn waits_ended(&self) {
        self.shared.hurry.cancelled().await;
    }
}
