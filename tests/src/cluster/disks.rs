//! Small disks, so that they can be full.
//!
//! # Contract
//! * A small disk is an ext4 file system in a file, mounted by a loop device in the mount namespace
//!   of the node alone: it is there while the node runs, and goes with it.
//! * Filling it leaves as many bytes as asked for, and what fills it stays over a restart.

use std::path::PathBuf;
use std::process::Command;

use mcp_v8_cluster::store::room::Room;
use rustix::fs::{FallocateFlags, fallocate};

use super::{Cluster, name};

/// The file that fills a disk.
const FILLER: &str = "filler";

impl Cluster {
    /// Gives a node a disk of so many MiB, from its first start on.
    pub fn small_disk(&self, node: usize, mib: u64) {
        let image = self.file(&format!("{}.img", name(node)));
        std::fs::File::create(&image).unwrap().set_len(mib * 1024 * 1024).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image).output();
        let made = made.expect("the tests of full disks need `mkfs.ext4` (e2fsprogs)");
        assert!(made.status.success(), "{made:?}");
        std::fs::create_dir_all(self.disk(node)).unwrap();
        *self.node(node).image.lock().unwrap() = Some(image);
    }

    /// The disk of a node that runs, as the node sees it.
    fn inside(&self, node: usize) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid(node)));
        root.join(self.disk(node).strip_prefix("/").unwrap())
    }

    /// The room of the disk of a node that runs, as the node sees it.
    pub fn room(&self, node: usize) -> Room {
        Room::of(&self.inside(node)).unwrap()
    }

    /// Fills the disk of a node that runs until so many bytes are free, at most.
    pub fn fill(&self, node: usize, leave: u64) {
        let disk = self.inside(node);
        let filler = disk.join(FILLER);
        let file = std::fs::File::options().append(true).create(true).open(filler).unwrap();
        // What is being written meanwhile counts as well.
        loop {
            let (free, used) = (Room::of(&disk).unwrap().free, file.metadata().unwrap().len());
            let Some(more) = free.checked_sub(leave).filter(|more| *more > 0) else { return };
            let flags = FallocateFlags::empty();
            if fallocate(&file, flags, used, more).is_err()
                && fallocate(&file, flags, used, more.min(4096)).is_err()
            {
                return;
            }
        }
    }

    /// Makes room again.
    pub fn unfill(&self, node: usize) {
        std::fs::remove_file(self.inside(node).join(FILLER)).unwrap();
    }
}
