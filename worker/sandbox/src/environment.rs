//! Nothing of the operator's environment reaches a script.

/// Clears the environment. Dates are in UTC on every node, whatever the machine is set to.
pub(crate) fn clear() {
    // SAFETY: the process has one thread, and nothing holds a pointer into the environment.
    unsafe {
        libc::clearenv();
        std::env::set_var("TZ", "UTC");
    }
}
