//! How much room a disk has.

use std::io;
use std::path::Path;

use crate::limits::{DISK_RESERVE_BYTES_MAX, DISK_RESERVE_BYTES_MIN, DISK_RESERVE_SHARE};

/// The room of a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this process may still write.
    pub free: u64,
    /// Bytes that it holds altogether.
    pub total: u64,
}

impl Room {
    /// The room of the file system that a path is on. Asks the kernel, not the disk.
    ///
    /// # Errors
    /// Whatever statvfs says.
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Self { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
    }

    /// Bytes that are left alone, so that a vote, a mark and an orderly end always fit.
    pub fn reserve(&self) -> u64 {
        let share = self.total / DISK_RESERVE_SHARE;
        share.clamp(DISK_RESERVE_BYTES_MIN, DISK_RESERVE_BYTES_MAX).min(self.total / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_share_of_a_small_disk_and_bounded_on_a_large_one() {
        let of = |total| Room { free: 0, total }.reserve();
        let small = DISK_RESERVE_BYTES_MIN * DISK_RESERVE_SHARE;
        assert_eq!(of(small), DISK_RESERVE_BYTES_MIN);
        assert_eq!(of(small - 1), DISK_RESERVE_BYTES_MIN);
        assert_eq!(of(small + DISK_RESERVE_SHARE), DISK_RESERVE_BYTES_MIN + 1);
        assert_eq!(of(2 * DISK_RESERVE_BYTES_MIN - 2), DISK_RESERVE_BYTES_MIN - 1);
        let large = DISK_RESERVE_BYTES_MAX * DISK_RESERVE_SHARE;
        assert_eq!(of(large), DISK_RESERVE_BYTES_MAX);
        assert_eq!(of(large + DISK_RESERVE_SHARE), DISK_RESERVE_BYTES_MAX);
        let here = Room::of(Path::new("/")).unwrap();
        assert!(here.free <= here.total && here.total > 0);
    }
}
