//! When the log is compacted, and the rows are made durable.
//!
//! # Contract
//! * A snapshot holds all rows, so it costs what they are, not what has changed: one is made after
//!   `--snapshot-entries` entries, but not before the log has grown by as much as the last one is
//!   large, and at the latest after [`SNAPSHOT_ENTRIES_FACTOR`] times as many entries. So the log is
//!   bounded by what is kept, and writing snapshots costs no more than writing the log.
//! * Rows are synced every [`ROWS_SYNC_ENTRIES`] entries, also between snapshots: a node that lost power
//!   applies no more than that, and what came since it last looked, again.

use openraft::LogIdOptionExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Node;
use super::duties::LOOK;
use crate::limits::{ROWS_SYNC_ENTRIES, SNAPSHOT_ENTRIES_FACTOR, SNAPSHOT_MS_MAX};

/// What was asked for and is not there yet.
struct Asked {
    index: u64,
    at: Instant,
}

/// How much the log has grown since the last snapshot.
struct Grown {
    entries: u64,
    bytes: u64,
}

impl Grown {
    /// Whether it is time for the next one.
    fn is_due(&self, least_entries: u64, snapshot_bytes: u64) -> bool {
        let most_entries = least_entries.saturating_mul(SNAPSHOT_ENTRIES_FACTOR);
        self.entries >= most_entries
            || (self.entries >= least_entries && self.bytes >= snapshot_bytes)
    }
}

/// Looks after the log and the rows of this node.
pub async fn run(node: Node) {
    let log = &node.inner.log;
    let mut every = interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut synced, mut written) = (0, log.bytes_written());
    let mut asked: Option<Asked> = None;
    loop {
        every.tick().await;
        let Some((raft, metrics)) = node.raft().zip(node.metrics()) else { continue };
        let applied = metrics.last_applied.index().unwrap_or_default();
        let snapshot = metrics.snapshot.index().unwrap_or_default();
        let late = |asked: &Asked| asked.at.elapsed().as_millis() > u128::from(SNAPSHOT_MS_MAX);
        if asked.as_ref().is_some_and(|asked| snapshot >= asked.index || late(asked)) {
            asked = None;
        }
        let grown = Grown {
            entries: applied.saturating_sub(snapshot),
            bytes: log.bytes_written() - written,
        };
        let least = node.config().snapshot_entries;
        // Looks at the disk only when it may matter.
        if asked.is_none()
            && grown.is_due(least, 0)
            && grown.is_due(least, snapshot_bytes(&node).await)
        {
            written = log.bytes_written();
            asked = Some(Asked { index: applied, at: Instant::now() });
            if let Err(error) = raft.trigger().snapshot().await {
                tracing::debug!(%error, "no snapshot");
            }
        }
        if applied >= synced + ROWS_SYNC_ENTRIES {
            synced = applied;
            let store = node.store().clone();
            match tokio::task::spawn_blocking(move || store.sync_rows()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the rows are not synced"),
                Err(error) => tracing::warn!(%error, "the rows are not synced"),
            }
        }
    }
}

/// Bytes of the last snapshot.
async fn snapshot_bytes(node: &Node) -> u64 {
    let store = node.store().clone();
    let looking = tokio::task::spawn_blocking(move || store.snapshot_bytes());
    // One that cannot be looked at is made anew.
    looking.await.ok().and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_when_the_log_is_as_large_or_has_very_many_entries() {
        let due = |entries, bytes| Grown { entries, bytes }.is_due(2_000, 1_000_000);
        assert!(due(2_000, 1_000_000), "at both bounds");
        assert!(!due(1_999, u64::MAX), "too few entries");
        assert!(!due(2_000 * SNAPSHOT_ENTRIES_FACTOR - 1, 999_999), "too small");
        assert!(due(2_000 * SNAPSHOT_ENTRIES_FACTOR, 0), "too many");
    }
}
