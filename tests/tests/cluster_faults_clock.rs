//! Nodes whose wall clock is stepped by an hour while the others' goes on.
//!
//! # Contract
//! * Leases, elections, limits of scripts and expiry go by clocks that nobody steps, or do not mind
//!   an hour. A stepped clock shows in the times that a node writes down, and nowhere else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, SystemTime};

use futures_util::future::join;
use mcp_v8_cluster::limits::LEASE_MS;
use mcp_v8_tests::cluster::Cluster;
use mcp_v8_tests::writes::{Writers, assert_all};
use serde_json::json;

const ALL: [usize; 3] = [1, 2, 3];

const HOUR: i64 = 60 * 60;

/// Longer than a lease, and than a leader takes from one look at what is old to the next.
const WATCHED: Duration = Duration::from_millis(LEASE_MS + 7_000);

/// What a node says when a lease has ended or leadership is lost.
const HARM: [&str; 4] = [
    "lost: it has not renewed its lease",
    "no leader has heard of this node",
    "has declared this node lost",
    "this node is up",
];

fn harm(cluster: &Cluster) -> Vec<usize> {
    let count = |what: &str| ALL.map(|node| cluster.log(node).matches(what).count()).iter().sum();
    HARM.map(count).to_vec()
}

/// How far the clock of the node that accepted an execution is ahead, in seconds.
async fn ahead(cluster: &Cluster, id: &str) -> i64 {
    let shown = cluster.get_execution(1, id).await.unwrap();
    let began = humantime::parse_rfc3339(shown.body["started_at"].as_str().unwrap()).unwrap();
    let since = |time: SystemTime| {
        i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
    };
    since(began) - since(SystemTime::now())
}

#[tokio::test]
async fn a_clock_that_is_stepped_by_an_hour_ends_no_lease_no_leadership_and_no_script() {
    let cluster = Cluster::of(3).await;
    for node in ALL {
        cluster.own_clock(node);
        cluster.launch(node);
    }
    let leader = cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    let follower = cluster.all_but(&[leader])[0];
    let mut finished = Vec::new();
    for node in ALL {
        let ran = cluster.exec(node, "'before'", 30).await.unwrap();
        assert_eq!(ran.body["result"], "before", "{ran:?}");
        finished.push(ran.body["execution_id"].as_str().unwrap().to_owned());
    }
    let term = cluster.status(leader).await.unwrap()["term"].clone();
    let before = harm(&cluster);
    let mut written = Vec::new();
    for (round, (stepped, by)) in
        (1..).zip([(follower, HOUR), (follower, -HOUR), (leader, HOUR), (leader, -HOUR)])
    {
        println!("the clock of node {stepped} is stepped by {by} s, leader {leader}");
        // One script runs over the step, on the node with the clock and on another.
        let code = "await new Promise(done => setTimeout(done, 4000)); 'ran over the step'";
        let running = [
            cluster.submit(stepped, code).await,
            cluster.submit(cluster.all_but(&[stepped])[0], code).await,
        ];
        let writers = Writers::from(round * 1_000_000);
        let watching = async {
            writers.more(20).await;
            cluster.step_clock(stepped, by);
            let id = cluster.submit(stepped, "'after'").await;
            let ahead = ahead(&cluster, &id).await;
            assert!((ahead - by).abs() < 60, "the clock was not stepped by {by}: {ahead}");
            tokio::time::sleep(WATCHED).await;
            writers.stop();
            id
        };
        let ((), id) = join(writers.write(&cluster, &ALL, 3), watching).await;
        writers.assert_none_failed();
        written.extend(writers.taken());
        for node in ALL {
            let status = cluster.status(node).await.unwrap();
            assert_eq!(status["term"], term, "node {node}: {status}");
            for id in &running {
                let ended = cluster.ended(node, id, Duration::from_secs(10)).await;
                assert_eq!(ended["result"], "ran over the step", "node {node}: {ended}");
            }
            let ended = cluster.ended(node, &id, Duration::from_secs(10)).await;
            assert_eq!(ended["result"], "after", "node {node}: {ended}");
            for id in &finished {
                let shown = cluster.get_execution(node, id).await.unwrap();
                assert_eq!(shown.body["result"], "before", "node {node}: {shown:?}");
            }
        }
        assert_eq!(cluster.agreed(&ALL).await, leader);
        assert_eq!(harm(&cluster), before, "of {HARM:?}");
        // Back is a step as well.
        cluster.step_clock(stepped, 0);
    }
    assert_all(&cluster, &ALL, &written).await;
    let listed = cluster.get(follower, "/api/executions?limit=100").await.unwrap();
    assert_eq!(listed.body["executions"].as_array().map(Vec::len), Some(3 + 4 * 3));
    assert_eq!(listed.status, 200, "{}", json!(listed.body));
}
