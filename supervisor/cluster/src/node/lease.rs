//! Which nodes are alive, as the leader sees it. Nothing here is replicated: only the end of a
//! lease is, as a command.
//!
//! # Contract
//! * A lease runs on the leader's monotonic clock; a new leader gives every node a full one.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::LEASE_MS;

/// Leases, by name and epoch.
#[derive(Debug, Default)]
pub struct Leases {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The term that these are of.
    term: u64,
    renewed: HashMap<(String, u64), Instant>,
}

impl Leases {
    /// A node has given a sign of life to the leader of `term`.
    pub fn renew(&self, term: u64, node: &str, epoch: u64) {
        let mut inner = self.inner.lock();
        inner.begin(term);
        inner.renewed.insert((node.to_owned(), epoch), Instant::now());
    }

    /// Which of these nodes have been silent for a lease under the leader of `term`.
    pub fn expired(&self, term: u64, up: &[(String, u64)]) -> Vec<(String, u64)> {
        let mut inner = self.inner.lock();
        inner.begin(term);
        let now = Instant::now();
        inner.renewed.retain(|node, _| up.contains(node));
        for node in up {
            inner.renewed.entry(node.clone()).or_insert(now);
        }
        let lease = Duration::from_millis(LEASE_MS);
        let silent = inner.renewed.iter().filter(|(_, renewed)| now - **renewed > lease);
        silent.map(|(node, _)| node.clone()).collect()
    }
}

impl Inner {
    fn begin(&mut self, term: u64) {
        if self.term != term {
            self.term = term;
            self.renewed.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_after_its_time_and_begins_anew_with_a_new_leader() {
        let leases = Leases::default();
        let up = [("node1".to_owned(), 1), ("node2".to_owned(), 2)];
        assert!(leases.expired(1, &up).is_empty());
        tokio::time::advance(Duration::from_millis(LEASE_MS)).await;
        leases.renew(1, "node2", 2);
        assert!(leases.expired(1, &up).is_empty(), "at the bound it holds");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(leases.expired(1, &up), [("node1".to_owned(), 1)]);
        assert!(leases.expired(2, &up).is_empty(), "a new leader gives full leases");
        tokio::time::advance(Duration::from_millis(LEASE_MS + 1)).await;
        leases.renew(2, "node2", 1);
        assert_eq!(leases.expired(2, &up).len(), 2, "another epoch's renewal is none");
    }
}
