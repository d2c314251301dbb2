//! Steps the wall clock of the process that this library is preloaded into (`LD_PRELOAD`), and of
//! nobody else.
//!
//! # Contract
//! * The file that `MCP_V8_CLOCK` names holds a number of seconds (eight bytes, of this machine's
//!   order) that are added to the wall clock from the moment it is written. It is mapped once.
//! * `CLOCK_REALTIME` and `CLOCK_REALTIME_COARSE` are stepped, whichever of the C library's
//!   functions is asked; every other clock is the kernel's, as it is for a machine whose clock an
//!   operator or a time server steps.

use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use libc::{c_int, c_void, clockid_t, time_t, timespec, timeval};

/// Where the number of seconds is; `None` in a process without the variable.
fn steps() -> Option<&'static AtomicI64> {
    static STEPS: OnceLock<Option<&'static AtomicI64>> = OnceLock::new();
    *STEPS.get_or_init(|| {
        const NAME: &CStr = c"MCP_V8_CLOCK";
        // SAFETY: the name is a C string. Nothing changes the environment of a server while it runs,
        // and the path is used before this returns.
        let path = unsafe { libc::getenv(NAME.as_ptr()) };
        if path.is_null() {
            return None;
        }
        // SAFETY: the path is a C string; the mapping is as long as what is read of it, is never
        // unmapped, and page-aligned, so it may be seen as an atomic of eight bytes for ever.
        unsafe {
            let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
            if file < 0 {
                return None;
            }
            let bytes = size_of::<AtomicI64>();
            let none = std::ptr::null_mut();
            let map = libc::mmap(none, bytes, libc::PROT_READ, libc::MAP_SHARED, file, 0);
            libc::close(file);
            if map == libc::MAP_FAILED {
                return None;
            }
            map.cast::<AtomicI64>().as_ref()
        }
    })
}

fn step() -> time_t {
    steps().map_or(0, |steps| steps.load(Ordering::Relaxed))
}

/// The C library's, stepped.
///
/// # Safety
/// As the C library's: `time` points to a `timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise; the call writes to `time` only.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if result == 0 && (clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE) {
        // SAFETY: it was written to a moment ago.
        unsafe { (*time).tv_sec += step() };
    }
    if result == 0 { 0 } else { -1 }
}

/// The C library's, stepped.
///
/// # Safety
/// As the C library's: `time` points to a `timeval`; `zone` is not used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a `timespec`.
    let result = unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if !time.is_null() {
        let seen = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 };
        // SAFETY: the caller's promise.
        unsafe { *time = seen };
    }
    result
}

/// The C library's, stepped.
///
/// # Safety
/// As the C library's: `seconds` is null or points to a `time_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(seconds: *mut time_t) -> time_t {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a `timespec`.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if !seconds.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *seconds = now.tv_sec };
    }
    now.tv_sec
}
