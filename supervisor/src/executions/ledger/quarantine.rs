//! The quarantine of the cluster: deaths at all nodes count together.

use std::sync::Arc;
use std::time::SystemTime;

use mcp_v8_cluster::command::{Command, ForgetDeaths, Reply, WorkerDied};
use mcp_v8_cluster::limits::QUARANTINE_REASON_BYTES_MAX;
use mcp_v8_cluster::state::quarantine::table;
use uuid::Uuid;

use super::{Ledger, ms};
use crate::executions::Shared;
use crate::executions::quarantine::{CodeHash, LiftError};
use crate::limits::QUARANTINE_COUNT_MAX;

/// Copies the table as it is applied here.
pub(super) fn refresh(shared: &Shared, ledger: &Ledger) {
    let read = || table(&ledger.node.rows());
    if let Err(error) = shared.quarantine.reload(SystemTime::now(), read) {
        tracing::error!(%error, "the quarantine cannot be read");
    }
}

/// Counts a death in the cluster. Returns once this node knows, or the cluster takes too long: then it
/// may be counted later.
pub(in crate::executions) async fn died(shared: &Arc<Shared>, hash: CodeHash, mut reason: String) {
    // No more of the worker's words is replicated than is kept.
    reason.truncate(reason.floor_char_boundary(QUARANTINE_REASON_BYTES_MAX));
    let died =
        WorkerDied { id: Uuid::now_v7(), code: hash.0, reason, at_ms: ms(SystemTime::now()) };
    let shared = Arc::clone(shared);
    let counting = tokio::spawn(async move {
        let Some(ledger) = &shared.ledger else { return };
        if let Err(error) = commit(&shared, ledger, Command::WorkerDied(died)).await {
            tracing::warn!(%hash, error, "the death of a worker may not be counted");
        }
    });
    // It has said what went wrong.
    let _ = tokio::time::timeout(QUARANTINE_COUNT_MAX, counting).await;
}

/// Forgets the deaths of a code in the cluster. This node knows when it returns; the others a moment
/// later.
pub(in crate::executions) async fn lift(
    shared: &Shared,
    ledger: &Ledger,
    hash: CodeHash,
) -> Result<(), LiftError> {
    let at_ms = ms(SystemTime::now());
    let forget = ForgetDeaths { id: Uuid::now_v7(), code: hash.0, at_ms };
    match commit(shared, ledger, Command::ForgetDeaths(forget)).await {
        Ok(Reply::NoDeaths) => Err(LiftError::NotFound(hash)),
        Ok(_) => Ok(()),
        Err(error) => Err(LiftError::Unavailable(error)),
    }
}

/// Commits a command and takes over what it has changed. Whoever hears of what is applied here may
/// hear later than those who wait for the position.
async fn commit(shared: &Shared, ledger: &Ledger, command: Command) -> Result<Reply, String> {
    let node = &ledger.node;
    let proposed = node.propose(command).await.map_err(|error| error.to_string())?;
    node.applied_to(proposed.index).await.map_err(|error| error.to_string())?;
    refresh(shared, ledger);
    Ok(proposed.reply)
}
