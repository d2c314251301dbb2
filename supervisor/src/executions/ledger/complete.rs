//! The outcome of an execution that ran here, from its process to everybody.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp_v8_cluster::command::{self, Command, PartKind, Reply};

use super::mirror::mirror;
use super::text::{PutError, put};
use super::{Ledger, kept, ms};
use crate::executions::Shared;
use crate::executions::execution::{Execution, Lease, Outcome, StopCause};
use crate::executions::model::Status;
use crate::metrics;

/// Commits the outcome of an execution that ran here; then it has ended.
pub(in crate::executions) async fn complete(
    shared: &Arc<Shared>,
    execution: &Arc<Execution>,
    outcome: Outcome,
    ran: Option<Duration>,
) {
    let (Some(ledger), Some(lease)) = (&shared.ledger, execution.lease()) else { return };
    let ended_at = SystemTime::now();
    let outcome = execution.settled(outcome);
    let abandoned = execution.stop_cause() == Some(StopCause::Abandoned);
    let committed = if abandoned {
        None
    } else {
        commit_end(ledger, execution, lease, &outcome, ended_at).await
    };
    let id = execution.id();
    {
        let mut inner = ledger.inner.lock();
        if inner.running.get(&id).is_some_and(|running| Arc::ptr_eq(running, execution)) {
            inner.running.remove(&id);
        }
    }
    match committed {
        Some(status) if status == kept(status_of(&outcome)) => {
            end(shared, execution, outcome, ended_at, ran);
        }
        Some(command::Status::Cancelled) => {
            end(shared, execution, Err(StopCause::Cancelled.detail()), ended_at, ran);
        }
        // Another attempt counts, or this node is at its end.
        _ => {
            shared.registry.lock().remove(execution);
            shared.active.send_modify(|active| *active -= 1);
            let (shared, execution) = (Arc::clone(shared), Arc::clone(execution));
            tokio::spawn(async move { mirror(&shared, &execution).await });
        }
    }
}

fn status_of(outcome: &Outcome) -> Status {
    match outcome {
        Ok(_) => Status::Completed,
        Err(detail) => detail.kind.status(),
    }
}

fn end(
    shared: &Arc<Shared>,
    execution: &Arc<Execution>,
    outcome: Outcome,
    at: SystemTime,
    ran: Option<Duration>,
) {
    if let Some(bytes) = execution.end_as(outcome, at) {
        shared.registry.lock().retain(execution.id(), bytes);
        metrics::finished(execution.status(), ran);
        shared.active.send_modify(|active| *active -= 1);
    }
}

/// Commits an end, as often as it takes; the status that counts, or `None` when another attempt
/// does.
async fn commit_end(
    ledger: &Ledger,
    execution: &Execution,
    lease: &Lease,
    outcome: &Outcome,
    ended_at: SystemTime,
) -> Option<command::Status> {
    let (node, id, attempt) = (&ledger.node, execution.id(), lease.attempt);
    let output = execution.output();
    // A struct of texts and numbers.
    let json =
        outcome.as_ref().err().map(|detail| serde_json::to_string(detail).unwrap_or_default());
    let json = json.unwrap_or_default();
    loop {
        let proposing = async {
            let put = |kind, text| put(node, id, attempt, kind, text);
            let (mut result, mut error) = (None, None);
            match outcome {
                Ok(Some(text)) => result = Some(put(PartKind::Result, text).await?),
                Ok(None) => {}
                Err(_) => error = Some(put(PartKind::Error, &json).await?),
            }
            let end = command::End {
                status: kept(status_of(outcome)),
                ended_ms: ms(ended_at),
                result,
                error,
                output: put(PartKind::Output, &output).await?,
                output_bytes: output.len() as u64,
            };
            let complete =
                command::Complete { execution: id, attempt, owner: lease.owner.clone(), end };
            let proposed = node.propose(Command::Complete(complete)).await;
            let proposed = proposed.map_err(|error| PutError::Failed(error.to_string()))?;
            Ok::<_, PutError>(proposed.reply)
        };
        match proposing.await {
            Ok(Reply::Ended(status)) => return Some(status),
            Ok(_) | Err(PutError::Over) => return None,
            Err(PutError::Failed(problem)) => {
                // Fenced by now: whatever this node says does not count.
                if execution.stop_cause() == Some(StopCause::Abandoned)
                    || node.owner().as_ref() != Some(&lease.owner)
                {
                    return None;
                }
                tracing::warn!(execution = %id, problem, "its outcome is not committed yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
