//! No privileges, and no way to gain any.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// A program that the process starts has no more rights than the process.
pub(crate) fn gain_none() -> Result<(), Errno> {
    set_no_new_privs(true)
}

/// Other processes of the same user may not look into this one. Not for a template, which has seen
/// nothing of any script: the supervisor, which need not be root, looks at its namespaces.
pub(crate) fn hide() -> Result<(), Errno> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Drops every capability from every set. For a process that has none this changes nothing.
pub(crate) fn drop_capabilities() -> Result<(), Errno> {
    clear_ambient_capability_set()?;
    for bit in 0..u64::BITS {
        let Some(one) = CapabilitySet::from_bits(1 << bit) else { continue };
        match remove_capability_from_bounding_set(one) {
            // Newer than this kernel; or the process was not allowed to hold any to begin with.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
