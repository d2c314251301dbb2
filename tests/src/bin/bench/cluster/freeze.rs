//! SIGSTOP of a follower: what the others' clients notice.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::writers::{Write, Writers};
use super::{median, row};
use crate::load::{at_share, ms};
use crate::nodes::Nodes;

const CLIENTS: usize = 8;

/// How long it is frozen.
const FROZEN: Duration = Duration::from_secs(2);

/// Latencies of writes that were under way in a time, sorted.
fn latencies(writes: &[Write], from: Instant, to: Instant) -> Vec<Duration> {
    let meanwhile = writes.iter().filter(|write| write.ended > from && write.begun < to);
    let mut latencies: Vec<_> = meanwhile.map(|write| write.ended - write.begun).collect();
    latencies.sort_unstable();
    latencies
}

/// Freezes a follower so often; the load goes on for `warm` before.
pub async fn run(freezes: usize, warm: Duration) {
    let (nodes, leader) = Nodes::start().await;
    let term = nodes.number(leader, "term").await;
    let warm = warm.min(FROZEN * 2);
    let (mut before, mut during, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..freezes {
        let frozen = Nodes::all_but(leader)[round % 2];
        let writers = Writers::start(&nodes, &Nodes::all_but(frozen), CLIENTS);
        tokio::time::sleep(warm / 4).await;
        let begun = Instant::now();
        tokio::time::sleep(warm).await;
        let stopped = Instant::now();
        nodes.signal(frozen, Signal::STOP);
        tokio::time::sleep(FROZEN).await;
        let thawed = Instant::now();
        nodes.signal(frozen, Signal::CONT);
        // What it does when it wakes counts as well.
        tokio::time::sleep(FROZEN / 2).await;
        let writes = writers.stop().await;
        let p99 = |from, to| ms(at_share(&latencies(&writes, from, to), 0.99));
        let (quiet, loud) = (p99(begun, stopped), p99(stopped, thawed + FROZEN / 4));
        before.push(quiet);
        during.push(loud);
        ratios.push(loud / quiet);
        let now = nodes.ready().await;
        assert_eq!(now, leader, "the leader has changed");
        assert_eq!(nodes.number(leader, "term").await, term, "there was an election");
    }
    let load = format!("{freezes} times, {CLIENTS} clients at the other two nodes");
    let value = format!(
        "{:.1} times ({:.1} ms, before it {:.1} ms), worst {:.1} times",
        median(&mut ratios.clone()),
        median(&mut during),
        median(&mut before),
        ratios.iter().copied().fold(0.0, f64::max),
    );
    row("follower frozen for 2 s: p99 of writes meanwhile", value, "at most 3 times", &load);
    row("follower frozen for 2 s: leader and term", "unchanged", "unchanged", &load);
}
