//! The quarantine of the cluster: deaths at all nodes count together.

use std::sync::Arc;
use std::time::SystemTime;

use mcp_v8_cluster::command::{Command, ForgetDeaths, Reply, WorkerDied};
use mcp_v8_cluster::node::Node;
use mcp_v8_cluster::state::quarantine::table;
use uuid::Uuid;

use super::{Ledger, ms};
use crate::executions::Shared;
use crate::executions::quarantine::{CodeHash, LiftError};
use crate::limits::QUARANTINE_COUNT_MAX;

/// Copies the table as it is applied here.
pub(super) fn refresh(shared: &Shared, ledger: &Ledger) {
    match table(&ledger.node.rows()) {
        Ok(table) => shared.quarantine.replace(table, SystemTime::now()),
        Err(error) => tracing::error!(%error, "the quarantine cannot be read"),
    }
}

/// Counts a death in the cluster. Returns once this node knows, or the cluster takes too long: then it
/// may be counted later.
pub(in crate::executions) async fn died(node: &Node, hash: CodeHash, reason: String) {
    let died =
        WorkerDied { id: Uuid::now_v7(), code: hash.0, reason, at_ms: ms(SystemTime::now()) };
    let node = node.clone();
    let counting = tokio::spawn(async move {
        let counted = match node.propose(Command::WorkerDied(died)).await {
            Ok(proposed) => node.applied_to(proposed.index).await.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = counted {
            tracing::warn!(%hash, %error, "the death of a worker may not be counted");
        }
    });
    // It has said what went wrong.
    let _ = tokio::time::timeout(QUARANTINE_COUNT_MAX, counting).await;
}

/// Forgets the deaths of a code in the cluster. This node knows when it returns; the others a moment
/// later.
pub(in crate::executions) async fn lift(
    shared: &Arc<Shared>,
    node: &Node,
    hash: CodeHash,
) -> Result<(), LiftError> {
    let unavailable = |error: &dyn std::fmt::Display| LiftError::Unavailable(error.to_string());
    let at_ms = ms(SystemTime::now());
    let forget = ForgetDeaths { id: Uuid::now_v7(), code: hash.0, at_ms };
    let proposed =
        node.propose(Command::ForgetDeaths(forget)).await.map_err(|error| unavailable(&error))?;
    node.applied_to(proposed.index).await.map_err(|error| unavailable(&error))?;
    if proposed.reply == Reply::NoDeaths {
        return Err(LiftError::NotFound(hash));
    }
    if let Some(ledger) = &shared.ledger {
        refresh(shared, ledger);
    }
    Ok(())
}
