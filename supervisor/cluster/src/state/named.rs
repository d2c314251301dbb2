//! Heaps and what names them.
//!
//! # Contract
//! * A heap has a row from the moment a step has left it until nothing names it: no session, no
//!   entry of a history, no execution, no tag, and no heap that is stored against it. What an artifact
//!   is stored as has one like it.
//! * A heap without names is forgotten by the next [`Expire`](crate::command::Expire) that comes to
//!   it; a node may remove its file when the row is gone.

use std::collections::BTreeMap;

use super::rows::HeapRow;
use super::{Change, Rows, StateError, Transaction, keys, principals, read};
use crate::command::{FoundHeaps, HeapHash, HeapLeft, Reply};

/// Most heaps that one command forgets: it is one write to the store.
const FORGOTTEN_PER_COMMAND: usize = 256;

/// Whether a heap is there to be named.
pub(super) fn exists(state: &Transaction<'_>, hash: &HeapHash) -> Result<bool, StateError> {
    state.contains(&keys::heap(hash))
}

/// One more names this heap. It is there.
pub(super) fn name(state: &mut Transaction<'_>, hash: &HeapHash) -> Result<(), StateError> {
    let Some(row) = state.get::<HeapRow>(&keys::heap(hash))? else { return Ok(()) };
    if row.names == 0 {
        state.delete(keys::unnamed(hash));
    }
    state.put(keys::heap(hash), &HeapRow { names: row.names + 1, ..row });
    Ok(())
}

/// One less does.
pub(super) fn unname(state: &mut Transaction<'_>, hash: &HeapHash) -> Result<(), StateError> {
    let Some(row) = state.get::<HeapRow>(&keys::heap(hash))? else { return Ok(()) };
    let names = row.names.saturating_sub(1);
    if names == 0 {
        state.put(keys::unnamed(hash), &());
    }
    state.put(keys::heap(hash), &HeapRow { names, ..row });
    Ok(())
}

/// A step has left a heap; whoever calls this names it next. False when the heap it is stored against
/// is not there.
pub(super) fn keep(state: &mut Transaction<'_>, heap: &HeapLeft) -> Result<bool, StateError> {
    if exists(state, &heap.hash)? {
        // The same heap again, stored where it was and against what it was.
        return Ok(true);
    }
    if let Some(parent) = &heap.parent {
        if !exists(state, parent)? || *parent == heap.hash {
            return Ok(false);
        }
        name(state, parent)?;
    }
    let tags: Option<BTreeMap<String, String>> = state.get(&keys::tags(&heap.hash))?;
    let tagged = tags.is_some_and(|tags| !tags.is_empty());
    let row =
        HeapRow { stored_bytes: heap.stored_bytes, parent: heap.parent, names: u64::from(tagged) };
    state.put(keys::heap(&heap.hash), &row);
    if !tagged {
        state.put(keys::unnamed(&heap.hash), &());
    }
    Ok(true)
}

/// Forgets heaps that nothing names.
pub(super) fn forget(state: &mut Transaction<'_>) -> Result<(), StateError> {
    for (key, _) in state.first(keys::UNNAMED, FORGOTTEN_PER_COMMAND)? {
        state.delete(key.clone());
        let Ok(hash) = HeapHash::try_from(&key[1..]) else { continue };
        let Some(row) = state.get::<HeapRow>(&keys::heap(&hash))? else { continue };
        state.delete(keys::heap(&hash));
        if let Some(parent) = &row.parent {
            unname(state, parent)?;
        }
        principals::heap_forgotten(state, &hash)?;
        state.changes.push(Change::HeapForgotten(hash));
    }
    Ok(())
}

/// The key of the cluster's heaps: the first that was named.
pub(super) fn found(state: &mut Transaction<'_>, found: &FoundHeaps) -> Result<Reply, StateError> {
    if !state.contains(keys::HEAP_KEY)? {
        state.put(keys::HEAP_KEY.to_vec(), &found.key);
    }
    Ok(Reply::Done)
}

/// A heap that something names, or has named until now.
///
/// # Errors
/// [`StateError`].
pub fn heap(rows: &dyn Rows, hash: &HeapHash) -> Result<Option<HeapRow>, StateError> {
    read(rows, &keys::heap(hash))
}

/// All heaps.
///
/// # Errors
/// [`StateError`].
pub fn all(rows: &dyn Rows) -> Result<Vec<HeapHash>, StateError> {
    let rows = rows.first(keys::HEAPS, usize::MAX)?;
    Ok(rows.iter().filter_map(|(key, _)| HeapHash::try_from(&key[1..]).ok()).collect())
}

/// The key of the heaps' codes, if the cluster has one yet.
///
/// # Errors
/// [`StateError`].
pub fn key(rows: &dyn Rows) -> Result<Option<[u8; 32]>, StateError> {
    read(rows, keys::HEAP_KEY)
}
