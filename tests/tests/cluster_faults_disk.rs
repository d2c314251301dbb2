//! Nodes whose disk is full: slowly, all at once, from the start.
//!
//! # Contract
//! * The disk is a small ext4 file system of the node's own, on a loop device.
//! * A node without room harms nobody: the others go on, nothing that was acknowledged is lost, and it
//!   shows nothing old. It says what is the matter, and is one of them again when there is room.
//! * A disk that is filled to the last byte at once may end the process, with the reason; started
//!   again it waits for room, however long that takes, and says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use futures_util::future::join;
use mcp_v8_tests::cluster::{Cluster, Silence, address};
use mcp_v8_tests::writes::{
    HEAL_MAX, Writers, accepted, assert_all, assert_has, get, must_put, put,
};
use mcp_v8_tests::{until, until_within};
use serde_json::Value;

const ALL: [usize; 3] = [1, 2, 3];

/// Of which one part in twenty is kept free.
const DISK_MIB: u64 = 64;

/// Below what is kept free, and above what is written until that is seen.
const LITTLE: u64 = 2 * 1024 * 1024;

/// What a node says that takes nothing more.
const SAID: &str = "this node takes nothing more until there is room";

/// Three nodes of which these have a small disk.
async fn with_small_disks(small: &[usize]) -> Cluster {
    let cluster = Cluster::of(3).await;
    small.iter().for_each(|node| cluster.small_disk(*node, DISK_MIB));
    ALL.iter().for_each(|node| cluster.launch(*node));
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    cluster
}

/// Why a node should get no traffic.
async fn reasons(cluster: &Cluster, node: usize) -> Option<String> {
    let answer = cluster.get_within(node, "/readyz", Duration::from_secs(1)).await.ok()?;
    (answer.status == 503).then(|| answer.body["reasons"].to_string())
}

async fn until_full(cluster: &Cluster, node: usize) {
    cluster
        .until_status(node, "it says that its disk is full", |status| {
            status["waiting_for"].as_str().is_some_and(|text| text.contains(SAID))
        })
        .await;
    let reasons = until("readiness to be red", || reasons(cluster, node)).await;
    assert!(reasons.contains(SAID), "{reasons}");
    assert!(cluster.log(node).contains(SAID));
}

async fn back(cluster: &Cluster, node: usize) {
    let begun = Instant::now();
    cluster.agreed_within(&ALL, HEAL_MAX).await;
    cluster.ready_within(&ALL, HEAL_MAX).await;
    println!("node {node} has caught up {:?} after there was room", begun.elapsed());
    assert_eq!(cluster.status(node).await.unwrap()["waiting_for"], Value::Null);
}

#[tokio::test]
async fn a_follower_whose_disk_fills_up_stands_aside_until_there_is_room() {
    let cluster = Cluster::of(3).await;
    ALL.iter().for_each(|node| cluster.small_disk(*node, DISK_MIB));
    ALL.iter().for_each(|node| cluster.launch(*node));
    let leader = cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    let full = cluster.all_but(&[leader])[0];
    let rest = cluster.all_but(&[full]);
    let pid = cluster.pid(full);
    let long = "await new Promise(done => setTimeout(done, 8000)); 'ran elsewhere'";
    let running = cluster.submit(full, long).await;
    let writers = Writers::from(1);
    let filling = async {
        writers.more(50).await;
        cluster.fill(full, LITTLE);
        until_full(&cluster, full).await;
        writers.more(200).await;
        // What it ran is given to another at once, not when its lease ends.
        let moved = Instant::now();
        until_within(Duration::from_secs(4), "its script to be given away", || async {
            let log = rest.iter().map(|node| cluster.log(*node)).collect::<String>();
            log.lines()
                .any(|line| line.contains("taken over") && line.contains(&running))
                .then_some(())
        })
        .await;
        println!("its script was taken over after another {:?}", moved.elapsed());
        // It shows nothing old: what was written since is not on its disk.
        must_put(&cluster, leader, 5_000_000, "new").await;
        let read = get(&cluster, full, 5_000_000).await;
        assert!(!accepted(&read), "{read:?}");
        writers.stop();
    };
    join(writers.write(&cluster, &rest, 4), filling).await;
    writers.assert_none_failed();
    assert_eq!(cluster.agreed(&rest).await, leader, "leadership has moved");
    cluster.unfill(full);
    back(&cluster, full).await;
    assert!(cluster.runs(full) && cluster.pid(full) == pid, "it was restarted");
    assert_all(&cluster, &[full], &writers.taken()).await;
    assert_has(&cluster, full, 5_000_000, "new").await;
    let ended = cluster.ended(full, &running, Duration::from_secs(30)).await;
    assert_eq!(ended["result"], "ran elsewhere", "{ended}");
}

#[tokio::test]
async fn a_leader_whose_disk_fills_up_lets_another_lead() {
    let cluster = with_small_disks(&ALL).await;
    for round in 0..2 {
        let full = cluster.agreed(&ALL).await;
        let rest = cluster.all_but(&[full]);
        let writers = Writers::from((round + 1) * 1_000_000);
        let filling = async {
            writers.more(50).await;
            cluster.fill(full, LITTLE);
            until_full(&cluster, full).await;
            let next = until("another to lead", || cluster.leader_among(&rest)).await;
            println!("round {round}: node {full} has a full disk, node {next} leads");
            writers.more(200).await;
            writers.stop();
        };
        join(writers.write(&cluster, &rest, 4), filling).await;
        writers.assert_none_failed();
        cluster.unfill(full);
        back(&cluster, full).await;
        assert_all(&cluster, &[full], &writers.taken()).await;
    }
}

#[tokio::test]
async fn a_disk_that_is_full_all_at_once_and_from_the_start_is_waited_for() {
    let cluster = with_small_disks(&ALL).await;
    let leader = cluster.agreed(&ALL).await;
    let mut written = Vec::new();
    // Once a follower, once the leader.
    for (round, full) in (1..).zip([cluster.all_but(&[leader])[0], leader]) {
        let rest = cluster.all_but(&[full]);
        let writers = Writers::from(round * 1_000_000);
        let filling = async {
            writers.more(50).await;
            cluster.fill(full, 0);
            // It stands aside if it saw it in time, and ends if a write failed.
            let ended = until("it to end or to stand aside", || async {
                if !cluster.runs(full) {
                    return Some(true);
                }
                let status = cluster.status(full).await?;
                status["waiting_for"]
                    .as_str()
                    .is_some_and(|text| text.contains(SAID))
                    .then_some(false)
            })
            .await;
            if ended {
                let status = cluster.exited(full, Duration::from_secs(1)).await;
                assert_eq!(status.code(), Some(2));
                assert!(cluster.log(full).contains("No space left on device"));
            }
            println!("round {round}: node {full} {}", if ended { "has ended" } else { "waits" });
            writers.more(100).await;
            writers.stop();
        };
        join(writers.write(&cluster, &rest, 4), filling).await;
        written.extend(writers.taken());
        // Started again, as whoever looks after it does: it does not end again.
        cluster.kill9(full);
        cluster.launch(full);
        let reason = until("it to say why it waits", || reasons(&cluster, full)).await;
        assert!(reason.contains(SAID), "{reason}");
        let pid = cluster.pid(full);
        let alive = cluster.get_within(full, "/livez", Duration::from_secs(1)).await.unwrap();
        assert_eq!(alive.status, 200);
        let status = cluster.get(full, "/raft/status").await.unwrap();
        assert!(status.status == 503 && status.body["waiting_for"].is_string(), "{status:?}");
        match put(&cluster, full, 9_000_000, "nowhere").await {
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            Err(Silence::NotSent(why) | Silence::Unknown(why)) => panic!("no answer: {why}"),
        }
        must_put(&cluster, rest[0], 9_000_001, "meanwhile").await;
        cluster.unfill(full);
        back(&cluster, full).await;
        assert!(cluster.runs(full) && cluster.pid(full) == pid, "it was restarted");
        assert_all(&cluster, &[full], &written).await;
        assert_has(&cluster, full, 9_000_001, "meanwhile").await;
    }
}

#[tokio::test]
async fn a_single_server_with_a_full_disk_refuses_writes_shows_what_it_has_and_goes_on() {
    let cluster = Cluster::of(1).await;
    cluster.small_disk(1, DISK_MIB);
    cluster.launch(1);
    cluster.agreed(&[1]).await;
    cluster.ready(&[1]).await;
    must_put(&cluster, 1, 1, "before").await;
    let long = "await new Promise(done => setTimeout(done, 3000)); 'kept'";
    let running = cluster.submit(1, long).await;
    // Too little for a backup, before it is too little for anything.
    cluster.fill(1, cluster.room(1).reserve() + 4096);
    let (node, out) = (format!("--node={}", address(1)), cluster.file("no.backup"));
    let out = format!("--out={}", out.display());
    let refused = cluster.operate(&[&node, "backup", &out]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("make room, or ask another node"), "{refused:?}");
    cluster.fill(1, LITTLE);
    until_full(&cluster, 1).await;
    let asked = Instant::now();
    let refused = put(&cluster, 1, 2, "refused").await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body["error"].as_str().unwrap().contains(SAID), "{refused:?}");
    let refused = cluster.exec(1, "1", 5).await.unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_has(&cluster, 1, 1, "before").await;
    cluster.unfill(1);
    cluster.ready_within(&[1], HEAL_MAX).await;
    must_put(&cluster, 1, 2, "after").await;
    // What ran meanwhile has its outcome: there is nobody to give it to.
    let ended = cluster.ended(1, &running, Duration::from_secs(20)).await;
    assert_eq!(ended["result"], "kept", "{ended}");
    assert_has(&cluster, 1, 1, "before").await;
}
