//! Nodes join and leave while others are cut off.
//!
//! # Contract
//! * A majority changes who belongs to the cluster; a minority never does, also with the leader in
//!   it, and takes what the majority decided once it is reached again.
//! * What was acknowledged at any time is there at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::future::{join, join_all};
use mcp_v8_tests::cluster::{Cluster, address, name};
use mcp_v8_tests::until;
use mcp_v8_tests::writes::{HEAL_MAX, Writers, accepted, assert_all, must_put, put};
use serde_json::json;

const ALL: [usize; 3] = [1, 2, 3];

/// Three founders that have formed, and the network for so many nodes.
async fn founders_of(nodes: usize) -> Cluster {
    let cluster = Cluster::with(&ALL, nodes).await;
    ALL.iter().for_each(|node| cluster.launch(*node));
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    cluster
}

/// Names of those who vote, as a node sees it.
async fn voters(cluster: &Cluster, node: usize) -> Vec<String> {
    let status = cluster.status(node).await.unwrap_or_default();
    let members = status["members"].as_array().cloned().unwrap_or_default();
    let voters = members.iter().filter(|member| member["voter"] == true);
    let mut names: Vec<String> =
        voters.map(|member| member["name"].as_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names
}

async fn until_voters(cluster: &Cluster, seen_from: usize, expected: &[usize]) {
    let mut expected: Vec<String> = expected.iter().map(|node| name(*node)).collect();
    expected.sort_unstable();
    until(&format!("node {seen_from} to see the voters {expected:?}"), || async {
        (voters(cluster, seen_from).await == expected).then_some(())
    })
    .await;
}

async fn leave(cluster: &Cluster, via: usize, node: usize) -> Option<u16> {
    let body = json!({ "node_id": name(node) });
    let answer = cluster.raft_post(via, "/raft/leave", &body).await;
    answer.ok().map(|answer| answer.status)
}

async fn settled(cluster: &Cluster, nodes: &[usize]) -> usize {
    let leader = cluster.agreed_within(nodes, HEAL_MAX).await;
    cluster.ready_within(nodes, HEAL_MAX).await;
    leader
}

#[tokio::test]
async fn a_node_joins_and_another_leaves_while_a_follower_is_cut_off() {
    let cluster = founders_of(4).await;
    let leader = cluster.agreed(&ALL).await;
    let [cut, going] = cluster.all_but(&[leader, 4])[..] else { panic!("two followers") };
    let writers = Writers::from(1);
    let changing = async {
        writers.more(20).await;
        cluster.isolate(cut);
        cluster.join(4, going, &[]).await;
        until_voters(&cluster, leader, &[1, 2, 3, 4]).await;
        writers.more(20).await;
        // Without it there are three voters of which two are heard of.
        assert_eq!(leave(&cluster, 4, going).await, Some(200));
        until_voters(&cluster, leader, &[leader, cut, 4]).await;
        writers.more(20).await;
        // And no fewer: what is cut off is needed for a majority of two.
        assert_eq!(leave(&cluster, leader, 4).await, Some(409));
        writers.stop();
    };
    join(writers.write(&cluster, &[leader], 4), changing).await;
    cluster.kill9(going);
    cluster.heal();
    let members = [leader, cut, 4];
    settled(&cluster, &members).await;
    until_voters(&cluster, cut, &members).await;
    writers.assert_none_failed();
    assert_all(&cluster, &members, &writers.taken()).await;
    must_put(&cluster, cut, 1_000_000, "a member as before").await;
}

#[tokio::test]
async fn a_leader_in_the_minority_changes_nothing_and_follows_what_the_majority_decided() {
    let cluster = founders_of(4).await;
    let old = cluster.agreed(&ALL).await;
    let rest = cluster.all_but(&[old, 4]);
    let before = voters(&cluster, old).await;
    cluster.isolate(old);
    // Asked at once, while it still believes that it leads: alone with itself it would have a
    // majority.
    let asked = join_all(rest.iter().map(|node| leave(&cluster, old, *node)));
    let writers = Writers::from(1);
    let deciding = async {
        cluster.leader(&rest).await;
        cluster.join(4, rest[1], &[]).await;
        until_voters(&cluster, rest[0], &[1, 2, 3, 4]).await;
        writers.more(50).await;
        writers.stop();
    };
    let (asked, ((), ())) = join(asked, join(writers.write(&cluster, &rest, 4), deciding)).await;
    assert!(asked.iter().all(|status| *status != Some(200)), "{asked:?}");
    assert_eq!(voters(&cluster, old).await, before, "the minority has changed its membership");
    assert!(!accepted(&put(&cluster, old, 2_000_000, "minority").await));
    cluster.heal();
    let all = [1, 2, 3, 4];
    let leader = settled(&cluster, &all).await;
    until_voters(&cluster, old, &all).await;
    assert_all(&cluster, &all, &writers.taken()).await;

    // Once more, and this time the leader that is cut off is removed.
    let rest = cluster.all_but(&[leader]);
    cluster.isolate(leader);
    let next = cluster.leader(&rest).await;
    assert_eq!(leave(&cluster, rest[0], leader).await, Some(200));
    until_voters(&cluster, next, &rest).await;
    must_put(&cluster, next, 3_000_000, "without it").await;
    cluster.heal();
    let term = cluster.status(next).await.unwrap()["term"].clone();
    // It is told that it was removed, says so, and disturbs nobody.
    cluster
        .until_status(leader, "it says that it was removed", |status| {
            status["waiting_for"].as_str().is_some_and(|text| text.contains("it was removed"))
        })
        .await;
    assert!(!accepted(&put(&cluster, leader, 3_000_001, "gone").await));
    assert_eq!(settled(&cluster, &rest).await, next);
    assert_eq!(cluster.status(next).await.unwrap()["term"], term, "it disturbs the others");
    assert_all(&cluster, &rest, &writers.taken()).await;
    must_put(&cluster, rest[0], 3_000_002, "after").await;
}

#[tokio::test]
async fn a_change_goes_on_when_its_leader_is_cut_off_in_the_middle() {
    let cluster = founders_of(4).await;
    for round in 0..2 {
        let members = if round == 0 { ALL.to_vec() } else { cluster.all() };
        let old = settled(&cluster, &members).await;
        if round == 1 {
            // Out and in again, with the disk it had and then with none.
            assert_eq!(leave(&cluster, old, 4).await, Some(200));
            cluster.kill9(4);
            cluster.wipe(4);
            until_voters(&cluster, old, &ALL).await;
        }
        let rest: Vec<usize> = ALL.into_iter().filter(|node| *node != old).collect();
        let flags =
            [format!("--advertise-addr={}", address(4)), format!("--join={}", address(rest[0]))];
        cluster.set_flags(4, &flags.each_ref().map(String::as_str));
        cluster.up(4).await;
        // It is known to the leader, by whom it is to be made a voter.
        cluster
            .until_status(old, "node 4 is a member", |status| {
                status["peer_addrs"]["node4"].is_string()
            })
            .await;
        cluster.isolate(old);
        let next = cluster.leader(&rest).await;
        until_voters(&cluster, next, &[1, 2, 3, 4]).await;
        must_put(&cluster, 4, round, "by the newcomer").await;
        cluster.heal();
        settled(&cluster, &cluster.all()).await;
        until_voters(&cluster, old, &[1, 2, 3, 4]).await;
        let written = [(round, "by the newcomer".to_owned())];
        assert_all(&cluster, &[old], &written).await;
    }
}

#[tokio::test]
async fn a_name_that_is_no_members_is_refused_with_the_names_that_are() {
    let cluster = founders_of(3).await;
    let follower = cluster.all_but(&[cluster.agreed(&ALL).await])[0];
    let unknown = json!({ "node_id": "nobody" });
    for node in ALL {
        let refused = cluster.raft_post(node, "/raft/leave", &unknown).await.unwrap();
        assert_eq!(refused.status, 409, "{refused:?}");
        let error = "'nobody' is no member; members: node1, node2, node3";
        assert_eq!(refused.body["error"], error);
    }
    let node = format!("--node={}", address(1));
    let refused = cluster.operate(&[&node, "leave", "nobody"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("members: node1, node2, node3"), "{refused:?}");
    // One that was a member may be named again: the answer may have been lost.
    for _ in 0..2 {
        assert_eq!(leave(&cluster, 1, follower).await, Some(200));
    }
}
