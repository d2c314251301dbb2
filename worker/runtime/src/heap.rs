//! What happens when V8's heap is full, and when V8 gives up.
//!
//! Near its limit the heap gets a little more room and the script is terminated, which unwinds in
//! good order and is reported as out of memory. Where V8 cannot unwind (one allocation larger than
//! all that room, a table past its largest size) it calls the handlers below instead, and must not
//! be returned to: they speak the process's last words.

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use mcp_v8_protocol::FatalKind;

use crate::buffers::Buffers;
use crate::limits::HEAP_UNWIND_BYTES;

/// Reports why the process ends and ends it. Runs on the thread V8 failed on, where V8 must not be
/// used any more.
pub type LastWords = fn(FatalKind, &str) -> !;

static LAST_WORDS: OnceLock<LastWords> = OnceLock::new();

/// Sets what is done when V8 cannot go on. Without it the process aborts. The first call counts.
pub fn set_last_words(last_words: LastWords) {
    let _ = LAST_WORDS.set(last_words);
}

fn last_words(kind: FatalKind, message: &str) -> ! {
    match LAST_WORDS.get() {
        Some(last_words) => last_words(kind, message),
        None => {
            eprintln!("V8 cannot go on: {kind:?}: {message}");
            std::process::abort()
        }
    }
}

/// Watches the heap of one isolate.
#[derive(Debug)]
pub(crate) struct HeapGuard {
    isolate: v8::IsolateHandle,
    buffers: Arc<Buffers>,
    full: AtomicBool,
}

impl HeapGuard {
    pub(crate) fn new(isolate: v8::IsolateHandle, buffers: Arc<Buffers>) -> Self {
        Self { isolate, buffers, full: AtomicBool::new(false) }
    }

    /// Whether the limit was reached.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Registers the guard.
    ///
    /// # Safety
    /// `this` must stay valid for as long as the isolate lives.
    pub(crate) unsafe fn attach(this: *const Self, isolate: &mut v8::Isolate) {
        isolate.add_near_heap_limit_callback(near_limit, this.cast_mut().cast::<c_void>());
        isolate.set_oom_error_handler(on_out_of_memory);
    }
}

unsafe extern "C" fn near_limit(data: *mut c_void, current: usize, _initial: usize) -> usize {
    // SAFETY: `HeapGuard::attach` demands that the guard outlives the isolate.
    let guard = unsafe { &*data.cast::<HeapGuard>() };
    // V8 also calls when it tries everything for an `ArrayBuffer` that was refused. That ends in a
    // RangeError; should the heap be full as well, V8 calls the handler below.
    if guard.buffers.take_refusal() {
        return current;
    }
    if guard.full.swap(true, Ordering::Relaxed) {
        last_words(FatalKind::OutOfMemory, "the heap filled up again while the script unwound");
    }
    guard.isolate.terminate_execution();
    current + HEAP_UNWIND_BYTES
}

unsafe extern "C" fn on_out_of_memory(location: *const c_char, details: &v8::OomDetails) {
    let mut message = text_of(location).to_owned();
    let detail = text_of(details.detail);
    if !detail.is_empty() {
        message.push_str(": ");
        message.push_str(detail);
    }
    last_words(FatalKind::OutOfMemory, &message);
}

/// V8's own assertions, which otherwise end in a trap.
pub(crate) fn on_fatal_error(file: &str, line: i32, message: &str) {
    last_words(FatalKind::V8, &format!("{message} ({file}:{line})"));
}

fn text_of<'a>(text: *const c_char) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: V8 passes null-terminated literals that live as long as the process.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
}
