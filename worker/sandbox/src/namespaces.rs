//! Own namespaces: users, mounts, network, IPC, host name, cgroups and, for a template's children,
//! processes.
//!
//! That of the control groups is left out for a template whose children are born in groups of their
//! own: the kernel does not let a process put another where its own namespace does not reach, and
//! those groups are beside the template's. It would hide a path in `/proc`, and there is no `/proc`.
//!
//! The user namespace comes with the others in one call and gives the right to make them. Its map
//! has one user in it, who is the same inside and outside.

use std::io;

use rustix::process::{DumpableBehavior, getegid, geteuid, set_dumpable_behavior};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::Role;

/// Why the namespaces are not on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    #[error("unshare: {0}")]
    Unshare(rustix::io::Errno),
    #[error("{file}: {error}")]
    Map { file: &'static str, error: io::Error },
}

/// Enters the namespaces. The children of a template are in a process namespace of their own, in
/// which neither the template nor anything else of the host has a number; `own_processes` tells
/// whether that is so, also after an error.
pub(crate) fn enter(
    role: Role,
    own_groups: bool,
    own_processes: &mut bool,
) -> Result<(), NamespaceError> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    // The files below belong to root while the process may not be looked into, as after a change
    // of user.
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(NamespaceError::Unshare)?;
    let mut flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    if !own_groups {
        flags |= UnshareFlags::NEWCGROUP;
    }
    if role == Role::Template {
        // Holds for children only; and who has unshared it cannot start threads, which a process
        // that runs a job must.
        flags |= UnshareFlags::NEWPID;
    }
    // SAFETY: the process has one thread and no descriptor table is unshared.
    unsafe { unshare_unsafe(flags) }.map_err(NamespaceError::Unshare)?;
    *own_processes = flags.contains(UnshareFlags::NEWPID);
    // An unprivileged process may map its group only after giving up changing groups.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{user} {user} 1\n"))?;
    write("/proc/self/gid_map", &format!("{group} {group} 1\n"))
}

fn write(file: &'static str, text: &str) -> Result<(), NamespaceError> {
    std::fs::write(file, text).map_err(|error| NamespaceError::Map { file, error })
}
