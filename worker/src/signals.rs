//! What the outside wants of a running script: `SIGUSR1` stops it, `SIGALRM` lets its console text
//! out.
//!
//! # Contract
//! * The process has one thread. A handler interrupts the script wherever it is, so it takes a lock
//!   only if it is free, allocates nothing, and comes back later for what it could not do.
//! * A stop is repeated until the process has ended: V8 forgets a termination once the last
//!   JavaScript frame has unwound.
//! * Should a handler ever meet V8 inside the very lock that a termination takes, the process hangs
//!   until the supervisor's SIGKILL, which follows every stop; the outcome is the same.

use std::io::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_v8_runtime::Stopper;

use crate::limits::{CONSOLE_FLUSH_MS, STOP_REPEAT_MS};
use crate::{faults, outbox};

static STOPPER: OnceLock<Stopper> = OnceLock::new();

/// A stop that came before there was anything to stop counts from then on.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Sets the handlers. They are inherited by what a template forks.
pub(crate) fn install() -> Result<(), Error> {
    faults::handle(libc::SIGUSR1, on_stop as extern "C" fn(libc::c_int) as usize, 0)?;
    faults::handle(libc::SIGALRM, on_alarm as extern "C" fn(libc::c_int) as usize, 0)
}

/// From here on a stop ends what `stopper` stops.
pub(crate) fn stop_with(stopper: Stopper) {
    if STOPPER.set(stopper).is_ok() && STOPPING.load(Ordering::SeqCst) {
        stop();
    }
}

/// Has the console text sent in a while.
pub(crate) fn flush_soon() {
    // The one timer is repeating a stop then, which flushes as well.
    if !STOPPING.load(Ordering::SeqCst) {
        alarm(CONSOLE_FLUSH_MS, 0);
    }
}

extern "C" fn on_stop(_signal: libc::c_int) {
    STOPPING.store(true, Ordering::SeqCst);
    stop();
    alarm(STOP_REPEAT_MS, STOP_REPEAT_MS);
}

extern "C" fn on_alarm(_signal: libc::c_int) {
    let stopping = STOPPING.load(Ordering::SeqCst);
    if stopping {
        stop();
    }
    if !outbox::flush_from_signal() && !stopping {
        flush_soon();
    }
}

fn stop() {
    if let Some(stopper) = STOPPER.get() {
        stopper.stop();
    }
}

/// Arms the one timer of the process, in milliseconds.
fn alarm(first_ms: u64, then_ms: u64) {
    let time = |ms: u64| libc::timeval {
        tv_sec: 0,
        tv_usec: libc::suseconds_t::try_from(ms * 1000).unwrap_or(libc::suseconds_t::MAX),
    };
    let timer = libc::itimerval { it_interval: time(then_ms), it_value: time(first_ms) };
    // SAFETY: a valid value, and the old one is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}
