//! How the process shuts itself in, layer by layer, before it reads its first byte.
//!
//! Here is what the process can do to itself alone; the order is part of the contract. Namespaces
//! and cgroup are the supervisor's to set up before `exec`. The layers that follow (closing other
//! descriptors, resource limits for processes, an empty root, no new privileges,
//! Landlock, dropping capabilities, and a system call filter last of all) each become a file
//! beside these and a line in [`enter`].

mod allocator;
mod environment;
mod parent;
mod resources;

/// Which layer could not be put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The kernel does not tie the process to its parent.
    #[error("the death of the parent cannot be watched: {0}")]
    Parent(rustix::io::Errno),
    /// The parent is gone already.
    #[error("the parent is gone")]
    Orphan,
    /// A resource limit could not be set.
    #[error("resource limit {limit} cannot be set: {error}")]
    Resource {
        /// Which one.
        limit: &'static str,
        /// Why.
        error: rustix::io::Errno,
    },
}

pub(crate) use resources::limit_memory;

/// Puts on every layer, or says which one failed.
pub(crate) fn enter() -> Result<(), SandboxError> {
    environment::clear();
    parent::die_with_it()?;
    resources::limit()?;
    allocator::configure();
    Ok(())
}
