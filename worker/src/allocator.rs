//! `malloc` in a process with one thread: one arena.

/// Configures the C library's allocator.
pub(crate) fn configure() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a documented parameter; there is no other thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
