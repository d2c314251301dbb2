//! `malloc` in a process with one thread: one arena, and no list of small pieces that are put together
//! later: that is a walk over the whole heap, and in a child each page it writes to is copied. And a note of what it could not give to our own
//! code, which then aborts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Configures the C library's allocator.
pub(crate) fn configure() {
    #[cfg(target_env = "gnu")]
    // SAFETY: documented parameters; there is no other thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

static FAILED: AtomicBool = AtomicBool::new(false);

/// Whether an allocation of our own code has failed.
pub(crate) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// The system's allocator, with a note of failures.
struct Noting;

#[global_allocator]
static ALLOCATOR: Noting = Noting;

fn note(data: *mut u8) -> *mut u8 {
    if data.is_null() {
        FAILED.store(true, Ordering::Relaxed);
    }
    data
}

// SAFETY: every call is passed on as it is to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        note(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        note(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        note(unsafe { System.realloc(data, layout, size) })
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(data, layout) };
    }
}
