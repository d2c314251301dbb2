//! Running out of native stack while a source is parsed.
//!
//! The parser recurses with the nesting of the source and cannot be bounded from outside: any
//! token may nest. The stack it runs on is large, and what nests deeper faults. That fault is
//! answered here with the outcome of the job, prepared in advance; the process serves no other, so
//! there is nothing to unwind to. Every other fault ends the process by its signal.

use std::io::Error;
use std::sync::OnceLock;

use mcp_v8_protocol::{Done, Failure, FailureKind, FromWorker, Outcome, Usage, encode};

use crate::limits::SIGNAL_STACK_BYTES;
use crate::outbox;

static TOO_DEEP: OnceLock<Vec<u8>> = OnceLock::new();

/// Sets the handlers, on a stack of their own. For the main thread, which is the one that parses.
pub(crate) fn install() -> Result<(), Error> {
    let outcome = Outcome::Failed(Failure {
        kind: FailureKind::Syntax,
        message: mcp_v8_runtime::NESTED_TOO_DEEPLY.to_owned(),
        stack: None,
        line: None,
        column: None,
    });
    let done = FromWorker::Done(Box::new(Done { outcome, usage: Usage::default() }));
    let frame = encode(&done).map_err(Error::other)?;
    TOO_DEEP.get_or_init(|| frame);

    let stack = Box::leak(vec![0_u8; SIGNAL_STACK_BYTES].into_boxed_slice());
    let stack =
        libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: `stack` describes leaked memory of that size; the old setting is not asked for.
    if unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } != 0 {
        return Err(Error::last_os_error());
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: all-zero is a valid `sigaction`, and every field that counts is set below.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_fault as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: the handler calls nothing that is not async-signal-safe.
        if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn on_fault(signal: libc::c_int) {
    if mcp_v8_runtime::is_preparing_source()
        && let Some(frame) = TOO_DEEP.get()
    {
        // No script has run, so nothing is queued and nobody else is writing.
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            // SAFETY: the pointer and length are those of a live slice.
            let sent =
                unsafe { libc::send(0, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
            match usize::try_from(sent) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(_) => break,
            }
        }
        outbox::exit(0);
    }
    // SAFETY: both calls are async-signal-safe. With the default action back, the signal kills.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
