//! The control group of all worker processes: a bound on their memory together, beside the bound on
//! each, and a record of what the kernel killed for it.
//!
//! # Contract
//! * Version 2 where the memory controller is delegated to this server (systemd: `Delegate=yes`),
//!   version 1 where that is what the host has, none elsewhere: then the kernel's own limits on each
//!   process hold, and the reason is shown.
//! * Processes enter once, when they are started from the program; what a template forks is born in
//!   it. Moving a process costs a third of a millisecond (docs/decisions/0001-worker-processes.md),
//!   so nothing is moved while a script waits.
//! * It is removed with the pool. What a killed server left is removed by the next one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{WORKERS_MEMORY_PERCENT, WORKERS_TASKS_MAX};

/// Directories of ours begin with this; the server's process id follows.
const PREFIX: &str = "mcp-v8-workers-";

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The host has no memory controller at all, or it is not ours to use.
    #[error("no memory controller is delegated to this server (systemd: Delegate=yes)")]
    NotDelegated,
    /// Version 2 forbids processes beside groups.
    #[error("the server's control group has other processes in it; run it in one of its own")]
    Shared,
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The files that differ between the versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Files {
    memory_max: &'static str,
    /// With a line `oom_kill N`.
    events: &'static str,
}

const V1: Files = Files { memory_max: "memory.limit_in_bytes", events: "memory.oom_control" };
const V2: Files = Files { memory_max: "memory.max", events: "memory.events" };

/// A group that exists.
#[derive(Debug)]
pub struct Group {
    files: Files,
    memory: PathBuf,
    /// Version 1 has a hierarchy for each controller.
    tasks: Option<PathBuf>,
    /// Kills that an execution has been told of.
    claimed: AtomicU64,
}

impl Group {
    /// Makes the group.
    ///
    /// # Errors
    /// [`GroupError`]; nothing is left behind.
    pub fn create() -> Result<Self, GroupError> {
        let mounts = read(Path::new("/proc/self/mountinfo"))?;
        let own = read(Path::new("/proc/self/cgroup"))?;
        if let Some(parent) = directory(&mounts, &own, "memory") {
            let tasks = directory(&mounts, &own, "pids").and_then(|parent| make(&parent).ok());
            return Self::bound(V1, make(&parent)?, tasks);
        }
        let parent = directory(&mounts, &own, "").ok_or(GroupError::NotDelegated)?;
        delegate(&parent)?;
        Self::bound(V2, make(&parent)?, None)
    }

    fn bound(files: Files, memory: PathBuf, tasks: Option<PathBuf>) -> Result<Self, GroupError> {
        let group = Self { files, memory, tasks, claimed: AtomicU64::new(0) };
        let bytes = usable_memory_bytes()? / 100 * WORKERS_MEMORY_PERCENT;
        write(&group.memory.join(files.memory_max), &bytes.to_string())?;
        let tasks = group.tasks.as_ref().unwrap_or(&group.memory).join("pids.max");
        // A host without that controller has the limit on each process.
        let _ = write(&tasks, &WORKERS_TASKS_MAX.to_string());
        // Scripts' data stay in memory; version 1 and hosts without swap have no such file.
        let _ = write(&group.memory.join("memory.swap.max"), "0");
        Ok(group)
    }

    /// Puts a process in, with all it will fork.
    ///
    /// # Errors
    /// [`GroupError::Io`]; it stays where it was.
    pub fn enter(&self, pid: u32) -> Result<(), GroupError> {
        for directory in [Some(&self.memory), self.tasks.as_ref()].into_iter().flatten() {
            write(&directory.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Removes the group. The kernel refuses while a process is in it; then the next server does.
    pub fn remove(&self) {
        for directory in [Some(&self.memory), self.tasks.as_ref()].into_iter().flatten() {
            let _ = std::fs::remove_dir(directory);
        }
    }

    /// Whether the kernel has killed a process of this group for lack of memory that nobody has
    /// been told of. Each kill is told once.
    pub fn claim_kill(&self) -> bool {
        let events = read(&self.memory.join(self.files.events)).unwrap_or_default();
        let kills = kills(&events);
        let claim = self.claimed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |claimed| {
            (claimed < kills).then_some(claimed + 1)
        });
        claim.is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

fn kills(events: &str) -> u64 {
    let line = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// The directory of this process in the hierarchy of a controller of version 1, or in that of
/// version 2 for the empty name.
fn directory(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
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
fn make(parent: &Path) -> Result<PathBuf, GroupError> {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        // One that another server has just made is empty as well.
        if owner_of(&name.to_string_lossy()).is_some_and(|pid| !is_alive(pid)) {
            // Refused by the kernel while a process is in it.
            let _ = std::fs::remove_dir(entry.path());
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
fn delegate(parent: &Path) -> Result<(), GroupError> {
    let available = read(&parent.join("cgroup.controllers"))?;
    if !available.split_whitespace().any(|name| name == "memory") {
        return Err(GroupError::NotDelegated);
    }
    let own = std::process::id().to_string();
    let processes = read(&parent.join("cgroup.procs"))?;
    if processes.lines().any(|pid| pid != own) {
        return Err(GroupError::Shared);
    }
    let server = parent.join("mcp-v8-server");
    if let Err(error) = std::fs::create_dir(&server)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(GroupError::Io { path: server, error });
    }
    write(&server.join("cgroup.procs"), &own)?;
    write(&parent.join("cgroup.subtree_control"), "+memory")?;
    let _ = write(&parent.join("cgroup.subtree_control"), "+pids");
    Ok(())
}

/// What the machine has. A smaller bound on the server's own group holds for ours as well: groups
/// are nested.
fn usable_memory_bytes() -> Result<u64, GroupError> {
    let path = Path::new("/proc/meminfo");
    let text = read(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| GroupError::Io {
        path: path.to_owned(),
        error: io::Error::other("no MemTotal"),
    })
}

fn read(path: &Path) -> Result<String, GroupError> {
    std::fs::read_to_string(path).map_err(|error| GroupError::Io { path: path.to_owned(), error })
}

fn write(path: &Path, text: &str) -> Result<(), GroupError> {
    std::fs::write(path, text).map_err(|error| GroupError::Io { path: path.to_owned(), error })
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
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(kills("low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(kills(""), 0);
    }
}
