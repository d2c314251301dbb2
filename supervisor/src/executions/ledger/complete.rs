//! The outcome of an execution that ran here, from its process to everybody.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_cluster::command::{self, Command, PartKind, Reply};
use mcp_v8_cluster::limits;

use super::mirror::mirror;
use super::text::{PutError, put};
use super::{Ledger, cancel_for_sure, kept, ms};
use crate::executions::Shared;
use crate::executions::execution::{Execution, Lease, Outcome, StopCause};
use crate::executions::model::{ErrorDetail, ErrorKind, Status};
use crate::executions::steps::Left;
use crate::failpoints::Point;
use crate::heaps::HeapId;
use crate::observe::story;

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
            tracing::debug!(execution_id = %id, attempt = lease.attempt, "an attempt does not count");
            if execution.stop_cause() == Some(StopCause::Cancelled) {
                // Whoever has it now has not heard.
                cancel_for_sure(shared, id);
            }
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

/// What a caller hears when there is no room for what its script has left.
const TOO_MANY_ARTIFACTS: &str = "There is no room for what the script left with `artifact`: the \
cluster keeps 10,000 artifacts and 8 GiB of them. Delete some (DELETE /api/artifacts/KEY) and run it again.";

const _: () = assert!(limits::ARTIFACTS_MAX == 10_000 && limits::ARTIFACTS_BYTES_MAX == 8 << 30);

/// Brings what an execution has left to a majority. `stored_now`: nobody can have removed it since as
/// something without a name.
async fn spread(ledger: &Ledger, left: &Left, stored_now: bool) -> Result<(), ErrorDetail> {
    let artifact = ("an artifact", ErrorKind::ArtifactNotSaved);
    let artifacts = left.artifacts().iter().map(|left| (left.blob, artifact));
    let heap = ("the heap", ErrorKind::HeapNotSaved);
    let heap = left.heap.iter().map(|left| (left.hash, heap));
    for (hash, (what, kind)) in artifacts.chain(heap) {
        let spread = match stored_now {
            true => ledger.heaps.spread_stored(HeapId(hash)).await,
            false => ledger.heaps.spread(HeapId(hash)).await,
        };
        spread.map_err(|error| {
            let message = format!("{what} cannot be made durable: {error}");
            ErrorDetail::new(kind, message)
        })?;
    }
    Ok(())
}

/// The command that ends an execution which has left this.
fn ending(complete: command::Complete, left: Option<&Left>) -> Command {
    let Some(left) = left else { return Command::Complete(complete) };
    let (input, heap) = (left.input, left.heap.clone());
    let step = command::CompleteStep { complete, input, heap };
    match left.artifacts() {
        [] => Command::CompleteStep(step),
        artifacts => {
            let artifacts = artifacts.to_vec();
            Command::CompleteWithArtifacts(command::CompleteWithArtifacts { step, artifacts })
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
        let node = shared.ledger.as_ref().map(|ledger| ledger.node.name());
        story::ended(execution, node, ran);
        shared.active.send_modify(|active| *active -= 1);
    }
}

/// Commits an end, as often as it takes; the status that counts, or `None` when another attempt
/// does. The heap and the artifacts that were left are durable on a majority before; where that cannot
/// be, or they do not count any more, the outcome becomes a failure.
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
    // Only what has completed leaves something.
    let mut left = left.filter(|_| outcome.is_ok());
    let mut first = true;
    loop {
        if let Some(left_now) = &left {
            let since = Instant::now();
            let spreading = spread(ledger, left_now, std::mem::take(&mut first));
            let spread = tokio::select! {
                biased;
                () = execution.stop_token().cancelled() => None,
                spread = spreading => Some(spread),
            };
            let failed = match &spread {
                Some(Ok(())) => None,
                Some(Err(error)) => Some(error.kind.as_str()),
                None => Some("stopped"),
            };
            execution.note("spread", since, failed);
            match spread {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    *outcome = Err(error);
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
            let proposed = node.propose(ending(complete, left.as_ref())).await;
            let proposed = proposed.map_err(|error| PutError::Failed(error.to_string()))?;
            Ok::<_, PutError>(proposed.reply)
        };
        let since = Instant::now();
        let proposed = proposing.await;
        execution.note("commit", since, proposed.is_err().then_some("not_committed"));
        match proposed {
            Ok(Reply::Ended(status)) => {
                if let Some(left) = &left {
                    Point::Completed.pass();
                    if let Some(heap) = &left.heap {
                        execution.set_heap(HeapId(heap.hash));
                    }
                    execution.set_artifacts(left.artifacts.keys());
                }
                return Some(status);
            }
            Ok(Reply::TooManyArtifacts) if outcome.is_ok() => {
                *outcome = Err(ErrorDetail::new(ErrorKind::ArtifactNotSaved, TOO_MANY_ARTIFACTS));
                left = None;
            }
            Ok(Reply::HeadMoved) if outcome.is_ok() => {
                *outcome = Err(ErrorDetail::new(ErrorKind::SessionMoved, SESSION_MOVED));
                left = None;
            }
            // Nobody counts on that heap, but here it is: files keep what they are stored against.
            Ok(Reply::NoHeap(_))
                if left.as_ref().and_then(|left| left.heap.as_ref()?.parent).is_some() =>
            {
                left.iter_mut().flat_map(|left| &mut left.heap).for_each(|heap| heap.parent = None);
            }
            Ok(_) | Err(PutError::Over) => return None,
            Err(PutError::Failed(problem)) => {
                // Fenced by now: whatever this node says does not count.
                if execution.stop_cause() == Some(StopCause::Abandoned)
                    || node.owner().as_ref() != Some(&lease.owner)
                {
                    return None;
                }
                tracing::warn!(execution_id = %id, problem, "its outcome is not committed yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
