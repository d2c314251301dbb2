//! A control group for each worker, below that of all (version 2 only).
//!
//! # Contract
//! * A worker is born in its group: the group's directory is handed down to the template, which forks
//!   into it (`CLONE_INTO_CGROUP`). A group holds one process and no second one, and as much memory as
//!   that process's job may have; what the kernel kills in it is that job's end and nobody else's.
//! * Making a group takes the kernel as long as a script, so groups are used again: one that a
//!   [`Leaf`] leaves behind waits for the next worker. There are never more of them than there were
//!   workers at once.
//! * What a worker leaves in its group when it is gone, such as a heap that is kept in memory, is not
//!   its successor's to pay for: a group with more than a little is given up, and every bound is that much
//!   larger. The group of all workers goes on counting it.
//! * A host that does not let a template fork into a group has told so once and is not asked again;
//!   one that does not let us make a group is asked again after a pause.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Uid, geteuid};

use super::GroupError;
use super::host::{control_below, count, write};
use crate::limits::{
    GROUP_EVENTS_BYTES_MAX, GROUP_LEFT_BYTES_MAX, GROUP_RETRY_PAUSE, WORKER_TASKS_MAX,
};

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
    /// Groups with something left in them, to be removed.
    given_up: Mutex<Vec<PathBuf>>,
    made: AtomicU64,
    refused: Mutex<Option<String>>,
    /// Why the last one could not be made, and until when none is tried.
    failed: Mutex<Option<(Instant, String)>>,
}

/// A group that exists.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    directory: OwnedFd,
    memory_max: File,
    memory: File,
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
            given_up: Mutex::default(),
            made: AtomicU64::new(0),
            refused: Mutex::default(),
            failed: Mutex::default(),
        };
        // The kernel asks for the right to move processes in the group above both places.
        leaves.give_to_user(parent)?;
        Ok(leaves)
    }

    /// A group that no worker is in, if one has been made already.
    pub fn take(self: &Arc<Self>) -> Option<Leaf> {
        loop {
            let place = self.free.lock().pop()?;
            if place.memory_bytes() <= GROUP_LEFT_BYTES_MAX {
                return Some(self.leaf(place));
            }
            self.given_up.lock().push(place.path);
        }
    }

    /// Makes a group, and removes those that were given up. Takes the kernel a fraction of a
    /// millisecond: not for threads that serve.
    ///
    /// # Errors
    /// [`GroupError::Io`]; none is tried for [`GROUP_RETRY_PAUSE`] then.
    pub fn make(self: &Arc<Self>) -> Result<Leaf, GroupError> {
        for path in std::mem::take(&mut *self.given_up.lock()) {
            // The kernel keeps what is left, on the account of the group above.
            let _ = std::fs::remove_dir(path);
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.parent.join(format!("worker-{number}"));
        match self.make_at(&path) {
            Ok(place) => Ok(self.leaf(place)),
            Err(error) => {
                let _ = std::fs::remove_dir(path);
                tracing::warn!(%error, "a worker has no control group of its own");
                let until = Instant::now() + GROUP_RETRY_PAUSE;
                *self.failed.lock() = Some((until, error.to_string()));
                Err(error)
            }
        }
    }

    fn make_at(&self, path: &Path) -> Result<Place, GroupError> {
        std::fs::create_dir(path).map_err(|error| io_error(path, error))?;
        self.give_to_user(path)?;
        let place = Place::open(path)?;
        // A host without that controller has the limit on each process.
        let _ = write(&path.join("pids.max"), &WORKER_TASKS_MAX.to_string());
        Ok(place)
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

    /// Why workers have no groups of their own after all, or not now.
    pub fn refused(&self) -> Option<String> {
        let failed = || match &*self.failed.lock() {
            Some((until, why)) if Instant::now() < *until => Some(why.clone()),
            _ => None,
        };
        self.refused.lock().clone().or_else(failed)
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
            memory: file("memory.current", OpenOptions::new().read(true))?,
            events: file("memory.events", OpenOptions::new().read(true))?,
            bytes: None,
            before: Events::default(),
        })
    }

    /// What is in it now; nothing where that cannot be read.
    fn memory_bytes(&self) -> u64 {
        let mut text = [0; 32];
        let read = self.memory.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(text.get(..read).unwrap_or_default());
        text.trim().parse().unwrap_or(0)
    }

    fn events(&self) -> Events {
        let mut text = [0; GROUP_EVENTS_BYTES_MAX];
        let read = self.events.read_at(&mut text, 0).unwrap_or(0);
        Events::parse(&String::from_utf8_lossy(text.get(..read).unwrap_or_default()))
    }
}

impl Events {
    fn parse(text: &str) -> Self {
        Self { kills: count(text, "oom_kill"), own: count(text, "oom") }
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
        let bytes = bytes.saturating_add(GROUP_LEFT_BYTES_MAX);
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
            given_up: Mutex::default(),
            made: AtomicU64::new(0),
            refused: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// A directory with the files of a group that the tests read and write as the kernel does.
    fn leaf(leaves: &Arc<Leaves>) -> Leaf {
        let path = leaves.parent.join("worker");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("memory.max"), "max").unwrap();
        std::fs::write(path.join("memory.current"), "0\n").unwrap();
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
        let written = (123_456 + GROUP_LEFT_BYTES_MAX).to_string();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
        std::fs::write(&file, "").unwrap();
        leaf.bound(123_456);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "", "it stands already");
        leaf.bound(654_321);
        let written = (654_321 + GROUP_LEFT_BYTES_MAX).to_string();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    }

    #[test]
    fn what_is_left_in_a_group_is_not_the_next_workers_to_pay_for() {
        let dir = tempfile::tempdir().unwrap();
        let leaves = leaves(dir.path());
        let left = |bytes: u64| {
            std::fs::write(dir.path().join("worker/memory.current"), format!("{bytes}\n")).unwrap();
        };
        drop(leaf(&leaves));
        left(GROUP_LEFT_BYTES_MAX);
        drop(leaves.take().expect("little is left"));
        left(GROUP_LEFT_BYTES_MAX + 1);
        assert!(leaves.take().is_none());
        assert_eq!(*leaves.given_up.lock(), [dir.path().join("worker")]);
    }

    #[test]
    fn a_group_that_cannot_be_made_leaves_nothing_and_is_tried_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let leaves = leaves(dir.path());
        // A directory without the files of a group.
        assert!(leaves.make().is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(leaves.refused().unwrap().contains("memory.max"), "{:?}", leaves.refused());
        *leaves.failed.lock() = Some((Instant::now(), "then".to_owned()));
        assert_eq!(leaves.refused(), None);
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
