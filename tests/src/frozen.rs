//! Threads of a process that stand still while its others go on.
//!
//! # Contract
//! * [`Frozen::threads`] stops every thread of that name, as a debugger does (ptrace(2)); they go on
//!   when it is dropped.

use std::fs;
use std::ptr::null_mut;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Threads that stand still.
#[derive(Debug)]
pub struct Frozen {
    release: Option<Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

/// The threads of a process whose name begins so.
fn threads_of(pid: u32, name: &str) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let named = tasks.filter(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name))
    });
    named.map(|task| task.file_name().to_str().unwrap().parse().unwrap()).collect()
}

fn trace(request: libc::c_uint, thread: i32) {
    let nothing = null_mut::<libc::c_void>();
    // SAFETY: these requests touch no memory of this process.
    let done = unsafe { libc::ptrace(request, thread, nothing, nothing) };
    assert_eq!(done, 0, "ptrace {request:#x}: {}", std::io::Error::last_os_error());
}

fn stop(thread: i32) {
    trace(libc::PTRACE_SEIZE, thread);
    trace(libc::PTRACE_INTERRUPT, thread);
    // SAFETY: waits for a thread that this one traces; no status is asked for.
    let stopped = unsafe { libc::waitpid(thread, null_mut(), libc::__WALL) };
    assert_eq!(stopped, thread, "{}", std::io::Error::last_os_error());
}

impl Frozen {
    /// Stops every thread of a process whose name begins so.
    pub fn threads(pid: u32, name: &str) -> Self {
        let (release, released) = channel::<()>();
        let (frozen, frozen_now) = channel::<usize>();
        let name = name.to_owned();
        // Who traces is one thread of this process, and only that may let go.
        let tracer = std::thread::spawn(move || {
            let threads = threads_of(pid, &name);
            threads.iter().copied().for_each(stop);
            frozen.send(threads.len()).unwrap();
            // An error is the drop of the other end.
            let _ = released.recv();
            for thread in threads {
                trace(libc::PTRACE_DETACH, thread);
            }
        });
        let count = frozen_now.recv().expect("the threads can be traced");
        assert_ne!(count, 0, "the process has such threads");
        Self { release: Some(release), tracer: Some(tracer) }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.release.take();
        if let Some(tracer) = self.tracer.take() {
            let let_go = tracer.join();
            assert!(let_go.is_ok() || std::thread::panicking(), "the threads were not let go");
        }
    }
}
