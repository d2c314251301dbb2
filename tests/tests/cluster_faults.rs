//! What three nodes still do when one of them is killed, frozen, cut off or stopped.
//!
//! # Contract
//! * A write counts when it is answered 200. What was answered so is there afterwards, on every node.
//! * What is not answered may or may not have happened, but is the same on every node.
//! * A node without a majority answers 503 or nothing; never what was true before.
//! * The time without service is printed, and bounded where the promises say so. Debug builds on a busy
//!   machine get twice the promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use mcp_v8_tests::cluster::{Answer, Cluster};
use mcp_v8_tests::until_within;
use mcp_v8_tests::writes::{
    HEAL_MAX, Writers, accepted, assert_all, assert_has, get, heap, must_put, put,
};
use serde_json::json;

const ALL: [usize; 3] = [1, 2, 3];

/// How long writes may stop when a leader is lost.
const FAILOVER_MAX: Duration = Duration::from_secs(2);

/// That a node took neither a write nor answers anything as if it were up to date.
async fn assert_no_service(cluster: &Cluster, node: usize, number: usize) {
    let code = "'run by a minority'";
    let (read, (write, run)) = join(
        get(cluster, node, number),
        join(put(cluster, node, number + 1_000_000, "minority"), cluster.exec(node, code, 5)),
    )
    .await;
    for (what, answer) in [("read", read), ("write", write), ("script", run)] {
        if let Ok(Answer { status, body }) = answer {
            assert_eq!(status, 503, "a {what} at the minority, node {node}: {body}");
        }
    }
}

/// Writes until one is accepted, on each of these nodes; gives how long that took. Who had asked in
/// the meantime, and went on waiting, counts: the time until a fresh request is taken is printed.
async fn outage(cluster: &Cluster, nodes: &[usize], number: usize) -> Duration {
    let begun = Instant::now();
    let limit = Duration::from_secs(30);
    let patient = nodes.iter().map(|node| async move {
        let value = format!("after {node}");
        until_within(limit, &format!("node {node} to take a write"), || async {
            accepted(&put(cluster, *node, number + node, &value).await).then_some(())
        })
        .await;
    });
    let impatient = nodes.iter().map(|node| async move {
        let (heap, value) = (heap(number + 100_000 + node), json!({"v": "fresh"}));
        until_within(limit, &format!("node {node} to take a fresh write"), || async {
            let patience = Duration::from_millis(200);
            accepted(&cluster.put_tags(*node, &heap, &value, patience).await).then_some(())
        })
        .await;
        println!("node {node} took a fresh write after {:?}", begun.elapsed());
    });
    join(join_all(patient), join_all(impatient)).await;
    begun.elapsed()
}

#[tokio::test]
async fn writes_resume_soon_after_the_leader_is_killed() {
    let cluster = Cluster::start(3).await;
    let mut longest = Duration::ZERO;
    for round in 0..5 {
        let leader = cluster.agreed(&ALL).await;
        let rest = cluster.all_but(&[leader]);
        must_put(&cluster, rest[0], round * 10, "before").await;
        cluster.kill9(leader);
        let outage = outage(&cluster, &rest, round * 10).await;
        println!("round {round}: no writes for {outage:?} after kill -9 of the leader");
        longest = longest.max(outage);
        for node in &rest {
            assert_has(&cluster, *node, round * 10, "before").await;
        }
        cluster.up(leader).await;
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        cluster.ready(&ALL).await;
    }
    assert!(longest <= FAILOVER_MAX, "no writes for {longest:?}");
}

#[tokio::test]
async fn every_acknowledged_value_outlives_kill_9_of_all_three() {
    let cluster = Cluster::start(3).await;
    let (mut all, mut runs) = (Vec::new(), Vec::new());
    for round in 0..3_usize {
        for node in ALL {
            let ran = cluster.exec(node, &format!("'round {round} on {node}'"), 30).await.unwrap();
            assert_eq!(ran.status, 200, "{ran:?}");
            let id = ran.body["execution_id"].as_str().unwrap().to_owned();
            runs.push((id, format!("round {round} on {node}")));
        }
        let writers = Writers::from(round * 1_000_000);
        let killing = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            // In another order each time, while writes are on their way.
            for node in ALL {
                cluster.kill9((node + round) % 3 + 1);
            }
            writers.stop();
        };
        join(writers.write(&cluster, &ALL, 8), killing).await;
        let taken = writers.taken();
        println!("round {round}: {} writes acknowledged", taken.len());
        assert!(taken.len() > 20, "only {} writes in two seconds", taken.len());
        all.extend(taken);
        for node in ALL {
            cluster.launch(node);
        }
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        cluster.ready(&ALL).await;
        assert_all(&cluster, &ALL, &all).await;
        for (id, result) in &runs {
            for node in ALL {
                let shown = cluster.get_execution(node, id).await.unwrap();
                assert_eq!(shown.body["result"], result.as_str(), "node {node}: {shown:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_frozen_leader_is_replaced_and_answers_nothing_old_when_it_wakes() {
    let cluster = Cluster::start(3).await;
    let mut longest = Duration::ZERO;
    for round in 0..3 {
        let number = round * 10 + 1;
        let leader = cluster.agreed(&ALL).await;
        let rest = cluster.all_but(&[leader]);
        must_put(&cluster, leader, number, "old").await;
        cluster.sigstop(leader);
        let outage = outage(&cluster, &rest, number).await;
        println!("round {round}: no writes for {outage:?} after SIGSTOP of the leader");
        longest = longest.max(outage);
        must_put(&cluster, rest[0], number, "new").await;
        // Asked while it sleeps: what it says first is what it would say to anyone.
        let asked = join_all((0..8).map(|_| get(&cluster, leader, number)));
        let waking = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            cluster.sigcont(leader);
        };
        let (answers, ()) = join(asked, waking).await;
        for answer in answers {
            if accepted(&answer) {
                assert_eq!(answer.unwrap().body["tags"]["v"], "new", "the old leader, awake again");
            }
        }
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        cluster.ready(&ALL).await;
        assert_has(&cluster, leader, number, "new").await;
    }
    assert!(longest <= FAILOVER_MAX, "no writes for {longest:?}");
}

#[tokio::test]
async fn a_frozen_follower_holds_nobody_up_and_catches_up() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let followers = cluster.all_but(&[leader]);
    let term = cluster.status(leader).await.unwrap()["term"].clone();
    cluster.sigstop(followers[0]);
    let mut slowest = Duration::ZERO;
    for number in 0..100 {
        let begun = Instant::now();
        must_put(&cluster, [leader, followers[1]][number % 2], number, "written without it").await;
        slowest = slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("slowest write beside a frozen follower: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    cluster.sigcont(followers[0]);
    assert_eq!(cluster.agreed_within(&ALL, HEAL_MAX).await, leader);
    assert_eq!(cluster.status(leader).await.unwrap()["term"], term, "it disturbed the leader");
    for number in 0..100 {
        assert_has(&cluster, followers[0], number, "written without it").await;
    }
}

#[tokio::test]
async fn nodes_far_behind_catch_up_by_a_snapshot() {
    const WRITES: usize = 3000;
    let cluster = Cluster::start_with(3, &["--snapshot-entries=100"]).await;
    let leader = cluster.agreed(&ALL).await;
    let rest = cluster.all_but(&[leader]);
    let run = cluster.exec(rest[1], "'before'", 30).await.unwrap();
    let id = run.body["execution_id"].as_str().unwrap();
    cluster.kill9(rest[0]);
    // One after the other in each chain: many entries rather than few large ones.
    let chains = (0..4).map(|chain| {
        let cluster = &cluster;
        async move {
            for number in (chain..WRITES).step_by(4) {
                must_put(cluster, leader, number, &format!("value {number}")).await;
            }
        }
    });
    join_all(chains).await;
    let status = cluster.status(leader).await.unwrap();
    assert!(status["snapshot_index"].as_u64() > Some(500), "nothing was compacted: {status}");
    assert!(status["log_length"].as_u64() < Some(1500), "the log only grows: {status}");
    // Once with the disk it had, once with none.
    for wiped in [false, true] {
        if wiped {
            cluster.kill9(rest[0]);
            cluster.wipe(rest[0]);
        }
        let begun = Instant::now();
        cluster.up(rest[0]).await;
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        cluster.ready(&ALL).await;
        println!("wiped: {wiped}; {WRITES} writes behind, one cluster after {:?}", begun.elapsed());
        for number in (0..WRITES).step_by(97) {
            assert_has(&cluster, rest[0], number, &format!("value {number}")).await;
        }
        let shown = cluster.get_execution(rest[0], id).await.unwrap();
        assert_eq!(shown.body["result"], "before", "{shown:?}");
    }
    // What it got is enough to go on without the others' help.
    cluster.kill9(leader);
    cluster.agreed(&rest).await;
    must_put(&cluster, rest[0], WRITES, "after").await;
}

#[tokio::test]
async fn a_leader_cut_off_neither_takes_writes_nor_reads_and_follows_once_healed() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let rest = cluster.all_but(&[leader]);
    must_put(&cluster, leader, 1, "old").await;
    cluster.isolate(leader);
    let outage = outage(&cluster, &rest, 10).await;
    println!("no writes for {outage:?} after the leader was cut off");
    must_put(&cluster, rest[0], 1, "new").await;
    assert_no_service(&cluster, leader, 1).await;
    let ready = cluster.get(leader, "/readyz").await.unwrap();
    assert_eq!(ready.status, 503, "{ready:?}");
    for node in &rest {
        assert_has(&cluster, *node, 1, "new").await;
    }
    cluster.heal();
    let begun = Instant::now();
    cluster.agreed_within(&ALL, HEAL_MAX).await;
    cluster.ready_within(&ALL, HEAL_MAX).await;
    println!("one cluster again {:?} after the cut was healed", begun.elapsed());
    for node in ALL {
        assert_has(&cluster, node, 1, "new").await;
    }
    // What the minority refused is nowhere, or everywhere.
    let refused = join_all(ALL.map(|node| get(&cluster, node, 1_000_001))).await;
    let refused: Vec<_> = refused.into_iter().map(|answer| answer.unwrap().body).collect();
    assert!(refused.windows(2).all(|pair| pair[0] == pair[1]), "{refused:?}");
    assert!(outage <= FAILOVER_MAX, "no writes for {outage:?}");
}

#[tokio::test]
async fn a_follower_cut_off_serves_nothing_old_and_does_not_depose_the_leader() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let followers = cluster.all_but(&[leader]);
    must_put(&cluster, leader, 1, "old").await;
    assert_has(&cluster, followers[0], 1, "old").await;
    let term = cluster.status(leader).await.unwrap()["term"].clone();
    cluster.isolate(followers[0]);
    must_put(&cluster, followers[1], 1, "new").await;
    assert_no_service(&cluster, followers[0], 1).await;
    must_put(&cluster, leader, 2, "meanwhile").await;
    cluster.heal();
    assert_eq!(cluster.agreed_within(&ALL, HEAL_MAX).await, leader);
    assert_eq!(cluster.status(leader).await.unwrap()["term"], term, "it disturbed the leader");
    assert_has(&cluster, followers[0], 1, "new").await;
    assert_has(&cluster, followers[0], 2, "meanwhile").await;
}

#[tokio::test]
async fn loss_in_one_direction_between_two_nodes_stops_no_writes() {
    let cluster = Cluster::start(3).await;
    for (round, to_the_follower) in [true, false, true, false].into_iter().enumerate() {
        let leader = cluster.agreed(&ALL).await;
        let followers = cluster.all_but(&[leader]);
        let half_deaf = followers[round / 2];
        let number = round * 100;
        must_put(&cluster, half_deaf, number, "old").await;
        match to_the_follower {
            true => cluster.one_way(leader, half_deaf),
            false => cluster.one_way(half_deaf, leader),
        }
        let other = cluster.all_but(&[leader, half_deaf])[0];
        let outage = outage(&cluster, &[other], number + 10).await;
        println!("round {round}: {outage:?} until the third node had a write taken");
        assert!(outage <= FAILOVER_MAX, "no writes for {outage:?}");
        must_put(&cluster, other, number, "new").await;
        for node in ALL {
            let answer = get(&cluster, node, number).await;
            if accepted(&answer) {
                assert_eq!(answer.unwrap().body["tags"]["v"], "new", "node {node}");
            }
        }
        cluster.heal();
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        cluster.ready(&ALL).await;
        for node in ALL {
            assert_has(&cluster, node, number, "new").await;
        }
    }
}

#[tokio::test]
async fn a_leader_that_hears_nobody_is_replaced() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let rest = cluster.all_but(&[leader]);
    must_put(&cluster, leader, 1, "old").await;
    for node in &rest {
        cluster.one_way(*node, leader);
    }
    // Its heartbeats may go on arriving: what counts is that this ends.
    let outage = outage(&cluster, &rest, 10).await;
    println!("no writes for {outage:?} after the leader had become deaf");
    must_put(&cluster, rest[0], 1, "new").await;
    let old = get(&cluster, leader, 1).await;
    if accepted(&old) {
        assert_eq!(old.unwrap().body["tags"]["v"], "new", "the deaf leader");
    }
    cluster.heal();
    cluster.agreed_within(&ALL, HEAL_MAX).await;
    for node in ALL {
        assert_has(&cluster, node, 1, "new").await;
    }
    assert!(outage <= HEAL_MAX, "no writes for {outage:?}");
}

/// A script whose result is another one each time that it runs.
const DICE: &str = "await new Promise(done => setTimeout(done, 4000)); `${Math.random()}`";

/// How long until an execution of a lost node has ended elsewhere: its lease, the script, and some.
const TAKEOVER_MAX: Duration = Duration::from_secs(30);

/// How often any of these nodes has taken an execution over as the given attempt.
fn taken_over(cluster: &Cluster, nodes: &[usize], id: &str, attempt: u32) -> usize {
    let wanted = format!("attempt={attempt}");
    let logs = nodes.iter().map(|node| cluster.log(*node));
    logs.map(|log| {
        let plain = log.replace("\u{1b}[3m", "").replace("\u{1b}[0m", "").replace("\u{1b}[2m", "");
        let lines = plain.lines().filter(|line| line.contains("taken over") && line.contains(id));
        lines.filter(|line| line.contains(&wanted)).count()
    })
    .sum()
}

#[tokio::test]
async fn what_a_killed_node_ran_completes_on_another_with_one_outcome() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    // Once a follower, once the leader itself.
    for owner in [cluster.all_but(&[leader])[0], leader] {
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        cluster.ready(&ALL).await;
        let rest = cluster.all_but(&[owner]);
        let id = cluster.submit(owner, DICE).await;
        let seen = cluster.get_execution(rest[0], &id).await.unwrap();
        assert_eq!(seen.body["status"], "running", "{seen:?}");
        cluster.kill9(owner);
        let begun = Instant::now();
        let ended = cluster.ended(rest[0], &id, TAKEOVER_MAX).await;
        println!("node {owner} killed: ended elsewhere after {:?}", begun.elapsed());
        assert_eq!(ended["status"], "completed", "{ended}");
        assert_eq!(taken_over(&cluster, &rest, &id, 2), 1, "taken over once, as attempt 2");
        cluster.up(owner).await;
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        for node in ALL {
            let shown = cluster.get_execution(node, &id).await.unwrap();
            assert_eq!(shown.body["result"], ended["result"], "node {node}: {shown:?}");
            assert_eq!(shown.body["completed_at"], ended["completed_at"], "node {node}: {shown:?}");
        }
    }
}

#[tokio::test]
async fn a_frozen_owner_that_wakes_does_not_change_the_outcome() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let owner = cluster.all_but(&[leader])[0];
    let rest = cluster.all_but(&[owner]);
    let id = cluster.submit(owner, DICE).await;
    let seen = cluster.get_execution(rest[0], &id).await.unwrap();
    assert_eq!(seen.body["status"], "running", "{seen:?}");
    // Its worker goes on: the first outcome waits for it when it wakes.
    cluster.sigstop(owner);
    let ended = cluster.ended(rest[0], &id, TAKEOVER_MAX).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    cluster.sigcont(owner);
    cluster.agreed_within(&ALL, HEAL_MAX).await;
    cluster.ready(&ALL).await;
    for node in [owner, rest[0], rest[1], owner] {
        let shown = cluster.get_execution(node, &id).await.unwrap();
        assert_eq!(shown.body["status"], "completed", "node {node}: {shown:?}");
        assert_eq!(shown.body["result"], ended["result"], "node {node}: {shown:?}");
    }
    assert_eq!(taken_over(&cluster, &rest, &id, 2), 1, "taken over once, as attempt 2");
}

#[tokio::test]
async fn sigterm_of_the_leader_under_load_fails_no_request_on_the_others() {
    let cluster = Cluster::start(3).await;
    for round in 0..3_usize {
        let leader = cluster.agreed(&ALL).await;
        let rest = cluster.all_but(&[leader]);
        let stop = Cell::new(false);
        let writers = Writers::from(round * 1_000_000);
        let (failed, slowest) = (RefCell::new(Vec::new()), Cell::new(Duration::ZERO));
        let done = Cell::new(0);
        let running = |which: usize| {
            let (cluster, rest, stop) = (&cluster, &rest, &stop);
            let (failed, slowest, done) = (&failed, &slowest, &done);
            async move {
                while !stop.get() {
                    let node = rest[which % rest.len()];
                    let begun = Instant::now();
                    let answer = cluster.exec(node, "6 * 7", 30).await;
                    slowest.set(slowest.get().max(begun.elapsed()));
                    done.set(done.get() + 1);
                    let right = answer.as_ref().is_ok_and(|answer| answer.body["result"] == "42");
                    if !right {
                        failed.borrow_mut().push((node, answer));
                    }
                }
            }
        };
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            cluster.sigterm(leader);
            let status = cluster.exited(leader, Duration::from_secs(20)).await;
            assert_eq!(status.code(), Some(0));
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.set(true);
            writers.stop();
        };
        let writing = writers.write(&cluster, &rest, 4);
        join(writing, join(join_all((0..4).map(running)), stopping)).await;
        let (taken, refused) = (writers.taken(), writers.failed());
        println!(
            "round {round}: {} writes and {} scripts, the slowest {:?}",
            taken.len(),
            done.get(),
            slowest.get()
        );
        assert!(refused.is_empty(), "{} writes failed: {:?}", refused.len(), refused.first());
        let failed = failed.into_inner();
        assert!(failed.is_empty(), "{} scripts failed: {:?}", failed.len(), failed.first());
        cluster.up(leader).await;
        cluster.agreed_within(&ALL, HEAL_MAX).await;
        cluster.ready(&ALL).await;
    }
}
