//! `malloc` in a process with one busy thread: one arena, so that the second thread does not map
//! another.

/// Configures the C library's allocator.
pub(crate) fn configure() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a documented parameter; called before a second thread exists.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
