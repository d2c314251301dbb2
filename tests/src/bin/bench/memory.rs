//! Memory of a server at rest, process by process.

use std::fs::read_to_string;

use mcp_v8_tests::{Server, until};

use crate::load::mib;
use crate::processes::{Role, roles};

const WORKERS: usize = 16;

/// Memory of a process, in bytes.
#[derive(Default, Clone, Copy)]
struct Memory {
    /// Its share of what it has in common with others, and its own.
    proportional: u64,
    /// Its own.
    private: u64,
}

impl Memory {
    /// None where only an administrator may look.
    fn of(pid: u32) -> Option<Self> {
        let text = read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let sum = |names: &[&str]| -> u64 {
            let field = |line: &str| {
                let (name, value) = line.split_once(':')?;
                names
                    .contains(&name)
                    .then(|| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())?
            };
            text.lines().filter_map(field).sum::<u64>() * 1024
        };
        Some(Self {
            proportional: sum(&["Pss"]),
            private: sum(&["Private_Clean", "Private_Dirty", "Private_Hugetlb"]),
        })
    }
}

/// Prints a table.
pub async fn run() {
    let server = Server::start(&[&format!("--max-concurrent-executions={WORKERS}")]).await;
    server.assert_serves().await;
    let children = until("both templates and all workers", || async {
        let children = roles(&server);
        let count = |role| children.iter().filter(|(_, known)| *known == role).count();
        let all = [Role::Template, Role::Holder, Role::Worker].map(count) == [2, 2, WORKERS];
        all.then_some(children)
    })
    .await;
    println!("| process | how many | Pss MiB each | private MiB each |");
    println!("|---|---|---|---|");
    row("supervisor", &[server.pid()]);
    for (role, name) in [
        (Role::Template, "template"),
        (Role::Holder, "holder of a process namespace"),
        (Role::Worker, "idle worker"),
    ] {
        let pids: Vec<u32> =
            children.iter().filter(|(_, known)| *known == role).map(|(pid, _)| *pid).collect();
        row(name, &pids);
    }
}

fn row(name: &str, pids: &[u32]) {
    let memory: Option<Vec<Memory>> = pids.iter().map(|pid| Memory::of(*pid)).collect();
    let Some(memory) = memory else {
        println!("| {name} | {} | only root may look | |", pids.len());
        return;
    };
    let mean = |of: fn(&Memory) -> u64| mib(memory.iter().map(of).sum()) / pids.len() as f64;
    println!(
        "| {name} | {} | {:.1} | {:.1} |",
        pids.len(),
        mean(|memory| memory.proportional),
        mean(|memory| memory.private)
    );
}
