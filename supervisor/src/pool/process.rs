//! One child process by its pidfd: wait, kill, never a zombie.
//!
//! # Contract
//! * A pid is never used to signal: a pidfd cannot hit a process that took the number over.
//! * Dropping a [`Process`] that has not been waited for kills it and reaps it in the background.
//! * Its control group is nobody else's until it has been reaped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::task::TaskTracker;

use super::group::{Kill, Leaf};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It is gone, but how is not known.
    Unknown,
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// `None` once it was reaped.
    pidfd: Option<AsyncFd<OwnedFd>>,
    reapers: TaskTracker,
    /// The control group that it alone is in.
    group: Option<Leaf>,
}

impl Process {
    /// Takes over a child. `reapers` tracks background reaping.
    ///
    /// # Errors
    /// When the pidfd cannot be watched; the child is killed.
    pub fn new(pid: u32, pidfd: OwnedFd, reapers: TaskTracker) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` keeps its descriptor open and the same until it is dropped, which
        // only the `AsyncFd` that owns it does.
        let watched = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
        match watched {
            Ok(pidfd) => Ok(Self { pid, pidfd: Some(pidfd), reapers, group: None }),
            Err(error) => {
                let (pidfd, error) = error.into_parts();
                kill_now(&pidfd);
                Err(error)
            }
        }
    }

    /// Says which control group it alone is in.
    #[must_use]
    pub fn in_group(mut self, group: Option<Leaf>) -> Self {
        self.group = group;
        self
    }

    /// Bounds the memory of its control group, if it has one.
    pub fn bound_memory(&mut self, bytes: u64) {
        if let Some(group) = &mut self.group {
            group.bound(bytes);
        }
    }

    /// Whether it has a control group of its own, and why the kernel has killed it there for lack of
    /// memory, if it has.
    pub fn memory_kill(&self) -> Option<Option<Kill>> {
        self.group.as_ref().map(Leaf::kill)
    }

    /// Its process id, for logs.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks the process to stop its script (SIGUSR1). One that is gone already is fine.
    pub fn stop(&self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd.get_ref(), Signal::USR1);
        }
    }

    /// Sends SIGKILL. A process that is gone already is fine.
    pub fn kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd.get_ref(), Signal::KILL);
        }
    }

    /// Whether it has ended, reaped or not.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match &self.pidfd {
            Some(pidfd) => {
                !matches!(waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), options), Ok(None))
            }
            None => true,
        }
    }

    /// Waits until it is gone and reaps it. After this it may be dropped freely.
    pub async fn wait(&mut self) -> Exit {
        let Some(pidfd) = &self.pidfd else { return Exit::Unknown };
        let exit = reap(pidfd).await;
        self.pidfd = None;
        exit
    }
}

async fn reap(pidfd: &AsyncFd<OwnedFd>) -> Exit {
    loop {
        let mut ready = match pidfd.readable().await {
            Ok(ready) => ready,
            Err(_) => return Exit::Unknown,
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), options) {
            Ok(Some(status)) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Unknown,
                };
            }
            Ok(None) => ready.clear_ready(),
            Err(_) => return Exit::Unknown,
        }
    }
}

/// Kills and reaps without a runtime. SIGKILL takes effect at once, so this does not wait long.
fn kill_now(pidfd: &OwnedFd) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(pidfd) = self.pidfd.take() else { return };
        let group = self.group.take();
        let _ = pidfd_send_signal(pidfd.get_ref(), Signal::KILL);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let reaping = async move {
                    reap(&pidfd).await;
                    drop(group);
                };
                runtime.spawn(self.reapers.track_future(reaping));
            }
            Err(_) => kill_now(pidfd.get_ref()),
        }
    }
}
