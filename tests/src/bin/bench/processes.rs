//! The processes of a server, as `/proc` shows them.

use std::fs::read_to_string;

use mcp_v8_tests::{Server, anonymous_memory_bytes};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// What a child of the server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Workers are forked from it.
    Template,
    /// It keeps the process namespace of a template's workers.
    Holder,
    /// It runs a script or waits for one.
    Worker,
}

/// The children of a server that keeps workers by forking, with what each is for. With a sandbox only.
pub fn roles(server: &Server) -> Vec<(u32, Role)> {
    let workers = server.workers();
    let role = |pid: u32| match inner_pid(pid) {
        _ if workers.contains(&pid) => Role::Worker,
        Some(_) => Role::Holder,
        None => Role::Template,
    };
    server.children().into_iter().map(|pid| (pid, role(pid))).collect()
}

/// The number a process has in a namespace below ours.
fn inner_pid(pid: u32) -> Option<u32> {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.to_owned();
    numbers.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a process has ended and was waited for.
pub fn is_gone(pid: u32) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    test_kill_process(pid) == Err(Errno::SRCH)
}

/// Makes the worker that runs a script recognisable from outside, by the memory it holds: nothing
/// else tells which of the server's processes has which script.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// Memory of a worker that holds nothing.
    idle_bytes: u64,
    /// Memory that the script holds.
    bytes: u64,
    /// How much it may be off.
    tolerance: u64,
}

impl Mark {
    /// For a script that holds `bytes`, on a server that is idle at the moment.
    pub fn new(server: &Server, bytes: u64, tolerance: u64) -> Self {
        let memory = server.workers().into_iter().map(anonymous_memory_bytes);
        Self { idle_bytes: memory.max().expect("an idle worker"), bytes, tolerance }
    }

    /// Put before a script, makes it hold the memory.
    pub fn script(&self) -> String {
        format!("const held = new Uint8Array({}).fill(1); ", self.bytes)
    }

    /// The worker that holds it, once it does.
    pub fn find(&self, server: &Server) -> Option<u32> {
        let holds = |pid: &u32| {
            let held = anonymous_memory_bytes(*pid).saturating_sub(self.idle_bytes);
            held.abs_diff(self.bytes) <= self.tolerance
        };
        let found: Vec<u32> = server.workers().into_iter().filter(holds).collect();
        assert!(found.len() <= 1, "{found:?} hold {} bytes", self.bytes);
        found.first().copied()
    }
}
