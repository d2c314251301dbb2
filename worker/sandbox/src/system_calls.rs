//! The system calls a worker may make. Everything else ends the process.
//!
//! Put on last, when V8 is ready and before the first byte of a job: what only start-up needs is
//! not here. The list was made by tracing scripts that use timers, Intl, Temporal, WebAssembly and
//! all memory there is; filters are stacked, of which the kernel takes the strictest answer.
//!
//! * allowed: memory, time, the one socket, its own signals;
//! * answered with `ENOSYS`, because libc and V8 ask and can do without: files, and what the machine
//!   is like;
//! * everything else: the process is killed (SIGSYS).
//!
//! A template may do a little more, all of it to make and prepare a child. The child takes one more
//! filter, [`ChildFilter`], that kills for exactly that: what is left is what a process that was not
//! forked may do.

use std::collections::BTreeMap;

use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use crate::Purpose;

/// Allowed with any arguments.
const ALLOWED: &[libc::c_long] = &[
    // Memory. Code is compiled at run time, so pages may become executable.
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_brk,
    libc::SYS_pkey_mprotect,
    libc::SYS_membarrier,
    // What is open already.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_ppoll,
    libc::SYS_close,
    libc::SYS_lseek,
    // Time and chance.
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    // Where the kernel's clock cannot be read without a call, which depends on the machine.
    libc::SYS_gettimeofday,
    // Itself, and signals of its own. There are no threads.
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_setitimer,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Answered with `ENOSYS`: what may be asked in passing.
const DENIED: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_fstat,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_setpriority,
    libc::SYS_getrusage,
    libc::SYS_sched_getaffinity,
    // It would let the stack, which is not counted, grow without end; `realloc` copies instead.
    libc::SYS_mremap,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// What a template may do besides, with any arguments: a socket for its child, a child in a control
/// group of its own, announcing it with its descriptors; in the child, getting rid of the template's descriptors, and the last
/// filter.
const TEMPLATE: &[libc::c_long] = &[
    libc::SYS_socketpair,
    libc::SYS_clone3,
    libc::SYS_sendmsg,
    libc::SYS_dup3,
    libc::SYS_close_range,
    libc::SYS_seccomp,
];

/// The flags of a template's `clone`, see [`crate::fork`]; each with and without the thread id.
const FORK: u64 = (libc::CLONE_PIDFD | libc::CLONE_PARENT | libc::SIGCHLD) as u64;
const FORK_WITH_ID: u64 = FORK | libc::CLONE_CHILD_SETTID as u64;

/// What no mapping is: shared, a stack that grows (neither is counted), of the host's reserved huge
/// pages, locked.
const NOT_MAPPED: libc::c_int =
    libc::MAP_SHARED | libc::MAP_GROWSDOWN | libc::MAP_HUGETLB | libc::MAP_LOCKED;

/// What may come with an operation on a futex.
const FUTEX_FLAGS: libc::c_int = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;

/// `PR_GET_AUXV` of Linux 6.4, which libc does not name yet.
const PR_GET_AUXV: u64 = 0x4155_5856;

/// Why the filter is not on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// A filter could not be built.
    #[error("{0}")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel refused.
    #[error("seccomp: {0}")]
    Apply(#[from] Errno),
    /// The compiled filter of children is not as expected.
    #[error("the filter of children has no one place for their process id")]
    Pid,
    /// No filter is known for this processor.
    #[error("no system call filter for {}", std::env::consts::ARCH)]
    Architecture,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts on the filters of a process that runs a job itself. Threads made later inherit them.
pub(crate) fn filter_single(purpose: Purpose) -> Result<(), FilterError> {
    let mut allowed = any(ALLOWED);
    allowed.extend(inspected()?);
    allowed.extend(for_purpose(purpose)?);
    // A signal to itself, as `abort` sends it.
    let own = argument(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
    filter(allowed)
}

/// To take the files that come with a job which keeps its heap.
fn for_purpose(purpose: Purpose) -> Result<Rules, FilterError> {
    match purpose {
        Purpose::Scripts => Ok(Rules::new()),
        Purpose::Heaps => takes_descriptors(),
    }
}

fn takes_descriptors() -> Result<Rules, FilterError> {
    let flags = half_argument(2, all_but(libc::MSG_CMSG_CLOEXEC), 0)?;
    Ok(Rules::from([(libc::SYS_recvmsg, vec![SeccompRule::new(vec![flags])?])]))
}

/// Puts on the filters of a template.
pub(crate) fn filter_template() -> Result<(), FilterError> {
    let mut allowed = any(ALLOWED);
    allowed.extend(any(TEMPLATE));
    allowed.extend(inspected()?);
    // The control groups of its children.
    allowed.extend(takes_descriptors()?);
    for flags in [FORK, FORK_WITH_ID] {
        let fork = SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, flags)?])?;
        allowed.entry(libc::SYS_clone).or_default().push(fork);
    }
    for option in TEMPLATE_OPTIONS {
        let rule = SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, *option)?])?;
        allowed.entry(libc::SYS_prctl).or_default().push(rule);
    }
    // Its children's own filters say which.
    allowed.insert(libc::SYS_tgkill, Vec::new());
    filter(allowed)
}

fn filter(mut allowed: Rules) -> Result<(), FilterError> {
    // The stricter one last: it does not allow putting on another.
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    apply(any(DENIED), SeccompAction::Allow, missing)?;
    allowed.extend(any(DENIED));
    apply(allowed, SeccompAction::KillProcess, SeccompAction::Allow)
}

fn any(calls: &[libc::c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn argument(
    number: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(number, SeccompCmpArgLen::Qword, operator, value)
}

/// A condition on an argument of which the kernel reads 32 bits, whatever is in the others.
fn half_argument(
    number: u8,
    operator: SeccompCmpOp,
    value: libc::c_int,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(number, SeccompCmpArgLen::Dword, operator, u64::from(value as u32))
}

/// Every bit of an argument of 32 bits but these.
fn all_but(bits: libc::c_int) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(u64::from(!(bits as u32)))
}

/// Allowed for some arguments only.
fn inspected() -> Result<Rules, FilterError> {
    let rule = |number, operator, value| SeccompRule::new(vec![argument(number, operator, value)?]);
    let half =
        |number, operator, value| SeccompRule::new(vec![half_argument(number, operator, value)?]);
    // Each of these is a clock of the process itself or of all; a negative number is the clock of
    // another process.
    let clock = || half(0, SeccompCmpOp::Le, libc::CLOCK_TAI);
    let futex = |operation| half(1, all_but(FUTEX_FLAGS), operation);
    Ok(BTreeMap::from([
        // Memory of its own, and such as `RLIMIT_DATA` counts.
        (libc::SYS_mmap, vec![rule(3, SeccompCmpOp::MaskedEq(NOT_MAPPED as u64), 0)?]),
        // Not to be one with equal pages of others, which shows in the time that a write takes.
        (libc::SYS_madvise, vec![half(2, SeccompCmpOp::Ne, libc::MADV_MERGEABLE)?]),
        // No out-of-band data, with its long history of faults in the kernel.
        (libc::SYS_sendto, vec![half(3, all_but(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT), 0)?]),
        (libc::SYS_recvfrom, vec![half(3, all_but(libc::MSG_DONTWAIT), 0)?]),
        (libc::SYS_clock_gettime, vec![clock()?]),
        (libc::SYS_clock_getres, vec![clock()?]),
        (libc::SYS_clock_nanosleep, vec![clock()?]),
        // To wait and to wake; nothing that inherits priorities.
        (
            libc::SYS_futex,
            vec![
                futex(libc::FUTEX_WAIT)?,
                futex(libc::FUTEX_WAKE)?,
                futex(libc::FUTEX_WAIT_BITSET)?,
                futex(libc::FUTEX_WAKE_BITSET)?,
            ],
        ),
        // Its own limits; hard ones cannot be raised.
        (libc::SYS_prlimit64, vec![rule(0, SeccompCmpOp::Eq, 0)?]),
        // Names of threads and of memory, for whoever looks at the process; and what the kernel
        // told the process about itself when it began.
        (
            libc::SYS_prctl,
            vec![
                rule(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?,
                rule(0, SeccompCmpOp::Eq, libc::PR_SET_VMA as u64)?,
                rule(0, SeccompCmpOp::Eq, PR_GET_AUXV)?,
            ],
        ),
    ]))
}

/// Options of `prctl` for a child that prepares itself.
const TEMPLATE_OPTIONS: &[u64] = &[libc::PR_SET_PDEATHSIG as u64, libc::PR_SET_DUMPABLE as u64];

/// Stands for the child's process id in a filter that is compiled before there is a child.
const ANY_PID: u32 = 0x5ea1_ed01;

/// The last filter of a template's child: kills for all that only the template may do, and for a
/// signal to anybody else.
#[derive(Debug)]
pub(crate) struct ChildFilter {
    program: BpfProgram,
    /// The instruction with the process id.
    pid_at: usize,
}

impl ChildFilter {
    /// Compiles it.
    pub(crate) fn new(purpose: Purpose) -> Result<Self, FilterError> {
        let mut killed = any(TEMPLATE);
        if purpose == Purpose::Scripts {
            killed.insert(libc::SYS_recvmsg, Vec::new());
        }
        killed.insert(libc::SYS_clone, Vec::new());
        let mut options = Vec::new();
        for option in TEMPLATE_OPTIONS {
            options.push(SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, *option)?])?);
        }
        killed.insert(libc::SYS_prctl, options);
        let others = argument(0, SeccompCmpOp::Ne, u64::from(ANY_PID))?;
        killed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![others])?]);
        let program = compile(killed, SeccompAction::Allow, SeccompAction::KillProcess)?;
        let mut places = program.iter().enumerate().filter(|(_, step)| step.k == ANY_PID);
        match (places.next(), places.next()) {
            (Some((pid_at, _)), None) => Ok(Self { pid_at, program }),
            _ => Err(FilterError::Pid),
        }
    }

    /// Puts it on, for this process.
    pub(crate) fn apply(mut self) -> Result<(), Errno> {
        if let Some(step) = self.program.get_mut(self.pid_at) {
            step.k = std::process::id();
        }
        put_on(&self.program)
    }
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, FilterError> {
    let arch =
        TargetArch::try_from(std::env::consts::ARCH).map_err(|_| FilterError::Architecture)?;
    Ok(SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()?)
}

fn apply(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<(), FilterError> {
    let program = compile(rules, otherwise, matched)?;
    Ok(put_on(&program)?)
}

/// The library's own way to put a filter on makes a second call, which children may not.
fn put_on(program: &BpfProgram) -> Result<(), Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    // The instructions of both crates are the kernel's `struct sock_filter`.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `len` instructions from where `filter` points; they outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    match done {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS)),
    }
}
