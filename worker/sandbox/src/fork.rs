//! How a template makes its children.
//!
//! # Contract
//! * A template has one thread and has run nothing of any script.
//! * A child is the supervisor's own child (`CLONE_PARENT`): the supervisor waits for it and kills
//!   it by its pidfd, which is passed up together with the other end of the child's socket. The
//!   template keeps nothing of it.
//! * A child may be born in a control group that the supervisor has made for it, which is handed
//!   down as a descriptor: moving a process that exists takes as long as half a script. Where the
//!   kernel does not let it, the child is born where its template is, and the supervisor is told.
//! * A child is born in every layer of its template's sandbox, and [`Child::seal`] takes from it
//!   what only the template may do. Siblings share no descriptor but the log pipe.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::stdio::stdin;

use crate::SandboxError;
use crate::mappings::Mappings;
use crate::system_calls::ChildFilter;
use crate::{Purpose, parent, privileges, resources};

/// `PR_GET_TID_ADDRESS`, which libc does not name.
const PR_GET_TID_ADDRESS: libc::c_int = 40;

/// A flag of `clone3`, of version 2 of the control groups: the child is born in the group whose directory
/// `cgroup` is (clone(2), Linux 5.7).
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The mappings that V8 keeps from children could not be given to them.
    #[error("the memory mappings in /proc/self/smaps cannot be shared with children: {0}")]
    Mappings(String),
    /// The filter of the children could not be built.
    #[error("the system call filter of children: {0}")]
    Filter(String),
    /// A limit of the child could not be set.
    #[error(transparent)]
    Limit(#[from] SandboxError),
    /// The kernel made no socket or no process.
    #[error("{call}: {error}")]
    Kernel {
        /// What was called.
        call: &'static str,
        /// What it said.
        error: Errno,
    },
}

fn kernel(call: &'static str) -> impl FnOnce(Errno) -> ForkError {
    move |error| ForkError::Kernel { call, error }
}

/// What a fork returns, once in each process.
#[derive(Debug)]
pub enum Forked {
    /// In the template.
    Parent(Birth),
    /// In the child, whose standard input is its own socket by now.
    Child(Child),
}

/// A child as its template sees it.
#[derive(Debug)]
pub struct Birth {
    /// Its process id where the template has its own.
    pub pid: u32,
    /// Why it is not in the group it was meant for.
    pub group_refused: Option<Errno>,
    /// Its pidfd, for the supervisor.
    pub pidfd: OwnedFd,
    /// The other end of its socket, for the supervisor.
    pub socket: OwnedFd,
}

/// Makes children of this process.
#[derive(Debug)]
pub struct Forker {
    sealed: bool,
    filter: Option<ChildFilter>,
    /// Where libc keeps the number of the one thread; zero when that is not known.
    thread_id: usize,
    holder: Option<OwnedFd>,
}

impl Forker {
    /// Prepares the process for forking. Every mapping that children need exists by now.
    pub(crate) fn new(
        sealed: bool,
        purpose: Purpose,
        mappings: Option<Mappings>,
    ) -> Result<Self, ForkError> {
        let never = || ForkError::Mappings("they were not opened".to_owned());
        mappings.ok_or_else(never)?.share_all()?;
        let filter = if sealed {
            let filter = ChildFilter::new(purpose);
            Some(filter.map_err(|error| ForkError::Filter(error.to_string()))?)
        } else {
            None
        };
        Ok(Self { sealed, filter, thread_id: thread_id_address(), holder: None })
    }

    /// For a host without system call filters: children do not try to put one on.
    pub(crate) fn leave_calls_open(&mut self) {
        self.filter = None;
    }

    /// Makes the first process of the children's namespace: when that one ends, so do all others,
    /// and no more can be made. It does nothing but wait for the end of the supervisor.
    pub(crate) fn hold_namespace(&mut self, supervisor: OwnedFd) -> Result<(), ForkError> {
        let (pid, pidfd) = self.clone_process(None).map_err(kernel("clone"))?;
        if pid == 0 {
            wait_for_end(supervisor);
        }
        self.holder = pidfd;
        Ok(())
    }

    /// The pidfd of the process that holds the children's namespace, if there is one. For the
    /// supervisor, which ends it after the last child.
    pub fn take_holder(&mut self) -> Option<OwnedFd> {
        self.holder.take()
    }

    /// Makes a child, in a control group of its own if one is given: a directory of version 2.
    ///
    /// # Errors
    /// [`ForkError::Kernel`]; in the template only.
    pub fn fork(&mut self, group: Option<BorrowedFd<'_>>) -> Result<Forked, ForkError> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(kernel("socketpair"))?;
        let mut group_refused = None;
        let born = match self.clone_process(group) {
            Err(error) if group.is_some() => {
                group_refused = Some(error);
                self.clone_process(None)
            }
            born => born,
        };
        let (pid, pidfd) = born.map_err(kernel("clone"))?;
        match pidfd {
            Some(pidfd) if pid != 0 => {
                Ok(Forked::Parent(Birth { pid, group_refused, pidfd, socket: ours }))
            }
            _ => {
                // Closed below, with everything else.
                std::mem::forget(ours);
                take_stdin(theirs);
                Ok(Forked::Child(Child { sealed: self.sealed, filter: self.filter.take() }))
            }
        }
    }

    /// Returns twice: the child's id and pidfd, and 0.
    fn clone_process(
        &self,
        group: Option<BorrowedFd<'_>>,
    ) -> Result<(u32, Option<OwnedFd>), Errno> {
        let mut pidfd: RawFd = -1;
        let pid = match group {
            None => self.clone(&raw mut pidfd),
            Some(group) => self.clone_into(group, &raw mut pidfd),
        };
        match u32::try_from(pid) {
            Ok(0) => Ok((0, None)),
            // SAFETY: the kernel has just opened it for us.
            Ok(pid) => Ok((pid, Some(unsafe { OwnedFd::from_raw_fd(pidfd) }))),
            Err(_) => {
                let error = std::io::Error::last_os_error();
                Err(Errno::from_io_error(&error).unwrap_or(Errno::NOSYS))
            }
        }
    }

    /// `clone`, of which system call filters see the flags.
    fn clone(&self, pidfd_at: *mut RawFd) -> libc::c_long {
        let mut flags = libc::CLONE_PIDFD | libc::CLONE_PARENT | libc::SIGCHLD;
        if self.thread_id != 0 {
            flags |= libc::CLONE_CHILD_SETTID;
        }
        let nothing = 0_usize;
        // SAFETY: without `CLONE_VM` the child gets a copy of everything and goes on from here, as
        // after `fork`. The process has one thread, so no lock is held by another. `thread_id` is
        // where libc itself has the kernel write that number.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            let pid =
                libc::syscall(libc::SYS_clone, flags, nothing, pidfd_at, self.thread_id, nothing);
            #[cfg(not(target_arch = "x86_64"))]
            let pid =
                libc::syscall(libc::SYS_clone, flags, nothing, pidfd_at, nothing, self.thread_id);
            pid
        }
    }

    /// `clone3`, which alone takes a group. The signal at its end is the template's own, as always for
    /// the child of a parent's parent.
    fn clone_into(&self, group: BorrowedFd<'_>, pidfd_at: *mut RawFd) -> libc::c_long {
        let mut flags = (libc::CLONE_PIDFD | libc::CLONE_PARENT) as u64 | CLONE_INTO_CGROUP;
        if self.thread_id != 0 {
            flags |= libc::CLONE_CHILD_SETTID as u64;
        }
        // SAFETY: a plain struct of numbers, of which zero means nothing.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.flags = flags;
        arguments.pidfd = pidfd_at as u64;
        arguments.child_tid = self.thread_id as u64;
        arguments.cgroup = group.as_raw_fd() as u64;
        // SAFETY: as for `clone` above; the kernel reads the arguments and writes one descriptor's
        // number to where `pidfd_at` points.
        unsafe {
            libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>())
        }
    }
}

/// Where libc keeps the thread id of the main thread. A fork of libc's updates it; ours asks the
/// kernel to.
fn thread_id_address() -> usize {
    let mut address: usize = 0;
    // SAFETY: the kernel writes one pointer to where the argument says.
    let known = unsafe { libc::prctl(PR_GET_TID_ADDRESS, &raw mut address) } == 0;
    // SAFETY: where the kernel says it is, libc has an aligned thread id of its own.
    let matches = known
        && address != 0
        && unsafe { *(address as *const libc::pid_t) } == {
            // SAFETY: no preconditions.
            unsafe { libc::gettid() }
        };
    if matches { address } else { 0 }
}

/// Makes `socket` standard input and closes all that was the template's but the log.
fn take_stdin(socket: OwnedFd) {
    // SAFETY: the process has one thread; what is closed below is used by nothing any more, and the
    // owners of those numbers are never dropped in a child.
    unsafe {
        libc::dup3(socket.as_raw_fd(), 0, 0);
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
    std::mem::forget(socket);
}

/// Waits for the supervisor's SIGKILL, or its end.
fn wait_for_end(supervisor: OwnedFd) -> ! {
    take_stdin(supervisor);
    let supervisor = stdin();
    let mut fds = [PollFd::new(&supervisor, PollFlags::IN)];
    loop {
        // A signal that does not kill is none of its business.
        if !matches!(poll(&mut fds, None), Err(Errno::INTR | Errno::AGAIN)) {
            // SAFETY: no preconditions.
            unsafe { libc::_exit(0) };
        }
    }
}

/// A child before its job.
#[derive(Debug)]
pub struct Child {
    sealed: bool,
    filter: Option<ChildFilter>,
}

impl Child {
    /// Gives up what only the template may do, and ties the process to the supervisor. Descriptors
    /// that it needs are open by now.
    ///
    /// # Errors
    /// [`ForkError`]; the process must not go on.
    pub fn seal(self) -> Result<(), ForkError> {
        parent::kill_with_it().map_err(kernel("prctl(PR_SET_PDEATHSIG)"))?;
        if self.sealed {
            resources::limit_tasks()?;
            privileges::hide().map_err(kernel("prctl(PR_SET_DUMPABLE)"))?;
        }
        if let Some(filter) = self.filter {
            filter.apply().map_err(kernel("seccomp"))?;
        }
        Ok(())
    }
}
