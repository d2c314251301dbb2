//! Executions: accepted once, ended once, forgotten when old.
//!
//! # Contract
//! * An execution ends exactly once: by the first [`Complete`] of its present attempt and owner, or
//!   by a [`Reassign`] that has nobody left to give it to.
//! * A cancel that was committed before the end is the end, whatever the owner says.
//! * What is kept of ended executions is bounded by [`Expire`]; running ones are never forgotten.

use uuid::Uuid;

use super::rows::{EndRow, ExecutionRow, Kept, KeyRow, NodeRow};
use super::{
    Change, Rows, StateError, Transaction, artifacts, keys, named, principals, read, sessions,
};
use crate::command::{
    Cancel, Complete, Expire, Part, PartKind, Reassign, Reply, Status, Submit, Text,
};
use crate::limits::ATTEMPTS_MAX;
use crate::principal::PrincipalId;

/// Bytes that a row counts for besides its texts.
const ROW_BYTES: u64 = 512;

/// Most rows that one [`Expire`] removes: it is one write to the store.
const EXPIRED_PER_COMMAND: usize = 256;

/// Keeps a piece of a text.
pub fn part(state: &mut Transaction<'_>, part: &Part) -> Result<Reply, StateError> {
    let key = keys::execution(part.execution);
    match (state.get::<ExecutionRow>(&key)?, part.kind) {
        // Sent again after its submission.
        (Some(_), PartKind::Code) => return Ok(Reply::Done),
        (None, PartKind::Code) => state.put(keys::orphan(part.execution), &()),
        (None, _) => return Ok(Reply::NoExecution),
        (Some(row), _) => {
            if row.attempt != part.attempt {
                return Ok(Reply::Fenced);
            }
            if row.end.is_some() {
                return Ok(Reply::EndedBefore);
            }
        }
    }
    state.put(keys::part(part.execution, part.kind, part.number), &part.text);
    Ok(Reply::Done)
}

/// Puts a text away and returns the number of its pieces.
fn keep(state: &mut Transaction<'_>, id: Uuid, kind: PartKind, text: &Text) -> u32 {
    match text {
        Text::Inline(text) => {
            state.put(keys::part(id, kind, 0), text);
            1
        }
        Text::Parts(parts) => *parts,
    }
}

/// Whether an execution was accepted already, or one under the same key.
pub(super) fn is_known(state: &Transaction<'_>, submit: &Submit) -> Result<bool, StateError> {
    if state.contains(&keys::execution(submit.execution))? {
        return Ok(true);
    }
    match &submit.key {
        Some(key) => state.contains(&keys::key(&key.text)),
        None => Ok(false),
    }
}

/// Accepts an execution, or finds the one that was accepted under the same key.
pub fn submit(state: &mut Transaction<'_>, submit: &Submit) -> Result<Reply, StateError> {
    let id = submit.execution;
    if state.contains(&keys::execution(id))? {
        return Ok(Reply::Accepted(id));
    }
    if let Some(key) = &submit.key
        && let Some(known) = state.get::<KeyRow>(&keys::key(&key.text))?
    {
        drop_orphan(state, id)?;
        let same = known.digest == key.digest;
        return Ok(if same { Reply::Accepted(known.execution) } else { Reply::KeyConflict });
    }
    // A node that was declared lost while it proposed this does not run it.
    let node = state.get::<NodeRow>(&keys::node(&submit.owner.node))?;
    if !node.is_some_and(|node| node.up && node.epoch == submit.owner.epoch) {
        drop_orphan(state, id)?;
        return Ok(Reply::Fenced);
    }
    let code_parts = keep(state, id, PartKind::Code, &submit.code);
    if let Some(key) = &submit.key {
        let row = KeyRow { digest: key.digest, execution: id };
        state.put(keys::key(&key.text), &row);
    }
    let row = ExecutionRow {
        status: Status::Running,
        owner: submit.owner.clone(),
        attempt: 1,
        cancelled: false,
        accepted_ms: submit.accepted_ms,
        key: submit.key.clone(),
        limits: submit.limits,
        code_parts,
        bytes: ROW_BYTES,
        end: None,
    };
    state.put(keys::execution(id), &row);
    state.put(keys::running(id), &());
    if state.contains(&keys::orphan(id))? {
        state.delete(keys::orphan(id));
    }
    state.changes.push(Change::Execution(id));
    Ok(Reply::Accepted(id))
}

/// Removes pieces of code that nobody will submit.
pub(super) fn drop_orphan(state: &mut Transaction<'_>, id: Uuid) -> Result<(), StateError> {
    if state.contains(&keys::orphan(id))? {
        state.delete(keys::orphan(id));
        drop_parts(state, id)?;
    }
    Ok(())
}

fn drop_parts(state: &mut Transaction<'_>, id: Uuid) -> Result<u64, StateError> {
    let mut bytes = 0;
    for (key, value) in state.first(&keys::parts(id), usize::MAX)? {
        bytes += value.len() as u64;
        state.delete(key);
    }
    Ok(bytes)
}

/// The row of an execution that this would end; otherwise the answer that says why it does not.
pub(super) fn ending(
    state: &Transaction<'_>,
    complete: &Complete,
) -> Result<Result<ExecutionRow, Reply>, StateError> {
    let Some(row) = state.get::<ExecutionRow>(&keys::execution(complete.execution))? else {
        return Ok(Err(Reply::NoExecution));
    };
    if row.attempt != complete.attempt || row.owner != complete.owner {
        return Ok(Err(Reply::Fenced));
    }
    Ok(if row.end.is_some() { Err(Reply::EndedBefore) } else { Ok(row) })
}

/// Ends an execution, if it is still this attempt of this owner that runs it.
pub fn complete(state: &mut Transaction<'_>, complete: &Complete) -> Result<Reply, StateError> {
    let (id, end) = (complete.execution, &complete.end);
    let row = match ending(state, complete)? {
        Ok(row) => row,
        Err(reply) => return Ok(reply),
    };
    let output_parts = keep(state, id, PartKind::Output, &end.output);
    let ended = EndRow {
        ended_ms: end.ended_ms,
        result_parts: end.result.as_ref().map(|text| keep(state, id, PartKind::Result, text)),
        error_parts: end.error.as_ref().map(|text| keep(state, id, PartKind::Error, text)),
        output_parts,
        output_bytes: end.output_bytes,
    };
    let status = if row.cancelled { Status::Cancelled } else { end.status };
    finish(state, id, row, status, ended)
}

fn finish(
    state: &mut Transaction<'_>,
    id: Uuid,
    row: ExecutionRow,
    status: Status,
    end: EndRow,
) -> Result<Reply, StateError> {
    // The source is not asked for again.
    for (key, _) in state.first(&keys::parts(id), row.code_parts as usize)? {
        if key < keys::part(id, PartKind::Output, 0) {
            state.delete(key);
        }
    }
    let bytes = match (&end.result_parts, &end.error_parts, end.output_parts) {
        // The usual: counting needs no search.
        (Some(0 | 1) | None, Some(0 | 1) | None, 0 | 1) => {
            let mut bytes = ROW_BYTES;
            for kind in [PartKind::Output, PartKind::Result, PartKind::Error] {
                let text = state.get::<String>(&keys::part(id, kind, 0))?;
                bytes += text.map_or(0, |text| text.len() as u64);
            }
            bytes
        }
        _ => {
            let parts = state.first(&keys::parts(id), usize::MAX)?;
            ROW_BYTES + parts.iter().map(|(_, value)| value.len() as u64).sum::<u64>()
        }
    };
    let mut kept: Kept = state.get(keys::KEPT)?.unwrap_or_default();
    kept.rows += 1;
    kept.bytes += bytes;
    state.put(keys::KEPT.to_vec(), &kept);
    state.delete(keys::running(id));
    state.put(keys::ended(end.ended_ms, id), &());
    let row = ExecutionRow { status, bytes, end: Some(end), ..row };
    state.put(keys::execution(id), &row);
    state.changes.push(Change::Execution(id));
    sessions::ended(state, id)?;
    principals::ended(state, id)?;
    Ok(Reply::Ended(status))
}

/// Notes that somebody asked for the end; the owner sees it and ends it.
pub fn cancel(state: &mut Transaction<'_>, cancel: &Cancel) -> Result<Reply, StateError> {
    let key = keys::execution(cancel.execution);
    let Some(row) = state.get::<ExecutionRow>(&key)? else { return Ok(Reply::NoExecution) };
    if row.end.is_some() {
        return Ok(Reply::Ended(row.status));
    }
    if !row.cancelled {
        state.put(key, &ExecutionRow { cancelled: true, ..row });
        state.changes.push(Change::Execution(cancel.execution));
    }
    Ok(Reply::Done)
}

/// Gives an execution of a node that is lost, or that takes no more, to another. One that was lost
/// with its node often enough ends instead.
pub fn reassign(state: &mut Transaction<'_>, reassign: &Reassign) -> Result<Reply, StateError> {
    let id = reassign.execution;
    let key = keys::execution(id);
    let Some(row) = state.get::<ExecutionRow>(&key)? else { return Ok(Reply::NoExecution) };
    if row.end.is_some() {
        return Ok(Reply::Ended(row.status));
    }
    let owner = state.get::<NodeRow>(&keys::node(&row.owner.node))?;
    let owner = owner.filter(|node| node.up && node.epoch == row.owner.epoch);
    let keeps_it = owner.as_ref().is_some_and(|node| node.runs_scripts);
    if row.attempt != reassign.from_attempt || keeps_it {
        return Ok(Reply::Fenced);
    }
    // What a node gives away because it stops was not lost with it: that has no bound.
    let may_go_on = !row.cancelled && (owner.is_some() || row.attempt < ATTEMPTS_MAX);
    let next = match &reassign.to {
        Some(to) if may_go_on => {
            let node = state.get::<NodeRow>(&keys::node(&to.node))?;
            let takes = |node: &NodeRow| node.up && node.epoch == to.epoch && node.runs_scripts;
            node.filter(takes).map(|_| to.clone())
        }
        _ => None,
    };
    if next.is_none() && reassign.to.is_some() && may_go_on {
        // The node it was meant for is gone as well: whoever asked will ask again.
        return Ok(Reply::Fenced);
    }
    // What the attempt before left behind.
    for (key, _) in state.first(&keys::parts(id), usize::MAX)? {
        if key >= keys::part(id, PartKind::Output, 0) {
            state.delete(key);
        }
    }
    match next {
        Some(owner) => {
            state.put(key, &ExecutionRow { owner, attempt: row.attempt + 1, ..row });
            state.changes.push(Change::Execution(id));
            Ok(Reply::Done)
        }
        None => {
            let status = if row.cancelled { Status::Cancelled } else { Status::Failed };
            let error_parts = (!row.cancelled)
                .then(|| keep(state, id, PartKind::Error, &Text::Inline(reassign.error.clone())));
            let end = EndRow {
                ended_ms: reassign.at_ms,
                result_parts: None,
                error_parts,
                output_parts: 0,
                output_bytes: 0,
            };
            finish(state, id, row, status, end)
        }
    }
}

/// Forgets what ended too long ago or is too much.
pub fn expire(state: &mut Transaction<'_>, expire: &Expire) -> Result<Reply, StateError> {
    let mut kept: Kept = state.get(keys::KEPT)?.unwrap_or_default();
    for (key, _) in state.first(keys::ENDED, EXPIRED_PER_COMMAND)? {
        let Some((time, id)) = key[1..].split_first_chunk::<8>() else { continue };
        let ended_ms = u64::from_be_bytes(*time);
        let too_much = kept.rows > expire.rows_max || kept.bytes > expire.bytes_max;
        if ended_ms >= expire.before_ms && !too_much {
            break;
        }
        state.delete(key.clone());
        let Ok(id) = Uuid::from_slice(id) else { continue };
        if let Some(row) = state.get::<ExecutionRow>(&keys::execution(id))? {
            kept.rows = kept.rows.saturating_sub(1);
            kept.bytes = kept.bytes.saturating_sub(row.bytes);
            if let Some(idempotency) = &row.key {
                state.delete(keys::key(&idempotency.text));
            }
            state.delete(keys::execution(id));
            drop_parts(state, id)?;
            sessions::forgotten(state, id)?;
            artifacts::forgotten(state, id)?;
            principals::forgotten(state, id)?;
        }
    }
    state.put(keys::KEPT.to_vec(), &kept);
    for (key, _) in state.first(keys::ORPHANS, EXPIRED_PER_COMMAND)? {
        let Ok(id) = Uuid::from_slice(&key[1..]) else { continue };
        let made_ms = id.get_timestamp().map_or(0, |time| {
            let (secs, nanos) = time.to_unix();
            secs * 1000 + u64::from(nanos) / 1_000_000
        });
        // Ids sort by time.
        if made_ms >= expire.before_ms {
            break;
        }
        drop_orphan(state, id)?;
    }
    named::forget(state)?;
    Ok(Reply::Done)
}

/// An execution.
///
/// # Errors
/// [`StateError`].
pub fn execution(rows: &dyn Rows, id: Uuid) -> Result<Option<ExecutionRow>, StateError> {
    read(rows, &keys::execution(id))
}

/// What an idempotency key stands for.
///
/// # Errors
/// [`StateError`].
pub fn by_key(rows: &dyn Rows, text: &str) -> Result<Option<KeyRow>, StateError> {
    read(rows, &keys::key(text))
}

/// A text of an execution, put together from its pieces.
///
/// # Errors
/// [`StateError`].
pub fn text(rows: &dyn Rows, id: Uuid, kind: PartKind, parts: u32) -> Result<String, StateError> {
    let mut text = String::new();
    for number in 0..parts {
        let part = read::<String>(rows, &keys::part(id, kind, number))?;
        text += &part.ok_or(StateError::Forgotten(id))?;
    }
    Ok(text)
}

/// Executions that have not ended, in order of acceptance.
///
/// # Errors
/// [`StateError`].
pub fn running(rows: &dyn Rows) -> Result<Vec<(Uuid, ExecutionRow)>, StateError> {
    let mut running = Vec::new();
    for (key, _) in rows.first(keys::RUNNING, usize::MAX)? {
        let Ok(id) = Uuid::from_slice(&key[1..]) else { continue };
        if let Some(row) = execution(rows, id)? {
            running.push((id, row));
        }
    }
    Ok(running)
}

/// The newest executions of a caller before `before`, newest first.
///
/// # Errors
/// [`StateError`].
pub fn newest(
    tree: &sled::Tree,
    whose: Option<PrincipalId>,
    before: Option<Uuid>,
    limit: usize,
) -> Result<Vec<(Uuid, ExecutionRow)>, StateError> {
    let before = before.unwrap_or(Uuid::max());
    let (first, end) = match whose {
        Some(whose) => (keys::executions_of(whose), keys::execution_of(whose, before)),
        None => (keys::EXECUTIONS.to_vec(), keys::execution(before)),
    };
    let mut newest = Vec::new();
    for row in tree.range(first.clone()..end).rev() {
        if newest.len() == limit {
            break;
        }
        let (key, _) = row?;
        let Ok(id) = Uuid::from_slice(&key[first.len()..]) else { continue };
        // Of everybody's some may be somebody's; and one may be forgotten in this moment.
        if whose.is_none() && principals::of(tree, id)?.is_some() {
            continue;
        }
        if let Some(row) = execution(tree, id)? {
            newest.push((id, row));
        }
    }
    Ok(newest)
}

/// How much is kept of what has ended.
///
/// # Errors
/// [`StateError`].
pub fn kept(rows: &dyn Rows) -> Result<Kept, StateError> {
    Ok(read(rows, keys::KEPT)?.unwrap_or_default())
}
