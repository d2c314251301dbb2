//! A worker never outlives its supervisor.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::SandboxError;

/// Has the kernel kill this process when the thread that spawned it ends.
pub(crate) fn die_with_it() -> Result<(), SandboxError> {
    let before = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(SandboxError::Parent)?;
    // It may have died in between, and then no signal comes.
    if getppid() == before { Ok(()) } else { Err(SandboxError::Orphan) }
}
