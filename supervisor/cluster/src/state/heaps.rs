//! Tags of heaps: those of a caller, or, where callers are not told apart, those of all.

use std::collections::BTreeMap;

use super::{Rows, StateError, Transaction, keys, named, read};
use crate::command::{DeleteHeapTags, HeapHash, Reply, SetHeapTags};
use crate::limits::{TAGS_BYTES_MAX, TAGS_MAX};
use crate::principal::PrincipalId;

type Tags = BTreeMap<String, String>;

/// Rows that a search has in memory.
const ROWS_AT_ONCE: usize = 1000;

/// Adds tags, replacing those of the same keys.
pub fn set(
    state: &mut Transaction<'_>,
    whose: Option<PrincipalId>,
    set: &SetHeapTags,
) -> Result<Reply, StateError> {
    let key = keys::tags_of(whose, &set.heap);
    let mut tags: Tags = state.get(&key)?.unwrap_or_default();
    let named_before = !tags.is_empty();
    tags.extend(set.tags.clone());
    let bytes: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if tags.len() > TAGS_MAX || bytes > TAGS_BYTES_MAX {
        return Ok(Reply::TooManyTags);
    }
    if tags.is_empty() {
        // No row without tags: it would count as a name.
        return Ok(Reply::Done);
    }
    if !named_before {
        named::name(state, &set.heap)?;
    }
    state.put(key, &tags);
    Ok(Reply::Done)
}

/// Deletes tags.
pub fn delete(
    state: &mut Transaction<'_>,
    whose: Option<PrincipalId>,
    delete: &DeleteHeapTags,
) -> Result<Reply, StateError> {
    let key = keys::tags_of(whose, &delete.heap);
    let mut tags: Tags = state.get(&key)?.unwrap_or_default();
    let named_before = !tags.is_empty();
    match &delete.keys {
        None => tags.clear(),
        Some(keys) => tags.retain(|key, _| !keys.contains(key)),
    }
    if tags.is_empty() {
        if named_before {
            named::unname(state, &delete.heap)?;
        }
        state.delete(key);
    } else {
        state.put(key, &tags);
    }
    Ok(Reply::Done)
}

/// The first `limit` heaps, in order of their hashes, that have all these tags.
///
/// # Errors
/// [`StateError`].
pub fn tagged(
    rows: &dyn Rows,
    whose: Option<PrincipalId>,
    wanted: &Tags,
    limit: usize,
) -> Result<Vec<(HeapHash, Tags)>, StateError> {
    let mut found = Vec::new();
    let all = keys::all_tags_of(whose);
    let mut page = rows.first(&all, ROWS_AT_ONCE)?;
    while let Some((last, _)) = page.last() {
        let last = last.clone();
        for (key, value) in page {
            let Ok(heap) = HeapHash::try_from(&key[all.len()..]) else { continue };
            let tags: Tags = super::decode_row(&key, &value)?;
            if wanted.iter().all(|(key, value)| tags.get(key) == Some(value)) {
                found.push((heap, tags));
                if found.len() == limit {
                    return Ok(found);
                }
            }
        }
        page = rows.after(&last, &all, ROWS_AT_ONCE)?;
    }
    Ok(found)
}

/// The tags of a heap.
///
/// # Errors
/// [`StateError`].
pub fn tags(
    rows: &dyn Rows,
    whose: Option<PrincipalId>,
    heap: &[u8; 32],
) -> Result<Tags, StateError> {
    Ok(read(rows, &keys::tags_of(whose, heap))?.unwrap_or_default())
}
