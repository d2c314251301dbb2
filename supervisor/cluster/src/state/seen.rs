//! Commands that were applied: a command that is sent again gets the answer of the first time.
//!
//! # Contract
//! * The last [`COMMAND_IDS_MAX`] are remembered. Which ones is a matter of their order in the log,
//!   so all nodes remember the same.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{StateError, Transaction, keys};
use crate::command::Reply;
use crate::limits::COMMAND_IDS_MAX;

/// Numbers of the remembered commands: from `first` up to, not including, `next`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Window {
    first: u64,
    next: u64,
}

/// Does something once for each command id.
pub fn once(
    state: &mut Transaction<'_>,
    id: Uuid,
    apply: impl FnOnce(&mut Transaction<'_>) -> Result<Reply, StateError>,
) -> Result<Reply, StateError> {
    if let Some(reply) = state.get::<Reply>(&keys::seen(id))? {
        return Ok(reply);
    }
    let reply = apply(state)?;
    let mut window: Window = state.get(keys::SEEN)?.unwrap_or_default();
    state.put(keys::seen(id), &reply);
    state.put(keys::seen_number(window.next), &id);
    window.next += 1;
    if window.next - window.first > COMMAND_IDS_MAX {
        let oldest = keys::seen_number(window.first);
        if let Some(id) = state.get::<Uuid>(&oldest)? {
            state.delete(keys::seen(id));
        }
        state.delete(oldest);
        window.first += 1;
    }
    state.put(keys::SEEN.to_vec(), &window);
    Ok(reply)
}
