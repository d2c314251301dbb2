//! `malloc` in a process that runs for months and keeps what scripts print, a megabyte each.

/// Configures the C library's allocator. Called before there are threads.
///
/// Left alone it learns from the first large block that is freed to take the next ones from its
/// heaps, where those that are kept and those that are not come to lie side by side: a server whose
/// scripts print much held twice what it retained, and slowly more.
pub fn configure() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a documented parameter; there is no other thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, crate::limits::LARGE_BLOCK_BYTES);
    }
}
