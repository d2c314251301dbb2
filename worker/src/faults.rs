//! Running out of native stack while a source is parsed, and running out of memory where nobody
//! asks whether there is any.
//!
//! The parser recurses with the nesting of the source and cannot be bounded from outside: any
//! token may nest. The stack it runs on is large, and what nests deeper faults at its end. That
//! fault is answered here with the outcome of the job, prepared in advance; the process serves no
//! other, so there is nothing to unwind to. Every other fault ends the process by its signal.
//!
//! Native code that does not expect an allocation to fail (ICU, parts of V8) faults or traps when one
//! does. Such a signal, in a process that has no memory left, is told to be what it comes from; the
//! process dies of it all the same.
//!
//! An allocation of our own that fails aborts the process: while the source is read with an outcome
//! prepared in advance, later with last words. An abort for any other reason, or from outside, is
//! what it always was.

use std::io::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mcp_v8_protocol::{
    Done, Failure, FailureKind, Fatal, FatalKind, FromWorker, Outcome, Usage, encode,
};

use crate::limits::{EXHAUSTED_BYTES, SIGNAL_STACK_BYTES, STACK_END_BYTES};
use crate::{allocator, outbox};

/// What is said when the source cannot be read in the memory there is.
const SOURCE_TOO_LARGE: &str =
    "Out of memory: the source needs more memory than the script may have";

static TOO_DEEP: OnceLock<Vec<u8>> = OnceLock::new();
static TOO_LARGE: OnceLock<Vec<u8>> = OnceLock::new();
static NO_MEMORY: OnceLock<Vec<u8>> = OnceLock::new();

/// Whether last words have been tried.
static SPOKEN: AtomicBool = AtomicBool::new(false);

/// Sets the handlers, on a stack of their own. For the main thread, which is the one that parses.
pub(crate) fn install() -> Result<(), Error> {
    let too_deep = outcome(FailureKind::Syntax, mcp_v8_runtime::NESTED_TOO_DEEPLY)?;
    TOO_DEEP.get_or_init(|| too_deep);
    let too_large = outcome(FailureKind::OutOfMemory, SOURCE_TOO_LARGE)?;
    TOO_LARGE.get_or_init(|| too_large);
    let message = "memory ran out in native code".to_owned();
    let no_memory = FromWorker::Fatal(Fatal { kind: FatalKind::OutOfMemory, message });
    let no_memory = encode(&no_memory).map_err(Error::other)?;
    NO_MEMORY.get_or_init(|| no_memory);

    let stack = Box::leak(vec![0_u8; SIGNAL_STACK_BYTES].into_boxed_slice());
    let stack =
        libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: `stack` describes leaked memory of that size; the old setting is not asked for.
    if unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } != 0 {
        return Err(Error::last_os_error());
    }
    let here = 0_u8;
    STACK_NEAR.store(&raw const here as usize, Ordering::Relaxed);
    let on_fault = on_fault
        as extern "C" fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void)
        as usize;
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGTRAP, libc::SIGILL] {
        handle(signal, on_fault, libc::SA_SIGINFO)?;
    }
    let on_abort = on_abort
        as extern "C" fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void)
        as usize;
    handle(libc::SIGABRT, on_abort, libc::SA_SIGINFO)
}

/// The frame of an outcome without a place.
fn outcome(kind: FailureKind, message: &str) -> Result<Vec<u8>, Error> {
    let outcome = Outcome::Failed(Failure {
        kind,
        message: message.to_owned(),
        stack: None,
        line: None,
        column: None,
    });
    let done = FromWorker::Done(Box::new(Done { outcome, usage: Usage::default(), heap: None }));
    encode(&done).map_err(Error::other)
}

/// Sets `handler`, which must take what `flags` say, on the signals' own stack.
pub(crate) fn handle(signal: libc::c_int, handler: usize, flags: libc::c_int) -> Result<(), Error> {
    // SAFETY: all-zero is a valid `sigaction`, and every field that counts is set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags | libc::SA_ONSTACK | libc::SA_NODEFER;
    // Those that come by themselves do not come on top of each other.
    // SAFETY: the mask is the action's own, and the signals exist.
    unsafe {
        libc::sigaddset(&raw mut action.sa_mask, libc::SIGUSR1);
        libc::sigaddset(&raw mut action.sa_mask, libc::SIGALRM);
    }
    // SAFETY: the handlers are safe at any point where their signals can come, as they say.
    if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

/// An address near the beginning of the main thread's stack.
static STACK_NEAR: AtomicUsize = AtomicUsize::new(0);

/// Calls nothing that is not async-signal-safe.
extern "C" fn on_fault(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    _context: *const libc::c_void,
) {
    if signal == libc::SIGSEGV && mcp_v8_runtime::is_preparing_source() {
        // SAFETY: the kernel passes a valid `siginfo_t`; that of this signal has an address.
        let address = unsafe { (*info).si_addr() } as usize;
        if is_end_of_stack(address) {
            finish(&TOO_DEEP);
        }
    }
    if !SPOKEN.swap(true, Ordering::Relaxed)
        && is_memory_exhausted()
        && let Some(frame) = NO_MEMORY.get()
        && outbox::write_from_signal()
    {
        send_raw(frame);
    }
    die_of(signal);
}

/// Whether an address lies where the stack may not grow any further, or close below.
fn is_end_of_stack(address: usize) -> bool {
    let near = STACK_NEAR.load(Ordering::Relaxed);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to a valid place.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    let bytes = usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX);
    let end = near.saturating_sub(bytes);
    // The kernel counts from the very top of the stack, and keeps a gap below it.
    address.abs_diff(end) <= STACK_END_BYTES
}

/// Whether the process may not have even a little more memory.
fn is_memory_exhausted() -> bool {
    is_unavailable(EXHAUSTED_BYTES)
}

/// Whether the process may not have so much more memory.
fn is_unavailable(bytes: usize) -> bool {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping wherever the kernel likes, given back at once and never touched.
    unsafe {
        let more = libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0);
        if more != libc::MAP_FAILED {
            libc::munmap(more, bytes);
        }
        more == libc::MAP_FAILED
    }
}

fn memory_limit_bytes() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to a valid place.
    unsafe { libc::getrlimit(libc::RLIMIT_DATA, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Comes from `abort`, called where an allocation has failed and is over: nothing is interrupted,
/// so that the last words may take locks and the memory put by for them. From elsewhere it may
/// come at any time, and nothing is done but what the signal does.
extern "C" fn on_abort(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    _context: *const libc::c_void,
) {
    // SAFETY: the kernel passes a valid `siginfo_t`; a signal sent by `abort` has a sender.
    let own = unsafe { (*info).si_code == libc::SI_TKILL && (*info).si_pid() == libc::getpid() };
    let own_code = allocator::has_failed();
    // V8's libraries abort where a large block cannot be had, with a good deal left.
    let for_memory = own_code || is_unavailable(memory_limit_bytes() / 2);
    if own && for_memory && !SPOKEN.swap(true, Ordering::Relaxed) {
        source_too_large();
        outbox::speak(FatalKind::OutOfMemory, "an allocation failed");
        if own_code {
            outbox::exit(1);
        }
    }
    die_of(signal);
}

/// If a source is being read, ends the process with the outcome that it needs too much memory.
pub(crate) fn source_too_large() {
    if mcp_v8_runtime::is_preparing_source() {
        finish(&TOO_LARGE);
    }
}

/// Sends a prepared outcome and ends the process. Only while the source is read: no script has run,
/// so nothing is queued and nobody else is writing.
fn finish(frame: &OnceLock<Vec<u8>>) {
    let Some(frame) = frame.get() else { return };
    send_raw(frame);
    outbox::exit(0)
}

fn send_raw(frame: &[u8]) {
    let mut rest = frame;
    while !rest.is_empty() {
        // SAFETY: the pointer and length are those of a live slice.
        let sent = unsafe { libc::send(0, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        match usize::try_from(sent) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(_) => break,
        }
    }
}

fn die_of(signal: libc::c_int) {
    // SAFETY: both calls are async-signal-safe. With the default action back, the signal kills.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
