//! Nodes that come back: one that lacks much of the log, and one behind a long history.

use std::time::{Duration, Instant};

use mcp_v8_tests::{anonymous_memory_bytes, until_within};

use super::writers::{Writers, fill};
use super::{median, row};
use crate::load::mib;
use crate::nodes::Nodes;

/// Entries that a node may lack and count as one that has caught up: what a moment of load is.
const NEAR_ENTRIES: u64 = 200;

/// How long a catch-up may take before the run fails.
const LIMIT: Duration = Duration::from_secs(300);

const CLIENTS: usize = 8;
const RESTARTS: usize = 5;

/// Stops a follower, lets it fall behind, and lets it come back under load.
pub async fn catch_up(entries: u64) {
    let (mut nodes, leader) = Nodes::start().await;
    let behind = Nodes::all_but(leader)[0];
    let others = Nodes::all_but(behind);
    nodes.kill(behind);
    fill(&nodes, &others, leader, entries).await;
    let writers = Writers::start(&nodes, &others, CLIENTS);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begun, from) = (Instant::now(), nodes.number(leader, "commit_index").await);
    nodes.launch(behind);
    until_within(LIMIT, "the node to catch up", || async {
        let (ready, status) = nodes.status(behind).await?;
        let committed = nodes.number(leader, "commit_index").await;
        let near = status["last_applied"].as_u64()? + NEAR_ENTRIES >= committed;
        (ready && near).then_some(())
    })
    .await;
    let took = begun.elapsed();
    let meanwhile = nodes.number(leader, "commit_index").await - from;
    writers.stop().await;
    row(
        &format!("{entries} entries behind: from its start until it is ready and up to date"),
        format!("{:.1} s", took.as_secs_f64()),
        "below 30 s",
        format!("{CLIENTS} clients at the other nodes, {meanwhile} entries meanwhile"),
    );
}

/// Restarts a follower behind a long history. It has written that alone, as the only member, which
/// takes a third of the time; then the others have entered the cluster.
pub async fn restart(entries: u64) {
    const NODE: usize = 0;
    let mut nodes = Nodes::start_first().await;
    let begun = Instant::now();
    fill(&nodes, &[NODE], NODE, entries / 10).await;
    let early = mib(anonymous_memory_bytes(nodes.pid(NODE)));
    let have = fill(&nodes, &[NODE], NODE, entries - entries / 10).await;
    let late = mib(anonymous_memory_bytes(nodes.pid(NODE)));
    let filled = begun.elapsed();
    for at in Nodes::all_but(NODE) {
        nodes.launch(at);
        nodes.ready_after(at, Instant::now()).await;
    }
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..RESTARTS {
        nodes.lead(1).await;
        // A node that has just started has nothing to look through again.
        let writers = Writers::start(&nodes, &[0, 1, 2], CLIENTS);
        tokio::time::sleep(Duration::from_secs(2)).await;
        nodes.kill(NODE);
        writers.stop().await;
        let begun = Instant::now();
        nodes.launch(NODE);
        times.push(nodes.ready_after(NODE, begun).await);
        memory.push(mib(anonymous_memory_bytes(nodes.pid(NODE))));
        nodes.ready().await;
    }
    let load = format!("{have} entries in history, written in {:.0} s", filled.as_secs_f64());
    let slowest = times.iter().max().copied().unwrap_or_default();
    row(
        "restart after kill -9, to ready",
        format!(
            "median {:.2} s, worst {:.2} s of {RESTARTS}",
            median(&mut times).as_secs_f64(),
            slowest.as_secs_f64()
        ),
        "below 2 s",
        &load,
    );
    row("its own memory when ready", format!("{:.0} MiB", median(&mut memory)), "bounded", &load);
    let value = format!("{late:.0} MiB, after a tenth of it {early:.0} MiB");
    row("its own memory after writing all of it", value, "bounded", &load);
}
