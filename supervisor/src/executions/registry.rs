//! The executions this server knows: by id, newest first, and by idempotency key.
//!
//! # Contract
//! * In memory and bounded: finished executions are dropped, oldest first, past
//!   [`RETAINED_EXECUTIONS_MAX`] rows or [`RETAINED_BYTES_MAX`] bytes. Running ones are never
//!   dropped; the queue bounds those.
//! * A key lives as long as its execution.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use uuid::Uuid;

use super::execution::Execution;
use crate::access::Principal;
use crate::limits::{RETAINED_BYTES_MAX, RETAINED_EXECUTIONS_MAX};

/// SHA-256 over everything that makes two submissions the same.
pub type Digest = [u8; 32];

/// What is known under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLookup {
    /// Nothing.
    Free,
    /// An execution of the same submission.
    Same(Uuid),
    /// An execution of another submission.
    Conflict,
}

/// All rows.
#[derive(Debug, Default)]
pub struct Registry {
    rows: BTreeMap<Uuid, Arc<Execution>>,
    keys: HashMap<String, (Digest, Uuid)>,
    finished: VecDeque<(Uuid, usize)>,
    retained_bytes: usize,
}

impl Registry {
    /// Adds an execution; its key, if it has one, must be free.
    pub fn insert(&mut self, execution: Arc<Execution>, digest: Option<Digest>) {
        if let (Some(key), Some(digest)) = (execution.idempotency_key(), digest) {
            self.keys.insert(key.to_owned(), (digest, execution.id()));
        }
        self.rows.insert(execution.id(), execution);
    }

    /// The execution with this id.
    pub fn get(&self, id: Uuid) -> Option<Arc<Execution>> {
        self.rows.get(&id).cloned()
    }

    /// Takes an execution out, if it is this one that is known under its id.
    pub fn remove(&mut self, execution: &Arc<Execution>) {
        let id = execution.id();
        if self.rows.get(&id).is_some_and(|known| Arc::ptr_eq(known, execution)) {
            self.rows.remove(&id);
        }
    }

    /// Looks an idempotency key up.
    pub fn key(&self, key: &str, digest: &Digest) -> KeyLookup {
        match self.keys.get(key) {
            None => KeyLookup::Free,
            Some((known, id)) if known == digest => KeyLookup::Same(*id),
            Some(_) => KeyLookup::Conflict,
        }
    }

    /// At most `limit` executions of a caller older than `cursor`, newest first, and whether there are
    /// more.
    pub fn list(
        &self,
        by: Principal,
        cursor: Option<Uuid>,
        limit: usize,
    ) -> (Vec<Arc<Execution>>, bool) {
        let upper = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let older = self.rows.range((Bound::Unbounded, upper)).rev().map(|(_, row)| row);
        let mut older = older.filter(|row| row.principal() == by);
        let page: Vec<_> = older.by_ref().take(limit).cloned().collect();
        (page, older.next().is_some())
    }

    /// Every row that has not been dropped.
    pub fn all(&self) -> Vec<Arc<Execution>> {
        self.rows.values().cloned().collect()
    }

    /// Notes that an execution has ended and keeps `bytes`; drops what is over the bounds.
    pub fn retain(&mut self, id: Uuid, bytes: usize) {
        self.finished.push_back((id, bytes));
        self.retained_bytes += bytes;
        while self.finished.len() > RETAINED_EXECUTIONS_MAX
            || self.retained_bytes > RETAINED_BYTES_MAX
        {
            let Some((oldest, bytes)) = self.finished.pop_front() else { break };
            self.retained_bytes -= bytes;
            if let Some(row) = self.rows.remove(&oldest)
                && let Some(key) = row.idempotency_key()
            {
                self.keys.remove(key);
            }
        }
    }

    /// Finished executions kept, and their bytes.
    pub fn retained(&self) -> (usize, usize) {
        (self.finished.len(), self.retained_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Principal = Principal::EVERYBODY;

    fn add(registry: &mut Registry, key: Option<&str>) -> Uuid {
        let id = Uuid::now_v7();
        let execution = Arc::new(Execution::new(BY, id, key.map(str::to_owned)));
        registry.insert(execution, key.map(|_| [1; 32]));
        id
    }

    #[test]
    fn finished_rows_stay_up_to_the_bound_and_the_oldest_goes_past_it() {
        let mut registry = Registry::default();
        let first = add(&mut registry, Some("key"));
        let running = add(&mut registry, None);
        registry.retain(first, 10);
        for _ in 1..RETAINED_EXECUTIONS_MAX {
            let id = add(&mut registry, None);
            registry.retain(id, 10);
        }
        assert!(registry.get(first).is_some());
        assert_eq!(registry.key("key", &[1; 32]), KeyLookup::Same(first));
        let id = add(&mut registry, None);
        registry.retain(id, 10);
        assert!(registry.get(first).is_none());
        assert_eq!(registry.key("key", &[1; 32]), KeyLookup::Free);
        assert!(registry.get(running).is_some());
        assert_eq!(registry.retained(), (RETAINED_EXECUTIONS_MAX, RETAINED_EXECUTIONS_MAX * 10));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut registry = Registry::default();
        let first = add(&mut registry, None);
        registry.retain(first, RETAINED_BYTES_MAX);
        assert!(registry.get(first).is_some());
        let second = add(&mut registry, None);
        registry.retain(second, 1);
        assert!(registry.get(first).is_none());
        assert_eq!(registry.retained(), (1, 1));
    }

    #[test]
    fn a_list_goes_from_newest_to_oldest_and_on_from_its_cursor() {
        let mut registry = Registry::default();
        let ids: Vec<Uuid> = (0..5).map(|_| add(&mut registry, None)).collect();
        let (page, more) = registry.list(BY, None, 2);
        assert_eq!(page.iter().map(|row| row.id()).collect::<Vec<_>>(), [ids[4], ids[3]]);
        assert!(more);
        let (page, more) = registry.list(BY, Some(ids[3]), 3);
        assert_eq!(page.iter().map(|row| row.id()).collect::<Vec<_>>(), [ids[2], ids[1], ids[0]]);
        assert!(!more);
        let other = Execution::new(Principal::of("i", "s"), Uuid::now_v7(), None);
        registry.insert(Arc::new(other), None);
        assert_eq!(registry.list(BY, None, 9).0.len(), 5);
        let (page, more) = registry.list(Principal::of("i", "s"), None, 1);
        assert_eq!((page.len(), more), (1, false));
        assert!(registry.list(Principal::of("i", "t"), None, 9).0.is_empty());
    }

    #[test]
    fn a_key_with_another_digest_conflicts() {
        let mut registry = Registry::default();
        add(&mut registry, Some("key"));
        assert_eq!(registry.key("key", &[2; 32]), KeyLookup::Conflict);
    }
}
