//! Sessions: named lines of heaps, each step of which begins where the one before has ended.
//!
//! # Contract
//! * Steps of a session have their turns in the order in which they were committed. A step has its
//!   turn when those before have ended, however they ended; only then may it run.
//! * A session is moved by a step that has completed while it had its turn and the session stood
//!   where the step began; by nothing else a step does. A step that ends otherwise leaves the
//!   session where it was.
//! * All that moves a session is in its history, of which the last
//!   [`SESSION_ENTRIES_MAX`] entries are kept.

use uuid::Uuid;

use super::rows::{EntryRow, ExecutionRow, SessionRow, StepRow};
use super::{
    Change, Rows, StateError, Transaction, executions, heaps, keys, named, principals, read,
};
use crate::command::{
    Base, Complete, CompleteStep, DeleteSession, HeapHash, MoveSession, MoveTo, PartKind, Reply,
    SetHeapTags, Status, SubmitStep,
};
use crate::limits::{SESSION_CODE_PIECES_MAX, SESSION_ENTRIES_MAX, SESSIONS_MAX};
use crate::principal::{PrincipalId, list_after, prefix};

/// Entries that one command forgets at most: it is one write to the store.
const ENTRIES_PER_COMMAND: u64 = 256;

/// Accepts an execution that keeps its heap.
pub fn submit(state: &mut Transaction<'_>, step: &SubmitStep) -> Result<Reply, StateError> {
    let id = step.submit.execution;
    if executions::is_known(state, &step.submit)? {
        return executions::submit(state, &step.submit);
    }
    if let Base::Heap(hash) = &step.base
        && !named::exists(state, hash)?
    {
        executions::drop_orphan(state, id)?;
        return Ok(Reply::NoHeap(*hash));
    }
    let mut session = None;
    if let Some(name) = &step.session {
        let row = match state.get::<SessionRow>(&keys::session(name))? {
            Some(row) => Some(row),
            None => begin(state)?,
        };
        let Some(row) = row else {
            executions::drop_orphan(state, id)?;
            return Ok(Reply::TooManySessions);
        };
        session = Some((name, row));
    }
    let reply = executions::submit(state, &step.submit)?;
    if reply != Reply::Accepted(id) {
        return Ok(reply);
    }
    if let Base::Heap(hash) = &step.base {
        named::name(state, hash)?;
    }
    let mut ticket = 0;
    if let Some((name, row)) = session {
        ticket = row.next_ticket;
        if !state.contains(&keys::session(name))? {
            count(state, 1)?;
        }
        state.put(keys::turn(name, ticket), &id);
        let changed_ms = row.changed_ms.max(step.submit.accepted_ms);
        state.put(keys::session(name), &SessionRow { next_ticket: ticket + 1, changed_ms, ..row });
    }
    let row = StepRow {
        session: step.session.clone(),
        ticket,
        base: step.base,
        tags: step.tags.clone(),
        output: None,
    };
    state.put(keys::step(id), &row);
    Ok(reply)
}

/// A new session, unless there are as many as may be.
fn begin(state: &Transaction<'_>) -> Result<Option<SessionRow>, StateError> {
    let count: u64 = state.get(keys::SESSION_COUNT)?.unwrap_or_default();
    Ok((count < SESSIONS_MAX).then(SessionRow::default))
}

fn count(state: &mut Transaction<'_>, more: u64) -> Result<(), StateError> {
    let count: u64 = state.get(keys::SESSION_COUNT)?.unwrap_or_default();
    state.put(keys::SESSION_COUNT.to_vec(), &(count + more));
    Ok(())
}

/// Ends an execution that keeps its heap.
pub fn complete(state: &mut Transaction<'_>, step: &CompleteStep) -> Result<Reply, StateError> {
    let complete = &step.complete;
    let id = complete.execution;
    let row = match executions::ending(state, complete)? {
        Ok(row) => row,
        Err(reply) => return Ok(reply),
    };
    let completed = complete.end.status == Status::Completed && !row.cancelled;
    let kept = state.get::<StepRow>(&keys::step(id))?;
    if let (true, Some(kept)) = (completed, kept) {
        let Some(heap) = &step.heap else { return Ok(Reply::HeadMoved) };
        let session = match &kept.session {
            None => None,
            Some(name) => match state.get::<SessionRow>(&keys::session(name))? {
                Some(session) if is_first(state, name, kept.ticket)? => Some((name, session)),
                _ => return Ok(Reply::HeadMoved),
            },
        };
        let stands = match (&kept.base, &session) {
            (Base::Heap(hash), _) => step.input == Some(*hash),
            (Base::Head, Some((_, session))) => step.input == session.head,
            (Base::Head, None) => step.input.is_none(),
        };
        if !stands {
            return Ok(Reply::HeadMoved);
        }
        if !named::keep(state, heap)? {
            return Ok(Reply::NoHeap(heap.parent.unwrap_or(heap.hash)));
        }
        // By the execution.
        named::name(state, &heap.hash)?;
        let whose = principals::of_now(state, id)?;
        principals::left(state, whose, &heap.hash)?;
        if let Some((name, session)) = session {
            let entry = EntryRow {
                execution: Some(id),
                input: step.input,
                output: Some(heap.hash),
                code_parts: row.code_parts.min(SESSION_CODE_PIECES_MAX),
                code_whole: row.code_parts <= SESSION_CODE_PIECES_MAX,
                at_ms: complete.end.ended_ms,
            };
            keep_code(state, name, session.next_entry, id, entry.code_parts)?;
            advance(state, name, session, &entry)?;
        }
        if !kept.tags.is_empty() {
            let tags = kept.tags.clone();
            // What is too much for the heap beside what it has is left out, not the step.
            heaps::set(state, whose, &SetHeapTags { id, heap: heap.hash, tags })?;
        }
        state.put(keys::step(id), &StepRow { output: Some(heap.hash), ..kept });
    }
    executions::complete(state, complete)
}

/// Ends an execution that keeps no heap. One that does cannot complete so.
pub fn complete_script(
    state: &mut Transaction<'_>,
    complete: &Complete,
) -> Result<Reply, StateError> {
    if complete.end.status == Status::Completed
        && state.contains(&keys::step(complete.execution))?
        && executions::ending(state, complete)?.is_ok_and(|row| !row.cancelled)
    {
        return Ok(Reply::HeadMoved);
    }
    executions::complete(state, complete)
}

/// Whether all steps before this one have ended.
fn is_first(state: &Transaction<'_>, session: &str, ticket: u64) -> Result<bool, StateError> {
    let first = state.first(&keys::turns(session), 1)?;
    Ok(first.first().is_some_and(|(key, _)| *key == keys::turn(session, ticket)))
}

/// Copies so much of the source of a step to its entry.
fn keep_code(
    state: &mut Transaction<'_>,
    session: &str,
    entry: u64,
    id: Uuid,
    parts: u32,
) -> Result<(), StateError> {
    for piece in 0..parts {
        if let Some(text) = state.get::<String>(&keys::part(id, PartKind::Code, piece))? {
            state.put(keys::entry_code(session, entry, piece), &text);
        }
    }
    Ok(())
}

/// Puts a session where an entry ends, and the entry into its history.
fn advance(
    state: &mut Transaction<'_>,
    name: &str,
    mut session: SessionRow,
    entry: &EntryRow,
) -> Result<(), StateError> {
    // By the session, and by the entry at both its ends.
    for heap in entry.output.iter().chain(&entry.output).chain(&entry.input) {
        named::name(state, heap)?;
    }
    if let Some(head) = &session.head {
        named::unname(state, head)?;
    }
    state.put(keys::entry(name, session.next_entry), entry);
    session.head = entry.output;
    session.changed_ms = session.changed_ms.max(entry.at_ms);
    session.next_entry += 1;
    if session.next_entry - session.first_entry > SESSION_ENTRIES_MAX {
        forget_entry(state, name, session.first_entry)?;
        session.first_entry += 1;
    }
    state.put(keys::session(name), &session);
    state.changes.push(Change::Session(name.to_owned()));
    Ok(())
}

fn forget_entry(state: &mut Transaction<'_>, name: &str, number: u64) -> Result<(), StateError> {
    let key = keys::entry(name, number);
    if let Some(entry) = state.get::<EntryRow>(&key)? {
        for heap in entry.output.iter().chain(&entry.input) {
            named::unname(state, heap)?;
        }
        for piece in 0..entry.code_parts {
            state.delete(keys::entry_code(name, number, piece));
        }
    }
    state.delete(key);
    Ok(())
}

/// Forgets a session, or the oldest entries of its history when there are many.
pub fn delete(state: &mut Transaction<'_>, delete: &DeleteSession) -> Result<Reply, StateError> {
    let name = &delete.session;
    let Some(mut session) = state.get::<SessionRow>(&keys::session(name))? else {
        return Ok(Reply::NoSession);
    };
    if !state.first(&keys::turns(name), 1)?.is_empty() {
        return Ok(Reply::SessionBusy);
    }
    let until = session.next_entry.min(session.first_entry + ENTRIES_PER_COMMAND);
    while session.first_entry < until {
        forget_entry(state, name, session.first_entry)?;
        session.first_entry += 1;
    }
    if session.first_entry < session.next_entry {
        state.put(keys::session(name), &session);
        return Ok(Reply::More);
    }
    if let Some(head) = &session.head {
        named::unname(state, head)?;
    }
    state.delete(keys::session(name));
    let count: u64 = state.get(keys::SESSION_COUNT)?.unwrap_or_default();
    state.put(keys::SESSION_COUNT.to_vec(), &count.saturating_sub(1));
    Ok(Reply::Done)
}

/// Puts a session somewhere.
pub fn put(state: &mut Transaction<'_>, put: &MoveSession) -> Result<Reply, StateError> {
    let name = &put.session;
    let session = match (state.get::<SessionRow>(&keys::session(name))?, put.new) {
        (Some(_), true) => return Ok(Reply::SessionExists),
        (None, false) => return Ok(Reply::NoSession),
        (Some(session), false) => session,
        (None, true) => match begin(state)? {
            Some(session) => session,
            None => return Ok(Reply::TooManySessions),
        },
    };
    let output = match &put.to {
        MoveTo::Empty => None,
        MoveTo::Heap(hash) if named::exists(state, hash)? => Some(*hash),
        MoveTo::Heap(hash) => return Ok(Reply::NoHeap(*hash)),
        MoveTo::Session(other) => match state.get::<SessionRow>(&keys::session(other))? {
            Some(other) => other.head,
            None => return Ok(Reply::NoSession),
        },
    };
    if put.new {
        count(state, 1)?;
    }
    let input = if put.new { output } else { session.head };
    let (code_parts, code_whole, at_ms) = (0, true, put.at_ms);
    let entry = EntryRow { execution: None, input, output, code_parts, code_whole, at_ms };
    advance(state, name, session, &entry)?;
    Ok(Reply::Done)
}

/// An execution has ended: its turn goes to the next, and what it began with is named by one less.
pub(super) fn ended(state: &mut Transaction<'_>, id: Uuid) -> Result<(), StateError> {
    let Some(step) = state.get::<StepRow>(&keys::step(id))? else { return Ok(()) };
    if let Base::Heap(hash) = &step.base {
        named::unname(state, hash)?;
    }
    if let Some(name) = step.session {
        state.delete(keys::turn(&name, step.ticket));
        state.changes.push(Change::Session(name));
    }
    Ok(())
}

/// An execution is forgotten.
pub(super) fn forgotten(state: &mut Transaction<'_>, id: Uuid) -> Result<(), StateError> {
    if let Some(step) = state.get::<StepRow>(&keys::step(id))? {
        if let Some(output) = &step.output {
            named::unname(state, output)?;
        }
        state.delete(keys::step(id));
    }
    Ok(())
}

/// A session.
///
/// # Errors
/// [`StateError`].
pub fn session(rows: &dyn Rows, name: &str) -> Result<Option<SessionRow>, StateError> {
    read(rows, &keys::session(name))
}

/// What an execution has to do with heaps, if anything.
///
/// # Errors
/// [`StateError`].
pub fn step(rows: &dyn Rows, id: Uuid) -> Result<Option<StepRow>, StateError> {
    read(rows, &keys::step(id))
}

/// The step that has its turn in a session.
///
/// # Errors
/// [`StateError`].
pub fn turn(rows: &dyn Rows, name: &str) -> Result<Option<Uuid>, StateError> {
    let first = rows.first(&keys::turns(name), 1)?;
    first.first().map(|(key, value)| super::decode_row(key, value)).transpose()
}

/// The heap that a step begins with, once it has its turn.
///
/// # Errors
/// [`StateError`].
pub fn base(rows: &dyn Rows, step: &StepRow) -> Result<Option<HeapHash>, StateError> {
    match (&step.base, &step.session) {
        (Base::Heap(hash), _) => Ok(Some(*hash)),
        (Base::Head, Some(name)) => Ok(session(rows, name)?.and_then(|session| session.head)),
        (Base::Head, None) => Ok(None),
    }
}

/// The first `limit` of a caller's names of sessions after a name, in order, as the caller says them.
///
/// # Errors
/// [`StateError`].
pub fn names(
    rows: &dyn Rows,
    whose: Option<PrincipalId>,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, StateError> {
    let (own, after) = (keys::session(&prefix(whose)), keys::session(&list_after(whose, after)));
    let rows = rows.after(&after, &own, limit)?;
    let said = |(key, _): &super::Row| String::from_utf8_lossy(&key[own.len()..]).into_owned();
    Ok(rows.iter().map(said).collect())
}

/// One entry of a session's history.
///
/// # Errors
/// [`StateError`].
pub fn entry(rows: &dyn Rows, name: &str, number: u64) -> Result<Option<EntryRow>, StateError> {
    read(rows, &keys::entry(name, number))
}

/// The history of a session, oldest first, with the number of each entry.
///
/// # Errors
/// [`StateError`].
pub fn entries(rows: &dyn Rows, name: &str) -> Result<Vec<(u64, EntryRow)>, StateError> {
    let prefix = keys::entries(name);
    let numbered = |(key, value): (Vec<u8>, Vec<u8>)| {
        let number = key.get(prefix.len()..).and_then(|number| number.try_into().ok());
        let number = number.map_or(0, u64::from_be_bytes);
        Ok((number, super::decode_row(&key, &value)?))
    };
    rows.first(&prefix, usize::MAX)?.into_iter().map(numbered).collect()
}

/// The source of an entry's step.
///
/// # Errors
/// [`StateError`].
pub fn code(rows: &dyn Rows, name: &str, number: u64) -> Result<String, StateError> {
    let pieces = rows.first(&keys::entry_codes(name, number), usize::MAX)?;
    let pieces = pieces.iter().map(|(key, value)| super::decode_row::<String>(key, value));
    pieces.collect()
}

/// Whether an execution that keeps its heap may run now: it is no session's step, or has its turn.
///
/// # Errors
/// [`StateError`].
pub fn has_turn(rows: &dyn Rows, id: Uuid) -> Result<bool, StateError> {
    match step(rows, id)? {
        None => Ok(false),
        Some(StepRow { session: None, .. }) => Ok(true),
        Some(StepRow { session: Some(session), .. }) => Ok(turn(rows, &session)? == Some(id)),
    }
}

/// Whether this is the row of an execution whose outcome is a heap; see [`ExecutionRow`].
///
/// # Errors
/// [`StateError`].
pub fn output(
    rows: &dyn Rows,
    id: Uuid,
    row: &ExecutionRow,
) -> Result<Option<HeapHash>, StateError> {
    if row.status != Status::Completed {
        return Ok(None);
    }
    Ok(step(rows, id)?.and_then(|step| step.output))
}
