//! `kill -9` of the leader: how long until another node has a write committed.

use std::time::{Duration, Instant};

use super::writers::Writers;
use super::{row, spread};
use crate::nodes::Nodes;

/// What writes go on for before the leader is killed.
const WARM: Duration = Duration::from_millis(500);

/// Kills so many leaders.
pub async fn run(kills: usize) {
    let (mut nodes, mut leader) = Nodes::start().await;
    let mut outages = Vec::new();
    for _ in 0..kills {
        let writers = Writers::start(&nodes, &Nodes::all_but(leader), 2);
        tokio::time::sleep(WARM).await;
        let killed = Instant::now();
        nodes.kill(leader);
        writers.written_after(killed).await;
        let writes = writers.stop().await;
        // What was asked before may have been committed before.
        let after = writes.iter().filter(|write| write.begun > killed).map(|write| write.ended);
        outages.push(after.min().expect("a write after the kill") - killed);
        nodes.launch(leader);
        leader = nodes.ready().await;
    }
    row(
        "leader killed: from the kill to the end of the first write begun after it",
        spread(&mut outages),
        "p99 at most 1 s",
        format!("{kills} kills, 2 clients at the other nodes, default timeouts"),
    );
}
