//! Artifacts in the memory of one server.
//!
//! Bounded in number and bytes; the one that was left longest ago goes first.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::SystemTime;

use uuid::Uuid;

use super::model::{Artifact, ArtifactInfo, Content, Encoding};
use crate::executions::model::rfc3339;
use crate::limits::{ARTIFACTS_MEMORY_BYTES_MAX, ARTIFACTS_MEMORY_MAX};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Memory {
    rows: BTreeMap<String, (u64, Content)>,
    /// Keys by age; a row that was replaced has another number by now.
    order: VecDeque<(u64, String)>,
    last: u64,
    bytes: usize,
}

impl Memory {
    /// Keeps one, in the place of another of the same key.
    pub(super) fn put(&mut self, artifact: Artifact, execution: Uuid, at: SystemTime) {
        let Artifact { key, mime_type, bytes } = artifact;
        let info = ArtifactInfo {
            key: key.clone(),
            encoding: Encoding::of(&mime_type),
            mime_type,
            size_bytes: bytes.len() as u64,
            created_at: rfc3339(at),
            execution_id: execution.to_string(),
        };
        self.delete(&key);
        self.last += 1;
        self.bytes += bytes.len();
        self.order.push_back((self.last, key.clone()));
        self.rows.insert(key, (self.last, Content { info, bytes: bytes.into() }));
        while self.rows.len() > ARTIFACTS_MEMORY_MAX || self.bytes > ARTIFACTS_MEMORY_BYTES_MAX {
            let Some((number, key)) = self.order.pop_front() else { break };
            if self.rows.get(&key).is_some_and(|(current, _)| *current == number) {
                self.remove(&key);
            }
        }
    }

    /// Removes one; says whether it was there.
    pub(super) fn delete(&mut self, key: &str) -> bool {
        let removed = self.remove(key);
        if removed {
            self.order.retain(|(_, known)| known != key);
        }
        removed
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some((_, content)) = self.rows.remove(key) else { return false };
        self.bytes -= content.bytes.len();
        true
    }

    /// One of them.
    pub(super) fn get(&self, key: &str) -> Option<Content> {
        self.rows.get(key).map(|(_, content)| content.clone())
    }

    /// The first `limit` of those that begin with `prefix`, after a key.
    pub(super) fn list(&self, prefix: &str, after: &str, limit: usize) -> Vec<ArtifactInfo> {
        let rows = self.rows.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        rows.map(|(_, (_, content))| content.info.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(memory: &mut Memory, key: &str, bytes: usize) {
        let mime_type = "a/b".to_owned();
        let artifact = Artifact { key: key.to_owned(), mime_type, bytes: vec![0; bytes] };
        memory.put(artifact, Uuid::nil(), SystemTime::UNIX_EPOCH);
    }

    fn keys(memory: &Memory) -> Vec<String> {
        memory.list("", "", usize::MAX).into_iter().map(|info| info.key).collect()
    }

    #[test]
    fn as_many_bytes_as_may_be_are_kept_and_the_oldest_goes_for_one_more() {
        let mut memory = Memory::default();
        put(&mut memory, "b", 1);
        put(&mut memory, "a", ARTIFACTS_MEMORY_BYTES_MAX - 1);
        assert_eq!(keys(&memory), ["a", "b"]);
        // A new `b` is younger than `a`, and one byte too many.
        put(&mut memory, "b", 2);
        assert_eq!(keys(&memory), ["b"]);
        assert_eq!(memory.bytes, 2);
        assert!(memory.delete("b"));
        assert!(!memory.delete("b"));
        assert_eq!((memory.bytes, memory.order.len()), (0, 0));
    }

    #[test]
    fn as_many_as_may_be_are_kept_and_the_oldest_goes_for_one_more() {
        let mut memory = Memory::default();
        for n in 0..ARTIFACTS_MEMORY_MAX {
            put(&mut memory, &format!("{n:09}"), 0);
        }
        assert_eq!(keys(&memory).len(), ARTIFACTS_MEMORY_MAX);
        put(&mut memory, "x", 0);
        let left = keys(&memory);
        assert_eq!(left.len(), ARTIFACTS_MEMORY_MAX);
        assert_eq!(left[0], format!("{:09}", 1));
        assert_eq!(memory.list("", "x", 9), []);
    }
}
