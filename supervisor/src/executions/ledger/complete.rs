//! The outcome of an execution that ran here, from its process to everybody.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp_v8_cluster::command::{self, Command, PartKind, Reply};

use super::mirror::mirror;
use super::text::{PutError, put};
use super::{Ledger, kept, ms};
use crate::executions::Shared;
use crate::executions::execution::{Execution, Lease, Outcome, StopCause};
use crate::executions::model::{ErrorDetail, ErrorKind, Status};
use crate::executions::steps::Left;
use crate::failpoints::Point;
use crate::heaps::HeapId;
use crate::metrics;

/// Commits the outcome of an execution that ran here; then it has ended.
pub(in crate::executions) async fn complete(
    shared: &Arc<Shared>,
    execution: &Arc<Execution>,
    outcome: Outcome,
    left: Option<Left>,
    ran: Option<Duration>,
) {
    let (Some(ledger), Some(lease)) = (&shared.ledger, execution.lease()) else { return };
    let ended_at = SystemTime::now();
    let mut outcome = execution.settled(outcome);
    let abandoned = execution.stop_cause() == Some(StopCause::Abandoned);
    let committed = if abandoned {
        None
    } else {
        commit_end(ledger, execution, lease, &mut outcome, left, ended_at).await
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

/// What a caller hears whose session was put elsewhere meanwhile.
const SESSION_MOVED: &str = "The session was reset or moved while the script ran, so its heap was not \
kept. The session stands where it was put; run the script again to have it act there.";

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
/// does. The heap that was left is durable on a majority before; where that cannot be, or it does not
/// count any more, the outcome becomes a failure.
async fn commit_end(
    ledger: &Ledger,
    execution: &Execution,
    lease: &Lease,
    outcome: &mut Outcome,
    left: Option<Left>,
    ended_at: SystemTime,
) -> Option<command::Status> {
    let (node, id, attempt) = (&ledger.node, execution.id(), lease.attempt);
    let output = execution.output();
    // Only what has completed leaves a heap.
    let mut left = left.filter(|_| outcome.is_ok());
    let mut first = true;
    loop {
        if let Some(Left { heap, .. }) = &left {
            let heap = HeapId(heap.hash);
            let stored_now = std::mem::take(&mut first);
            let spreading = async {
                // Again before each try: nobody may have removed it meanwhile as one without a name.
                match stored_now {
                    true => ledger.heaps.spread_stored(heap).await,
                    false => ledger.heaps.spread(heap).await,
                }
            };
            let spread = tokio::select! {
                biased;
                () = execution.stop_token().cancelled() => None,
                spread = spreading => Some(spread),
            };
            match spread {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    let message =
                        format!("the heap cannot be stored on a majority of the nodes: {error}");
                    *outcome = Err(ErrorDetail::new(ErrorKind::HeapNotSaved, message));
                    left = None;
                }
                // It does not count any more, or its caller does not want it.
                None => {
                    if execution.stop_cause() == Some(StopCause::Abandoned) {
                        return None;
                    }
                    *outcome = execution.settled(std::mem::replace(outcome, Ok(None)));
                    left = None;
                }
            }
        }
        if left.is_some() {
            Point::Spread.pass();
        }
        // A struct of texts and numbers.
        let json =
            outcome.as_ref().err().map(|detail| serde_json::to_string(detail).unwrap_or_default());
        let json = json.unwrap_or_default();
        let proposing = async {
            let put = |kind, text| put(node, id, attempt, kind, text);
            let (mut result, mut error) = (None, None);
            match &*outcome {
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
            let command = match &left {
                None => Command::Complete(complete),
                Some(Left { input, heap, .. }) => Command::CompleteStep(command::CompleteStep {
                    complete,
                    input: *input,
                    heap: Some(heap.clone()),
                }),
            };
            let proposed = node.propose(command).await;
            let proposed = proposed.map_err(|error| PutError::Failed(error.to_string()))?;
            Ok::<_, PutError>(proposed.reply)
        };
        match proposing.await {
            Ok(Reply::Ended(status)) => {
                if let Some(Left { heap, .. }) = &left {
                    Point::Completed.pass();
                    execution.set_heap(HeapId(heap.hash));
                }
                return Some(status);
            }
            Ok(Reply::HeadMoved) if outcome.is_ok() => {
                *outcome = Err(ErrorDetail::new(ErrorKind::SessionMoved, SESSION_MOVED));
                left = None;
            }
            // Nobody counts on that heap, but here it is: files keep what they are stored against.
            Ok(Reply::NoHeap(_))
                if left.as_ref().is_some_and(|left| left.heap.parent.is_some()) =>
            {
                left.iter_mut().for_each(|left| left.heap.parent = None);
            }
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
