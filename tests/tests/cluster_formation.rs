//! The clustering guide as a person follows it: how nodes come to be one cluster, how others come in
//! and go, and what a node says that cannot come in.
//!
//! # Contract
//! * Every node is a process in a network namespace of its own; see [`mcp_v8_tests::cluster`].
//! * A cluster counts as formed when every node names the same one leader, and all have the same
//!   term, members and commit index; and as working when each node runs a script and every other
//!   one shows its result.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcp_v8_tests::cluster::{Cluster, Silence, address, name, peers};
use mcp_v8_tests::{binary, children_of, until};
use serde_json::{Value, json};

const ALL: [usize; 3] = [1, 2, 3];

/// Each node runs a script, and every node shows how it ended.
async fn works(cluster: &Cluster, nodes: &[usize]) {
    cluster.ready(nodes).await;
    for on in nodes {
        let ran = cluster.exec(*on, &format!("{on} * 1000 + 1"), 30).await.unwrap();
        assert_eq!(ran.status, 200, "node {on}: {ran:?}");
        assert_eq!(ran.body["result"], format!("{on}001"), "node {on}: {ran:?}");
        let id = ran.body["execution_id"].as_str().unwrap();
        for from in nodes {
            let shown = cluster.get_execution(*from, id).await.unwrap();
            assert_eq!(shown.status, 200, "run on {on}, asked of {from}: {shown:?}");
            let asked = format!("run on {on}, asked of {from}: {shown:?}");
            assert_eq!(shown.body["result"], format!("{on}001"), "{asked}");
        }
    }
}

/// The names and addresses of the members, as a node sees them.
async fn members(cluster: &Cluster, node: usize) -> Value {
    cluster.status(node).await.unwrap()["peer_addrs"].clone()
}

fn addresses(nodes: &[usize]) -> Value {
    nodes.iter().map(|node| (name(*node), Value::from(address(*node)))).collect()
}

#[tokio::test]
async fn three_processes_form_one_cluster_in_every_start_order() {
    for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        println!("started in the order {order:?}");
        let cluster = Cluster::of(3).await;
        for node in order {
            cluster.up(node).await;
        }
        cluster.agreed(&ALL).await;
        assert_eq!(members(&cluster, order[0]).await, addresses(&ALL));
        works(&cluster, &ALL).await;
    }
}

#[tokio::test]
async fn three_processes_started_at_once_form_one_cluster_and_say_so_on_both_ports() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    for node in ALL {
        let status = cluster.status(node).await.unwrap();
        let role = if node == leader { "Leader" } else { "Follower" };
        assert_eq!(status["node_id"], name(node), "{status}");
        assert_eq!(status["role"], role, "{status}");
        assert_eq!(status["leader_id"], name(leader), "{status}");
        assert_eq!(status["peer_addrs"], addresses(&ALL), "{status}");
        let mut others: Vec<String> = serde_json::from_value(status["peers"].clone()).unwrap();
        others.sort();
        let expected: Vec<String> = cluster.all_but(&[node]).into_iter().map(address).collect();
        assert_eq!(others, expected, "{status}");
        assert_eq!((&status["learners"], &status["is_learner"]), (&json!([]), &json!(false)));
        assert!(status["log_length"].is_u64() && status["last_applied"].is_u64(), "{status}");
        // Where the load balancer of the guide looks.
        let same = cluster.get(node, "/raft/status").await.unwrap();
        assert_eq!((same.status, &same.body["node_id"]), (200, &status["node_id"]));
    }
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn one_founder_waits_two_found_and_the_late_third_comes_in() {
    let cluster = Cluster::of(3).await;
    cluster.up(1).await;
    let alone = cluster
        .until_status(1, "it waits for a majority", |status| {
            status["waiting_for"].as_str().is_some_and(|text| text.contains("majority"))
        })
        .await;
    assert_eq!(alone["member"], false, "{alone}");
    assert_eq!(alone["leader_id"], Value::Null, "{alone}");
    let refused = cluster.exec(1, "1", 5).await.unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    cluster.up(2).await;
    cluster.agreed(&[1, 2]).await;
    works(&cluster, &[1, 2]).await;
    let before = cluster.exec(1, "'before'", 30).await.unwrap();
    cluster.up(3).await;
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    let id = before.body["execution_id"].as_str().unwrap();
    let shown = cluster.get_execution(3, id).await.unwrap();
    assert_eq!(shown.body["result"], "before", "{shown:?}");
}

/// Two have founded and one of them is gone: without the third, which nobody has met, there is no majority, and
/// nobody whom it could ask whether it is the one that was expected.
#[tokio::test]
async fn a_founder_that_comes_when_nobody_leads_makes_the_majority() {
    let cluster = Cluster::of(3).await;
    for node in [1, 2] {
        cluster.launch(node);
    }
    let gone = cluster.agreed(&[1, 2]).await;
    works(&cluster, &[1, 2]).await;
    cluster.kill9(gone);
    cluster.launch(3);
    let rest = cluster.all_but(&[gone]);
    cluster.agreed(&rest).await;
    works(&cluster, &rest).await;
}

#[tokio::test]
async fn peers_given_without_ids_form_one_cluster() {
    let cluster = Cluster::of(3).await;
    for node in ALL {
        let others: Vec<String> = cluster.all_but(&[node]).into_iter().map(address).collect();
        let advertise = format!("--advertise-addr={}", address(node));
        cluster.set_flags(node, &[&advertise, &format!("--peers={}", others.join(","))]);
    }
    for node in [2, 3, 1] {
        cluster.up(node).await;
    }
    cluster.agreed(&ALL).await;
    assert_eq!(members(&cluster, 2).await, addresses(&ALL));
    works(&cluster, &ALL).await;
}

/// The flags of a third node that thinks the second is somewhere else.
fn mistaken() -> [String; 2] {
    let list = format!("--peers={}@{},node2@10.77.0.99:4000", name(1), address(1));
    [format!("--advertise-addr={}", address(3)), list]
}

/// Whether a text shows both the list of the others and the mistaken one.
fn shows_both_lists(text: &str) -> bool {
    text.contains("node2@10.77.0.2:4000") && text.contains("node2@10.77.0.99:4000")
}

async fn is_told(cluster: &Cluster, node: usize) {
    cluster
        .until_status(node, "`waiting_for` shows both lists", |status| {
            status["waiting_for"].as_str().is_some_and(shows_both_lists)
        })
        .await;
    until("the log to show both lists", || async {
        cluster.log(node).lines().any(shows_both_lists).then_some(())
    })
    .await;
}

#[tokio::test]
async fn founders_with_another_list_are_refused_with_both_lists_and_come_in_once_corrected() {
    let cluster = Cluster::of(3).await;
    let wrong = mistaken();
    cluster.set_flags(3, &[&wrong[0], &wrong[1]]);
    for node in [3, 1] {
        cluster.up(node).await;
    }
    is_told(&cluster, 1).await;
    is_told(&cluster, 3).await;
    for node in [1, 3] {
        assert_eq!(cluster.status(node).await.unwrap()["member"], false);
    }
    cluster.sigterm(3);
    assert_eq!(cluster.exited(3, Duration::from_secs(10)).await.code(), Some(0));
    cluster.set_flags(3, &[&wrong[0], &peers(3, &ALL)]);
    for node in [3, 2] {
        cluster.up(node).await;
    }
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn a_late_founder_with_another_list_is_refused_with_both_lists_and_disturbs_nobody() {
    let cluster = Cluster::of(3).await;
    for node in [1, 2] {
        cluster.up(node).await;
    }
    cluster.agreed(&[1, 2]).await;
    let wrong = mistaken();
    cluster.set_flags(3, &[&wrong[0], &wrong[1]]);
    cluster.up(3).await;
    is_told(&cluster, 3).await;
    assert_ne!(cluster.status(3).await.unwrap()["role"], "Leader");
    works(&cluster, &[1, 2]).await;
    cluster.sigterm(3);
    assert_eq!(cluster.exited(3, Duration::from_secs(10)).await.code(), Some(0));
    cluster.set_flags(3, &[&wrong[0], &peers(3, &ALL)]);
    cluster.up(3).await;
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn a_node_joins_through_a_follower_and_votes_while_nobody_restarts() {
    let cluster = Cluster::with(&ALL, 4).await;
    for node in ALL {
        cluster.launch(node);
    }
    let leader = cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    let before = cluster.exec(1, "'before'", 30).await.unwrap();
    let pids = ALL.map(|node| cluster.pid(node));
    let follower = cluster.all_but(&[leader, 4])[0];
    cluster.join(4, follower, &[]).await;
    cluster.agreed(&[1, 2, 3, 4]).await;
    assert_eq!(members(&cluster, leader).await, addresses(&[1, 2, 3, 4]));
    cluster
        .until_status(leader, "four voters", |status| {
            let members = status["members"].as_array().unwrap();
            members.len() == 4 && members.iter().all(|member| member["voter"] == true)
        })
        .await;
    works(&cluster, &[1, 2, 3, 4]).await;
    let id = before.body["execution_id"].as_str().unwrap();
    assert_eq!(cluster.get_execution(4, id).await.unwrap().body["result"], "before");
    assert_eq!(ALL.map(|node| cluster.pid(node)), pids);
    assert!(ALL.iter().all(|node| cluster.runs(*node)));
    // Four voters need three: without the newcomer's vote this would not go on.
    cluster.kill9(follower);
    let rest = cluster.all_but(&[follower]);
    cluster.agreed(&rest).await;
    works(&cluster, &rest).await;
}

#[tokio::test]
async fn a_learner_replicates_and_is_not_needed_for_a_majority() {
    let cluster = Cluster::with(&[1], 2).await;
    cluster.up(1).await;
    cluster.agreed(&[1]).await;
    cluster.ready(&[1]).await;
    let before = cluster.exec(1, "'before'", 30).await.unwrap();
    cluster.join(2, 1, &["--join-as-learner"]).await;
    assert_eq!(cluster.agreed(&[1, 2]).await, 1);
    let learner =
        cluster.until_status(2, "it is a learner", |status| status["is_learner"] == true).await;
    assert_eq!(learner["role"], "Learner", "{learner}");
    let leader = cluster.status(1).await.unwrap();
    assert_eq!(leader["learners"], json!([address(2)]), "{leader}");
    works(&cluster, &[1, 2]).await;
    let id = before.body["execution_id"].as_str().unwrap();
    assert_eq!(cluster.get_execution(2, id).await.unwrap().body["result"], "before");
    // Long after it has caught up it has no vote, and the other goes on without it.
    let members = cluster.status(1).await.unwrap()["members"].clone();
    let votes = |members: &Value, node: usize| {
        let members = members.as_array().unwrap();
        members.iter().find(|member| member["name"] == name(node)).unwrap()["voter"].clone()
    };
    assert_eq!((votes(&members, 1), votes(&members, 2)), (json!(true), json!(false)));
    cluster.kill9(2);
    works(&cluster, &[1]).await;
    cluster.up(2).await;
    cluster.agreed(&[1, 2]).await;
    assert_eq!(cluster.status(2).await.unwrap()["role"], "Learner");
}

/// The leader commits without the other, which hears of the end of a script perhaps before it has applied that the
/// script was accepted.
#[tokio::test]
async fn a_script_runs_once_and_has_ended_at_a_node_that_no_majority_needs() {
    let cluster = Cluster::with(&[1], 2).await;
    cluster.up(1).await;
    cluster.join(2, 1, &["--join-as-learner"]).await;
    cluster.agreed(&[1, 2]).await;
    cluster.ready(&[1, 2]).await;
    // Whoever has little of the processors falls behind.
    let busy = Arc::new(AtomicBool::new(true));
    let spinning = [(); 4].map(|()| {
        let busy = Arc::clone(&busy);
        std::thread::spawn(move || {
            while busy.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    });
    for round in 0..100 {
        let codes = [0, 1, 2, 3].map(|one| format!("{round} * 10 + {one}"));
        let running = codes.iter().map(|code| cluster.exec(2, code, 30));
        for ran in futures_util::future::join_all(running).await {
            let ran = ran.unwrap();
            assert_eq!(ran.body["status"], "completed", "{ran:?}");
            let id = ran.body["execution_id"].as_str().unwrap();
            let shown = cluster.get_execution(2, id).await.unwrap();
            assert_eq!(shown.body["result"], ran.body["result"], "{shown:?}");
        }
    }
    busy.store(false, Ordering::Relaxed);
    spinning.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(!cluster.log(2).contains("taken over"), "{}", cluster.log(2));
}

#[tokio::test]
async fn a_metadata_only_node_votes_and_has_neither_workers_nor_a_port_for_clients() {
    let cluster = Cluster::with(&[1, 2], 3).await;
    cluster.up(1).await;
    cluster.up(2).await;
    cluster.agreed(&[1, 2]).await;
    cluster.join(3, 1, &["--metadata-only"]).await;
    cluster
        .until_status(3, "it votes", |status| {
            let members = status["members"].as_array().cloned().unwrap_or_default();
            members.iter().any(|member| member["name"] == name(3) && member["voter"] == true)
        })
        .await;
    works(&cluster, &[1, 2]).await;
    // A majority with its vote only, whoever led.
    cluster.kill9(2);
    until("a leader of the two", || cluster.leader_among(&[1, 3])).await;
    let ran = cluster.exec(1, "6 * 7", 30).await.unwrap();
    assert_eq!(ran.body["result"], "42", "{ran:?}");
    assert_eq!(children_of(cluster.pid(3)), Vec::<u32>::new());
    let answer = cluster.get(3, "/health").await;
    assert!(matches!(answer, Err(Silence::NotSent(_))), "{answer:?}");
}

#[tokio::test]
async fn nodes_leave_through_any_node_the_leader_too() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let followers = cluster.all_but(&[leader]);
    let leave = |via: usize, node: usize| {
        let body = json!({ "node_id": name(node) });
        let cluster = &cluster;
        async move { cluster.raft_post(via, "/raft/leave", &body).await.unwrap() }
    };
    let gone = leave(followers[0], followers[1]).await;
    assert_eq!((gone.status, &gone.body), (200, &json!({"ok": true})));
    let mut rest = [leader, followers[0]];
    rest.sort_unstable();
    for node in rest {
        cluster
            .until_status(node, "two members", |status| status["peer_addrs"] == addresses(&rest))
            .await;
    }
    // It may be said twice.
    assert_eq!(leave(leader, followers[1]).await.body, json!({"ok": true}));
    cluster.kill9(followers[1]);
    cluster.agreed(&rest).await;
    works(&cluster, &rest).await;
    let gone = leave(leader, leader).await;
    assert_eq!((gone.status, &gone.body), (200, &json!({"ok": true})));
    cluster.until_status(followers[0], "it leads", |status| status["role"] == "Leader").await;
    cluster.kill9(leader);
    works(&cluster, &followers[..1]).await;
    let last = leave(followers[0], followers[0]).await;
    assert_eq!(last.status, 409, "{last:?}");
}

#[tokio::test]
async fn a_restarted_node_is_the_member_it_was_whatever_it_is_told() {
    let cluster = Cluster::with(&ALL, 4).await;
    for node in ALL {
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    cluster.join(4, 1, &[]).await;
    cluster.agreed(&[1, 2, 3, 4]).await;
    works(&cluster, &[1, 2, 3, 4]).await;
    let knows = |status: &Value| status["cluster_id"].is_string();
    let before = cluster.until_status(1, "it knows its cluster's id", knows).await;
    for (how, node) in [("kill -9", 1), ("SIGTERM", 2), ("kill -9", 4)] {
        println!("{how} of node {node}");
        match how {
            "SIGTERM" => {
                cluster.sigterm(node);
                assert_eq!(cluster.exited(node, Duration::from_secs(10)).await.code(), Some(0));
            }
            _ => cluster.kill9(node),
        }
        // Neither peers nor whom to join: it finds its cluster by what is on its disk.
        cluster.set_flags(node, &[&format!("--advertise-addr={}", address(node))]);
        cluster.up(node).await;
        cluster.agreed(&[1, 2, 3, 4]).await;
    }
    // All at once, so that none is there to tell the others.
    for node in cluster.all() {
        cluster.kill9(node);
    }
    for node in cluster.all() {
        cluster.launch(node);
    }
    cluster.agreed(&[1, 2, 3, 4]).await;
    let after = cluster.until_status(1, "it knows its cluster's id", knows).await;
    assert_eq!(after["peer_addrs"], before["peer_addrs"]);
    assert_eq!(after["cluster_id"], before["cluster_id"]);
    assert!(after["term"].as_u64() >= before["term"].as_u64(), "{before} {after}");
    assert!(after["commit_index"].as_u64() >= before["commit_index"].as_u64(), "{before} {after}");
    works(&cluster, &[1, 2, 3, 4]).await;
}

#[tokio::test]
async fn a_node_that_lost_its_disk_comes_back_as_a_new_one_and_votes() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let before = cluster.exec(leader, "'before'", 30).await.unwrap();
    let lost = cluster.all_but(&[leader])[0];
    let old_disk = cluster.status(lost).await.unwrap()["storage_id"].clone();
    // At once: perhaps nobody but the leader has met that disk, and has not told the others.
    cluster.kill9(lost);
    cluster.wipe(lost);
    cluster.up(lost).await;
    cluster.agreed(&ALL).await;
    let status = cluster
        .until_status(leader, "three voters", |status| {
            let members = status["members"].as_array().unwrap();
            members.len() == 3 && members.iter().all(|member| member["voter"] == true)
        })
        .await;
    let member =
        status["members"].as_array().unwrap().iter().find(|member| member["name"] == name(lost));
    assert_ne!(member.unwrap()["storage_id"], old_disk, "{status}");
    works(&cluster, &ALL).await;
    let id = before.body["execution_id"].as_str().unwrap();
    assert_eq!(cluster.get_execution(lost, id).await.unwrap().body["result"], "before");
    // Its vote and its disk count.
    cluster.kill9(leader);
    let rest = cluster.all_but(&[leader]);
    cluster.agreed(&rest).await;
    works(&cluster, &rest).await;
    // Once more, with the same name.
    cluster.up(leader).await;
    cluster.agreed(&ALL).await;
    cluster.kill9(lost);
    cluster.wipe(lost);
    cluster.up(lost).await;
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn a_changed_advertise_address_is_known_to_all() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.agreed(&ALL).await;
    let follower = cluster.all_but(&[leader])[0];
    for node in [follower, leader] {
        cluster.sigterm(node);
        assert_eq!(cluster.exited(node, Duration::from_secs(10)).await.code(), Some(0));
        // A name, which the hosts file of every node has.
        let moved = format!("{}:4000", name(node));
        cluster.set_flags(node, &[&format!("--advertise-addr={moved}"), &peers(node, &ALL)]);
        cluster.up(node).await;
        for seen_from in ALL {
            cluster
                .until_status(seen_from, "it knows the new address", |status| {
                    status["peer_addrs"][name(node)] == moved.as_str()
                })
                .await;
        }
        cluster.agreed(&ALL).await;
    }
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn the_default_advertise_address_is_the_name_and_the_cluster_port() {
    let cluster = Cluster::of(3).await;
    for node in ALL {
        let others = cluster.all_but(&[node]).into_iter();
        let others: Vec<String> =
            others.map(|other| format!("{0}@{0}:4000", name(other))).collect();
        cluster.set_flags(node, &[&format!("--peers={}", others.join(","))]);
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    let expected: Value = ALL
        .iter()
        .map(|node| (name(*node), Value::from(format!("{}:4000", name(*node)))))
        .collect();
    for node in ALL {
        assert_eq!(members(&cluster, node).await, expected);
    }
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn the_timing_of_the_guide_for_clouds_works() {
    let cluster = Cluster::of(3).await;
    for node in ALL {
        let flags = [
            &format!("--advertise-addr={}", address(node)),
            &peers(node, &ALL),
            "--heartbeat-interval=200",
            "--election-timeout-min=1000",
            "--election-timeout-max=2000",
        ];
        cluster.set_flags(node, &flags);
        cluster.launch(node);
    }
    let leader = cluster.agreed(&ALL).await;
    cluster.kill9(leader);
    let rest = cluster.all_but(&[leader]);
    cluster.agreed(&rest).await;
    works(&cluster, &rest).await;
}

#[test]
fn a_cluster_port_without_a_port_for_clients_is_refused_at_the_start() {
    let state = tempfile::tempdir().unwrap();
    let out = Command::new(binary("mcp-v8"))
        .args(["--cluster-port=4000", "--node-id=node1", "--peers=node2@10.77.0.2:4000"])
        .arg(format!("--session-db-path={}", state.path().display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("--cluster-port needs --http-port or --sse-port"), "{said}");
    assert!(out.stdout.is_empty(), "{out:?}");
}

/// What a single server has would be left out of a cluster that others found without it.
#[tokio::test]
async fn a_server_that_was_alone_lets_others_in_and_does_not_start_with_their_names() {
    let cluster = Cluster::of(3).await;
    cluster.set_flags(1, &["--advertise-addr=elsewhere:4000"]);
    cluster.up(1).await;
    cluster.ready(&[1]).await;
    let before = cluster.exec(1, "'before'", 30).await.unwrap();
    cluster.sigterm(1);
    assert_eq!(cluster.exited(1, Duration::from_secs(10)).await.code(), Some(0));
    let advertise = format!("--advertise-addr={}", address(1));
    for others in [peers(1, &ALL), format!("--join={}", address(2))] {
        cluster.set_flags(1, &[&advertise, &others]);
        cluster.launch(1);
        assert_eq!(cluster.exited(1, Duration::from_secs(10)).await.code(), Some(2), "{others}");
        let flag = others.split('=').next().unwrap();
        let said = format!("{flag}: the store of this node, ");
        assert!(cluster.log(1).contains(&said), "{}", cluster.log(1));
    }
    cluster.set_flags(1, &[&advertise]);
    cluster.up(1).await;
    cluster
        .until_status(1, "it knows its own address", |status| {
            status["peer_addrs"][name(1)] == address(1).as_str()
        })
        .await;
    for node in [2, 3] {
        cluster.join(node, 1, &[]).await;
    }
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    let id = before.body["execution_id"].as_str().unwrap();
    assert_eq!(cluster.get_execution(3, id).await.unwrap().body["result"], "before");
    // Now they know of it, and it of them.
    cluster.sigterm(1);
    assert_eq!(cluster.exited(1, Duration::from_secs(10)).await.code(), Some(0));
    cluster.set_flags(1, &[&advertise, &peers(1, &ALL)]);
    cluster.up(1).await;
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
}
