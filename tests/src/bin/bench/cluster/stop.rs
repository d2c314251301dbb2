//! SIGTERM of the leader: the longest time in which no write ended, and what failed.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::balance::Balanced;
use super::{row, spread};
use crate::nodes::Nodes;

const CLIENTS: usize = 16;

/// What the load goes on for before and after.
const WARM: Duration = Duration::from_secs(1);

/// Stops so many leaders.
pub async fn run(stops: usize) {
    let (mut nodes, mut leader) = Nodes::start().await;
    let (mut gaps, mut times) = (Vec::new(), Vec::new());
    let (mut requests, mut failures) = (0, Vec::new());
    for _ in 0..stops {
        let load = Balanced::start(&nodes, CLIENTS);
        tokio::time::sleep(WARM).await;
        let begun = Instant::now();
        nodes.signal(leader, Signal::TERM);
        let status = nodes.exited(leader).await;
        times.push(begun.elapsed());
        assert_eq!(status.code(), Some(0));
        tokio::time::sleep(WARM).await;
        let outcome = load.stop().await;
        let mut ends: Vec<Instant> = outcome.writes.iter().map(|write| write.ended).collect();
        ends.sort_unstable();
        let since = ends.partition_point(|end| *end < begun).saturating_sub(1);
        let gap = ends[since..].windows(2).map(|pair| pair[1] - pair[0]).max();
        gaps.push(gap.unwrap());
        requests += outcome.requests;
        failures.extend(outcome.failures);
        nodes.launch(leader);
        leader = nodes.ready().await;
    }
    let load = format!("{stops} stops, {CLIENTS} clients of nodes that are ready");
    row(
        "leader stopped by SIGTERM: time without a write",
        spread(&mut gaps),
        "at most 200 ms",
        &load,
    );
    let failed = format!("{} of {requests}", failures.len());
    row("leader stopped by SIGTERM: requests that failed", failed, "none", &load);
    row("leader stopped by SIGTERM: until its process has ended", spread(&mut times), "", &load);
    if let Some(failure) = failures.first() {
        println!("first failure: {failure}");
    }
}
