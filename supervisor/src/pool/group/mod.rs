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
//! * With version 2 each worker has a group of its own in it, see [`leaf`], and templates share one.
//!   Version 1 lets no process be born in a group other than its parent's.
//! * It is removed with the pool. What a killed server left is removed by the next one.

mod host;
mod leaf;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use self::host::{count, delegate, directory, make, read, usable_memory_bytes, write};
pub use self::leaf::{Kill, Leaf, Leaves};
use crate::limits::{WORKERS_MEMORY_PERCENT, WORKERS_TASKS_MAX};

/// The group of processes that make workers, beside the workers' own.
const TEMPLATES: &str = "templates";

/// Why workers have no groups of their own with version 1.
const VERSION_1: &str =
    "control groups of version 1: a worker cannot begin in one, and moving it there takes too long";

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
    /// Groups for one worker each, or why there are none.
    leaves: Result<Arc<Leaves>, String>,
    removed: AtomicBool,
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
        let made = make(&parent).inspect_err(|_| host::give_back(&parent));
        Self::bound(V2, made?, None)
    }

    fn bound(files: Files, memory: PathBuf, tasks: Option<PathBuf>) -> Result<Self, GroupError> {
        let leaves = Err(VERSION_1.to_owned());
        let mut group = Self {
            files,
            memory,
            tasks,
            claimed: AtomicU64::new(0),
            leaves,
            removed: AtomicBool::new(false),
        };
        let bytes = usable_memory_bytes()? / 100 * WORKERS_MEMORY_PERCENT;
        write(&group.memory.join(files.memory_max), &bytes.to_string())?;
        let tasks = group.tasks.as_ref().unwrap_or(&group.memory).join("pids.max");
        // A host without that controller has the limit on each process.
        let _ = write(&tasks, &WORKERS_TASKS_MAX.to_string());
        // Scripts' data stay in memory; version 1 and hosts without swap have no such file.
        let _ = write(&group.memory.join("memory.swap.max"), "0");
        if files == V2 {
            group.leaves = group.divide().map_err(|error| {
                tracing::warn!(%error, "workers have no control groups of their own");
                error.to_string()
            });
        }
        Ok(group)
    }

    /// Makes room for the groups of single workers: no process may be beside them, so that others have
    /// one as well.
    fn divide(&self) -> Result<Arc<Leaves>, GroupError> {
        let path = self.memory.join(TEMPLATES);
        std::fs::create_dir(&path).map_err(|error| GroupError::Io { path, error })?;
        let leaves = Leaves::below(&self.memory, leaf::user_of_workers());
        if leaves.is_err() {
            // All will be in this one group, which must then have none that are divided below it.
            for word in ["-memory", "-pids"] {
                let _ = write(&self.memory.join(host::CONTROLLERS), word);
            }
        }
        Ok(Arc::new(leaves?))
    }

    /// Groups for one worker each.
    pub fn leaves(&self) -> Option<&Arc<Leaves>> {
        self.leaves.as_ref().ok()
    }

    /// Why workers have no groups of their own, if they have none.
    pub fn not_divided(&self) -> Option<String> {
        match &self.leaves {
            Ok(leaves) => leaves.refused(),
            Err(why) => Some(why.clone()),
        }
    }

    /// Puts a process in, with all it will fork.
    ///
    /// # Errors
    /// [`GroupError::Io`]; it stays where it was.
    pub fn enter(&self, pid: u32) -> Result<(), GroupError> {
        for directory in [Some(&self.shared()), self.tasks.as_ref()].into_iter().flatten() {
            write(&directory.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// The group of those that have none of their own.
    fn shared(&self) -> PathBuf {
        match self.leaves {
            Ok(_) => self.memory.join(TEMPLATES),
            Err(_) => self.memory.clone(),
        }
    }

    /// Puts a process into a group of its own, where there are such, and into that of all elsewhere.
    ///
    /// # Errors
    /// [`GroupError::Io`]; it stays where it was.
    pub fn enter_own(&self, pid: u32) -> Result<Option<Leaf>, GroupError> {
        match &self.leaves {
            Ok(leaves) => {
                let leaf = leaves.take().map_or_else(|| leaves.make(), Ok);
                match leaf.and_then(|leaf| leaf.enter(pid).map(|()| leaf)) {
                    Ok(leaf) => Ok(Some(leaf)),
                    Err(_) => self.enter(pid).map(|()| None),
                }
            }
            Err(_) => self.enter(pid).map(|()| None),
        }
    }

    /// Removes the group. The kernel refuses while a process is in it; then the next server does.
    pub fn remove(&self) {
        if self.removed.swap(true, Ordering::Relaxed) {
            return;
        }
        for directory in [Some(&self.memory), self.tasks.as_ref()].into_iter().flatten() {
            host::remove(directory);
        }
        if self.files == V2
            && let Some(parent) = self.memory.parent()
        {
            host::give_back(parent);
        }
    }

    /// Whether the kernel has killed a process for lack of memory that has no group of its own and
    /// that nobody has been told of. Each kill is told once.
    pub fn claim_kill(&self) -> bool {
        let events = read(&self.shared().join(self.files.events)).unwrap_or_default();
        let kills = count(&events, "oom_kill");
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
