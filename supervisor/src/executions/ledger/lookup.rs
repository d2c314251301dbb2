//! What anybody asks about executions, answered from the rows.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mcp_v8_cluster::command::{self, Base, Command, PartKind, Reply};
use mcp_v8_cluster::state::rows::ExecutionRow;
use mcp_v8_cluster::state::{StateError, artifacts, executions as rows, sessions};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::mirror::follow;
use super::{Ledger, shown, time};
use crate::access::Principal;
use crate::executions::execution::{Execution, StopCause};
use crate::executions::model::{
    ErrorDetail, ErrorKind, ExecutionList, ExecutionSummary, Origin, Status, rfc3339,
};
use crate::executions::registry::Digest;
use crate::executions::submit::SubmitError;
use crate::executions::{LookupError, Shared};
use crate::heaps::HeapId;
use crate::limits::{CANCEL_TRIED_MAX, FIRST_LOOK_MAX};

/// The pause before a cancel is tried again.
const CANCEL_PAUSE: Duration = Duration::from_millis(200);

/// The execution that was accepted under this key, as far as this node knows.
pub(in crate::executions) async fn find(
    shared: &Arc<Shared>,
    by: Principal,
    key: Option<&(String, Digest)>,
) -> Result<Option<Arc<Execution>>, SubmitError> {
    let (Some(ledger), Some((text, digest))) = (&shared.ledger, key) else { return Ok(None) };
    let unavailable = |error: &dyn std::fmt::Display| SubmitError::Cluster(error.to_string());
    let row = rows::by_key(&ledger.node.rows(), text).map_err(|error| unavailable(&error))?;
    match row {
        None => Ok(None),
        Some(row) if row.digest != *digest => Err(SubmitError::KeyConflict),
        Some(row) => known(shared, by, row.execution).await.map_err(|error| unavailable(&error)),
    }
}

/// The execution of a caller with this id, from the row.
pub(in crate::executions) async fn get(
    shared: &Arc<Shared>,
    by: Principal,
    id: Uuid,
) -> Result<Option<Arc<Execution>>, LookupError> {
    let Some(ledger) = &shared.ledger else { return Ok(None) };
    let unavailable = |error: &dyn std::fmt::Display| LookupError::Unavailable(error.to_string());
    // One of another caller is none.
    let own = || match ledger.row(id)? {
        Some(row) if ledger.principal(id)? == by => Ok(Some(row)),
        _ => Ok::<_, StateError>(None),
    };
    let row = own().map_err(|error| unavailable(&error))?;
    // An end is an end; anything else may be out of date here.
    let row = match row {
        Some(row) if row.end.is_some() => Some(row),
        _ => {
            ledger.node.barrier().await.map_err(|error| unavailable(&error))?;
            own().map_err(|error| unavailable(&error))?
        }
    };
    let Some(row) = row else { return Ok(None) };
    if row.end.is_some() {
        let execution = Arc::new(from_row(by, id, &row));
        let bytes = restore(ledger, &execution, &row).map_err(|error| unavailable(&error))?;
        let mut registry = shared.registry.lock();
        if let Some(known) = registry.get(id) {
            return Ok(Some(known));
        }
        registry.insert(Arc::clone(&execution), None);
        registry.retain(id, bytes);
        return Ok(Some(execution));
    }
    let execution = {
        let mut inner = ledger.inner.lock();
        if let Some(running) = inner.running.get(&id) {
            return Ok(Some(Arc::clone(running)));
        }
        inner.mirrors.retain(|_, mirror| mirror.strong_count() > 0);
        if let Some(known) = inner.mirrors.get(&id).and_then(Weak::upgrade)
            && !known.ended()
        {
            return Ok(Some(known));
        }
        let execution = Arc::new(from_row(by, id, &row));
        inner.mirrors.insert(id, Arc::downgrade(&execution));
        execution
    };
    let (shared, weak) = (Arc::clone(shared), Arc::downgrade(&execution));
    let (seen, first) = oneshot::channel();
    tokio::spawn(async move { follow(&shared, id, weak, Some(seen)).await });
    // Whoever asks gets what has been printed by now, if its owner can be asked.
    let _ = tokio::time::timeout(FIRST_LOOK_MAX, first).await;
    Ok(Some(execution))
}

/// The same, for one that may have just begun here.
pub(super) async fn known(
    shared: &Arc<Shared>,
    by: Principal,
    id: Uuid,
) -> Result<Option<Arc<Execution>>, LookupError> {
    let here = shared.registry.lock().get(id);
    match here {
        Some(here) if here.principal() == by => Ok(Some(here)),
        _ => get(shared, by, id).await,
    }
}

fn from_row(by: Principal, id: Uuid, row: &ExecutionRow) -> Execution {
    let key = row.key.as_ref().map(|key| key.text.clone());
    Execution::accepted(by, id, key, time(row.accepted_ms), None)
}

/// Ends an execution as its row says, and returns the bytes it keeps.
pub(super) fn restore(
    ledger: &Ledger,
    execution: &Execution,
    row: &ExecutionRow,
) -> Result<usize, StateError> {
    let (id, Some(end)) = (execution.id(), &row.end) else { return Ok(0) };
    let output = ledger.text(id, PartKind::Output, end.output_parts)?;
    let outcome = match (shown(row.status), end.error_parts) {
        (Status::Cancelled, _) => Err(StopCause::Cancelled.detail()),
        (_, Some(parts)) => {
            let json = ledger.text(id, PartKind::Error, parts)?;
            Err(serde_json::from_str(&json).unwrap_or_else(|_| {
                ErrorDetail::new(ErrorKind::WorkerCrashed, "The error cannot be shown")
            }))
        }
        (_, None) => {
            let text = |parts| ledger.text(id, PartKind::Result, parts);
            Ok(end.result_parts.map(text).transpose()?)
        }
    };
    if let Some(heap) = sessions::output(&ledger.node.rows(), id, row)? {
        execution.set_heap(HeapId(heap));
    }
    execution.set_artifacts(artifacts::of(&ledger.node.rows(), id)?);
    execution.set_output(&output);
    Ok(execution.end_as(outcome, time(end.ended_ms)).unwrap_or_default())
}

/// Asks the owner of an execution, through the log, to stop it.
pub(in crate::executions) async fn cancel(
    shared: &Arc<Shared>,
    id: Uuid,
) -> Result<(), LookupError> {
    let Some(ledger) = &shared.ledger else { return Ok(()) };
    let cancel = Command::Cancel(command::Cancel { execution: id });
    let proposed = ledger.node.propose(cancel).await;
    match proposed.map_err(|error| LookupError::Unavailable(error.to_string()))?.reply {
        Reply::NoExecution => Err(LookupError::NotFound(id.to_string())),
        // The caller sees how it ended.
        _ => Ok(()),
    }
}

/// Does it as often as it takes, in the background; a server that stops waits for it
/// ([`Executions::cancelled`](crate::executions::Executions::cancelled)).
pub(in crate::executions) fn cancel_for_sure(shared: &Arc<Shared>, id: Uuid) {
    let asking = Arc::clone(shared);
    shared.cancels.spawn(async move {
        let deadline = Instant::now() + CANCEL_TRIED_MAX;
        while let Err(LookupError::Unavailable(problem)) = cancel(&asking, id).await {
            if Instant::now() >= deadline {
                tracing::error!(execution_id = %id, problem, "is not cancelled, though its caller has gone");
                return;
            }
            sleep(CANCEL_PAUSE).await;
        }
    });
}

/// Where an execution comes from, as far as that is kept.
pub(in crate::executions) fn origin(
    shared: &Shared,
    by: Principal,
    id: Uuid,
) -> Result<Origin, LookupError> {
    let Some(ledger) = &shared.ledger else { return Ok(Origin::default()) };
    let unavailable = |error: StateError| LookupError::Unavailable(error.to_string());
    // It was forgotten in this moment, or its submission is not applied here yet.
    let Some(row) = ledger.row(id).map_err(unavailable)? else { return Ok(Origin::default()) };
    let step = sessions::step(&ledger.node.rows(), id).map_err(unavailable)?;
    let from_heap = match step.as_ref().map(|step| step.base) {
        Some(Base::Heap(heap)) => Some(HeapId(heap).to_string()),
        Some(Base::Head) | None => None,
    };
    Ok(Origin {
        node: Some(row.owner.node),
        attempt: Some(row.attempt),
        session: step.and_then(|step| step.session).map(|name| by.said(&name)),
        from_heap,
    })
}

/// Executions of a caller, newest first.
pub(in crate::executions) async fn list(
    shared: &Arc<Shared>,
    by: Principal,
    cursor: Option<Uuid>,
    limit: usize,
    details: bool,
) -> Result<ExecutionList, SubmitError> {
    let empty = ExecutionList { executions: Vec::new(), next_cursor: None };
    let Some(ledger) = &shared.ledger else { return Ok(empty) };
    let unavailable = |error: &dyn std::fmt::Display| SubmitError::Cluster(error.to_string());
    ledger.node.barrier().await.map_err(|error| unavailable(&error))?;
    let tree = ledger.node.rows();
    let reading = tokio::task::spawn_blocking(move || {
        let mut read = Vec::new();
        for (id, row) in rows::newest(&tree, by.id(), cursor, limit + 1)? {
            let step = if details { sessions::step(&tree, id)? } else { None };
            let session = step.and_then(|step| step.session);
            read.push((id, row, session.map(|name| by.said(&name))));
        }
        Ok::<_, StateError>(read)
    });
    let read = reading.await.map_err(|error| unavailable(&error))?;
    let mut read = read.map_err(|error| unavailable(&error))?;
    let more = read.len() > limit;
    read.truncate(limit);
    let next_cursor = if more { read.last().map(|(id, ..)| id.to_string()) } else { None };
    let executions = read
        .into_iter()
        .map(|(id, row, session)| ExecutionSummary {
            execution_id: id.to_string(),
            status: shown(row.status),
            started_at: rfc3339(time(row.accepted_ms)),
            completed_at: row.end.map(|end| rfc3339(time(end.ended_ms))),
            node: details.then_some(row.owner.node),
            session,
        })
        .collect();
    Ok(ExecutionList { executions, next_cursor })
}
