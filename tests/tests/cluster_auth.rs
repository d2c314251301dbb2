//! Who may use the cluster port: with a shared secret, with certificates, with both, with neither.
//!
//! # Contract
//! * Every node is a process in a network namespace of its own; see [`mcp_v8_tests::cluster`]. The hub
//!   between them is no member: what comes from there is a stranger's.
//! * Who is refused hears why, is counted by reason, and changes nothing; the cluster goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cluster_auth/certificates.rs"]
mod certificates;
#[path = "cluster_auth/secret.rs"]
mod secret;
#[path = "cluster_auth/tls.rs"]
mod tls;
#[path = "cluster_auth/wire.rs"]
mod wire;

use std::process::Output;

use mcp_v8_tests::cluster::{Answer, Cluster, address, name, peers};
use mcp_v8_tests::until;
use serde_json::{Value, json};
use wire::{say, say_at};

const ALL: [usize; 3] = [1, 2, 3];
const OURS: &str = "c3f0a1d2e4b596877869504132231405c3f0a1d2e4b596877869504132231405\n";
const THEIRS: &str = "0000000000000000000000000000000000000000000000000000000000000001";

/// Somebody who wants a connection between nodes and does not say who it is.
const KNOCK: &[u8] = b"GET /raft/stream HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
                       upgrade: mcp-v8-cluster/1\r\n\r\n";

/// Each node runs a script, and every node shows how it ended.
async fn works(cluster: &Cluster, nodes: &[usize]) {
    cluster.ready(nodes).await;
    for on in nodes {
        let ran = cluster.exec(*on, &format!("{on} * 1000 + 1"), 30).await.unwrap();
        assert_eq!(ran.body["result"], format!("{on}001"), "node {on}: {ran:?}");
        let id = ran.body["execution_id"].as_str().unwrap();
        for from in nodes {
            let shown = cluster.get_execution(*from, id).await.unwrap();
            assert_eq!(shown.body["result"], format!("{on}001"), "run on {on}, asked of {from}");
        }
    }
}

/// Replaces what a node is told beyond where it is and which others there are.
fn tell(cluster: &Cluster, node: usize, founders: &[usize], flags: &[String]) {
    let mut all = vec![format!("--advertise-addr={}", address(node))];
    if founders.contains(&node) {
        all.push(peers(node, founders));
    }
    all.extend_from_slice(flags);
    cluster.set_flags(node, &all.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The flag that names a file with this secret.
fn secret_file(cluster: &Cluster, name: &str, contents: &str) -> String {
    format!("--cluster-secret-file={}", cluster.secret_file(name, contents).display())
}

/// How many callers a node has refused for this reason.
async fn refused(cluster: &Cluster, node: usize, reason: &str) -> f64 {
    let name = format!("mcp_v8_cluster_refused_total{{reason=\"{reason}\"}}");
    cluster.metric(node, &name).await.expect("every reason is there from the beginning")
}

async fn until_refused(cluster: &Cluster, node: usize, reason: &str) {
    until(&format!("node {node} to refuse somebody: {reason}"), || async {
        (refused(cluster, node, reason).await > 0.0).then_some(())
    })
    .await;
}

/// Where the members are, as a node sees them.
async fn members(cluster: &Cluster, node: usize) -> Value {
    cluster.status(node).await.unwrap()["peer_addrs"].clone()
}

/// Waits until a node says on its status and in its log what it waits for.
async fn says(cluster: &Cluster, node: usize, expected: &str) {
    cluster
        .until_status(node, &format!("`waiting_for` has: {expected}"), |status| {
            status["waiting_for"].as_str().is_some_and(|text| text.contains(expected))
        })
        .await;
    until(&format!("the log of node {node} has: {expected}"), || async {
        cluster.log(node).contains(expected).then_some(())
    })
    .await;
}

async fn restart(cluster: &Cluster, node: usize) {
    cluster.kill9(node);
    cluster.up(node).await;
}

/// The routes that answer everybody, on every node.
async fn open_routes_answer(cluster: &Cluster, peer_auth: &str) {
    for node in ALL {
        let status = cluster.raft_get(node, "/raft/status").await.unwrap();
        assert_eq!((status.status, &status.body["peer_auth"]), (200, &json!(peer_auth)));
        assert_eq!(cluster.raft_get(node, "/livez").await.unwrap().status, 200);
        assert_eq!(cluster.raft_get(node, "/readyz").await.unwrap().status, 200);
        let method = format!("mcp_v8_cluster_peer_auth{{method=\"{peer_auth}\"}}");
        assert_eq!(cluster.metric(node, &method).await, Some(1.0), "{method}");
        // What the others say of themselves counts as their statuses do.
        let Answer { body, .. } = cluster.get(node, "/api/cluster").await.unwrap();
        assert_eq!((&body["node"], &body["peer_auth"]), (&json!(name(node)), &json!(peer_auth)));
        let nodes = body["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), ALL.len(), "{body}");
        let told = |node: &Value| node["ready"] == true && node["workers"]["running_max"].is_u64();
        assert!(nodes.iter().all(told), "{body}");
    }
}

/// Requests that would change the cluster, by somebody who proves nothing.
async fn nothing_changes_without_proof(cluster: &Cluster, code: u16, reason: &str) {
    let before = members(cluster, 1).await;
    for (path, body) in [
        ("/raft/join", json!({ "node_id": "node4", "addr": address(4) })),
        ("/raft/leave", json!({ "node_id": name(2) })),
        ("/raft/transfer-leader", json!({})),
        ("/raft/drain", json!({ "node_id": name(2) })),
    ] {
        let Answer { status, body } = cluster.raft_post(2, path, &body).await.unwrap();
        assert_eq!((status, &body["reason"]), (code, &json!(reason)), "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains("accepted: "), "{path}: {body}");
    }
    let answer = cluster.raft_get(2, "/raft/stream").await.unwrap();
    assert_eq!((answer.status, &answer.body["reason"]), (code, &json!(reason)), "{answer:?}");
    assert_eq!(refused(cluster, 2, reason).await, 5.0);
    assert_eq!(members(cluster, 1).await, before);
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// An operator's command, its exit code and what it said.
fn operate(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let node = format!("--node={}", address(1));
    let words: Vec<&str> = [&[node.as_str()], arguments].concat();
    let out = cluster.operator(&words).output().unwrap();
    (out.status.code().unwrap(), text(&out))
}

/// A change that is made, if not at once: only one can be under way.
async fn change(cluster: &Cluster, arguments: &[&str]) {
    until(&format!("the operator's {arguments:?}"), || async {
        let (code, said) = operate(cluster, arguments);
        assert!(code == 0 || said.contains("try again"), "{said}");
        (code == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_proof_a_cluster_says_so_loudly_and_takes_connections_of_members_only() {
    let cluster = Cluster::with(&ALL, 4).await;
    for node in ALL {
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    open_routes_answer(&cluster, "none").await;
    for node in ALL {
        assert!(cluster.log(node).contains("THE CLUSTER PORT ASKS NOBODY FOR PROOF"));
    }
    let (code, said) = operate(&cluster, &["status"]);
    assert!(code == 0 && said.contains("Nothing is proven between nodes"), "{said}");
    for node in ALL {
        let answer = say(&cluster, address(node), KNOCK.to_vec()).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("\"reason\":\"stranger\""), "{answer}");
        assert!(answer.contains("10.77.0.254") && answer.contains("10.77.0."), "{answer}");
        assert_eq!(refused(&cluster, node, "stranger").await, 1.0, "members never were");
    }
    // From a member's address more is asked for than that; not from another one's.
    let at = |node| say_at(&cluster, node, &address(1), KNOCK);
    assert!(at(2).starts_with("HTTP/1.1 400 "), "{}", at(2));
    assert!(at(4).starts_with("HTTP/1.1 403 "), "{}", at(4));
    // A page that an operator visits, under a name of its own that has the node's address.
    for sent in ["origin: http://evil.example", "user-agent: Mozilla/5.0", "sec-fetch-mode: cors"] {
        let page = format!("GET /raft/backup HTTP/1.1\r\nhost: evil.example\r\n{sent}\r\n\r\n");
        let answer = say(&cluster, address(1), page.into_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("browser"), "{answer}");
    }
    // A body that does not come is not waited for.
    let head = "POST /raft/leave HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let answer = say_at(&cluster, 2, &address(1), head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // Whoever reaches it can join, as the guide has it: loudly.
    cluster.join(4, 2, &[]).await;
    cluster.agreed(&[1, 2, 3, 4]).await;
    works(&cluster, &[1, 2, 3, 4]).await;
    assert!(at(4).starts_with("HTTP/1.1 400 "), "{}", at(4));
    change(&cluster, &["leave", "node4"]).await;
    cluster.agreed(&ALL).await;
    assert!(at(4).starts_with("HTTP/1.1 403 "), "{}", at(4));
}

#[tokio::test]
async fn without_proof_members_that_are_known_by_name_only_are_known_by_their_addresses() {
    let cluster = Cluster::with(&ALL, 4).await;
    let by_name = |node: usize| format!("{}:4000", name(node));
    for node in ALL {
        let others = cluster.all_but(&[node, 4]).into_iter();
        let others: Vec<String> =
            others.map(|other| format!("{}@{}", name(other), by_name(other))).collect();
        cluster.set_flags(node, &[&format!("--peers={}", others.join(","))]);
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    let answer = say(&cluster, address(1), KNOCK.to_vec()).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // It knows one of them only, and another one leads.
    let leader = cluster.agreed(&ALL).await;
    let follower = cluster.all_but(&[leader, 4])[0];
    cluster.set_flags(4, &[&format!("--join={}", by_name(follower))]);
    cluster.up(4).await;
    cluster.agreed(&[1, 2, 3, 4]).await;
    works(&cluster, &[1, 2, 3, 4]).await;
}
