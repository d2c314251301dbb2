//! A node that stops gives what it has to others.
//!
//! Giving is a command: once it is applied here, [`super::watch`] stops the attempt that was given
//! away, and whoever waits for it waits for the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{join_all, pending};
use mcp_v8_cluster::command::Owner;

use super::Ledger;
use crate::executions::Shared;
use crate::executions::execution::Execution;

/// How soon what could not be given is tried again.
const AGAIN: Duration = Duration::from_millis(50);

impl Ledger {
    /// Other nodes that take executions.
    pub(super) fn takers(&self) -> Vec<Owner> {
        self.node.takers().unwrap_or_else(|error| {
            tracing::error!(%error, "the nodes cannot be read");
            Vec::new()
        })
    }

    /// Another node that takes executions, the next one each time.
    pub(super) fn taker(&self) -> Option<Owner> {
        self.next_of(&self.takers())
    }

    fn next_of(&self, takers: &[Owner]) -> Option<Owner> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        takers.get(turn.checked_rem(takers.len())?).cloned()
    }
}

/// Gives what waits here for a worker to other nodes, also what comes later. Never returns.
pub(in crate::executions) async fn give_waiting(shared: &Arc<Shared>) {
    let Some(ledger) = &shared.ledger else { return pending().await };
    let mut active = shared.active.subscribe();
    loop {
        active.borrow_and_update();
        give(ledger, shared.queue.waiting()).await;
        // Either way it is looked at again: what is counted may not be in the queue yet.
        let _ = tokio::time::timeout(AGAIN, active.changed()).await;
    }
}

/// Gives what runs here to other nodes; returns once nothing does, or nobody takes it.
pub(in crate::executions) async fn give_running(shared: &Arc<Shared>) {
    let Some(ledger) = &shared.ledger else { return };
    let mut active = shared.active.subscribe();
    loop {
        active.borrow_and_update();
        let running: Vec<_> = ledger.inner.lock().running.values().cloned().collect();
        if running.is_empty() || ledger.takers().is_empty() {
            return;
        }
        give(ledger, running).await;
        let _ = tokio::time::timeout(AGAIN, active.changed()).await;
    }
}

/// Offers each of these to another node.
async fn give(ledger: &Ledger, executions: Vec<Arc<Execution>>) {
    if executions.is_empty() {
        return;
    }
    let takers = ledger.takers();
    let giving = executions.iter().filter_map(|execution| {
        let lease = execution.lease().filter(|_| execution.runs_here())?;
        let to = ledger.next_of(&takers)?;
        Some(async move {
            let (id, attempt) = (execution.id(), lease.attempt);
            match ledger.node.give_away(id, attempt, to.clone()).await {
                Ok(true) => {
                    tracing::info!(execution_id = %id, attempt, to = to.node, "given to another node");
                }
                // It has ended, or whoever was asked stops as well.
                Ok(false) => {}
                Err(error) => tracing::warn!(execution_id = %id, %error, "not given away"),
            }
        })
    });
    join_all(giving).await;
}
