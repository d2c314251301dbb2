//! Every probe: what is attempted, what it would give, and how it must end.
//!
//! The rows are those of the table in SECURITY.md, which `scripts/security-table` writes. What is
//! killed ends by SIGSYS. How one ends is the same in a template's child and in a process of its own,
//! unless a row says otherwise.

use mcp_v8_protocol::Job;

use crate::attempt::{
    EXIT_CODE, call, descriptors, environment, fact, int80_getpid, itself, path, room, spin,
    spin_on, vsyscall_time,
};
use crate::memory;

/// One attempt.
pub struct Probe {
    /// What is attempted; also the code of the job that has it done.
    pub name: &'static str,
    /// What it would give to who controls the process.
    pub gives: &'static str,
    /// How it must end: in a template's child, and in a process of its own.
    pub expected: [&'static str; 2],
    /// Makes the attempt and says how it ended, if the process still can.
    pub attempt: fn(&Job) -> String,
}

const fn ends(
    end: &'static str,
    name: &'static str,
    gives: &'static str,
    attempt: fn(&Job) -> String,
) -> Probe {
    Probe { name, gives, expected: [end, end], attempt }
}

const fn killed(name: &'static str, gives: &'static str, attempt: fn(&Job) -> String) -> Probe {
    ends("killed", name, gives, attempt)
}

const fn denied(name: &'static str, gives: &'static str, attempt: fn(&Job) -> String) -> Probe {
    ends("`ENOSYS`", name, gives, attempt)
}

const fn works(name: &'static str, gives: &'static str, attempt: fn(&Job) -> String) -> Probe {
    ends("works", name, gives, attempt)
}

/// The directory that paths begin at.
const CWD: usize = libc::AT_FDCWD as usize;

/// What tells the calls of the x32 interface from those of x86-64.
const X32: libc::c_long = 0x4000_0000;

/// The clock of another process's processor time, as `clock_getcpuclockid` makes it.
const CLOCK_OF_PROCESS_1: usize = ((!1_i32 << 3) | 2) as usize;

/// Ways in that a kernel may lack. There the attempt ends the process by SIGSEGV instead.
pub const FAULTS_WHERE_MISSING: &[&str] = &["getpid() by int 0x80", "time() of vsyscall"];

/// All of them.
pub const PROBES: &[Probe] = &[
    // Files.
    denied("open(/etc/passwd)", "files of the host", |_| {
        call(libc::SYS_open, [path(c"/etc/passwd"), 0])
    }),
    denied("openat(/)", "files of the host", |_| {
        call(libc::SYS_openat, [CWD, path(c"/"), libc::O_DIRECTORY as usize])
    }),
    denied("openat(/etc/passwd)", "files of the host", |_| {
        call(libc::SYS_openat, [CWD, path(c"/etc/passwd"), 0])
    }),
    denied("openat(/proc/self/mem)", "its own memory, past page protection", |_| {
        call(libc::SYS_openat, [CWD, path(c"/proc/self/mem"), libc::O_RDWR as usize])
    }),
    denied("openat(/proc/self/exe)", "the program, to look for gadgets", |_| {
        call(libc::SYS_openat, [CWD, path(c"/proc/self/exe"), 0])
    }),
    denied("openat(/proc/1/environ)", "secrets of other processes", |_| {
        call(libc::SYS_openat, [CWD, path(c"/proc/1/environ"), 0])
    }),
    denied("openat(/dev/shm/x, O_CREAT)", "a place to leave something for others", |_| {
        call(
            libc::SYS_openat,
            [CWD, path(c"/dev/shm/mcp-v8-probe"), (libc::O_CREAT | libc::O_RDWR) as usize, 0o600],
        )
    }),
    denied("openat2(/etc/passwd)", "files of the host", |_| {
        call(libc::SYS_openat2, [CWD, path(c"/etc/passwd"), room(), 24])
    }),
    killed("creat(/tmp/x)", "a place to leave something for others", |_| {
        call(libc::SYS_creat, [path(c"/tmp/mcp-v8-probe"), 0o600])
    }),
    denied("stat(/etc/passwd)", "what files there are", |_| {
        call(libc::SYS_stat, [path(c"/etc/passwd"), room()])
    }),
    denied("newfstatat(/etc/passwd)", "what files there are", |_| {
        call(libc::SYS_newfstatat, [CWD, path(c"/etc/passwd"), room(), 0])
    }),
    denied("statx(/etc/passwd)", "what files there are", |_| {
        call(libc::SYS_statx, [CWD, path(c"/etc/passwd"), 0, 0, room()])
    }),
    denied("fstat(0)", "what is open", |_| call(libc::SYS_fstat, [0, room()])),
    denied("access(/etc/passwd)", "what files there are", |_| {
        call(libc::SYS_access, [path(c"/etc/passwd"), 0])
    }),
    denied("readlink(/proc/self/exe)", "where the program is", |_| {
        call(libc::SYS_readlink, [path(c"/proc/self/exe"), room(), 4096])
    }),
    denied("readlinkat(/proc/self/exe)", "where the program is", |_| {
        call(libc::SYS_readlinkat, [CWD, path(c"/proc/self/exe"), room(), 4096])
    }),
    killed("statfs(/)", "what the machine is like", |_| {
        call(libc::SYS_statfs, [path(c"/"), room()])
    }),
    killed("getdents64(0)", "what files there are", |_| {
        call(libc::SYS_getdents64, [0, room(), 4096])
    }),
    killed("getcwd()", "where it is", |_| call(libc::SYS_getcwd, [room(), 4096])),
    killed("chdir(/)", "another place in the file system", |_| call(libc::SYS_chdir, [path(c"/")])),
    killed("mkdir(/x)", "a place to leave something for others", |_| {
        call(libc::SYS_mkdir, [path(c"/mcp-v8-probe"), 0o700])
    }),
    killed("unlink(/x)", "files of the host", |_| call(libc::SYS_unlink, [path(c"/mcp-v8-probe")])),
    killed("rename(/x, /y)", "files of the host", |_| {
        call(libc::SYS_rename, [path(c"/mcp-v8-probe"), path(c"/mcp-v8-probe-2")])
    }),
    killed("symlink(/etc/passwd, /x)", "files of the host", |_| {
        call(libc::SYS_symlink, [path(c"/etc/passwd"), path(c"/mcp-v8-probe")])
    }),
    killed("chmod(/x, 0777)", "rights on files", |_| {
        call(libc::SYS_chmod, [path(c"/mcp-v8-probe"), 0o777])
    }),
    killed("truncate(/x)", "files of the host", |_| {
        call(libc::SYS_truncate, [path(c"/mcp-v8-probe"), 0])
    }),
    killed("name_to_handle_at(/)", "a file by its number", |_| {
        call(libc::SYS_name_to_handle_at, [CWD, path(c"/"), room(), room(), 0])
    }),
    killed("open_by_handle_at(0)", "a file by its number, out of a container", |_| {
        call(libc::SYS_open_by_handle_at, [0, room(), 0])
    }),
    killed("inotify_init1()", "what others do with files", |_| call(libc::SYS_inotify_init1, [0])),
    killed("fanotify_init()", "what others do with files", |_| {
        call(libc::SYS_fanotify_init, [0, 0])
    }),
    killed("mount(/x)", "files of the host", |_| {
        call(libc::SYS_mount, [path(c"none"), path(c"/mcp-v8-probe"), path(c"tmpfs"), 0, 0])
    }),
    killed("umount2(/x)", "what lies under a mount", |_| {
        call(libc::SYS_umount2, [path(c"/mcp-v8-probe"), libc::MNT_DETACH as usize])
    }),
    killed("pivot_root(/, /)", "another root", |_| {
        call(libc::SYS_pivot_root, [path(c"/"), path(c"/")])
    }),
    killed("chroot(/)", "a way out of a root", |_| call(libc::SYS_chroot, [path(c"/")])),
    killed("open_tree(/)", "mounts of its own", |_| {
        call(libc::SYS_open_tree, [CWD, path(c"/"), 1])
    }),
    killed("fsopen(tmpfs)", "mounts of its own", |_| call(libc::SYS_fsopen, [path(c"tmpfs"), 0])),
    killed("landlock_create_ruleset()", "kernel code that no script needs", |_| {
        call(libc::SYS_landlock_create_ruleset, [0, 0, 1])
    }),
    // Descriptors.
    killed("dup(0)", "more descriptors", |_| call(libc::SYS_dup, [0])),
    killed("dup2(0, 5)", "more descriptors", |_| call(libc::SYS_dup2, [0, 5])),
    killed("dup3(0, 5)", "more descriptors", |_| call(libc::SYS_dup3, [0, 5, 0])),
    killed("close_range(3, 4)", "what only a template may do", |_| {
        call(libc::SYS_close_range, [3, 4, 0])
    }),
    denied("fcntl(0, F_DUPFD)", "more descriptors", |_| {
        call(libc::SYS_fcntl, [0, libc::F_DUPFD as usize, 5])
    }),
    denied("fcntl(1, F_SETPIPE_SZ)", "memory of the kernel", |_| {
        call(libc::SYS_fcntl, [1, libc::F_SETPIPE_SZ as usize, 1 << 20])
    }),
    denied("ioctl(1, TIOCSTI)", "typing at the operator's terminal", |_| {
        call(libc::SYS_ioctl, [1, libc::TIOCSTI as usize, room()])
    }),
    killed("pipe2()", "more descriptors", |_| call(libc::SYS_pipe2, [room(), 0])),
    killed("epoll_create1()", "kernel code that no script needs", |_| {
        call(libc::SYS_epoll_create1, [0])
    }),
    killed("eventfd2()", "kernel code that no script needs", |_| call(libc::SYS_eventfd2, [0, 0])),
    killed("timerfd_create()", "kernel code that no script needs", |_| {
        call(libc::SYS_timerfd_create, [libc::CLOCK_MONOTONIC as usize, 0])
    }),
    killed("signalfd4()", "kernel code that no script needs", |_| {
        call(libc::SYS_signalfd4, [usize::MAX, room(), 8, 0])
    }),
    killed("select()", "kernel code that no script needs", |_| {
        call(libc::SYS_select, [0, 0, 0, 0, room()])
    }),
    killed("splice(0, 1)", "kernel code with a history of faults", |_| {
        call(libc::SYS_splice, [0, 0, 1, 0, 1, 0])
    }),
    killed("tee(0, 1)", "kernel code with a history of faults", |_| {
        call(libc::SYS_tee, [0, 1, 1, 0])
    }),
    killed("vmsplice(1)", "kernel code with a history of faults", |_| {
        call(libc::SYS_vmsplice, [1, room(), 0, 0])
    }),
    killed("sendfile(1, 0)", "kernel code that no script needs", |_| {
        call(libc::SYS_sendfile, [1, 0, 0, 1])
    }),
    killed("copy_file_range(0, 1)", "kernel code that no script needs", |_| {
        call(libc::SYS_copy_file_range, [0, 0, 1, 0, 1, 0])
    }),
    killed("readv(0)", "kernel code that no script needs", |_| {
        call(libc::SYS_readv, [0, room(), 0])
    }),
    killed("pread64(0)", "kernel code that no script needs", |_| {
        call(libc::SYS_pread64, [0, room(), 1, 0])
    }),
    // Network.
    killed("socket(AF_INET)", "a network", |_| {
        call(libc::SYS_socket, [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0])
    }),
    killed("socket(AF_INET6)", "a network", |_| {
        call(libc::SYS_socket, [libc::AF_INET6 as usize, libc::SOCK_STREAM as usize, 0])
    }),
    killed("socket(AF_UNIX)", "services of the host", |_| {
        call(libc::SYS_socket, [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0])
    }),
    killed("socket(AF_NETLINK)", "what the network is like", |_| {
        call(libc::SYS_socket, [libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, 0])
    }),
    killed("socket(AF_PACKET)", "a network", |_| {
        call(libc::SYS_socket, [libc::AF_PACKET as usize, libc::SOCK_RAW as usize, 0])
    }),
    killed("socket(AF_VSOCK)", "the host of a virtual machine", |_| {
        call(libc::SYS_socket, [libc::AF_VSOCK as usize, libc::SOCK_STREAM as usize, 0])
    }),
    killed("socket(AF_ALG)", "kernel code with a history of faults", |_| {
        call(libc::SYS_socket, [libc::AF_ALG as usize, libc::SOCK_SEQPACKET as usize, 0])
    }),
    killed("socketpair(AF_UNIX)", "what only a template may do", |_| {
        call(libc::SYS_socketpair, [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, room()])
    }),
    killed("connect(0)", "a network", |_| call(libc::SYS_connect, [0, room(), 16])),
    killed("bind(0)", "a network", |_| call(libc::SYS_bind, [0, room(), 16])),
    killed("listen(0)", "a network", |_| call(libc::SYS_listen, [0, 1])),
    killed("accept(0)", "a network", |_| call(libc::SYS_accept, [0, 0, 0])),
    killed("accept4(0)", "a network", |_| call(libc::SYS_accept4, [0, 0, 0, 0])),
    killed("shutdown(0)", "a half-closed socket", |_| call(libc::SYS_shutdown, [0, 0])),
    killed("sendmsg(0)", "descriptors (SCM_RIGHTS) for the supervisor", |_| {
        call(libc::SYS_sendmsg, [0, room(), libc::MSG_DONTWAIT as usize])
    }),
    killed("sendmmsg(0)", "descriptors (SCM_RIGHTS) for the supervisor", |_| {
        call(libc::SYS_sendmmsg, [0, room(), 1, libc::MSG_DONTWAIT as usize])
    }),
    killed("sendto(0, MSG_OOB)", "kernel code with a history of faults", |_| {
        call(libc::SYS_sendto, [0, room(), 1, (libc::MSG_OOB | libc::MSG_NOSIGNAL) as usize, 0, 0])
    }),
    killed("recvfrom(0, MSG_OOB)", "kernel code with a history of faults", |_| {
        call(
            libc::SYS_recvfrom,
            [0, room(), 1, (libc::MSG_OOB | libc::MSG_DONTWAIT) as usize, 0, 0],
        )
    }),
    killed("recvmsg(0)", "descriptors (SCM_RIGHTS) from others", |_| {
        call(libc::SYS_recvmsg, [0, room(), libc::MSG_DONTWAIT as usize])
    }),
    killed("recvmmsg(0)", "descriptors (SCM_RIGHTS) from others", |_| {
        call(libc::SYS_recvmmsg, [0, room(), 1, libc::MSG_DONTWAIT as usize, 0])
    }),
    killed("setsockopt(0)", "kernel code with a history of faults", |_| {
        call(
            libc::SYS_setsockopt,
            [0, libc::SOL_SOCKET as usize, libc::SO_SNDBUF as usize, room(), 4],
        )
    }),
    killed("getsockopt(0, SO_PEERCRED)", "the supervisor's process id and user", |_| {
        call(
            libc::SYS_getsockopt,
            [0, libc::SOL_SOCKET as usize, libc::SO_PEERCRED as usize, room(), room()],
        )
    }),
    killed("getpeername(0)", "who is at the other end", |_| {
        call(libc::SYS_getpeername, [0, room(), room()])
    }),
    // Processes and threads.
    killed("execve(/bin/sh)", "other programs", |_| {
        call(libc::SYS_execve, [path(c"/bin/sh"), room(), room()])
    }),
    killed("execveat(0)", "other programs", |_| {
        call(libc::SYS_execveat, [0, path(c""), room(), room(), libc::AT_EMPTY_PATH as usize])
    }),
    killed("fork()", "a process that outlives its script", |_| call(libc::SYS_fork, [])),
    killed("vfork()", "a process that outlives its script", |_| call(libc::SYS_vfork, [])),
    killed("clone(as a template forks)", "a process that outlives its script", |_| {
        call(
            libc::SYS_clone,
            [(libc::CLONE_PIDFD | libc::CLONE_PARENT | libc::SIGCHLD) as usize, 0, room()],
        )
    }),
    killed("clone(CLONE_THREAD)", "a thread to count time with", |_| {
        call(
            libc::SYS_clone,
            [(libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD) as usize, 0],
        )
    }),
    killed("clone(CLONE_NEWUSER)", "capabilities in a namespace of its own", |_| {
        call(libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD) as usize, 0])
    }),
    killed("clone3()", "a process that outlives its script", |_| {
        call(libc::SYS_clone3, [room(), 88])
    }),
    killed("wait4()", "what became of siblings", |_| {
        call(libc::SYS_wait4, [usize::MAX, 0, libc::WNOHANG as usize, 0])
    }),
    killed("waitid(P_ALL)", "what became of siblings", |_| {
        call(
            libc::SYS_waitid,
            [libc::P_ALL as usize, 0, 0, (libc::WNOHANG | libc::WEXITED) as usize, 0],
        )
    }),
    killed("ptrace(PTRACE_TRACEME)", "control by its parent", |_| {
        call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize])
    }),
    killed("ptrace(PTRACE_ATTACH, 1)", "the memory of another process", |_| {
        call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, 1])
    }),
    killed("ptrace(PTRACE_SEIZE, 1)", "the memory of another process", |_| {
        call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, 1])
    }),
    killed("process_vm_readv(1)", "the memory of another process", |_| {
        call(libc::SYS_process_vm_readv, [1, room(), 1, room(), 1, 0])
    }),
    killed("process_vm_writev(1)", "the memory of another process", |_| {
        call(libc::SYS_process_vm_writev, [1, room(), 1, room(), 1, 0])
    }),
    killed("process_madvise(0)", "the memory of another process", |_| {
        call(libc::SYS_process_madvise, [0, room(), 0, 0, 0])
    }),
    killed("kcmp(1, 2)", "what other processes share", |_| call(libc::SYS_kcmp, [1, 2, 0, 0, 0])),
    killed("kill(-1, 0)", "an end to other processes", |_| call(libc::SYS_kill, [usize::MAX, 0])),
    killed("kill(1, 0)", "an end to other processes", |_| call(libc::SYS_kill, [1, 0])),
    killed("tgkill(1, 1, 0)", "an end to other processes", |_| call(libc::SYS_tgkill, [1, 1, 0])),
    killed("tkill(1, 0)", "an end to other processes", |_| call(libc::SYS_tkill, [1, 0])),
    killed("rt_sigqueueinfo(1)", "signals that look like the kernel's", |_| {
        call(libc::SYS_rt_sigqueueinfo, [1, 0, room()])
    }),
    killed("rt_tgsigqueueinfo(1, 1)", "signals that look like the kernel's", |_| {
        call(libc::SYS_rt_tgsigqueueinfo, [1, 1, 0, room()])
    }),
    killed("pidfd_open(1)", "a hold on another process", |_| call(libc::SYS_pidfd_open, [1, 0])),
    killed("pidfd_getfd(0)", "descriptors of another process", |_| {
        call(libc::SYS_pidfd_getfd, [0, 0, 0])
    }),
    killed("pidfd_send_signal(0)", "an end to other processes", |_| {
        call(libc::SYS_pidfd_send_signal, [0, 0, 0, 0])
    }),
    killed("setpgid(0, 0)", "a group of its own", |_| call(libc::SYS_setpgid, [0, 0])),
    killed("setsid()", "a session of its own", |_| call(libc::SYS_setsid, [])),
    denied("setpriority(-20)", "processor time of others", |_| {
        call(libc::SYS_setpriority, [libc::PRIO_PROCESS as usize, 0, -20_isize as usize])
    }),
    killed("sched_setscheduler(SCHED_FIFO)", "processor time of others", |_| {
        call(libc::SYS_sched_setscheduler, [0, libc::SCHED_FIFO as usize, room()])
    }),
    killed("sched_setaffinity(0)", "the processor that another runs on", |_| {
        call(libc::SYS_sched_setaffinity, [0, 8, room()])
    }),
    killed("ioprio_set()", "disk time of others", |_| call(libc::SYS_ioprio_set, [1, 0, 0])),
    killed("prlimit64(1)", "limits of another process", |_| {
        call(libc::SYS_prlimit64, [1, libc::RLIMIT_NOFILE as usize, 0, room()])
    }),
    killed("getpgid(1)", "which processes there are", |_| call(libc::SYS_getpgid, [1])),
    killed("sched_getscheduler(1)", "which processes there are", |_| {
        call(libc::SYS_sched_getscheduler, [1])
    }),
    denied("sched_getaffinity(1)", "which processes there are", |_| {
        call(libc::SYS_sched_getaffinity, [1, 8, room()])
    }),
    killed(
        "clock_gettime(processor time of process 1)",
        "when others are busy, to the nanosecond",
        |_| call(libc::SYS_clock_gettime, [CLOCK_OF_PROCESS_1, room()]),
    ),
    killed("clock_getres(processor time of process 1)", "which processes there are", |_| {
        call(libc::SYS_clock_getres, [CLOCK_OF_PROCESS_1, room()])
    }),
    killed("clock_nanosleep(processor time of process 1)", "when others are busy", |_| {
        call(libc::SYS_clock_nanosleep, [CLOCK_OF_PROCESS_1, 0, room(), 0])
    }),
    // Privileges and namespaces.
    killed("unshare(CLONE_NEWUSER)", "capabilities in a namespace of its own", |_| {
        call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize])
    }),
    killed("unshare(CLONE_NEWNS)", "mounts of its own", |_| {
        call(libc::SYS_unshare, [libc::CLONE_NEWNS as usize])
    }),
    killed("unshare(CLONE_NEWNET)", "kernel code with a history of faults", |_| {
        call(libc::SYS_unshare, [libc::CLONE_NEWNET as usize])
    }),
    killed("unshare(CLONE_NEWPID)", "a namespace of its own", |_| {
        call(libc::SYS_unshare, [libc::CLONE_NEWPID as usize])
    }),
    killed("unshare(CLONE_NEWIPC)", "a namespace of its own", |_| {
        call(libc::SYS_unshare, [libc::CLONE_NEWIPC as usize])
    }),
    killed("unshare(CLONE_NEWUTS)", "a namespace of its own", |_| {
        call(libc::SYS_unshare, [libc::CLONE_NEWUTS as usize])
    }),
    killed("unshare(CLONE_NEWCGROUP)", "a namespace of its own", |_| {
        call(libc::SYS_unshare, [libc::CLONE_NEWCGROUP as usize])
    }),
    killed("unshare(CLONE_NEWTIME)", "a namespace of its own", |_| call(libc::SYS_unshare, [0x80])),
    killed("setns(0)", "a namespace of others", |_| call(libc::SYS_setns, [0, 0])),
    killed("getuid()", "who it is", |_| call(libc::SYS_getuid, [])),
    killed("getppid()", "who its parent is", |_| call(libc::SYS_getppid, [])),
    killed("setuid(0)", "rights of another user", |_| call(libc::SYS_setuid, [0])),
    killed("setgid(0)", "rights of another user", |_| call(libc::SYS_setgid, [0])),
    killed("setresuid(0, 0, 0)", "rights of another user", |_| {
        call(libc::SYS_setresuid, [0, 0, 0])
    }),
    killed("setgroups(0)", "rights of another user", |_| call(libc::SYS_setgroups, [0, 0])),
    killed("setfsuid(0)", "rights of another user", |_| call(libc::SYS_setfsuid, [0])),
    killed("capget()", "kernel code that no script needs", |_| {
        call(libc::SYS_capget, [room(), room()])
    }),
    killed("capset()", "capabilities", |_| call(libc::SYS_capset, [room(), room()])),
    killed("prctl(PR_SET_NO_NEW_PRIVS, 0)", "programs that give rights", |_| {
        call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 0, 0, 0, 0])
    }),
    killed("prctl(PR_SET_DUMPABLE, 1)", "its memory for others to look into", |_| {
        call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1])
    }),
    killed("prctl(PR_SET_SECCOMP)", "kernel code that no script needs", |_| {
        call(libc::SYS_prctl, [libc::PR_SET_SECCOMP as usize, 1])
    }),
    killed("prctl(PR_SET_PDEATHSIG, 0)", "a life after the supervisor's", |_| {
        call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, 0])
    }),
    killed("prctl(PR_CAPBSET_READ)", "kernel code that no script needs", |_| {
        call(libc::SYS_prctl, [libc::PR_CAPBSET_READ as usize, 0])
    }),
    killed("prctl(PR_SET_MM)", "another look to whoever inspects it", |_| {
        call(libc::SYS_prctl, [libc::PR_SET_MM as usize, 0])
    }),
    killed("prctl(PR_SET_PTRACER)", "a tracer", |_| {
        call(libc::SYS_prctl, [libc::PR_SET_PTRACER as usize, usize::MAX])
    }),
    killed("prctl(PR_SET_CHILD_SUBREAPER)", "processes of others", |_| {
        call(libc::SYS_prctl, [libc::PR_SET_CHILD_SUBREAPER as usize, 1])
    }),
    killed(
        "prctl(PR_SET_DUMPABLE with a high bit)",
        "what the kernel reads as another option",
        |_| call(libc::SYS_prctl, [(1 << 32) | libc::PR_SET_DUMPABLE as usize, 1]),
    ),
    killed("seccomp()", "filters that lie to what runs later", |_| {
        call(libc::SYS_seccomp, [0, 0, 0])
    }),
    killed("keyctl()", "keys of others", |_| call(libc::SYS_keyctl, [0, -3_isize as usize, 0])),
    killed("add_key()", "keys of others", |_| {
        call(
            libc::SYS_add_key,
            [path(c"user"), path(c"mcp-v8-probe"), room(), 1, -2_isize as usize],
        )
    }),
    killed("request_key()", "keys of others", |_| {
        call(libc::SYS_request_key, [path(c"user"), path(c"mcp-v8-probe"), 0, 0])
    }),
    killed("personality(ADDR_NO_RANDOMIZE)", "a layout it can guess", |_| {
        call(libc::SYS_personality, [libc::ADDR_NO_RANDOMIZE as usize])
    }),
    // The kernel and the machine.
    killed("bpf()", "kernel code with a history of faults", |_| {
        call(libc::SYS_bpf, [0, room(), 0])
    }),
    killed("io_uring_setup()", "kernel code with a history of faults", |_| {
        call(libc::SYS_io_uring_setup, [1, room()])
    }),
    killed("userfaultfd()", "races in the kernel that it wins", |_| {
        call(libc::SYS_userfaultfd, [0])
    }),
    killed("perf_event_open()", "counters of the processor", |_| {
        call(libc::SYS_perf_event_open, [room(), 0, usize::MAX, usize::MAX, 0])
    }),
    killed("futex(FUTEX_LOCK_PI)", "kernel code with a history of faults", |_| {
        call(libc::SYS_futex, [room(), libc::FUTEX_LOCK_PI as usize, 0, 0])
    }),
    killed("futex(FUTEX_CMP_REQUEUE_PI)", "kernel code with a history of faults", |_| {
        call(libc::SYS_futex, [room(), libc::FUTEX_CMP_REQUEUE_PI as usize, 1, 1, room(), 0])
    }),
    killed("futex_waitv()", "kernel code with a history of faults", |_| {
        call(libc::SYS_futex_waitv, [room(), 1, 0, 0, 0])
    }),
    killed("memfd_create()", "a program or memory to share", |_| {
        call(libc::SYS_memfd_create, [path(c"x"), 0])
    }),
    killed("memfd_secret()", "memory that is not counted", |_| call(libc::SYS_memfd_secret, [0])),
    killed("modify_ldt()", "kernel code with a history of faults", |_| {
        call(libc::SYS_modify_ldt, [0, room(), 16])
    }),
    killed("iopl(3)", "the hardware", |_| call(libc::SYS_iopl, [3])),
    killed("ioperm()", "the hardware", |_| call(libc::SYS_ioperm, [0, 1, 1])),
    killed("arch_prctl()", "kernel code with a history of faults", |_| {
        call(libc::SYS_arch_prctl, [0x1003, room()])
    }),
    killed("set_thread_area()", "kernel code with a history of faults", |_| {
        call(libc::SYS_set_thread_area, [room()])
    }),
    killed("getpid() by int 0x80", "system calls that the filter does not know", |_| {
        int80_getpid()
    }),
    killed("getpid() of x32", "system calls that the filter does not know", |_| {
        call(X32 | libc::SYS_getpid, [])
    }),
    killed("openat() of x32", "system calls that the filter does not know", |_| {
        call(X32 | libc::SYS_openat, [CWD, path(c"/"), 0])
    }),
    killed("a call of the highest number", "system calls that the filter does not know", |_| {
        call(-1, [])
    }),
    killed("time() of vsyscall", "code at an address that it knows", |_| vsyscall_time()),
    denied("uname()", "what the machine is like", |_| call(libc::SYS_uname, [room()])),
    denied("sysinfo()", "what the machine is like", |_| call(libc::SYS_sysinfo, [room()])),
    denied("getrusage()", "what the machine is like", |_| call(libc::SYS_getrusage, [0, room()])),
    killed("times()", "what the machine is like", |_| call(libc::SYS_times, [room()])),
    killed("getcpu()", "where it runs", |_| call(libc::SYS_getcpu, [room(), 0, 0])),
    killed("syslog()", "addresses in the kernel", |_| call(libc::SYS_syslog, [10, 0, 0])),
    killed("reboot()", "the machine", |_| call(libc::SYS_reboot, [0, 0, 0, 0])),
    killed("kexec_load()", "the machine", |_| {
        call(libc::SYS_kexec_load, [0, usize::MAX, 0, usize::MAX])
    }),
    killed("init_module()", "the kernel", |_| call(libc::SYS_init_module, [0, 0, 0])),
    killed("finit_module(0)", "the kernel", |_| call(libc::SYS_finit_module, [0, 0, 0])),
    killed("delete_module()", "the kernel", |_| {
        call(libc::SYS_delete_module, [path(c"mcp_v8_probe"), 0])
    }),
    killed("swapon()", "the machine", |_| call(libc::SYS_swapon, [path(c"/mcp-v8-probe"), 0])),
    killed("sethostname()", "the machine's name", |_| call(libc::SYS_sethostname, [0, usize::MAX])),
    killed("quotactl()", "the machine", |_| call(libc::SYS_quotactl, [0, 0, 0, 0])),
    killed("acct()", "the machine", |_| call(libc::SYS_acct, [path(c"/mcp-v8-probe")])),
    killed("settimeofday()", "the clock", |_| call(libc::SYS_settimeofday, [0, 0])),
    killed("clock_settime()", "the clock", |_| call(libc::SYS_clock_settime, [0, 0])),
    killed("adjtimex()", "the clock", |_| call(libc::SYS_adjtimex, [room()])),
    killed("shmget()", "memory shared with other processes", |_| {
        call(libc::SYS_shmget, [1, 4096, 0])
    }),
    killed("shmat()", "memory shared with other processes", |_| call(libc::SYS_shmat, [0, 0, 0])),
    killed("msgget()", "messages to other processes", |_| call(libc::SYS_msgget, [1, 0])),
    killed("semget()", "signs to other processes", |_| call(libc::SYS_semget, [1, 1, 0])),
    killed("mq_open()", "messages to other processes", |_| {
        call(libc::SYS_mq_open, [path(c"mcp-v8-probe"), 0, 0, 0])
    }),
    killed("mlock()", "memory that cannot be swapped", |_| call(libc::SYS_mlock, [room(), 4096])),
    killed("mlockall()", "memory that cannot be swapped", |_| call(libc::SYS_mlockall, [1])),
    killed("mbind()", "memory of another processor", |_| {
        call(libc::SYS_mbind, [room(), 4096, 0, 0, 0, 0])
    }),
    killed("move_pages()", "where memory is", |_| call(libc::SYS_move_pages, [0, 0, 0, 0, 0, 0])),
    killed("mincore()", "what others have in the page cache", |_| {
        call(libc::SYS_mincore, [0, 0, room()])
    }),
    killed("remap_file_pages()", "kernel code with a history of faults", |_| {
        call(libc::SYS_remap_file_pages, [0, 0, 0, 0, 0])
    }),
    killed("set_mempolicy()", "memory of another processor", |_| {
        call(libc::SYS_set_mempolicy, [0, 0, 0])
    }),
    killed("timer_create()", "kernel code with a history of faults", |_| {
        call(libc::SYS_timer_create, [0, 0, room()])
    }),
    killed("rseq()", "kernel code that no script needs", |_| call(libc::SYS_rseq, [0, 0, 0, 0])),
    // Memory and time past the limits of the job.
    killed("mmap(MAP_SHARED)", "memory shared with other processes", |_| memory::shared()),
    killed("mmap(MAP_HUGETLB)", "huge pages that the host keeps for others", |_| {
        memory::with(libc::MAP_HUGETLB)
    }),
    killed("mmap(MAP_LOCKED)", "memory that cannot be swapped", |_| memory::with(libc::MAP_LOCKED)),
    killed(
        "madvise(MADV_MERGEABLE)",
        "what others have in memory, by the time a write takes",
        |_| call(libc::SYS_madvise, [0, 0, libc::MADV_MERGEABLE as usize]),
    ),
    ends("`ENODEV`", "mmap(0)", "files behind descriptors", |_| {
        call(libc::SYS_mmap, [0, 4096, 1, libc::MAP_PRIVATE as usize, 0, 0])
    }),
    ends("`ENOMEM`", "mmap(past the limit)", "memory of the host", memory::past_the_limit),
    ends(
        "`ENOMEM`",
        "mmap(past the limit, MAP_NORESERVE)",
        "memory of the host",
        memory::not_reserved,
    ),
    killed("mmap(past the limit, MAP_GROWSDOWN)", "memory of the host", memory::as_a_stack),
    ends(
        "`ENOMEM`",
        "mprotect(addresses past the limit)",
        "memory of the host",
        memory::made_writable,
    ),
    ends("`ENOSYS`", "mremap(past the limit)", "memory of the host", memory::grown),
    ends("`ENOMEM`", "brk(past the limit)", "memory of the host", memory::by_brk),
    works(
        "mprotect(pieces to read-only, until past the limit)",
        "memory of the host; not bounded, see above",
        memory::in_read_only_pieces,
    ),
    ends("`EPERM`", "prlimit64(RLIMIT_DATA, unlimited)", "memory of the host", |_| {
        memory::raise(libc::RLIMIT_DATA)
    }),
    ends("`EPERM`", "prlimit64(RLIMIT_STACK, unlimited)", "memory of the host", |_| {
        memory::raise(libc::RLIMIT_STACK)
    }),
    ends("`EPERM`", "prlimit64(RLIMIT_CPU, unlimited)", "processor time", |_| {
        memory::raise(libc::RLIMIT_CPU)
    }),
    ends("`EPERM`", "prlimit64(RLIMIT_NOFILE, unlimited)", "more descriptors", |_| {
        memory::raise(libc::RLIMIT_NOFILE)
    }),
    ends("`EPERM`", "prlimit64(RLIMIT_FSIZE, unlimited)", "files of any size", |_| {
        memory::raise(libc::RLIMIT_FSIZE)
    }),
    ends("`EPERM`", "prlimit64(RLIMIT_CORE, unlimited)", "its memory, left in a file", |_| {
        memory::raise(libc::RLIMIT_CORE)
    }),
    ends("`SIGXCPU`", "a loop without end", "processor time", |_| spin()),
    ends("`SIGKILL`", "a loop without end, SIGXCPU ignored", "processor time", |_| spin_on()),
    // What is known to whoever is inside.
    Probe {
        name: "its process id on the host",
        gives: "its number, to guess others by",
        expected: ["no", "yes"],
        attempt: |job| fact(job.execution_id == std::process::id().to_string()),
    },
    Probe {
        name: "a variable of the server's environment",
        gives: "secrets of the operator",
        expected: ["no", "no"],
        attempt: |_| environment(),
    },
    Probe {
        name: "a descriptor besides its socket and the log",
        gives: "a way to others",
        expected: ["no", "no"],
        attempt: |_| descriptors(),
    },
    // What a script cannot do without.
    works("mmap, write, mprotect(PROT_EXEC)", "memory, and code that V8 compiles", |_| {
        memory::ordinary()
    }),
    works("getrandom()", "random numbers", |_| call(libc::SYS_getrandom, [room(), 16, 0])),
    works("clock_gettime(CLOCK_MONOTONIC)", "time", |_| {
        call(libc::SYS_clock_gettime, [libc::CLOCK_MONOTONIC as usize, room()])
    }),
    works("gettimeofday()", "time", |_| call(libc::SYS_gettimeofday, [room(), 0])),
    works("clock_gettime(CLOCK_PROCESS_CPUTIME_ID)", "its own processor time", |_| {
        call(libc::SYS_clock_gettime, [libc::CLOCK_PROCESS_CPUTIME_ID as usize, room()])
    }),
    works("setitimer()", "a signal to itself", |_| {
        call(libc::SYS_setitimer, [libc::ITIMER_REAL as usize, room(), 0])
    }),
    works("getpid()", "its number among its siblings", |_| call(libc::SYS_getpid, [])),
    works("tgkill(itself, 0)", "a signal to itself", |_| itself()),
    works("write(0), no bytes", "the supervisor, by messages that it distrusts", |_| {
        call(libc::SYS_write, [0, room(), 0])
    }),
    works("write(1), no bytes", "the log, by lines that are counted and cut", |_| {
        call(libc::SYS_write, [1, room(), 0])
    }),
    works("poll(0)", "waiting", |_| call(libc::SYS_poll, [0, 0, 0])),
    works("exit_group()", "its end", |_| call(libc::SYS_exit_group, [EXIT_CODE as usize])),
    works("exit()", "its end", |_| call(libc::SYS_exit, [EXIT_CODE as usize])),
];
