//! The allocator behind `ArrayBuffer`: counts bytes, remembers the peak, refuses past the limit.
//!
//! V8's heap limit does not cover buffers. A refused allocation becomes a `RangeError` that the
//! script can catch. V8 may free from another thread, hence the atomics.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Alignment V8 expects, that of `malloc`.
const ALIGNMENT: usize = 16;

/// Bytes in buffers of one isolate.
#[derive(Debug)]
pub(crate) struct Buffers {
    limit: AtomicUsize,
    used: AtomicUsize,
    peak: AtomicUsize,
    refused: AtomicBool,
}

impl Buffers {
    /// A counter without a limit yet, and the allocator that V8 takes.
    pub(crate) fn new() -> (Arc<Self>, v8::UniqueRef<v8::Allocator>) {
        let buffers = Arc::new(Self {
            limit: AtomicUsize::new(usize::MAX),
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
        });
        let handle = Arc::into_raw(Arc::clone(&buffers));
        // SAFETY: `handle` is a live `Arc<Buffers>`, which is what every function of `VTABLE`
        // expects, and `release` gives that reference back when V8 drops the allocator.
        let allocator = unsafe { v8::new_rust_allocator(handle, &VTABLE) };
        (buffers, allocator)
    }

    /// Bounds what may be allocated from here on, together with what already is.
    pub(crate) fn set_limit(&self, bytes: u64) {
        self.limit.store(usize::try_from(bytes).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Bytes in buffers now, those of garbage included.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed) as u64
    }

    /// The most bytes at any time.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed) as u64
    }

    /// Whether the last request was refused; asked once.
    pub(crate) fn take_refusal(&self) -> bool {
        self.refused.swap(false, Ordering::Relaxed)
    }

    fn allocate(&self, bytes: usize, zeroed: bool) -> *mut c_void {
        let data = self.try_allocate(bytes, zeroed);
        self.refused.store(data.is_null(), Ordering::Relaxed);
        data
    }

    fn try_allocate(&self, bytes: usize, zeroed: bool) -> *mut c_void {
        let limit = self.limit.load(Ordering::Relaxed);
        let reserved = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= limit)
        });
        let Ok(before) = reserved else { return null_mut() };
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGNMENT) else {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return null_mut();
        };
        // SAFETY: the layout's size is at least one byte.
        let data = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        if data.is_null() {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        data.cast()
    }
}

static VTABLE: v8::RustAllocatorVtable<Buffers> = v8::RustAllocatorVtable {
    allocate: allocate_zeroed,
    allocate_uninitialized,
    free,
    drop: release,
};

unsafe extern "C" fn allocate_zeroed(buffers: &Buffers, bytes: usize) -> *mut c_void {
    buffers.allocate(bytes, true)
}

unsafe extern "C" fn allocate_uninitialized(buffers: &Buffers, bytes: usize) -> *mut c_void {
    buffers.allocate(bytes, false)
}

unsafe extern "C" fn free(buffers: &Buffers, data: *mut c_void, bytes: usize) {
    if data.is_null() {
        return;
    }
    if let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGNMENT) {
        // SAFETY: V8 frees what `allocate` returned, with the length it was asked for.
        unsafe { dealloc(data.cast(), layout) };
        buffers.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

unsafe extern "C" fn release(buffers: *const Buffers) {
    // SAFETY: gives back the reference that `Buffers::new` leaked into the allocator.
    drop(unsafe { Arc::from_raw(buffers) });
}
