//! How a node goes: what it leads and what it has is in other hands before its process ends.
//!
//! # Contract
//! * In this order: [`Node::takes_no_more`] and [`Node::step_down`], then whatever the server above
//!   does with what it has, then [`Node::retire`] and [`Node::stop`].
//! * A node that goes never takes a new epoch with which it would be given executions.
//! * Each step has a bound, and a failure of one only means that the others find out by themselves:
//!   by an election, or by the end of a lease.

use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::duties::NODE_LOST;
use super::{Node, ProposeError};
use crate::auth::now_ms;
use crate::command::{Command, NodeDown, NodeUp, Owner, Reassign, Reply};
use crate::state::{StateError, executions, nodes};

/// How long each step that needs a leader may take.
const PATIENCE: Duration = Duration::from_secs(2);

impl Node {
    /// Tells the cluster to give this node no more executions; what it has goes on, and may be given
    /// to others from now on.
    pub async fn takes_no_more(&self) {
        self.inner.departing.store(true, Ordering::Release);
        let Some((_, incarnation)) = *self.inner.epoch.borrow() else { return };
        let node = self.name().to_owned();
        let up = self.propose(Command::NodeUp(NodeUp { node, incarnation, runs_scripts: false }));
        match tokio::time::timeout(PATIENCE, up).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::info!(%error, "the cluster is not told that this node stops")
            }
            Err(_) => tracing::info!("the cluster is not told in time that this node stops"),
        }
    }

    /// How many executions this node has once the cluster knows that it takes no more; `None` before, or
    /// when the rows cannot be read.
    pub(super) fn draining(&self) -> Option<u64> {
        if !self.inner.departing.load(Ordering::Acquire) {
            return None;
        }
        let rows = nodes::nodes(&self.rows()).ok()?;
        if rows.iter().any(|(name, row)| name == self.name() && row.up && row.runs_scripts) {
            return None;
        }
        let running = executions::running(&self.rows()).ok()?;
        let own = running.iter().filter(|(_, row)| row.owner.node == self.name());
        Some(own.count() as u64)
    }

    /// Hands leadership over if this node has it, so that its stop is no failure. Returns when
    /// another node leads, or it cannot be helped.
    pub async fn step_down(&self) {
        if !self.is_leader() {
            return;
        }
        match tokio::time::timeout(PATIENCE, self.transfer_to(None)).await {
            Ok(Ok(())) => tracing::info!(leader = self.leader_name(), "leadership handed over"),
            Ok(Err(error)) => tracing::info!(%error, "leadership stays until the end"),
            Err(_) => tracing::info!("leadership is not handed over in time"),
        }
    }

    /// Other nodes that take executions.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn takers(&self) -> Result<Vec<Owner>, StateError> {
        let mut takers = self.runners()?;
        takers.retain(|owner| owner.node != self.name());
        Ok(takers)
    }

    /// Nodes that take executions, this one included if it does.
    pub(super) fn runners(&self) -> Result<Vec<Owner>, StateError> {
        let members = self.inner.context.members();
        let takes = nodes::nodes(&self.rows())?.into_iter().filter(|(name, row)| {
            row.up && row.runs_scripts && members.keys().any(|id| id.name() == name)
        });
        Ok(takes.map(|(node, row)| Owner { node, epoch: row.epoch }).collect())
    }

    /// Gives an execution away that this node has under `attempt`, once the cluster knows that it
    /// takes no more. Whether it was given: not when it has ended, is with another node already, or
    /// when `to` takes no more either.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn give_away(
        &self,
        execution: Uuid,
        attempt: u32,
        to: Owner,
    ) -> Result<bool, ProposeError> {
        let reassign = Reassign {
            execution,
            from_attempt: attempt,
            to: Some(to),
            at_ms: now_ms(),
            error: NODE_LOST.to_owned(),
        };
        let proposed = self.propose(Command::Reassign(reassign)).await?;
        Ok(proposed.reply == Reply::Done)
    }

    /// Tells the cluster that this node is going, so that nobody waits for its lease to end.
    pub async fn retire(&self) {
        self.inner.gone.cancel();
        if let (Some(Owner { epoch, .. }), false) = (self.owner(), self.config().alone()) {
            self.give_up(epoch).await;
        }
    }

    /// Tells the cluster that an epoch of this node is over.
    pub(super) async fn give_up(&self, epoch: u64) {
        let down = NodeDown { node: self.name().to_owned(), epoch };
        // Without an answer its lease will end.
        let _ = tokio::time::timeout(PATIENCE, self.propose(Command::NodeDown(down))).await;
    }

    /// Stops. The store is closed when this returns.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Some(raft) = self.raft() {
            // Its tasks end with the runtime in any case.
            let _ = raft.shutdown().await;
        }
        self.inner.calls.lock().clear();
        self.inner.application_calls.lock().clear();
        if let Some(runtime) = self.inner.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}
