//! What three nodes still do over a wire that is slow, that pauses, and that breaks.
//!
//! # Contract
//! * As in `cluster_faults`: what was answered 200 is there afterwards, on every node.
//! * The seed is in the code, the numbers of pauses and breaks are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use futures_util::future::join;
use mcp_v8_tests::cluster::Cluster;
use mcp_v8_tests::cluster::wire::{Weather, Wire};
use mcp_v8_tests::until_within;
use mcp_v8_tests::writes::{HEAL_MAX, Writers, assert_all, must_put};

const ALL: [usize; 3] = [1, 2, 3];

/// How long things may take in bad weather.
const BAD_WEATHER_MAX: Duration = Duration::from_secs(60);

async fn start(cluster: &Cluster) -> usize {
    ALL.into_iter().for_each(|node| cluster.launch(node));
    let leader = cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    leader
}

#[tokio::test]
async fn a_wire_that_is_late_pauses_and_breaks_loses_nothing() {
    let cluster = Cluster::of(3).await;
    let wire = Wire::lay(&cluster, 20_261_123).await;
    start(&cluster).await;
    wire.set(Weather {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(20),
        pauses_per_mille: 20,
        pause: Duration::from_millis(250),
        breaks_per_mille: 5,
    });
    let writers = Writers::from(0);
    let enough = async {
        until_within(BAD_WEATHER_MAX, "200 writes, 60 pauses and 10 breaks", || async {
            let (pauses, breaks) = wire.harm();
            (writers.count() >= 200 && pauses >= 60 && breaks >= 10).then_some(())
        })
        .await;
        writers.stop();
    };
    join(writers.write(&cluster, &ALL, 8), enough).await;
    let (pauses, breaks) = wire.harm();
    let (taken, failed) = (writers.taken(), writers.failed().len());
    println!("{pauses} pauses, {breaks} breaks: {} writes taken, {failed} not", taken.len());
    wire.set(Weather::default());
    cluster.agreed_within(&ALL, HEAL_MAX).await;
    cluster.ready_within(&ALL, HEAL_MAX).await;
    assert_all(&cluster, &ALL, &taken).await;
}

/// As the guide has it for networks of clouds. A heartbeat must be answered within its interval, which
/// openraft sees to: a longer way needs a longer interval.
#[tokio::test]
async fn over_round_trips_of_150_ms_the_guides_timing_keeps_the_leader() {
    let cluster = Cluster::of(3).await;
    let wire = Wire::lay(&cluster, 7).await;
    for timing in
        ["--heartbeat-interval=200", "--election-timeout-min=1000", "--election-timeout-max=2000"]
    {
        cluster.add_flag(timing);
    }
    let leader = start(&cluster).await;
    wire.set(Weather {
        delay: Duration::from_millis(65),
        jitter: Duration::from_millis(20),
        ..Weather::default()
    });
    // Time for what was in the pipes before.
    must_put(&cluster, leader, 0, "first").await;
    let term = cluster.status(leader).await.unwrap()["term"].clone();
    let writers = Writers::from(1);
    let enough = async {
        until_within(BAD_WEATHER_MAX, "100 writes", || async {
            (writers.count() >= 100).then_some(())
        })
        .await;
        writers.stop();
    };
    join(writers.write(&cluster, &ALL, 8), enough).await;
    writers.assert_none_failed();
    assert_eq!(cluster.agreed(&ALL).await, leader, "the same leader");
    assert_eq!(cluster.status(leader).await.unwrap()["term"], term, "in the same term");
    assert_all(&cluster, &ALL, &writers.taken()).await;
}
