//! The root of the file system is an empty directory that nothing can be written to.

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

/// Directories over which the new root may be mounted before it becomes the root: the first that
/// exists. What is in them is not touched; nobody else sees this mount.
const PLACES: &[&str] = &["/tmp", "/run", "/dev", "/proc"];

/// Makes an empty read-only file system the root, of this mount namespace and for good.
pub(crate) fn pivot_to_nothing() -> Result<(), Errno> {
    // Nothing that happens here is to reach the namespace we came from.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    let place = first_mountable(flags)?;
    chdir(place)?;
    // The old root ends up on top of the new one and is taken off (pivot_root(2), "pivot_root(".", ".")").
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    mount_remount("/", flags | MountFlags::BIND | MountFlags::RDONLY, c"")
}

fn first_mountable(flags: MountFlags) -> Result<&'static str, Errno> {
    let mut last = Errno::NOENT;
    for place in PLACES {
        match mount("none", *place, "tmpfs", flags, c"size=4k,nr_inodes=1,mode=555") {
            Ok(()) => return Ok(place),
            Err(error) => last = error,
        }
    }
    Err(last)
}
