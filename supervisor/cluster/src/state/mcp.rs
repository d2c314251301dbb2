//! Sessions of the Model Context Protocol: what a node must know to go on with one that began at
//! another.
//!
//! # Contract
//! * A session is there from its beginning until it is closed, or was not used for long, or there are
//!   [`MCP_SESSIONS_KEPT_MAX`] that were used since.
//! * Times only go forward: a node with a slow clock makes no session older.

use super::rows::McpSessionRow;
use super::{Rows, StateError, Transaction, keys, principals, read};
use crate::command::{CloseMcpSession, ExpireMcpSessions, OpenMcpSession, Reply, UseMcpSessions};
use crate::limits::{MCP_SESSIONS_KEPT_MAX, MCP_SESSIONS_PER_COMMAND_MAX};

/// Begins a session; in the place of those that were not used for longest when there are too many.
pub fn open(state: &mut Transaction<'_>, open: &OpenMcpSession) -> Result<Reply, StateError> {
    remove(state, &open.session)?;
    let mut count = state.get::<u64>(keys::MCP_SESSION_COUNT)?.unwrap_or_default();
    if count >= MCP_SESSIONS_KEPT_MAX {
        // One for one: there are never more.
        for (key, _) in state.first(keys::MCP_USES, 1)? {
            remove(state, &used(&key).1)?;
        }
        count = state.get(keys::MCP_SESSION_COUNT)?.unwrap_or_default();
    }
    state.put(keys::MCP_SESSION_COUNT.to_vec(), &(count + 1));
    let row = McpSessionRow { client: open.client.clone(), used_ms: open.at_ms };
    state.put(keys::mcp_use(row.used_ms, &open.session), &());
    state.put(keys::mcp_session(&open.session), &row);
    Ok(Reply::Done)
}

/// Notes that sessions were used.
pub fn note(state: &mut Transaction<'_>, uses: &UseMcpSessions) -> Result<Reply, StateError> {
    for session in &uses.sessions {
        let Some(row) = state.get::<McpSessionRow>(&keys::mcp_session(session))? else { continue };
        if row.used_ms < uses.at_ms {
            state.delete(keys::mcp_use(row.used_ms, session));
            state.put(keys::mcp_use(uses.at_ms, session), &());
            let row = McpSessionRow { used_ms: uses.at_ms, ..row };
            state.put(keys::mcp_session(session), &row);
        }
    }
    Ok(Reply::Done)
}

/// Ends a session.
pub fn close(state: &mut Transaction<'_>, close: &CloseMcpSession) -> Result<Reply, StateError> {
    remove(state, &close.session)?;
    Ok(Reply::Done)
}

/// Ends those that were not used for long, as many as one command may.
pub fn expire(
    state: &mut Transaction<'_>,
    expire: &ExpireMcpSessions,
) -> Result<Reply, StateError> {
    for (key, _) in state.first(keys::MCP_USES, MCP_SESSIONS_PER_COMMAND_MAX)? {
        let (used_ms, session) = used(&key);
        if used_ms >= expire.before_ms {
            break;
        }
        remove(state, &session)?;
    }
    Ok(Reply::Done)
}

fn remove(state: &mut Transaction<'_>, session: &str) -> Result<(), StateError> {
    let Some(row) = state.get::<McpSessionRow>(&keys::mcp_session(session))? else {
        return Ok(());
    };
    let count = state.get::<u64>(keys::MCP_SESSION_COUNT)?.unwrap_or_default();
    state.put(keys::MCP_SESSION_COUNT.to_vec(), &count.saturating_sub(1));
    state.delete(keys::mcp_use(row.used_ms, session));
    state.delete(keys::mcp_session(session));
    principals::mcp_ended(state, session)
}

/// When a session was used, and its id, of the key that says so.
fn used(key: &[u8]) -> (u64, String) {
    let (time, session) = key[1..].split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    (u64::from_be_bytes(*time), String::from_utf8_lossy(session).into_owned())
}

/// A session.
///
/// # Errors
/// [`StateError`].
pub fn session(rows: &dyn Rows, session: &str) -> Result<Option<McpSessionRow>, StateError> {
    read(rows, &keys::mcp_session(session))
}

/// How many there are.
///
/// # Errors
/// [`StateError`].
pub fn count(rows: &dyn Rows) -> Result<u64, StateError> {
    Ok(read(rows, keys::MCP_SESSION_COUNT)?.unwrap_or_default())
}

/// When the one that was not used for longest was last used, in milliseconds since 1970.
///
/// # Errors
/// [`StateError`].
pub fn oldest_use_ms(rows: &dyn Rows) -> Result<Option<u64>, StateError> {
    Ok(rows.first(keys::MCP_USES, 1)?.first().map(|(key, _)| used(key).0))
}
