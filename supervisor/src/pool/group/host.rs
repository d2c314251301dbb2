//! Where control groups of ours can be: the host's hierarchies and the server's place in them
//! (cgroups(7), cgroup-v2 in the kernel's documentation).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::GroupError;
use crate::limits::GROUP_REMOVAL_MAX;

/// Directories of ours begin with this; the server's process id follows.
const PREFIX: &str = "mcp-v8-workers-";

/// What the server itself is in when it has groups of version 2 beside it.
const SERVER: &str = "mcp-v8-server";

/// The controllers that groups below one have.
pub(super) const CONTROLLERS: &str = "cgroup.subtree_control";

/// How long a group whose last process has been reaped may count as not empty.
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);

/// The directory of this process in the hierarchy of a controller of version 1, or in that of
/// version 2 for the empty name.
pub(super) fn directory(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next()?;
        let path = fields.next()?;
        names.split(',').any(|name| name == controller).then_some(path)
    })?;
    // mountinfo: id parent dev root mount options … - type source super-options (proc_pid_mountinfo(5))
    let mount = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1)?);
        let matches = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && options.split(',').any(|option| option == name),
        };
        let mut front = front.split(' ').skip(3);
        matches.then_some((front.next()?, front.next()?))
    })?;
    // In a container the mount shows a part of the hierarchy.
    let (root, point) = mount;
    let below = Path::new(path).strip_prefix(root).ok()?;
    Some(Path::new(point).join(below))
}

/// Makes our directory, after removing those of servers that are gone.
pub(super) fn make(parent: &Path) -> Result<PathBuf, GroupError> {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        // One that another server has just made is empty as well.
        if owner_of(&name.to_string_lossy()).is_some_and(|pid| !is_alive(pid)) {
            // Refused by the kernel while a process is in it.
            remove_with_all_below(&entry.path(), Instant::now());
        }
    }
    let path = parent.join(format!("{PREFIX}{}-{}", std::process::id(), next_number()));
    match std::fs::create_dir(&path) {
        Ok(()) => Ok(path),
        Err(error) => match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Err(GroupError::NotDelegated)
            }
            _ => Err(GroupError::Io { path, error }),
        },
    }
}

/// Removes a group and those in it, unless a process is in one of them.
pub(super) fn remove(group: &Path) {
    remove_with_all_below(group, Instant::now() + GROUP_REMOVAL_MAX);
}

/// Tries once at least, and until `deadline` where the kernel says that one is in use.
fn remove_with_all_below(group: &Path, deadline: Instant) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_with_all_below(&entry.path(), deadline);
        }
    }
    while let Err(error) = std::fs::remove_dir(group)
        && error.kind() == io::ErrorKind::ResourceBusy
        && Instant::now() < deadline
    {
        std::thread::sleep(REMOVAL_PAUSE);
    }
}

/// The server that a group was made by.
fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Pools of one process have groups of their own.
fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Lets groups of version 2 below `parent` have controllers. They must not have processes beside
/// them, so this one moves into a group of its own.
pub(super) fn delegate(parent: &Path) -> Result<(), GroupError> {
    let available = read(&parent.join("cgroup.controllers"))?;
    if !available.split_whitespace().any(|name| name == "memory") {
        return Err(GroupError::NotDelegated);
    }
    let own = std::process::id().to_string();
    let processes = read(&parent.join("cgroup.procs"))?;
    if processes.lines().any(|pid| pid != own) {
        return Err(GroupError::Shared);
    }
    let server = parent.join(SERVER);
    if let Err(error) = std::fs::create_dir(&server)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(GroupError::Io { path: server, error });
    }
    write(&server.join("cgroup.procs"), &own)?;
    control_below(parent)
}

/// Lets groups below `parent` have controllers. No process may be beside them.
pub(super) fn control_below(parent: &Path) -> Result<(), GroupError> {
    write(&parent.join(CONTROLLERS), "+memory")?;
    // A host without that controller has the limit on each process.
    let _ = write(&parent.join(CONTROLLERS), "+pids");
    Ok(())
}

/// Takes back what [`delegate`] has done, so that nothing of ours is left where the server was started.
/// The kernel refuses while groups of another pool of this process are there.
pub(super) fn give_back(parent: &Path) {
    let server = parent.join(SERVER);
    let own = std::process::id().to_string();
    // A kernel without that controller says so.
    let _ = write(&parent.join(CONTROLLERS), "-pids");
    if write(&parent.join(CONTROLLERS), "-memory").is_ok()
        && write(&parent.join("cgroup.procs"), &own).is_ok()
    {
        remove(&server);
    }
}

/// What the machine has. A smaller bound on the server's own group holds for ours as well: groups
/// are nested.
pub(super) fn usable_memory_bytes() -> Result<u64, GroupError> {
    let path = Path::new("/proc/meminfo");
    let text = read(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| GroupError::Io {
        path: path.to_owned(),
        error: io::Error::other("no MemTotal"),
    })
}

pub(super) fn read(path: &Path) -> Result<String, GroupError> {
    std::fs::read_to_string(path).map_err(|error| GroupError::Io { path: path.to_owned(), error })
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), GroupError> {
    std::fs::write(path, text).map_err(|error| GroupError::Io { path: path.to_owned(), error })
}

/// A count in a file of lines with a name and a count each; 0 when it has none.
pub(super) fn count(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(key, _)| *key == name);
    found.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/memory rw,relatime shared:10 - cgroup cgroup rw,memory
33 25 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn the_directory_is_that_of_the_process_in_the_hierarchy_of_the_controller() {
        let own = "7:cpu,cpuacct:/a\n4:memory:/a/b\n0::/c\n";
        let of = |name| directory(HYBRID, own, name);
        assert_eq!(of("memory"), Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(of("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct/a".into()));
        assert_eq!(of(""), Some("/sys/fs/cgroup/unified/c".into()));
        assert_eq!(of("pids"), None);
    }

    #[test]
    fn a_container_sees_a_part_of_the_hierarchy() {
        let mounts = "1 2 0:3 /box/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(directory(mounts, "0::/box/1/x\n", ""), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(directory(mounts, "0::/elsewhere\n", ""), None);
    }

    #[test]
    fn kills_are_counted_in_the_files_of_both_versions() {
        let kills = |text| count(text, "oom_kill");
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(kills("low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(kills(""), 0);
    }
}
