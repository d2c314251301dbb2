//! What belongs to whom, where callers are told apart.
//!
//! # Contract
//! * An execution, and a session of an MCP client, belongs from its beginning to the caller for whom it
//!   was begun, and to nobody else as long as it is there. What has no row here belongs to nobody in
//!   particular.
//! * A caller may name a heap that an execution of its own has left, as long as that heap is there. Its
//!   tags of a heap are seen by nobody else.
//! * Of each caller it is counted how many executions have not ended.

use uuid::Uuid;

use super::{Rows, StateError, Transaction, executions, heaps, keys, mcp, read, seen, sessions};
use crate::command::{Act, Base, For, HeapHash, MoveTo, Reply, Submit};
use crate::principal::PrincipalId;

/// Does something for a caller.
pub fn apply(state: &mut Transaction<'_>, by: &For) -> Result<Reply, StateError> {
    let whose = by.principal;
    match &by.act {
        Act::Submit(submit) => {
            accept(state, by, submit, None, |state| executions::submit(state, submit))
        }
        Act::SubmitStep(step) => {
            let base = if let Base::Heap(hash) = &step.base { Some(hash) } else { None };
            accept(state, by, &step.submit, base, |state| sessions::submit(state, step))
        }
        Act::SetHeapTags(set) => seen::once(state, set.id, |state| {
            if !may_name_now(state, whose, &set.heap)? {
                return Ok(Reply::NoHeap(set.heap));
            }
            heaps::set(state, whose, set)
        }),
        Act::DeleteHeapTags(delete) => seen::once(state, delete.id, |state| {
            if !may_name_now(state, whose, &delete.heap)? {
                return Ok(Reply::NoHeap(delete.heap));
            }
            heaps::delete(state, whose, delete)
        }),
        Act::MoveSession(put) => seen::once(state, put.id, |state| {
            if let MoveTo::Heap(hash) = &put.to
                && !may_name_now(state, whose, hash)?
            {
                return Ok(Reply::NoHeap(*hash));
            }
            sessions::put(state, put)
        }),
        Act::OpenMcpSession(open) => seen::once(state, open.id, |state| {
            let reply = mcp::open(state, open)?;
            if let Some(whose) = whose {
                state.put(keys::mcp_principal(&open.session), &whose);
            }
            Ok(reply)
        }),
    }
}

/// Accepts an execution for a caller, unless it begins with a heap that is not the caller's, or the
/// caller has too many.
fn accept(
    state: &mut Transaction<'_>,
    by: &For,
    submit: &Submit,
    base: Option<&HeapHash>,
    accept: impl FnOnce(&mut Transaction<'_>) -> Result<Reply, StateError>,
) -> Result<Reply, StateError> {
    let id = submit.execution;
    if executions::is_known(state, submit)? {
        return executions::submit(state, submit);
    }
    if let Some(hash) = base
        && !may_name_now(state, by.principal, hash)?
    {
        executions::drop_orphan(state, id)?;
        return Ok(Reply::NoHeap(*hash));
    }
    let running = state.get::<u64>(&keys::running_of(by.principal))?.unwrap_or_default();
    if by.running_max.is_some_and(|max| running >= u64::from(max)) {
        executions::drop_orphan(state, id)?;
        return Ok(Reply::TooManyRunning);
    }
    let reply = accept(state)?;
    if reply == Reply::Accepted(id) {
        state.put(keys::principal(id), &by.principal);
        state.put(keys::running_of(by.principal), &(running + 1));
        if let Some(whose) = by.principal {
            state.put(keys::execution_of(whose, id), &());
        }
    }
    Ok(reply)
}

fn may_name_now(
    state: &Transaction<'_>,
    whose: Option<PrincipalId>,
    heap: &HeapHash,
) -> Result<bool, StateError> {
    match whose {
        None => Ok(true),
        Some(whose) => state.contains(&keys::left_by(heap, whose)),
    }
}

/// Whose an execution is that is being ended.
pub(super) fn of_now(state: &Transaction<'_>, id: Uuid) -> Result<Option<PrincipalId>, StateError> {
    Ok(state.get::<Option<PrincipalId>>(&keys::principal(id))?.flatten())
}

/// An execution has left a heap, which is there: its caller may name it from now on.
pub(super) fn left(
    state: &mut Transaction<'_>,
    whose: Option<PrincipalId>,
    heap: &HeapHash,
) -> Result<(), StateError> {
    if let Some(whose) = whose {
        state.put(keys::left_by(heap, whose), &());
    }
    Ok(())
}

/// A heap is forgotten.
pub(super) fn heap_forgotten(
    state: &mut Transaction<'_>,
    heap: &HeapHash,
) -> Result<(), StateError> {
    let all = keys::left_by_all(heap);
    for (key, _) in state.first(&all, usize::MAX)? {
        if let Ok(id) = <[u8; 16]>::try_from(&key[all.len()..]) {
            let tags = keys::tags_of(Some(PrincipalId(id)), heap);
            if state.contains(&tags)? {
                state.delete(tags);
            }
        }
        state.delete(key);
    }
    Ok(())
}

/// An execution has ended.
pub(super) fn ended(state: &mut Transaction<'_>, id: Uuid) -> Result<(), StateError> {
    let Some(whose) = state.get::<Option<PrincipalId>>(&keys::principal(id))? else {
        return Ok(());
    };
    let key = keys::running_of(whose);
    match state.get::<u64>(&key)?.unwrap_or_default() {
        0 | 1 => state.delete(key),
        running => state.put(key, &(running - 1)),
    }
    Ok(())
}

/// An execution is forgotten.
pub(super) fn forgotten(state: &mut Transaction<'_>, id: Uuid) -> Result<(), StateError> {
    let key = keys::principal(id);
    if let Some(whose) = state.get::<Option<PrincipalId>>(&key)? {
        if let Some(whose) = whose {
            state.delete(keys::execution_of(whose, id));
        }
        state.delete(key);
    }
    Ok(())
}

/// A session of an MCP client has ended.
pub(super) fn mcp_ended(state: &mut Transaction<'_>, session: &str) -> Result<(), StateError> {
    let key = keys::mcp_principal(session);
    if state.contains(&key)? {
        state.delete(key);
    }
    Ok(())
}

/// Whose an execution is; none for one of nobody in particular.
///
/// # Errors
/// [`StateError`].
pub fn of(rows: &dyn Rows, id: Uuid) -> Result<Option<PrincipalId>, StateError> {
    Ok(read::<Option<PrincipalId>>(rows, &keys::principal(id))?.flatten())
}

/// Whose a session of an MCP client is; none for one of nobody in particular.
///
/// # Errors
/// [`StateError`].
pub fn of_mcp_session(rows: &dyn Rows, session: &str) -> Result<Option<PrincipalId>, StateError> {
    read(rows, &keys::mcp_principal(session))
}

/// Whether a caller may name a heap, if it is there.
///
/// # Errors
/// [`StateError`].
pub fn may_name(
    rows: &dyn Rows,
    whose: Option<PrincipalId>,
    heap: &HeapHash,
) -> Result<bool, StateError> {
    match whose {
        None => Ok(true),
        Some(whose) => Ok(rows.row(&keys::left_by(heap, whose))?.is_some()),
    }
}

/// How many executions of a caller have not ended, of those that are counted.
///
/// # Errors
/// [`StateError`].
pub fn running(rows: &dyn Rows, whose: Option<PrincipalId>) -> Result<u64, StateError> {
    Ok(read(rows, &keys::running_of(whose))?.unwrap_or_default())
}
