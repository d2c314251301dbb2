//! What the replicated state says to this node: run this, stop that.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use mcp_v8_cluster::codec;
use mcp_v8_cluster::command::PartKind;
use mcp_v8_cluster::node::Application;
use mcp_v8_cluster::state::rows::ExecutionRow;
use mcp_v8_cluster::state::{Change, executions as rows, sessions};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::mirror::output;
use super::quarantine::refresh;
use super::told::{self, Call};
use super::{Ledger, abandon, begin, time};
use crate::executions::execution::{Execution, Lease, StopCause};
use crate::executions::queue::Queued;
use crate::executions::submit::Bounds;
use crate::executions::{Executions, Shared};

/// Hears of the replicated state.
struct Watcher {
    shared: Weak<Shared>,
    runtime: Handle,
}

/// Connects the executions with the node, and takes what the cluster has for this node.
pub(in crate::executions) fn attach(shared: &Arc<Shared>) {
    let Some(ledger) = &shared.ledger else { return };
    let watcher = Watcher { shared: Arc::downgrade(shared), runtime: Handle::current() };
    ledger.node.attach(Arc::new(watcher));
    // What was applied before anybody heard of it.
    refresh(shared, ledger);
}

/// Looks at an execution that has changed.
pub(super) fn look(runtime: &Handle, shared: &Arc<Shared>, ledger: &Ledger, id: Uuid) {
    let running = {
        let inner = ledger.inner.lock();
        if inner.submitting.contains(&id) {
            return;
        }
        inner.running.get(&id).cloned()
    };
    let Ok(Some(row)) = ledger.row(id) else { return };
    let lease = Lease { owner: row.owner.clone(), attempt: row.attempt };
    if row.end.is_some() {
        // By another attempt, if it still runs here.
        if let Some(stale) = running.filter(|running| running.lease() != Some(&lease)) {
            abandon_on(runtime, shared, stale);
        }
        return;
    }
    match running {
        Some(running) if running.lease() == Some(&lease) => {
            if row.cancelled {
                let shared = Arc::clone(shared);
                runtime.spawn(async move {
                    let executions = Executions { shared };
                    // It may have ended in this moment.
                    let _ = executions.stop(&running, StopCause::Cancelled);
                });
            }
        }
        stale => {
            if let Some(stale) = stale {
                abandon_on(runtime, shared, stale);
            }
            if ledger.node.owner().as_ref() == Some(&row.owner) {
                let shared = Arc::clone(shared);
                runtime.spawn(async move { adopt(&shared, id, &row, lease) });
            }
        }
    }
}

/// Lets a step that waits for its turn wait for a worker, if it has it, as far as this node knows. To
/// be called whenever that may have changed.
pub(super) fn admit_in_turn(shared: &Shared, ledger: &Ledger, id: Uuid) {
    if !shared.queue.is_aside(id) {
        return;
    }
    match sessions::has_turn(&ledger.node.rows(), id) {
        Ok(true) => shared.queue.admit(id),
        // Its submission is not applied here yet, or others are before it.
        Ok(false) => {}
        Err(error) => tracing::error!(execution_id = %id, %error, "its turn cannot be read"),
    }
}

/// The same for whichever step of a session has its turn.
fn admit_next(shared: &Shared, ledger: &Ledger, session: &str) {
    if !shared.queue.has_aside() {
        return;
    }
    match sessions::turn(&ledger.node.rows(), session) {
        Ok(Some(next)) => shared.queue.admit(next),
        Ok(None) => {}
        Err(error) => tracing::error!(session, %error, "its turn cannot be read"),
    }
}

fn abandon_on(runtime: &Handle, shared: &Arc<Shared>, execution: Arc<Execution>) {
    let shared = Arc::clone(shared);
    runtime.spawn(async move { abandon(&shared, &execution) });
}

/// Runs an execution that the cluster has given to this node.
fn adopt(shared: &Arc<Shared>, id: Uuid, row: &ExecutionRow, lease: Lease) {
    let Some(ledger) = &shared.ledger else { return };
    // Where the leader needs no vote of this node, the end of an execution may be committed before its
    // submission is applied here. It has run then.
    let known = shared.registry.lock().get(id);
    if known.is_some_and(|known| known.lease() == Some(&lease)) {
        return;
    }
    let code = match ledger.text(id, PartKind::Code, row.code_parts) {
        Ok(code) => Arc::new(code),
        Err(error) => {
            tracing::error!(execution_id = %id, %error, "its source cannot be read");
            return;
        }
    };
    let step = match sessions::step(&ledger.node.rows(), id) {
        Ok(step) => step,
        Err(error) => {
            tracing::error!(execution_id = %id, %error, "what it does with heaps cannot be read");
            return;
        }
    };
    let keeps_heap = step.is_some();
    let by = match ledger.principal(id) {
        Ok(by) => by,
        Err(error) => {
            tracing::error!(execution_id = %id, %error, "whose it is cannot be read");
            return;
        }
    };
    let session = step.and_then(|step| step.session).map(|name| by.said(&name));
    let key = row.key.as_ref().map(|key| key.text.clone());
    let accepted_at = time(row.accepted_ms);
    let execution = Execution::accepted(by, id, key, accepted_at, Some(lease.clone()));
    let execution = Arc::new(execution.in_session(session));
    {
        let mut inner = ledger.inner.lock();
        let known = inner.running.get(&id).and_then(|running| running.lease());
        if known == Some(&lease) {
            return;
        }
        inner.running.insert(id, Arc::clone(&execution));
    }
    let node = ledger.node.name();
    let session = execution.session();
    tracing::info!(execution_id = %id, session, node, attempt = lease.attempt, "taken over");
    begin(shared, ledger, &execution);
    let bounds = Bounds {
        wall: Duration::from_secs(row.limits.wall_secs),
        heap_bytes: row.limits.heap_bytes,
        console_bytes: row.limits.console_bytes,
    };
    shared.queue.push_always(Queued {
        execution: Arc::clone(&execution),
        code,
        hash: None,
        bounds,
        keeps_heap,
    });
    admit_in_turn(shared, ledger, id);
    if row.cancelled {
        let executions = Executions { shared: Arc::clone(shared) };
        let _ = executions.stop(&execution, StopCause::Cancelled);
    }
    if ledger.node.owner().as_ref() != execution.lease().map(|lease| &lease.owner) {
        // Fenced in between.
        abandon(shared, &execution);
    }
}

impl Application for Watcher {
    fn applied(&self, changes: &[Change]) {
        let Some(shared) = self.shared.upgrade() else { return };
        let Some(ledger) = &shared.ledger else { return };
        for change in changes {
            match change {
                Change::Execution(id) => {
                    look(&self.runtime, &shared, ledger, *id);
                    admit_in_turn(&shared, ledger, *id);
                }
                Change::Session(name) => admit_next(&shared, ledger, name),
                Change::Nodes | Change::Quarantine | Change::HeapForgotten(_) => {}
            }
        }
        if changes.contains(&Change::Quarantine) {
            refresh(&shared, ledger);
        }
        ledger.changed.send_modify(|count| *count += 1);
    }

    fn replaced(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let Some(ledger) = &shared.ledger else { return };
        refresh(&shared, ledger);
        match rows::running(&ledger.node.rows()) {
            Ok(running) => {
                for (id, _) in running {
                    look(&self.runtime, &shared, ledger, id);
                }
            }
            Err(error) => tracing::error!(%error, "running executions cannot be read"),
        }
        for id in shared.queue.aside() {
            admit_in_turn(&shared, ledger, id);
        }
        ledger.changed.send_modify(|count| *count += 1);
    }

    fn fenced(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let Some(ledger) = &shared.ledger else { return };
        let running: Vec<_> = ledger.inner.lock().running.values().cloned().collect();
        for execution in running {
            abandon_on(&self.runtime, &shared, execution);
        }
    }

    fn drain(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        self.runtime.spawn(async move { Executions { shared }.drain_on_request().await });
    }

    fn call(&self, body: Vec<u8>) -> BoxFuture<'static, Vec<u8>> {
        let shared = self.shared.clone();
        let runtime = self.runtime.clone();
        Box::pin(async move {
            let answering = runtime.spawn(async move {
                let Some(shared) = shared.upgrade() else { return Vec::new() };
                if body.first() == Some(&codec::VERSION) {
                    let Some(ledger) = &shared.ledger else { return Vec::new() };
                    return ledger.heaps.answer(&body).await.unwrap_or_default();
                }
                let Ok(call) = serde_json::from_slice(&body) else { return Vec::new() };
                match call {
                    Call::Output { id, from, wait, called_for } => {
                        // A struct of a text and a flag.
                        let output = output(&shared, id, from, wait, called_for).await;
                        serde_json::to_vec(&output).unwrap_or_default()
                    }
                    Call::Cancelled(cancelled) => {
                        told::cancelled(&shared, cancelled).await;
                        Vec::new()
                    }
                    Call::Applied { index } => {
                        let Some(ledger) = &shared.ledger else { return Vec::new() };
                        told::applied(ledger, index).await;
                        Vec::new()
                    }
                }
            });
            answering.await.unwrap_or_default()
        })
    }
}
