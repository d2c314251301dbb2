//! A worker never outlives its supervisor.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, pidfd_open, set_parent_process_death_signal,
};

use crate::SandboxError;

/// The supervisor, as it was when the process began.
#[derive(Debug)]
pub(crate) struct Parent {
    pid: Option<Pid>,
    /// Becomes readable when it is gone.
    pidfd: OwnedFd,
}

impl Parent {
    /// Looks who it is: `supervisor`, if that is known, or nobody that counts.
    pub(crate) fn find(supervisor: Option<u32>) -> Result<Self, SandboxError> {
        let pid = getppid();
        let number = pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        // Whoever adopts orphans is not the one to wait for.
        if supervisor.is_some_and(|supervisor| number != Some(supervisor)) {
            return Err(SandboxError::Orphan);
        }
        let pidfd = pidfd_open(pid.ok_or(SandboxError::Orphan)?, PidfdFlags::empty());
        Ok(Self { pid, pidfd: pidfd.map_err(SandboxError::Parent)? })
    }

    /// Has the kernel kill this process when the thread that spawned it ends.
    pub(crate) fn die_with_it(&self) -> Result<(), SandboxError> {
        kill_with_it().map_err(SandboxError::Parent)?;
        // It may have died before, and then no signal comes.
        if getppid() == self.pid { Ok(()) } else { Err(SandboxError::Orphan) }
    }

    /// What tells of its end.
    pub(crate) fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }
}

/// Has the kernel kill a child of a template when the supervisor's thread ends. Its parent is in
/// another process namespace and so has no number to compare; if it has died already, the child's
/// socket is at its end.
pub(crate) fn kill_with_it() -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))
}
