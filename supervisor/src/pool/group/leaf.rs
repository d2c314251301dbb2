//! A control group for each worker, below that of all (version 2 only).
//!
//! # Contract
//! * A worker is born in its group: the group's directory is handed down to the template, which forks
//!   into it (`CLONE_INTO_CGROUP`). A group holds one process and no second one, and as much memory as
//!   that process's job may have; what the kernel kills in it is that job's end and nobody else's.
//! * Making a group takes the kernel as long as a script, so groups are used again: one that a
//!   [`Leaf`] leaves behind waits for the next worker. There are never more of them than there were
//!   workers at once.
//! * A host that does not let a template fork into a group has told so once and is not asked again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Uid, geteuid};

use super::GroupError;
use super::host::{control_below, write};
use crate::limits::{GROUP_EVENTS_BYTES_MAX, WORKER_TASKS_MAX};

/// Whoever may write this file may put processes into the group.
const PROCESSES: &str = "cgroup.procs";

/// Why the kernel killed a worker for lack of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// It had all that its job may have.
    Own,
    /// All workers together had all that they may have, or the machine had none left.
    All,
}

/// The groups below that of all workers.
#[derive(Debug)]
pub struct Leaves {
    parent: PathBuf,
    /// Who forks into them.
    user: Option<Uid>,
    free: Mutex<Vec<Place>>,
    made: AtomicU64,
    refused: Mutex<Option<String>>,
}

/// A group that exists.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    directory: OwnedFd,
    memory_max: File,
    events: File,
    /// What is written in `memory_max`.
    bytes: Option<u64>,
    /// Events that were there before its worker.
    before: Events,
}

/// What the kernel has counted in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Events {
    /// Processes of this group that were killed for lack of memory, wherever it lacked.
    kills: u64,
    /// Times that the group's own bound was what lacked.
    own: u64,
}

/// The group of one worker. Dropped when that one has been reaped.
#[derive(Debug)]
pub struct Leaf {
    leaves: Arc<Leaves>,
    /// Always there until the drop.
    place: Option<Place>,
}

impl Leaves {
    /// Lets `parent` have groups below it. No process may be in it.
    pub(super) fn below(parent: &Path, user: Option<Uid>) -> Result<Self, GroupError> {
        control_below(parent)?;
        let leaves = Self {
            parent: parent.to_owned(),
            user,
            free: Mutex::default(),
            made: AtomicU64::new(0),
            refused: Mutex::default(),
        };
        // The kernel asks for the right to move processes in the group above both places.
        leaves.give_to_user(parent)?;
        Ok(leaves)
    }

    /// A group that no worker is in, if one has been made already.
    pub fn take(self: &Arc<Self>) -> Option<Leaf> {
        let place = self.free.lock().pop()?;
        Some(self.leaf(place))
    }

    /// Makes a group. Takes the kernel a fraction of a millisecond: not for threads that serve.
    ///
    /// # Errors
    /// [`GroupError::Io`].
    pub fn make(self: &Arc<Self>) -> Result<Leaf, GroupError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.parent.join(format!("worker-{number}"));
        std::fs::create_dir(&path).map_err(|error| io_error(&path, error))?;
        self.give_to_user(&path)?;
        let _ = write(&path.join("pids.max"), &WORKER_TASKS_MAX.to_string());
        Ok(self.leaf(Place::open(&path)?))
    }

    fn leaf(self: &Arc<Self>, mut place: Place) -> Leaf {
        place.before = place.events();
        Leaf { leaves: Arc::clone(self), place: Some(place) }
    }

    /// Notes that the host does not let a template fork into a group.
    fn refuse(&self, error: &io::Error) {
        let mut refused = self.refused.lock();
        if refused.is_none() {
            tracing::warn!(%error, "workers cannot be started in control groups of their own");
            *refused = Some(format!("the host does not let a worker begin in one: {error}"));
        }
    }

    /// Why workers have no groups of their own after all.
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().clone()
    }

    fn give_to_user(&self, group: &Path) -> Result<(), GroupError> {
        let Some(user) = self.user else { return Ok(()) };
        let path = group.join(PROCESSES);
        let given = std::os::unix::fs::chown(&path, Some(user.as_raw()), None);
        given.map_err(|error| io_error(&path, error))
    }
}

/// The user that workers of a server which runs as root become, see `worker/sandbox/src/user.rs`.
pub(super) fn user_of_workers() -> Option<Uid> {
    geteuid().is_root().then(|| Uid::from_raw(mcp_v8_protocol::limits::NOBODY_ID))
}

impl Place {
    fn open(path: &Path) -> Result<Self, GroupError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty());
        let directory = directory.map_err(|error| io_error(path, error.into()))?;
        let file = |name: &str, options: &mut OpenOptions| {
            let path = path.join(name);
            options.open(&path).map_err(|error| io_error(&path, error))
        };
        Ok(Self {
            path: path.to_owned(),
            directory,
            memory_max: file("memory.max", OpenOptions::new().write(true))?,
            events: file("memory.events", OpenOptions::new().read(true))?,
            bytes: None,
            before: Events::default(),
        })
    }

    fn events(&self) -> Events {
        let mut text = [0; GROUP_EVENTS_BYTES_MAX];
        let read = self.events.read_at(&mut text, 0).unwrap_or(0);
        Events::parse(&String::from_utf8_lossy(text.get(..read).unwrap_or_default()))
    }
}

impl Events {
    fn parse(text: &str) -> Self {
        let count = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let found = lines.find(|(key, _)| *key == name);
            found.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0)
        };
        Self { kills: count("oom_kill"), own: count("oom") }
    }
}

impl Leaf {
    /// Its directory, for whoever forks into it.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.place.as_ref().map(|place| place.directory.as_fd())
    }

    /// Notes that the host does not let a template fork into it. What may pass by is not held against
    /// the others.
    pub fn refuse(self, error: &io::Error) {
        if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory) {
            self.leaves.refuse(error);
        }
    }

    /// Puts a process in that is there already.
    ///
    /// # Errors
    /// [`GroupError::Io`]; it stays where it was.
    pub(super) fn enter(&self, pid: u32) -> Result<(), GroupError> {
        let Some(place) = &self.place else { return Ok(()) };
        write(&place.path.join(PROCESSES), &pid.to_string())
    }

    /// Whether `/proc/PID/cgroup` shows a process in another group. It shows nothing of one that has
    /// sealed itself where `/proc` hides such from a server that is not root (`hidepid`).
    pub fn is_missed_by(&self, pid: u32) -> bool {
        let name = self.place.as_ref().and_then(|place| place.path.file_name());
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
        own.is_some_and(|path| Path::new(path).file_name() != name)
    }

    /// Bounds what is in it. Before a script is: then it is a write of some microseconds.
    pub fn bound(&mut self, bytes: u64) {
        let Some(place) = &mut self.place else { return };
        if place.bytes == Some(bytes) {
            return;
        }
        match place.memory_max.write_at(bytes.to_string().as_bytes(), 0) {
            Ok(_) => place.bytes = Some(bytes),
            // The bounds on the process itself hold.
            Err(error) => tracing::warn!(%error, "the control group of a worker has no bound"),
        }
    }

    /// Whether and why the kernel has killed its worker for lack of memory.
    pub fn kill(&self) -> Option<Kill> {
        let place = self.place.as_ref()?;
        let now = place.events();
        match (now.kills > place.before.kills, now.own > place.before.own) {
            (false, _) => None,
            (true, true) => Some(Kill::Own),
            (true, false) => Some(Kill::All),
        }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        self.leaves.free.lock().extend(self.place.take());
    }
}

fn io_error(path: &Path, error: io::Error) -> GroupError {
    GroupError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: &str = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n";

    fn leaves(parent: &Path) -> Arc<Leaves> {
        Arc::new(Leaves {
            parent: parent.to_owned(),
            user: None,
            free: Mutex::default(),
            made: AtomicU64::new(0),
            refused: Mutex::default(),
        })
    }

    /// A directory with the files of a group that the tests read and write as the kernel does.
    fn leaf(leaves: &Arc<Leaves>) -> Leaf {
        let path = leaves.parent.join("worker");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("memory.max"), "max").unwrap();
        std::fs::write(path.join("memory.events"), QUIET).unwrap();
        leaves.leaf(Place::open(&path).unwrap())
    }

    #[test]
    fn a_kill_is_told_of_the_worker_in_the_group_alone_and_by_what_lacked() {
        let dir = tempfile::tempdir().unwrap();
        let leaves = leaves(dir.path());
        let leaf = leaf(&leaves);
        let count = |oom: u64, kills: u64| {
            let text = format!("max 7\noom {oom}\noom_kill {kills}\noom_group_kill 0\n");
            std::fs::write(dir.path().join("worker/memory.events"), text).unwrap();
        };
        assert_eq!(leaf.kill(), None);
        // The kernel has made room without a kill.
        count(1, 0);
        assert_eq!(leaf.kill(), None);
        count(1, 1);
        assert_eq!(leaf.kill(), Some(Kill::Own));
        drop(leaf);

        let next = leaves.take().unwrap();
        assert_eq!(next.kill(), None, "that was the one before");
        count(1, 2);
        assert_eq!(next.kill(), Some(Kill::All));
        assert!(leaves.take().is_none(), "it is in use");
    }

    #[test]
    fn a_bound_is_written_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let leaves = leaves(dir.path());
        let mut leaf = leaf(&leaves);
        let file = dir.path().join("worker/memory.max");
        leaf.bound(123_456);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "123456");
        std::fs::write(&file, "").unwrap();
        leaf.bound(123_456);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "", "it stands already");
        leaf.bound(654_321);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "654321");
    }

    #[test]
    fn a_host_that_refuses_is_not_asked_again_but_what_passes_is() {
        let dir = tempfile::tempdir().unwrap();
        let leaves = leaves(dir.path());
        leaf(&leaves).refuse(&io::Error::from_raw_os_error(libc::EAGAIN));
        assert_eq!(leaves.refused(), None);
        leaves.take().unwrap().refuse(&io::Error::from_raw_os_error(libc::ENOSYS));
        assert!(leaves.refused().unwrap().contains("does not let a worker begin"));
    }
}
