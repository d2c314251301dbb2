//! The system calls a prepared worker may make. Everything else ends the process.
//!
//! Put on last, when V8 is ready and before the first byte of a job: what only start-up needs is
//! not here. The list was made by tracing scripts that use timers, Intl, Temporal, WebAssembly and
//! all memory there is; two filters are stacked, of which the kernel takes the stricter answer.
//!
//! * allowed: memory, time, the one socket, its own signals and threads;
//! * answered with `ENOSYS`, because libc and V8 ask and can do without: files, and `clone3`, so that
//!   threads are made by a `clone` whose flags can be inspected;
//! * everything else: the process is killed (SIGSYS).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Allowed with any arguments.
const ALLOWED: &[libc::c_long] = &[
    // Memory. Code is compiled at run time, so pages may become executable.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_pkey_mprotect,
    libc::SYS_membarrier,
    // What is open already.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_ppoll,
    libc::SYS_close,
    libc::SYS_lseek,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    // Threads and signals of its own.
    libc::SYS_futex,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
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
    libc::SYS_clone3,
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

/// Flags that make `clone` a thread of this process.
const THREAD: u64 = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;

/// Flags that would make it more than that.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_PTRACE
    | libc::CLONE_PARENT
    | libc::CLONE_VFORK) as u64;

/// `PR_GET_AUXV` of Linux 6.4, which libc does not name yet.
const PR_GET_AUXV: u64 = 0x4155_5856;

/// Why the filter is not on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// A filter could not be built.
    #[error("{0}")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel refused.
    #[error("{0}")]
    Apply(#[from] seccompiler::Error),
    /// No filter is known for this processor.
    #[error("no system call filter for {}", std::env::consts::ARCH)]
    Architecture,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts the filters on. Threads made later inherit them.
pub(crate) fn filter() -> Result<(), FilterError> {
    // The stricter one last: it does not allow putting on another.
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    apply(any(DENIED), SeccompAction::Allow, missing)?;
    let mut allowed = any(ALLOWED);
    allowed.extend(any(DENIED));
    allowed.extend(inspected()?);
    apply(allowed, SeccompAction::KillProcess, SeccompAction::Allow)
}

fn any(calls: &[libc::c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// Allowed for some arguments only.
fn inspected() -> Result<Rules, FilterError> {
    let is = |argument, value| -> Result<SeccompCondition, seccompiler::BackendError> {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
    };
    let masked = |mask, value| {
        SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
    };
    let own_pid = u64::from(std::process::id());
    Ok(BTreeMap::from([
        // A thread, and nothing else.
        (libc::SYS_clone, vec![SeccompRule::new(vec![masked(THREAD | NAMESPACES, THREAD)?])?]),
        // A signal to one of its own threads, as `abort` sends it.
        (libc::SYS_tgkill, vec![SeccompRule::new(vec![is(0, own_pid)?])?]),
        // Its own limits; hard ones cannot be raised.
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![is(0, 0)?])?]),
        // Names of threads and of memory, for whoever looks at the process; and what the kernel
        // told the process about itself when it began.
        (
            libc::SYS_prctl,
            vec![
                SeccompRule::new(vec![is(0, libc::PR_SET_NAME as u64)?])?,
                SeccompRule::new(vec![is(0, libc::PR_SET_VMA as u64)?])?,
                SeccompRule::new(vec![is(0, PR_GET_AUXV)?])?,
            ],
        ),
    ]))
}

fn apply(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<(), FilterError> {
    let arch =
        TargetArch::try_from(std::env::consts::ARCH).map_err(|_| FilterError::Architecture)?;
    let program: BpfProgram = SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
