//! Sessions in a cluster: any node, any death, any minority of disks.
//!
//! # Contract
//! * A step that was answered is in the session for good; one that was not is there once or not at
//!   all, and whoever asks again under its key hears which.
//! * The points at which [`p2_a_node_that_is_killed_at_any_point_leaves_the_old_head_or_the_new_one`]
//!   kills a node are those of `supervisor/src/failpoints.rs`; they are in debug builds only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use mcp_v8_supervisor::failpoints::Point;
use mcp_v8_tests::bucket::{BUCKET, S3};
use mcp_v8_tests::cluster::{Cluster, address};
use mcp_v8_tests::steps::{heap_file, heaps, must_step, step, step_under_key};
use mcp_v8_tests::{until, until_within};
use serde_json::{Value, json};

const ALL: [usize; 3] = [1, 2, 3];

/// How long a step may take whose node has died: until that is declared lost, and once more.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(30);

async fn settled(cluster: &Cluster) {
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
}

async fn entries(cluster: &Cluster, node: usize, session: &str) -> Vec<Value> {
    let path = format!("/api/sessions/{session}/snapshots?limit=1000&fields=index,output_heap");
    let answer = cluster.get(node, &path).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["entries"].as_array().unwrap().clone()
}

/// The heap that a session stands at.
async fn head(cluster: &Cluster, node: usize, session: &str) -> String {
    let entries = entries(cluster, node, session).await;
    entries.last().unwrap()["output_heap"].as_str().unwrap().to_owned()
}

/// P6: each step at another node than the one before.
#[tokio::test(flavor = "multi_thread")]
async fn p6_a_session_goes_on_at_any_node() {
    let cluster = Cluster::start(3).await;
    must_step(&cluster, 1, "s", "globalThis.n = 0").await;
    for n in 1..=12 {
        let result = must_step(&cluster, ALL[n % 3], "s", "n += 1").await;
        assert_eq!(result, n.to_string());
    }
    // At once at all of them: in some order, each once.
    let racing = (0..12).map(|n| must_step(&cluster, ALL[n % 3], "s", "n += 1"));
    let mut results: Vec<usize> =
        join_all(racing).await.iter().map(|result| result.parse().unwrap()).collect();
    results.sort_unstable();
    assert_eq!(results, (13..=24).collect::<Vec<_>>());
    for node in ALL {
        assert_eq!(entries(&cluster, node, "s").await.len(), 25);
        let names = cluster.get(node, "/api/sessions").await.unwrap();
        assert_eq!(names.body, json!({ "sessions": ["s"] }));
    }
    // Where it was answered it is on a majority; the third takes it as well.
    let head = head(&cluster, 1, "s").await;
    for node in ALL {
        until("every node to have the heap", || async {
            heap_file(&cluster, node, &head).exists().then_some(())
        })
        .await;
    }
}

/// P7: what is on the disks of a majority is there, whichever minority is lost; and who lost its disk
/// has it again without being asked.
#[tokio::test(flavor = "multi_thread")]
async fn p7_sessions_survive_the_loss_of_any_minority_of_disks() {
    let cluster = Cluster::start(3).await;
    for lost in ALL {
        let session = format!("s{lost}");
        for n in 0..5 {
            let code = "globalThis.n = (globalThis.n ?? 0) + 1";
            // The last one at the node that is lost.
            must_step(&cluster, ALL[(lost + n + 1) % 3], &session, code).await;
        }
        cluster.kill9(lost);
        cluster.wipe(lost);
        let others = cluster.all_but(&[lost]);
        cluster.leader(&others).await;
        for node in others {
            assert_eq!(must_step(&cluster, node, &session, "n").await, "5", "it was spread");
        }
        cluster.up(lost).await;
        settled(&cluster).await;
        assert_eq!(
            must_step(&cluster, lost, &session, "n").await,
            "5",
            "fetched when it is needed"
        );
        for earlier in 1..=lost {
            let session = format!("s{earlier}");
            let path = format!("/api/sessions/{session}/snapshots?fields=output_heap");
            let answer = cluster.get(lost, &path).await.unwrap();
            for entry in answer.body["entries"].as_array().unwrap() {
                let file = heap_file(&cluster, lost, entry["output_heap"].as_str().unwrap());
                until(&format!("{} to come back", file.display()), || async {
                    file.exists().then_some(())
                })
                .await;
            }
        }
    }
}

/// A voter that keeps no executions of its own has the others' heaps, so that they have a majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_executions_of_its_own_counts_for_the_majority_of_heaps() {
    let cluster = Cluster::of(3).await;
    cluster.set_env(3, "MCP_V8_STATELESS", "true");
    for node in ALL {
        cluster.launch(node);
    }
    settled(&cluster).await;
    must_step(&cluster, 1, "s", "globalThis.n = 1").await;
    cluster.kill9(2);
    cluster.leader(&[1, 3]).await;
    assert_eq!(must_step(&cluster, 1, "s", "n += 1").await, "2");
    let head = head(&cluster, 1, "s").await;
    assert!(heap_file(&cluster, 3, &head).exists());
    let refused = cluster.operate(&["--node", &address(1), "drain", "node3"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("'node3' runs no scripts of the cluster"), "{refused:?}");
    // And gives them back.
    cluster.up(2).await;
    settled(&cluster).await;
    assert_eq!(must_step(&cluster, 2, "s", "n += 1").await, "3");
}

/// P2, P7: the points of DESIGN's path of an execution, each with a death of the node that owns it.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_node_that_is_killed_at_any_point_leaves_the_old_head_or_the_new_one() {
    let cluster = Cluster::start(3).await;
    let (owner, others) = (2, [1, 3]);
    must_step(&cluster, owner, "s", "globalThis.n = 0").await;
    for (number, point) in (1..).zip(Point::ALL) {
        settled(&cluster).await;
        cluster.kill9(owner);
        cluster.set_env(owner, "MCP_V8_KILL_AT", point.name());
        cluster.up(owner).await;
        settled(&cluster).await;
        let before = head(&cluster, 1, "s").await;
        let request = json!({ "code": "n += 1", "session": "s" });
        let (key, begun) = (format!("step {number}"), Instant::now());
        let answer = cluster.exec_under_key(owner, &request, &key, TAKEN_OVER_MAX).await;
        assert!(answer.is_err(), "{point:?}: it was to be killed: {answer:?}");
        until(&format!("the node to be killed at {point:?}"), || async {
            (!cluster.runs(owner)).then_some(())
        })
        .await;
        assert!(cluster.log(owner).contains(&format!("point=\"{}\"", point.name())), "{point:?}");
        // What everybody sees now is the old head or the new one, and the new one stays.
        cluster.leader(&others).await;
        let seen = head(&cluster, 1, "s").await;
        let ended = step_under_key(&cluster, &others, "s", "n += 1", &key).await;
        let took = begun.elapsed();
        assert_eq!(ended["result"], number.to_string(), "{point:?}: {ended}");
        assert!(took < TAKEN_OVER_MAX, "{point:?}: {took:?}");
        let after = head(&cluster, 3, "s").await;
        assert_eq!(ended["heap"], after.as_str(), "{point:?}");
        assert!(seen == before || seen == after, "{point:?}");
        if point == Point::Completed {
            assert_eq!(seen, after, "it was committed");
        }
        assert_eq!(entries(&cluster, 1, "s").await.len(), number + 1, "{point:?}");
        eprintln!("killed at {:<10} answered elsewhere after {took:?}", point.name());
        cluster.set_env(owner, "MCP_V8_KILL_AT", "");
        cluster.up(owner).await;
    }
    settled(&cluster).await;
    assert_eq!(must_step(&cluster, owner, "s", "n").await, Point::ALL.len().to_string());
}

/// P2, P7: many sessions while nodes are killed; every counter is exact in the end.
#[tokio::test(flavor = "multi_thread")]
async fn p7_every_step_counts_once_while_nodes_are_killed() {
    every_step_counts_once(&Cluster::start(3).await, |_| ()).await;
}

/// P7: the same where all keep their heaps in one bucket, and who is killed loses what it had of it.
#[tokio::test(flavor = "multi_thread")]
async fn p7_every_step_counts_once_from_one_bucket_while_nodes_and_their_caches_are_lost() {
    let cluster = Cluster::of(3).await;
    let _s3 = S3::beside(&cluster).await;
    cluster.add_flag("--heap-store=s3");
    cluster.add_flag(&format!("--s3-bucket={BUCKET}"));
    for node in ALL {
        cluster.launch(node);
    }
    settled(&cluster).await;
    every_step_counts_once(&cluster, |lost| {
        std::fs::remove_dir_all(heaps(&cluster, lost)).unwrap();
    })
    .await;
}

/// Sessions step at all nodes while these are killed one after the other, `harm` is done to who was
/// killed, and it comes back.
async fn every_step_counts_once(cluster: &Cluster, harm: impl Fn(usize)) {
    const SESSIONS: usize = 12;
    const KILLS: usize = 6;
    let (killed, steps, lost) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let client = |which: usize| {
        let (killed, steps, lost) = (&killed, &steps, &lost);
        async move {
            let session = format!("s{which}");
            let mut nodes = ALL;
            nodes.rotate_left(which % 3);
            let (mut n, mut asked) = (0, 0);
            while killed.get() < KILLS {
                asked += 1;
                let code = "globalThis.n = (globalThis.n ?? 0) + 1";
                let key = format!("{session} {asked}");
                let ended = step_under_key(cluster, &nodes, &session, code, &key).await;
                nodes.rotate_left(1);
                if ended["error"]["kind"] == "node_lost" {
                    // Every node it was given to died. It says so, and the old head stands.
                    lost.set(lost.get() + 1);
                    continue;
                }
                n += 1;
                assert_eq!(ended["result"], n.to_string(), "{session}: {ended}");
                steps.set(steps.get() + 1);
            }
            n
        }
    };
    let killer = async {
        for kill in 0..KILLS {
            // Some go on in between, at whatever speed.
            let before = steps.get();
            until("steps", || async { (steps.get() > before + SESSIONS).then_some(()) }).await;
            let victim = ALL[kill % 3];
            cluster.kill9(victim);
            harm(victim);
            cluster.up(victim).await;
            cluster.ready(&ALL).await;
            killed.set(kill + 1);
        }
    };
    let (counts, ()) = join(join_all((0..SESSIONS).map(client)), killer).await;
    eprintln!("{KILLS} nodes killed during {} steps, {} were lost", steps.get(), lost.get());
    assert!(lost.get() * 10 < steps.get(), "a lost step is the exception");
    settled(cluster).await;
    for (which, count) in counts.into_iter().enumerate() {
        let session = format!("s{which}");
        assert_eq!(entries(cluster, ALL[which % 3], &session).await.len(), count);
        let last = must_step(cluster, ALL[(which + 1) % 3], &session, "n").await;
        assert_eq!(last, count.to_string());
    }
}

/// P7: a heap whose file is damaged is fetched from another node; where every copy is damaged the step
/// fails before a line of it runs, and no other session is harmed.
#[tokio::test(flavor = "multi_thread")]
async fn p7_a_damaged_heap_is_fetched_again_or_refused_and_harms_no_other_session() {
    let cluster = Cluster::start(3).await;
    must_step(&cluster, 1, "s", "globalThis.n = 5").await;
    must_step(&cluster, 1, "other", "globalThis.n = 6").await;
    let heap = head(&cluster, 1, "s").await;
    for node in ALL {
        until("every node to have the heap", || async {
            heap_file(&cluster, node, &heap).exists().then_some(())
        })
        .await;
    }
    let restart = async |nodes: &[usize]| {
        for node in nodes {
            cluster.kill9(*node);
        }
        for node in nodes {
            cluster.up(*node).await;
        }
        settled(&cluster).await;
    };
    let damage = |node: usize, how: &str| {
        let path = heap_file(&cluster, node, &heap);
        let mut bytes = std::fs::read(&path).unwrap();
        match how {
            "cut" => bytes.truncate(bytes.len() / 2),
            "flipped" => {
                let at = bytes.len() - 100;
                bytes[at] ^= 1;
            }
            _ => bytes = b"something else".to_vec(),
        }
        std::fs::write(path, bytes).unwrap();
    };
    for how in ["cut", "flipped", "another file"] {
        damage(2, how);
        // What it has in memory is whole.
        restart(&[2]).await;
        assert_eq!(must_step(&cluster, 2, "s", "n").await, "5", "{how}");
        let request = json!({ "code": "n", "heap": heap });
        let answer = cluster.exec_with(2, &request, 60).await.unwrap();
        assert_eq!(answer.body["result"], "5", "{how}: {answer:?}");
    }
    for node in ALL {
        damage(node, "flipped");
    }
    restart(&ALL).await;
    let request = json!({ "code": "console.log('ran')", "heap": heap });
    let answer = cluster.exec_with(1, &request, 60).await.unwrap();
    assert_eq!(answer.body["error_detail"]["kind"], "heap_not_restored", "{answer:?}");
    assert_eq!(answer.body["output"], "", "{answer:?}");
    assert_eq!(must_step(&cluster, 1, "other", "n").await, "6");
}

/// P8: whoever waits at a node that stops for a step, or for the turn of one, hears how it ended.
#[tokio::test(flavor = "multi_thread")]
async fn p8_a_stop_hands_sessions_over_without_an_error() {
    let cluster = Cluster::start(3).await;
    must_step(&cluster, 1, "s", "globalThis.n = 0").await;
    let stopping = 2;
    // Some run, some wait for their turn, all of them at the node that stops.
    let slow = "await new Promise((done) => setTimeout(done, 400)); n += 1";
    let steps = (0..8).map(|_| must_step(&cluster, stopping, "s", slow));
    let stop = async {
        until("the steps to be there", || async {
            let list = cluster.get(stopping, "/api/executions").await.ok()?;
            let rows = list.body["executions"].as_array()?;
            (rows.iter().filter(|row| row["status"] == "running").count() == 8).then_some(())
        })
        .await;
        cluster.sigterm(stopping);
        cluster.exited(stopping, Duration::from_secs(60)).await
    };
    let (results, exit) = join(join_all(steps), stop).await;
    assert!(exit.success(), "{exit:?}");
    let mut results: Vec<usize> = results.iter().map(|result| result.parse().unwrap()).collect();
    results.sort_unstable();
    assert_eq!(results, (1..=8).collect::<Vec<_>>());
    assert_eq!(must_step(&cluster, 1, "s", "n").await, "8");
    cluster.up(stopping).await;
    settled(&cluster).await;
    let found = until_within(TAKEN_OVER_MAX, "the node to have the heaps again", || async {
        let head = head(&cluster, 1, "s").await;
        heap_file(&cluster, stopping, &head).exists().then_some(head)
    })
    .await;
    assert!(heaps(&cluster, stopping).exists() && !found.is_empty());
    assert!(step(&cluster, stopping, "s", "n").await.is_ok());
}

/// P8: a node that is drained by hand gives what it has to others, says when nothing is left, and goes
/// on voting; started again it takes work as before.
#[tokio::test(flavor = "multi_thread")]
async fn p8_a_node_is_drained_by_hand_and_its_sessions_go_on_elsewhere() {
    let cluster = Cluster::start_with(3, &["--drain-timeout=1"]).await;
    must_step(&cluster, 2, "s", "globalThis.n = 0").await;
    let slow = "await new Promise((done) => setTimeout(done, 700)); n += 1";
    let steps = (0..6).map(|_| must_step(&cluster, 2, "s", slow));
    let drain = async {
        until("the steps to be there", || async {
            let list = cluster.get(2, "/api/executions").await.ok()?;
            let rows = list.body["executions"].as_array()?;
            (rows.iter().filter(|row| row["status"] == "running").count() == 6).then_some(())
        })
        .await;
        // Through another node.
        cluster.operate(&["--node", &address(1), "drain", "node2"]).await
    };
    let (results, drained) = join(join_all(steps), drain).await;
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert!(drained.out.contains("node2 runs no scripts any more"), "{drained:?}");
    let mut results: Vec<usize> = results.iter().map(|result| result.parse().unwrap()).collect();
    results.sort_unstable();
    assert_eq!(results, (1..=6).collect::<Vec<_>>());
    let ready = cluster.get(2, "/readyz").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.body.to_string().contains("drained on request"), "{ready:?}");
    // Whoever asks it all the same is answered, by another node's work.
    assert_eq!(must_step(&cluster, 2, "s", "n").await, "6");
    let unknown = cluster.operate(&["--node", &address(1), "drain", "node9"]).await;
    assert!(unknown.err.contains("members: "), "{unknown:?}");
    // The next one; and then nobody is left to give anything to: refused, and why.
    let next = cluster.operate(&["--node", &address(1), "drain", "node1"]).await;
    assert_eq!(next.code, Some(0), "{next:?}");
    let refused = cluster.operate(&["--node", &address(1), "drain", "node3"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("no other node takes what 'node3' has"), "{refused:?}");
    assert_eq!(must_step(&cluster, 1, "s", "n").await, "6");
    // They vote: without the third there is a majority still.
    cluster.kill9(3);
    cluster.leader(&[1, 2]).await;
    cluster.up(3).await;
    for node in [1, 2] {
        cluster.kill9(node);
        cluster.up(node).await;
        cluster.agreed(&ALL).await;
    }
    settled(&cluster).await;
    assert_eq!(must_step(&cluster, 2, "s", "n").await, "6");
}
