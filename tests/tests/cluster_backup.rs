//! Backups of clusters that go on meanwhile, and the new clusters that are made of them.
//!
//! # Contract
//! * What was acknowledged before a backup was asked for is in it, whichever node gave it.
//! * Under the name of a backup there is a whole one or what was there before, whatever is killed.
//! * A restored cluster and the one the backup was taken of never take each other's nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join;
use mcp_v8_cluster::backup::file::Reader;
use mcp_v8_cluster::state::keys;
use mcp_v8_tests::cluster::{Cluster, address, name, peers};
use mcp_v8_tests::writes::{HEAL_MAX, Writers, accepted, assert_all, must_put, put};
use mcp_v8_tests::{anonymous_memory_bytes, signal_process, until};
use rustix::process::Signal;
use serde_json::{Value, json};

const ALL: [usize; 3] = [1, 2, 3];

/// A script that outlives a backup and a restore.
const LONG: &str = "await new Promise(done => setTimeout(done, 6000)); 'ran to its end'";

/// How long until an execution of a lost node has ended elsewhere.
const TAKEOVER_MAX: Duration = Duration::from_secs(40);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Saves the state through a node, and gives what the command says of it.
async fn backup(cluster: &Cluster, node: usize, out: &Path) -> Value {
    let node = format!("--node={}", address(node));
    let out = format!("--out={}", text(out));
    cluster.operate(&[&node, "--json", "backup", &out]).await.json()
}

/// The words that restore a backup for a node among these founders.
fn restore_words(
    cluster: &Cluster,
    file: &Path,
    node: usize,
    founders: &[usize],
    token: &str,
) -> Vec<String> {
    let mut words = vec![
        "--json".to_owned(),
        "restore".to_owned(),
        text(file).to_owned(),
        format!("--node-id={}", name(node)),
        format!("--session-db-path={}", text(&cluster.disk(node))),
        "--cluster-port=4000".to_owned(),
        format!("--advertise-addr={}", address(node)),
    ];
    if founders.len() > 1 {
        words.push(peers(node, founders));
        words.push(format!("--cluster-token={token}"));
    }
    words
}

/// Restores a backup for a node among these founders.
async fn restore(
    cluster: &Cluster,
    file: &Path,
    node: usize,
    founders: &[usize],
    token: &str,
) -> Value {
    let words = restore_words(cluster, file, node, founders, token);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cluster.operate(&words).await.json()
}

/// A name that no file has yet.
fn fresh() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// The rows of a backup.
fn rows(file: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut reader = Reader::open(file).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = reader.row().unwrap() {
        rows.push(row);
    }
    rows
}

/// The rows that a stopped node has, from a backup of its store; without those about nodes, of which
/// each hears until it stops.
async fn rows_of_stopped(cluster: &Cluster, node: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let out = cluster.file(&format!("stopped-{node}.backup"));
    let words = [
        "backup".to_owned(),
        format!("--out={}", text(&out)),
        format!("--session-db-path={}", text(&cluster.disk(node))),
        format!("--node-id={}", name(node)),
    ];
    let ended = cluster.operate(&words.each_ref().map(String::as_str)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut rows = rows(&out);
    rows.retain(|(key, _)| !key.starts_with(keys::NODES));
    rows
}

async fn stop(cluster: &Cluster, nodes: &[usize]) {
    nodes.iter().for_each(|node| cluster.sigterm(*node));
    for node in nodes {
        assert_eq!(cluster.exited(*node, Duration::from_secs(30)).await.code(), Some(0));
    }
}

/// Runs a script on a node and gives its id.
async fn ran(cluster: &Cluster, node: usize, code: &str) -> String {
    let ran = cluster.exec(node, code, 30).await.unwrap();
    assert_eq!((ran.status, &ran.body["status"]), (200, &json!("completed")), "{ran:?}");
    ran.body["execution_id"].as_str().unwrap().to_owned()
}

/// Makes the state large: so many scripts that print a mebibyte each.
async fn grow(cluster: &Cluster, node: usize, mebibytes: usize) {
    for _ in 0..mebibytes {
        ran(cluster, node, "for (let n = 0; n < 1024; n++) console.log('x'.repeat(1023)); 'done'")
            .await;
    }
}

#[tokio::test]
async fn p1_a_backup_under_load_becomes_a_new_cluster_with_all_that_was_acknowledged_before() {
    let cluster = Cluster::with(&ALL, 6).await;
    for node in ALL {
        cluster.launch(node);
    }
    let leader = cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    let follower = cluster.all_but(&[leader, 4, 5, 6])[0];
    let finished = ran(&cluster, follower, "'before'").await;
    let writers = Writers::from(1);
    let file = cluster.file("under-load.backup");
    let taking = async {
        writers.more(200).await;
        let running = cluster.submit(follower, LONG).await;
        let mut before = Vec::new();
        // Each takes the place of the one before; any would do.
        for node in [leader, follower] {
            before = writers.taken();
            let taken = backup(&cluster, node, &file).await;
            println!("{} writes acknowledged; through node {node}: {taken}", before.len());
            assert!(taken["rows"].as_u64() > Some(before.len() as u64), "{taken}");
        }
        writers.more(50).await;
        writers.stop();
        (running, before)
    };
    let ((), (running, before)) = join(writers.write(&cluster, &ALL, 8), taking).await;
    writers.assert_none_failed();
    // Of the two the second one is there, and nothing else.
    let checked = cluster.operate(&["--json", "check-backup", text(&file)]).await.json();
    let old = cluster.status(leader).await.unwrap();
    assert_eq!(checked["cluster_id"], old["cluster_id"]);
    let listed = std::fs::read_dir(file.parent().unwrap()).unwrap().flatten();
    let partial = listed.filter(|file| file.file_name().to_string_lossy().contains("partial"));
    assert_eq!(partial.count(), 0);

    let new = [4, 5, 6];
    let mut ids = Vec::new();
    for node in new {
        let made = restore(&cluster, &file, node, &new, "first").await;
        ids.push(made["cluster_id"].clone());
        // The commands it names are those of the guide.
        let start = made["start"].as_str().unwrap();
        assert!(start.contains(&peers(node, &new)) && start.contains("--cluster-port=4000"));
        assert_eq!(made["restore_others"].as_array().unwrap().len(), 2, "{made}");
        cluster
            .set_flags(node, &[&format!("--advertise-addr={}", address(node)), &peers(node, &new)]);
        cluster.launch(node);
    }
    assert!(ids.iter().all(|id| *id == ids[0] && *id != old["cluster_id"]), "{ids:?}");
    cluster.agreed(&new).await;
    cluster.ready(&new).await;
    assert_eq!(cluster.status(5).await.unwrap()["cluster_id"], ids[0]);
    assert_all(&cluster, &new, &before).await;
    for node in new {
        let shown = cluster.get_execution(node, &finished).await.unwrap();
        assert_eq!(shown.body["result"], "before", "node {node}: {shown:?}");
        let ended = cluster.ended(node, &running, TAKEOVER_MAX).await;
        assert_eq!(ended["result"], "ran to its end", "node {node}: {ended}");
    }
    // The old one has gone on, and knows nothing of the new one.
    let ended = cluster.ended(leader, &running, TAKEOVER_MAX).await;
    assert_eq!(ended["result"], "ran to its end", "{ended}");
    must_put(&cluster, 4, 1_000_000, "new").await;
    let answer = mcp_v8_tests::writes::get(&cluster, leader, 1_000_000).await.unwrap();
    assert_eq!(answer.body, json!({"tags": {}}));
    // Every founder has the same state.
    cluster.agreed(&new).await;
    stop(&cluster, &new).await;
    let first = rows_of_stopped(&cluster, 4).await;
    for node in [5, 6] {
        let differ = rows_of_stopped(&cluster, node).await;
        assert_eq!(first.len(), differ.len(), "node 4 and node {node}");
        let differ = first.iter().zip(&differ).find(|(one, other)| one != other);
        assert!(differ.is_none(), "node 4 and node {node}: {differ:?}");
    }
}

#[tokio::test]
async fn nodes_of_the_old_cluster_are_strangers_to_the_new_one_at_the_same_addresses() {
    let cluster = Cluster::start(3).await;
    let before = ran(&cluster, 1, "'before'").await;
    let file = cluster.file("old.backup");
    let old = backup(&cluster, 2, &file).await["cluster_id"].clone();
    // Two machines are lost. The third goes on by itself, as what it was.
    for node in [1, 2] {
        cluster.kill9(node);
        cluster.wipe(node);
        restore(&cluster, &file, node, &ALL, "again").await;
        cluster.launch(node);
    }
    cluster.agreed(&[1, 2]).await;
    cluster.ready(&[1, 2]).await;
    let new = cluster.status(1).await.unwrap()["cluster_id"].clone();
    assert_ne!(new, old);
    // Each hears of the other and says so.
    until("both sides to say that they are strangers", || async {
        let said = |node: usize, cluster_id: &Value| {
            let log = cluster.log(node);
            let mut lines = log.lines().filter(|line| line.contains("a node of another cluster"));
            lines.any(|line| line.contains(cluster_id.as_str().unwrap()))
        };
        (said(3, &new) && (said(1, &old) || said(2, &old))).then_some(())
    })
    .await;
    // Nor by asking, nor by somebody who means well.
    let asks = json!({
        "node_id": "node3", "addr": address(3), "storage_id": cluster.status(3).await.unwrap()["storage_id"],
        "cluster_id": old,
    });
    let refused = cluster.raft_post(1, "/raft/join", &asks).await.unwrap();
    assert_eq!(refused.status, 409, "{refused:?}");
    let via = format!("--node={}", address(2));
    let refused = cluster.operate(&[&via, "join", "node3", &address(3)]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("belongs to cluster") && refused.err.contains("--join"));
    let status = cluster.status(3).await.unwrap();
    assert_eq!(status["cluster_id"], old, "{status}");
    let refused = put(&cluster, 3, 7, "by a stranger").await;
    assert!(!accepted(&refused), "{refused:?}");
    let members = cluster.status(1).await.unwrap()["members"].clone();
    let third = members.as_array().unwrap().iter().find(|member| member["name"] == "node3");
    assert_eq!(third.unwrap()["storage_id"], Value::Null, "{members}");
    // It comes in by the same way as the others.
    stop(&cluster, &[3]).await;
    let words = restore_words(&cluster, &file, 3, &ALL, "again");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let exists = cluster.operate(&words).await;
    assert_eq!(exists.code, Some(1), "{exists:?}");
    assert!(exists.err.contains("mv ") && exists.err.contains("never writes over"), "{exists:?}");
    std::fs::rename(cluster.store(3), cluster.disk(3).join("old")).unwrap();
    restore(&cluster, &file, 3, &ALL, "again").await;
    cluster.up(3).await;
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    for node in ALL {
        let shown = cluster.get_execution(node, &before).await.unwrap();
        assert_eq!(shown.body["result"], "before", "node {node}: {shown:?}");
    }
    must_put(&cluster, 3, 8, "a member").await;
}

#[tokio::test]
async fn founders_that_were_restored_with_different_tokens_refuse_each_other() {
    let cluster = Cluster::start(3).await;
    let file = cluster.file("one.backup");
    backup(&cluster, 1, &file).await;
    for node in ALL {
        cluster.kill9(node);
        cluster.wipe(node);
        let token = if node == 1 { "mistyped" } else { "right" };
        restore(&cluster, &file, node, &ALL, token).await;
        cluster.launch(node);
    }
    cluster.agreed(&[2, 3]).await;
    until("node 1 to be refused", || async {
        cluster.log(1).contains("a node of another cluster").then_some(())
    })
    .await;
    assert_eq!(cluster.status(1).await.unwrap()["leader_id"], Value::Null);
    stop(&cluster, &[1]).await;
    cluster.wipe(1);
    restore(&cluster, &file, 1, &ALL, "right").await;
    cluster.up(1).await;
    cluster.agreed(&ALL).await;
}

#[tokio::test]
async fn what_is_left_of_a_cluster_that_lost_its_majority_becomes_a_new_one() {
    let cluster = Cluster::start(3).await;
    let finished = ran(&cluster, 2, "'before'").await;
    let writers = Writers::from(1);
    let filling = async {
        writers.more(100).await;
        writers.stop();
    };
    join(writers.write(&cluster, &ALL, 4), filling).await;
    let leader = cluster.agreed(&ALL).await;
    let survivor = cluster.all_but(&[leader])[0];
    let file = cluster.file("survivor.backup");
    // Of a node that runs, only through its port.
    let words = [
        "backup".to_owned(),
        format!("--out={}", text(&file)),
        format!("--session-db-path={}", text(&cluster.disk(survivor))),
        format!("--node-id={}", name(survivor)),
    ];
    let words = words.each_ref().map(String::as_str);
    let held = cluster.operate(&words).await;
    assert_eq!(held.code, Some(1), "{held:?}");
    assert!(held.err.contains("is in use by process"), "{held:?}");
    // All lose power at once; two disks are gone.
    ALL.iter().for_each(|node| cluster.kill9(*node));
    let others = cluster.all_but(&[survivor]);
    others.iter().for_each(|node| cluster.wipe(*node));
    let taken = cluster.operate(&words).await;
    assert_eq!(taken.code, Some(0), "{taken:?}");
    std::fs::rename(cluster.store(survivor), cluster.disk(survivor).join("old")).unwrap();
    restore(&cluster, &file, survivor, &[survivor], "").await;
    cluster.set_flags(survivor, &[&format!("--advertise-addr={}", address(survivor))]);
    cluster.up(survivor).await;
    cluster.ready(&[survivor]).await;
    for node in &others {
        cluster.join(*node, survivor, &[]).await;
    }
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    assert_all(&cluster, &ALL, &writers.taken()).await;
    let shown = cluster.get_execution(others[0], &finished).await.unwrap();
    assert_eq!(shown.body["result"], "before", "{shown:?}");
    // It is a cluster like any other.
    cluster
        .until_status(survivor, "three voters", |status| {
            let members = status["members"].as_array().unwrap();
            members.len() == 3 && members.iter().all(|member| member["voter"] == true)
        })
        .await;
    let leader = cluster.agreed(&ALL).await;
    cluster.kill9(leader);
    let rest = cluster.all_but(&[leader]);
    cluster.agreed(&rest).await;
    must_put(&cluster, rest[0], 1_000_000, "after").await;
}

#[tokio::test]
async fn a_backup_that_is_broken_off_leaves_nothing_and_holds_nobody_up() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let asked = cluster.all_but(&[leader])[0];
    // More than lies in the buffers of a connection.
    grow(&cluster, leader, 40).await;
    cluster.agreed(&ALL).await;
    let file = cluster.file("wanted.backup");
    std::fs::write(&file, "the older one").unwrap();
    let node = format!("--node={}", address(asked));
    let out = format!("--out={}", text(&file));
    let words = [node.as_str(), "backup", out.as_str()];
    let partials = || {
        let listed = std::fs::read_dir(file.parent().unwrap()).unwrap().flatten();
        let names = listed.map(|file| file.path());
        names.filter(|path| text(path).contains("wanted.backup.partial")).collect::<Vec<_>>()
    };
    let begun = |count: usize| async move {
        until("a backup to come in", || async {
            let begun = partials()
                .into_iter()
                .filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0));
            (begun.count() == count).then_some(())
        })
        .await;
    };
    // Receivers that stop taking: as many as a node serves at once.
    let mut slow = Vec::new();
    for count in 1..=mcp_v8_cluster::limits::BACKUPS_AT_ONCE_MAX {
        let child = cluster.operator(&words).spawn().unwrap();
        begun(count).await;
        signal_process(child.id(), Signal::STOP);
        slow.push(child);
    }
    let memory = anonymous_memory_bytes(cluster.pid(asked));
    let refused = cluster.operate(&words).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("backups are being taken"), "{refused:?}");
    for number in 0..200 {
        must_put(&cluster, asked, number, "beside it").await;
    }
    let grown = anonymous_memory_bytes(cluster.pid(asked)).saturating_sub(memory);
    println!("{} slow receivers: {grown} bytes more on the node", slow.len());
    assert!(grown < 32 * 1024 * 1024, "{grown}");
    // One receiver is killed, the other goes on and has a whole backup.
    let mut killed = slow.remove(0);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"the older one");
    signal_process(slow[0].id(), Signal::CONT);
    let done = slow.remove(0).wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let whole = cluster.operate(&["--json", "check-backup", text(&file)]).await.json();
    assert!(whole["bytes"].as_u64() > Some(40 * 1024 * 1024), "{whole}");
    let kept = std::fs::read(&file).unwrap();
    for left in partials() {
        // Of the one that was killed.
        std::fs::remove_file(left).unwrap();
    }
    // The node is killed.
    let child = cluster.operator(&words).spawn().unwrap();
    begun(1).await;
    signal_process(child.id(), Signal::STOP);
    cluster.kill9(asked);
    signal_process(child.id(), Signal::CONT);
    let broken = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert_eq!(broken.status.code(), Some(2), "{said}");
    assert!(said.contains("has broken off"), "{said}");
    assert!(partials().is_empty() && std::fs::read(&file).unwrap() == kept);
    cluster.up(asked).await;
    cluster.agreed_within(&ALL, HEAL_MAX).await;
    let left = std::fs::read_dir(cluster.store(asked).join("snapshots")).unwrap().flatten();
    let left: Vec<_> = left.map(|file| file.file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".snapshot")), "{left:?}");
}

#[tokio::test]
async fn what_makes_no_backup_and_no_cluster_is_said_with_what_to_do() {
    let cluster = Cluster::start(3).await;
    let file = cluster.file("good.backup");
    backup(&cluster, 1, &file).await;
    let said = |words: Vec<String>| {
        let cluster = &cluster;
        async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = cluster.operate(&words).await;
            assert_eq!(ended.out, "", "{words:?}");
            (ended.code, ended.err)
        }
    };
    let node = |node: usize| format!("--node={}", address(node));
    let out = |path: &Path| format!("--out={}", text(path));

    // A node without a majority cannot know what was acknowledged.
    let follower = cluster.all_but(&[cluster.agreed(&ALL).await])[0];
    cluster.isolate(follower);
    let other = cluster.file("minority.backup");
    let minority = said(vec![node(follower), "backup".to_owned(), out(&other)]).await;
    assert_eq!(minority.0, Some(1), "{minority:?}");
    assert!(minority.1.contains("the cluster cannot be asked"), "{minority:?}");
    assert!(!other.exists());
    cluster.heal();
    cluster.kill9(follower);
    let unreached = said(vec![node(follower), "backup".to_owned(), out(&other)]).await;
    assert_eq!(unreached.0, Some(2), "{unreached:?}");
    assert!(unreached.1.contains("is not reached"), "{unreached:?}");
    let nowhere = cluster.file("none").join("x.backup");
    let unwritable = said(vec![node(1), "backup".to_owned(), out(&nowhere)]).await;
    assert_eq!(unwritable.0, Some(1), "{unwritable:?}");
    assert!(unwritable.1.contains("cannot be written"), "{unwritable:?}");

    let whole = std::fs::read(&file).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        let path = cluster.file(&format!("{}.backup", fresh()));
        std::fs::write(&path, bytes).unwrap();
        restore_words(&cluster, &path, 3, &ALL, "t")
    };
    let middle = whole.len() / 2;
    for (words, code, expected) in [
        (with(&|bytes| bytes.truncate(middle)), 1, "is cut off"),
        (with(&|bytes| bytes[middle] ^= 4), 1, "does not match its checksum"),
        (with(&|bytes| bytes[8] = 9), 1, "made by mcp-v8"),
        (with(&|bytes| bytes[0] = b'X'), 1, "is no backup"),
        (restore_words(&cluster, &file, 3, &ALL, ""), 2, "--cluster-token="),
        (restore_words(&cluster, &cluster.file("none"), 3, &ALL, "t"), 1, "No such file"),
    ] {
        let words: Vec<String> = words
            .into_iter()
            .map(|word| match word.strip_prefix("--session-db-path=") {
                Some(_) => format!("--session-db-path={}", text(&cluster.file("new"))),
                None => word,
            })
            .collect();
        let refused = said(words).await;
        assert_eq!(refused.0, Some(code), "{refused:?}");
        assert!(refused.1.contains(expected), "{refused:?}");
        assert!(!cluster.file("new").join("cluster-node3").exists(), "{refused:?}");
        assert!(!cluster.file("new").join("cluster-node3.restoring").exists(), "{refused:?}");
    }
    let nameless = vec![
        "restore".to_owned(),
        text(&file).to_owned(),
        "--cluster-port=4000".to_owned(),
        "--peers=10.77.0.2:4000".to_owned(),
        "--cluster-token=t".to_owned(),
    ];
    let refused = said(nameless).await;
    assert_eq!(refused.0, Some(2), "{refused:?}");
    assert!(refused.1.contains("ID@HOST:PORT"), "{refused:?}");
}

#[tokio::test]
async fn p1_a_backup_and_a_restored_store_get_their_names_when_they_are_on_the_disk() {
    let cluster = Cluster::start(1).await;
    ran(&cluster, 1, "'before'").await;
    let file = cluster.file("synced.backup");
    let calls = |words: Vec<String>| {
        let trace = cluster.file("trace");
        let plain = cluster.operator(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut traced = std::process::Command::new("strace");
        traced
            .args(["-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat2", "-o", text(&trace)])
            .arg(plain.get_program())
            .args(plain.get_args());
        let ended = traced.output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let text = std::fs::read_to_string(&trace).unwrap();
        let calls = text.lines().filter(|line| line.ends_with("= 0")).map(str::to_owned);
        calls.collect::<Vec<_>>()
    };
    let at = |calls: &[String], what: &[&str]| {
        let found = calls.iter().position(|call| what.iter().all(|part| call.contains(part)));
        found.unwrap_or_else(|| panic!("no {what:?} in {calls:#?}"))
    };
    let out = format!("--out={}", text(&file));
    let saving = calls(vec![format!("--node={}", address(1)), "backup".to_owned(), out]);
    let directory = format!("{}>", text(file.parent().unwrap()));
    let renamed = at(&saving, &["rename", "synced.backup.partial"]);
    assert!(at(&saving, &["fsync", "synced.backup.partial"]) < renamed, "{saving:#?}");
    assert!(renamed < at(&saving, &["fsync", &directory]), "{saving:#?}");

    let new = cluster.file("new");
    let restoring = calls(vec![
        "restore".to_owned(),
        text(&file).to_owned(),
        format!("--session-db-path={}", text(&new)),
    ]);
    let renamed = at(&restoring, &["renameat2", "cluster-node1.restoring"]);
    for synced in ["restoring/db>", "restoring/conf>", "state/db>", ".snapshot>", "restoring>"] {
        assert!(at(&restoring, &["sync", synced]) < renamed, "{synced}: {restoring:#?}");
    }
    let directory = format!("{}>", text(&new));
    assert!(renamed < at(&restoring, &["fsync", &directory]), "{restoring:#?}");
}
