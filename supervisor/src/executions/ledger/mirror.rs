//! Executions that run on another node, shown here.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use mcp_v8_cluster::state::rows::ExecutionRow;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::Ledger;
use super::lookup::restore;
use super::told::Call;
use crate::executions::Shared;
use crate::executions::execution::Execution;
use crate::executions::model::{ErrorDetail, ErrorKind};
use crate::limits::{FOLLOW_WAIT, PAGE_BYTES_MAX};
use crate::observe::CalledFor;

/// Waits for the end of an execution whose outcome another attempt gives.
pub(super) async fn mirror(shared: &Arc<Shared>, execution: &Arc<Execution>) {
    follow(shared, execution.id(), Arc::downgrade(execution), None).await;
}

/// Answer to [`Call::Output`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Output {
    pub(super) text: String,
    /// Whether it runs there.
    pub(super) here: bool,
}

/// Keeps a mirror up to date until its execution has ended or nobody looks at it; `first` hears when
/// its owner was asked once.
pub(super) async fn follow(
    shared: &Arc<Shared>,
    id: Uuid,
    mirror: Weak<Execution>,
    mut first: Option<oneshot::Sender<()>>,
) {
    let Some(ledger) = &shared.ledger else { return };
    let mut changed = ledger.changed.subscribe();
    let mut attempt = 0;
    let mut pause = Duration::from_millis(20);
    loop {
        changed.borrow_and_update();
        let Some(execution) = mirror.upgrade() else { return };
        let row = match ledger.row(id) {
            Ok(Some(row)) => row,
            // Forgotten while we looked: nothing will come any more.
            Ok(None) if attempt > 0 => {
                execution.end_as(
                    Err(ErrorDetail::new(ErrorKind::NodeLost, "The execution is forgotten")),
                    SystemTime::now(),
                );
                return;
            }
            Ok(None) => {
                wait_for_change(&mut changed, FOLLOW_WAIT).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(execution_id = %id, %error, "cannot be read");
                return;
            }
        };
        if row.end.is_some() {
            if let Err(error) = restore(ledger, &execution, &row) {
                tracing::warn!(execution_id = %id, %error, "cannot be read");
            }
            return;
        }
        if row.attempt != attempt {
            attempt = row.attempt;
            execution.set_output("");
        }
        let call = Call::Output {
            id,
            from: execution.output_bytes(),
            wait: first.is_none(),
            called_for: execution.origin().map(CalledFor::from),
        };
        drop(execution);
        // A struct of numbers.
        let body = serde_json::to_vec(&call).unwrap_or_default();
        let asking = ledger.node.call(&row.owner.node, body, FOLLOW_WAIT * 2);
        let answer = tokio::select! {
            answer = asking => answer.ok(),
            () = wait_for_change_of(ledger, &mut changed, id, &row) => continue,
        };
        let answer: Option<Output> = answer.and_then(|body| serde_json::from_slice(&body).ok());
        let asked_before = first.is_none();
        match answer {
            Some(output) if output.here => {
                pause = Duration::from_millis(20);
                if let Some(execution) = mirror.upgrade()
                    && !output.text.is_empty()
                {
                    execution.append(&output.text);
                }
            }
            _ if !asked_before => {}
            // It has not begun there, is over, or the node is not reached.
            _ => {
                wait_for_change(&mut changed, pause).await;
                pause = (pause * 2).min(FOLLOW_WAIT);
            }
        }
        if let Some(first) = first.take() {
            // Whoever waited may have gone.
            let _ = first.send(());
        }
    }
}

async fn wait_for_change(changed: &mut watch::Receiver<u64>, patience: Duration) {
    // Either way the row is read again.
    let _ = tokio::time::timeout(patience, changed.changed()).await;
}

/// Returns when this row is not what it was.
async fn wait_for_change_of(
    ledger: &Ledger,
    changed: &mut watch::Receiver<u64>,
    id: Uuid,
    row: &ExecutionRow,
) {
    loop {
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
        if !ledger.row(id).is_ok_and(|now| now.as_ref() == Some(row)) {
            return;
        }
    }
}

/// Answers [`Call::Output`].
pub(super) async fn output(
    shared: &Arc<Shared>,
    id: Uuid,
    from: u64,
    wait: bool,
    called_for: Option<CalledFor>,
) -> Output {
    let Some(ledger) = &shared.ledger else { return Output::default() };
    let running = ledger.inner.lock().running.get(&id).cloned();
    let Some(execution) = running else { return Output::default() };
    called_for.and_then(|called| called.accept()).into_iter().for_each(|origin| {
        execution.asked_by(origin);
    });
    let mut changed = execution.subscribe();
    let more = async {
        while execution.output_bytes() <= from && !execution.ended() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    };
    // Either way, what there is.
    if wait {
        let _ = tokio::time::timeout(FOLLOW_WAIT, more).await;
    }
    Output { text: execution.output_from(from, PAGE_BYTES_MAX).data, here: true }
}
