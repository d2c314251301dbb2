//! `mcp-v8-bench`: what executions cost and what the server stands, on the machine it runs on.
//!
//! ```text
//! mcp-v8-bench exec [--seconds N] [--only NAME]           closed loops of 1+1, and memory
//! mcp-v8-bench cpu [--rounds N] [--only NAME]             scripts that calculate, with isolation and without
//! mcp-v8-bench commit [--seconds N] [--only NAME]         commits over three nodes, beside etcd
//! mcp-v8-bench cluster [--kills N] [--stops N] [--freezes N] [--behind N] [--entries N] [--only NAME]
//!                                                         nodes that are killed, stopped, behind, frozen
//! mcp-v8-bench hostile [--executions N] [--clients N]     normal scripts while others attack
//! mcp-v8-bench heap [--seconds N] [--only NAME]           steps of sessions: time and bytes
//! mcp-v8-bench state [--seconds N] [--sessions N] [--steps N] [--only NAME]
//!                                                         steps of sessions through the server
//! mcp-v8-bench rolling [--seconds N] [--restarts N] [--clients N]
//!                                                         all nodes restarted in turn, behind nginx
//! mcp-v8-bench kill [--tries N] [--only NAME]             how late the answer at a time limit is
//! ```
//!
//! # Contract
//! * Prints Markdown tables. Every answer is checked, and a wrong one ends the run.
//! * What is compared was measured in one run, taking turns where it takes long.
//! * It does not link V8: [`bare`] is a program of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bare;
mod cluster;
mod commit;
mod cpu;
mod exec;
mod heap;
mod hostile;
mod kill;
mod load;
mod memory;
mod nodes;
mod processes;
mod rolling;
mod state;

use std::time::Duration;

const USAGE: &str = "usage: mcp-v8-bench exec|cpu|commit|cluster|heap|state|hostile|kill|rolling [--seconds N] \
                     [--rounds N] [--executions N] [--clients N] [--tries N] [--kills N] [--stops N] \
                     [--freezes N] [--behind N] [--entries N] [--sessions N] [--steps N] [--restarts N] [--only PART OF A NAME]";

/// What was asked for.
struct Options {
    time: Duration,
    rounds: usize,
    executions: usize,
    clients: usize,
    tries: usize,
    kills: usize,
    stops: usize,
    freezes: usize,
    behind: u64,
    entries: u64,
    sessions: usize,
    steps: usize,
    restarts: usize,
    only: String,
}

impl Options {
    /// Whether what has this name is to be measured.
    fn chosen(&self, name: &str) -> bool {
        name.contains(&self.only)
    }
}

#[tokio::main]
async fn main() {
    let mut options = Options {
        time: Duration::from_secs(10),
        rounds: 7,
        executions: 100_000,
        clients: 16,
        tries: 200,
        kills: 10,
        stops: 5,
        freezes: 3,
        behind: 20_000,
        entries: 100_000,
        sessions: 100,
        steps: 20,
        restarts: 3,
        only: String::new(),
    };
    let mut family = String::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect(USAGE);
        let number = |text: String| text.parse::<usize>().expect(USAGE);
        match argument.as_str() {
            "--seconds" => options.time = Duration::from_secs(number(value()) as u64),
            "--rounds" => options.rounds = number(value()),
            "--executions" => options.executions = number(value()),
            "--clients" => options.clients = number(value()),
            "--tries" => options.tries = number(value()),
            "--kills" => options.kills = number(value()),
            "--stops" => options.stops = number(value()),
            "--freezes" => options.freezes = number(value()),
            "--behind" => options.behind = number(value()) as u64,
            "--entries" => options.entries = number(value()) as u64,
            "--sessions" => options.sessions = number(value()),
            "--steps" => options.steps = number(value()),
            "--restarts" => options.restarts = number(value()),
            "--only" => options.only = value(),
            _ => family = argument,
        }
    }
    match family.as_str() {
        "exec" => exec::run(&options).await,
        "commit" => commit::run(&options).await,
        "cluster" => cluster::run(&options).await,
        "cpu" => cpu::run(&options).await,
        "heap" => heap::run(&options).await,
        "state" => state::run(&options).await,
        "hostile" => hostile::run(&options).await,
        "rolling" => rolling::run(&options).await,
        "kill" => kill::run(&options).await,
        _ => panic!("{USAGE}"),
    }
}
