//! A node whose disk is nearly full, before it is.
//!
//! # Contract
//! * With less than [`Room::reserve`] left, a node takes no entries, snapshots or commands: they are
//!   refused, so that nothing is half written, and a leader sees a follower that lags. It still
//!   votes, which takes a few bytes, but does not stand for election, hands leadership over if it
//!   has it, and gives away what it runs.
//! * It goes on by itself once there is room, by a margin; it says why it waits in the log, in its
//!   status and in its readiness.
//! * A disk that was filled faster than it is looked at ends the process, as any failed write does:
//!   what the kernel keeps after one is unknown. With the next start the node waits for room before
//!   it opens its store ([`too_full`]).

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Node;
use crate::limits::{DISK_LOOK_MS, DISK_MARGIN_SHARE};
use crate::store::room::Room;

/// How long a leader that has handed leadership over keeps it if it gets it again.
const MAKE_WAY_AGAIN: Duration = Duration::from_secs(30);

/// How long it waits before it tries again to hand it over.
const MAKE_WAY_RETRY: Duration = Duration::from_secs(2);

/// Whether a disk is too full, when it was or was not the last time.
fn judge(room: Room, was_full: bool) -> bool {
    let reserve = room.reserve();
    // Or it would go back and forth with every file that comes and goes.
    let margin = if was_full { reserve / DISK_MARGIN_SHARE } else { 0 };
    room.free < reserve + margin
}

fn reason(path: &Path, room: Room) -> String {
    format!(
        "the disk of {} has {} bytes left, and {} are kept free: this node takes nothing more until \
         there is room",
        path.display(),
        room.free,
        room.reserve()
    )
}

/// Why a store should not be opened at the moment: its disk is too full. `path` is the store or
/// where it will be.
///
/// # Errors
/// Whatever statvfs says of the nearest directory that exists.
pub fn too_full(path: &Path) -> std::io::Result<Option<String>> {
    let nearest = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let room = Room::of(nearest)?;
    Ok(judge(room, false).then(|| reason(path, room)))
}

/// Looks after the room, as long as the node runs.
pub async fn watch(node: Node) {
    let mut every = interval(Duration::from_millis(DISK_LOOK_MS));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut make_way_at = Instant::now();
    loop {
        every.tick().await;
        let path = node.store().path().to_owned();
        // Of a disk over the network even this may take its time.
        let looked = tokio::task::spawn_blocking(move || Room::of(&path)).await;
        let room = match looked {
            Ok(Ok(room)) => room,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the room of the disk is not to be had");
                continue;
            }
            Err(_) => continue,
        };
        let was_full = node.is_full();
        let full = judge(room, was_full);
        let reason = full.then(|| reason(node.store().path(), room));
        match (was_full, &reason) {
            (false, Some(reason)) => tracing::error!("{reason}"),
            (true, None) => tracing::info!(free = room.free, "there is room again"),
            _ => {}
        }
        node.inner.room.send_replace(room);
        node.inner.full.send_replace(reason);
        if let Some(raft) = node.raft() {
            raft.runtime_config().elect(!full);
        }
        if full && node.is_leader() && Instant::now() >= make_way_at {
            // If it comes back soon, the others are no better off.
            let again = match node.transfer_to(None).await {
                Ok(()) => MAKE_WAY_AGAIN,
                Err(error) => {
                    tracing::warn!(%error, "leadership stays here, with a full disk");
                    MAKE_WAY_RETRY
                }
            };
            make_way_at = Instant::now() + again;
        }
    }
}

impl Node {
    /// Whether the disk is too full to take anything.
    pub(super) fn is_full(&self) -> bool {
        self.inner.full.borrow().is_some()
    }

    /// Why this node takes nothing, if it does not.
    pub(super) fn full(&self) -> Option<String> {
        self.inner.full.borrow().clone()
    }

    /// Returns once the disk has room.
    pub(super) async fn room_returns(&self) {
        // The sender lives as long as the node.
        let _ = self.inner.full.subscribe().wait_for(Option::is_none).await;
    }

    /// The room of the disk, when it was last looked at.
    pub fn room(&self) -> Room {
        *self.inner.room.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{DISK_RESERVE_BYTES_MIN, DISK_RESERVE_SHARE};

    #[test]
    fn a_disk_is_full_one_byte_below_the_reserve_and_has_room_again_with_a_margin() {
        const RESERVE: u64 = 2 * DISK_RESERVE_BYTES_MIN;
        let of = |free| Room { free, total: DISK_RESERVE_SHARE * RESERVE };
        assert!(!judge(of(RESERVE), false));
        assert!(judge(of(RESERVE - 1), false));
        let enough = RESERVE + RESERVE / DISK_MARGIN_SHARE;
        assert!(judge(of(enough - 1), true));
        assert!(!judge(of(enough), true));
    }

    #[test]
    fn a_store_that_is_not_there_yet_is_judged_by_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a").join("b");
        assert_eq!(too_full(&path).unwrap(), too_full(dir.path()).unwrap());
    }
}
