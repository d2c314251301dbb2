//! Nodes that are killed while snapshots are made and sent, and nodes that are far behind.
//!
//! # Contract
//! * A snapshot that was not finished counts for nothing: whoever was making, sending or receiving
//!   it begins again, and nothing acknowledged is lost.
//! * A node that is 10,000 entries behind catches up, from the log or by a snapshot, while writes go
//!   on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join;
use mcp_v8_tests::cluster::Cluster;
use mcp_v8_tests::until_within;
use mcp_v8_tests::writes::{HEAL_MAX, Writers, assert_all};
use serde_json::{Value, json};

const ALL: [usize; 3] = [1, 2, 3];

/// How long until a node makes or gets a snapshot.
const SNAPSHOT_MAX: Duration = Duration::from_secs(60);

/// How long a node that is 10,000 entries behind may take to be like the others.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

const BEHIND: u64 = 10_000;

/// Writers at once where many entries are wanted soon.
const WRITERS: usize = 24;

/// Bytes of values where the log is to be as large as the state soon.
const LONG_BYTES: usize = 3_000;

/// Files beside the snapshots of a node that are being written.
fn unfinished(cluster: &Cluster, node: usize, extension: &str) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(cluster.store(node).join("snapshots"));
    let files = listed.into_iter().flatten().flatten().map(|file| file.path());
    files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// Waits, looking often, until a node writes such a file.
async fn until_writing(cluster: &Cluster, node: usize, extension: &str) {
    let begun = Instant::now();
    while unfinished(cluster, node, extension).is_empty() {
        assert!(begun.elapsed() < SNAPSHOT_MAX, "node {node} writes no .{extension}");
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// Makes the state so large that a snapshot takes its time.
async fn grow(cluster: &Cluster, node: usize) {
    for _ in 0..10 {
        let code = "for (let n = 0; n < 1024; n++) console.log('x'.repeat(1023)); 'done'";
        let ran = cluster.exec(node, code, 30).await.unwrap();
        assert_eq!((ran.status, &ran.body["result"]), (200, &json!("done")), "{ran:?}");
    }
}

async fn index(cluster: &Cluster, node: usize, of: &str) -> u64 {
    cluster.status(node).await.and_then(|status| status[of].as_u64()).unwrap_or_default()
}

#[tokio::test]
async fn a_node_that_is_killed_while_it_makes_a_snapshot_comes_back_without_it() {
    let cluster = Cluster::start_with(3, &["--snapshot-entries=100"]).await;
    grow(&cluster, 1).await;
    let (mut written, mut hits) = (Vec::new(), 0);
    for round in 0..4_usize {
        let leader = cluster.agreed(&ALL).await;
        let victim = if round % 2 == 0 { leader } else { cluster.all_but(&[leader])[0] };
        let rest = cluster.all_but(&[victim]);
        let writers = Writers::from((round + 1) * 1_000_000).longer(LONG_BYTES);
        let killing = async {
            until_writing(&cluster, victim, "unfinished").await;
            cluster.kill9(victim);
            let left = unfinished(&cluster, victim, "unfinished").len();
            writers.more(20).await;
            cluster.up(victim).await;
            cluster.agreed_within(&ALL, HEAL_MAX * 2).await;
            writers.stop();
            left
        };
        let ((), left) = join(writers.write(&cluster, &rest, WRITERS), killing).await;
        hits += left;
        println!("round {round}: node {victim} killed, leader {leader}; left behind: {left}");
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        cluster.ready_within(&ALL, HEAL_MAX).await;
        assert_all(&cluster, &[victim], &writers.taken()).await;
        written.extend(writers.taken());
    }
    assert!(hits >= 2, "only {hits} of 4 kills came in the middle of a snapshot");
    // The next ones are made as ever.
    let before = index(&cluster, 1, "snapshot_index").await;
    let writers = Writers::from(9_000_000).longer(LONG_BYTES);
    let waiting = async {
        until_within(SNAPSHOT_MAX, "another snapshot", || async {
            (index(&cluster, 1, "snapshot_index").await > before + 100).then_some(())
        })
        .await;
        writers.stop();
    };
    join(writers.write(&cluster, &ALL, WRITERS), waiting).await;
    assert_all(&cluster, &[1], &written).await;
}

#[tokio::test]
async fn nodes_that_are_killed_while_a_snapshot_is_sent_begin_again() {
    let cluster = Cluster::start_with(3, &["--snapshot-entries=100"]).await;
    grow(&cluster, 1).await;
    let leader = cluster.agreed(&ALL).await;
    let behind = cluster.all_but(&[leader])[0];
    let rest = cluster.all_but(&[behind]);
    cluster.kill9(behind);
    let writers = Writers::from(1).longer(LONG_BYTES);
    let compacting = async {
        let begun = index(&cluster, leader, "commit_index").await;
        until_within(SNAPSHOT_MAX, "the log to be compacted", || async {
            let kept = index(&cluster, leader, "log_length").await;
            (index(&cluster, leader, "commit_index").await > begun + kept + 100).then_some(())
        })
        .await;
        writers.stop();
    };
    join(writers.write(&cluster, &rest, WRITERS), compacting).await;
    let written = writers.taken();
    // The receiver, three times; then the sender, once.
    let mut hits = 0;
    for round in 0..3 {
        cluster.launch(behind);
        until_writing(&cluster, behind, "incoming").await;
        cluster.kill9(behind);
        let left = unfinished(&cluster, behind, "incoming").len();
        hits += left;
        println!("round {round}: the receiver was killed; left behind: {left}");
    }
    assert!(hits >= 1, "no kill came in the middle of a transfer");
    cluster.launch(behind);
    until_writing(&cluster, behind, "incoming").await;
    cluster.kill9(leader);
    println!("the sender was killed");
    let sender = cluster.all_but(&[leader, behind])[0];
    let two = [behind, sender];
    cluster.agreed_within(&two, HEAL_MAX * 2).await;
    cluster.ready(&two).await;
    assert_all(&cluster, &[behind], &written).await;
    cluster.up(leader).await;
    cluster.agreed_within(&ALL, HEAL_MAX).await;
    for node in ALL {
        let store = std::fs::read_dir(cluster.store(node).join("snapshots")).unwrap().flatten();
        let files: Vec<_> = store.map(|file| file.file_name()).collect();
        let whole = files.iter().all(|name| name.to_string_lossy().ends_with(".snapshot"));
        assert!(whole, "node {node}: {files:?}");
    }
}

/// A node is away for [`BEHIND`] entries and comes back while writes go on.
async fn catches_up(flag: &str, compacted: bool) {
    let cluster = Cluster::start_with(3, &[flag]).await;
    let leader = cluster.agreed(&ALL).await;
    let away = cluster.all_but(&[leader])[0];
    let rest = cluster.all_but(&[away]);
    cluster.kill9(away);
    let begun = index(&cluster, leader, "commit_index").await;
    let writers = Writers::from(1);
    let running = async {
        until_within(Duration::from_secs(120), "10,000 entries", || async {
            (index(&cluster, leader, "commit_index").await >= begun + BEHIND).then_some(())
        })
        .await;
        let status = cluster.status(leader).await.unwrap();
        let kept = status["log_length"].as_u64().unwrap();
        assert_eq!(kept < BEHIND, compacted, "{status}");
        let began = Instant::now();
        cluster.up(away).await;
        // Near the others although they go on, then like them.
        until_within(CATCH_UP_MAX, "the node to be near the others", || async {
            let ahead = index(&cluster, leader, "commit_index").await;
            let here = index(&cluster, away, "last_applied").await;
            (here + 200 > ahead && ahead > begun + BEHIND).then_some(())
        })
        .await;
        println!("{flag}: {BEHIND} entries behind, caught up after {:?}", began.elapsed());
        writers.stop();
    };
    join(writers.write(&cluster, &rest, WRITERS), running).await;
    cluster.agreed_within(&ALL, HEAL_MAX).await;
    cluster.ready_within(&ALL, HEAL_MAX).await;
    writers.assert_none_failed();
    let written = writers.taken();
    println!("{} writes", written.len());
    assert_all(&cluster, &[away], &written).await;
    assert_ne!(cluster.status(away).await.unwrap()["leader_id"], Value::Null);
}

#[tokio::test]
async fn a_node_ten_thousand_entries_behind_catches_up_from_the_log() {
    catches_up("--snapshot-entries=1000000", false).await;
}

#[tokio::test]
async fn a_node_ten_thousand_entries_behind_a_compacted_log_catches_up_by_a_snapshot() {
    catches_up("--snapshot-entries=1000", true).await;
}
