//! Tags of heaps.

use std::collections::BTreeMap;

use super::{Rows, StateError, Transaction, keys, named, read};
use crate::command::{DeleteHeapTags, Reply, SetHeapTags};
use crate::limits::{TAGS_BYTES_MAX, TAGS_MAX};

type Tags = BTreeMap<String, String>;

/// Adds tags, replacing those of the same keys.
pub fn set(state: &mut Transaction<'_>, set: &SetHeapTags) -> Result<Reply, StateError> {
    let key = keys::tags(&set.heap);
    let mut tags: Tags = state.get(&key)?.unwrap_or_default();
    tags.extend(set.tags.clone());
    let bytes: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if tags.len() > TAGS_MAX || bytes > TAGS_BYTES_MAX {
        return Ok(Reply::TooManyTags);
    }
    if !tags.is_empty() && !state.contains(&key)? {
        named::name(state, &set.heap)?;
    }
    state.put(key, &tags);
    Ok(Reply::Done)
}

/// Deletes tags.
pub fn delete(state: &mut Transaction<'_>, delete: &DeleteHeapTags) -> Result<Reply, StateError> {
    let key = keys::tags(&delete.heap);
    let mut tags: Tags = state.get(&key)?.unwrap_or_default();
    match &delete.keys {
        None => tags.clear(),
        Some(keys) => tags.retain(|key, _| !keys.contains(key)),
    }
    if tags.is_empty() {
        if state.contains(&key)? {
            named::unname(state, &delete.heap)?;
        }
        state.delete(key);
    } else {
        state.put(key, &tags);
    }
    Ok(Reply::Done)
}

/// The tags of a heap.
///
/// # Errors
/// [`StateError`].
pub fn tags(rows: &dyn Rows, heap: &[u8; 32]) -> Result<Tags, StateError> {
    Ok(read(rows, &keys::tags(heap))?.unwrap_or_default())
}
