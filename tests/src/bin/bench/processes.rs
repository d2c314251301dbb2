//! The processes of a server, as `/proc` shows them.

use std::fs::read_to_string;

use mcp_v8_tests::Server;

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
