//! How attempts are made: raw system calls, their arguments, and what became of them in words.

use std::ffi::CStr;
use std::sync::atomic::AtomicU64;

use rustix::io::Errno;

/// What a probe that ends its process ends it with.
pub const EXIT_CODE: i32 = 42;

/// Makes a system call.
pub fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> String {
    in_words(raw(number, arguments))
}

/// Makes a system call and gives what it returns.
pub fn raw<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> Result<usize, Errno> {
    let at = |n: usize| arguments.get(n).copied().unwrap_or_default();
    // SAFETY: pointers among the arguments are null, dangling where the kernel only looks, or those
    // of `path` and `room`, which live for ever and are long enough for what is asked for.
    let returned = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    usize::try_from(returned).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::NOSYS)
    })
}

/// "works", or the name of the error.
pub fn in_words<T>(returned: Result<T, Errno>) -> String {
    match returned {
        Ok(_) => "works".to_owned(),
        Err(Errno::NOSYS) => "`ENOSYS`".to_owned(),
        Err(Errno::NOMEM) => "`ENOMEM`".to_owned(),
        Err(Errno::PERM) => "`EPERM`".to_owned(),
        Err(Errno::BADF) => "`EBADF`".to_owned(),
        Err(Errno::NODEV) => "`ENODEV`".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// A fact in words.
pub fn fact(holds: bool) -> String {
    if holds { "yes".to_owned() } else { "no".to_owned() }
}

/// A path, a name or other text as an argument.
pub fn path(text: &'static CStr) -> usize {
    text.as_ptr() as usize
}

/// Zeroed memory that the kernel may read and write, as an argument.
pub fn room() -> usize {
    static ROOM: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];
    ROOM.as_ptr() as usize
}

/// `getpid` by the 32-bit way in.
#[cfg(target_arch = "x86_64")]
pub fn int80_getpid() -> String {
    let mut result: i64 = 20;
    // SAFETY: the call takes no argument and changes nothing but the registers named here.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    fact(result > 0)
}

/// `time` by the page at a fixed address.
#[cfg(target_arch = "x86_64")]
pub fn vsyscall_time() -> String {
    const TIME: usize = 0xffff_ffff_ff60_0400;
    // SAFETY: the kernel has this function there, or the process ends by SIGSEGV.
    let time = unsafe {
        std::mem::transmute::<usize, extern "C" fn(*mut libc::time_t) -> libc::time_t>(TIME)
    };
    fact(time(std::ptr::null_mut()) > 0)
}

/// Uses its processor for ever.
pub fn spin() -> String {
    loop {
        std::hint::spin_loop();
    }
}

/// Uses its processor for ever and does not heed the warning.
pub fn spin_on() -> String {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGXCPU, libc::SIG_IGN) };
    spin()
}

/// Whether anything is open past standard error.
pub fn descriptors() -> String {
    let open = |fd: i32| raw(libc::SYS_lseek, [fd as usize, 0, 0]) != Err(Errno::BADF);
    assert!(open(0), "the socket is open");
    fact((3..4096).any(open))
}

/// Whether anything but the time zone is in the environment.
pub fn environment() -> String {
    fact(std::env::vars_os().any(|(name, _)| name != "TZ"))
}

/// A signal to itself.
pub fn itself() -> String {
    let pid = std::process::id() as usize;
    call(libc::SYS_tgkill, [pid, pid, 0])
}
