//! Who may use the cluster port: with a shared secret, with certificates, with both, with neither.
//!
//! # Contract
//! * Every node is a process in a network namespace of its own; see [`mcp_v8_tests::cluster`]. The hub
//!   between them is no member: what comes from there is a stranger's.
//! * Who is refused hears why, is counted by reason, and changes nothing; the cluster goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cluster_auth/certificates.rs"]
mod certificates;
#[path = "cluster_auth/wire.rs"]
mod wire;

use std::process::Output;

use certificates::Authority;
use mcp_v8_tests::cluster::{Answer, Cluster, address, name, peers};
use mcp_v8_tests::until;
use serde_json::{Value, json};
use wire::{HUB, Wire, say, say_at};

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
fn secret(cluster: &Cluster, name: &str, contents: &str) -> String {
    format!("--cluster-secret-file={}", cluster.file(name, contents).display())
}

/// Three nodes that share a secret, and the flag that names it; a fourth is there to come in.
async fn with_secret() -> (Cluster, String) {
    let cluster = Cluster::with(&ALL, 4).await;
    let ours = secret(&cluster, "ours", OURS);
    for node in ALL {
        tell(&cluster, node, &ALL, std::slice::from_ref(&ours));
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    (cluster, ours)
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
    }
}

/// Requests that would change the cluster, by somebody who proves nothing.
async fn nothing_changes_without_proof(cluster: &Cluster, code: u16, reason: &str) {
    let before = members(cluster, 1).await;
    for (path, body) in [
        ("/raft/join", json!({ "node_id": "node4", "addr": address(4) })),
        ("/raft/leave", json!({ "node_id": name(2) })),
        ("/raft/transfer-leader", json!({})),
    ] {
        let Answer { status, body } = cluster.raft_post(2, path, &body).await.unwrap();
        assert_eq!((status, &body["reason"]), (code, &json!(reason)), "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains("accepted: "), "{path}: {body}");
    }
    let answer = cluster.raft_get(2, "/raft/stream").await.unwrap();
    assert!([401, 403, 426].contains(&answer.status), "{answer:?}");
    assert!(refused(cluster, 2, reason).await >= 3.0);
    assert_eq!(members(cluster, 1).await, before);
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// An operator's command, its exit code and what it said.
fn operate(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let out = cluster.operator(1, arguments).output().unwrap();
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
async fn nodes_with_one_secret_form_a_cluster_let_others_in_and_take_nothing_without_proof() {
    let (cluster, ours) = with_secret().await;
    works(&cluster, &ALL).await;
    open_routes_answer(&cluster, "secret").await;
    nothing_changes_without_proof(&cluster, 401, "missing").await;
    assert!(!cluster.log(1).contains("ASKS NOBODY FOR PROOF"));
    cluster.join(4, 2, &[&ours]).await;
    let leader = cluster.agreed(&[1, 2, 3, 4]).await;
    works(&cluster, &[1, 2, 3, 4]).await;
    // A new leader makes new connections.
    cluster.kill9(leader);
    let rest = cluster.all_but(&[leader]);
    cluster.agreed(&rest).await;
    works(&cluster, &rest).await;
    for node in rest {
        for reason in ["proof", "frame", "replayed", "clock", "answer", "instance"] {
            assert_eq!(refused(&cluster, node, reason).await, 0.0, "node {node}: {reason}");
        }
    }
}

#[tokio::test]
async fn a_founder_with_another_secret_or_none_is_told_so_and_harms_nobody() {
    let cluster = Cluster::of(3).await;
    let ours = secret(&cluster, "ours", OURS);
    let theirs = secret(&cluster, "theirs", THEIRS);
    for node in [1, 2] {
        tell(&cluster, node, &ALL, std::slice::from_ref(&ours));
    }
    // There before the others, it must not count towards their majority.
    tell(&cluster, 3, &ALL, std::slice::from_ref(&theirs));
    cluster.up(3).await;
    cluster.up(1).await;
    says(&cluster, 3, "another secret").await;
    says(&cluster, 1, "another secret").await;
    assert_eq!(cluster.status(1).await.unwrap()["member"], false);
    cluster.up(2).await;
    cluster.agreed(&[1, 2]).await;
    works(&cluster, &[1, 2]).await;
    // The leader calls it; it calls them to ask how they are.
    until_refused(&cluster, 3, "proof").await;
    assert_eq!(cluster.status(3).await.unwrap()["leader_id"], Value::Null);
    tell(&cluster, 3, &ALL, &[]);
    restart(&cluster, 3).await;
    says(&cluster, 3, "started with peer authentication 'secret' and this node with 'none'").await;
    works(&cluster, &[1, 2]).await;
    tell(&cluster, 3, &ALL, std::slice::from_ref(&ours));
    restart(&cluster, 3).await;
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn a_member_that_comes_back_with_another_secret_or_none_is_told_so_and_harms_nobody() {
    let (cluster, ours) = with_secret().await;
    works(&cluster, &ALL).await;
    let leader = cluster.agreed(&ALL).await;
    let lost = cluster.all_but(&[leader, 4])[0];
    let rest = cluster.all_but(&[lost, 4]);
    let theirs = secret(&cluster, "theirs", THEIRS);
    for (flags, expected, reason) in [
        (vec![theirs], "is not by this node's secret", "proof"),
        (vec![], "carries no proof", "missing"),
    ] {
        let before = cluster.status(leader).await.unwrap()["term"].clone();
        tell(&cluster, lost, &ALL, &flags);
        restart(&cluster, lost).await;
        // It knows that it is a member, and stands for election.
        says(&cluster, lost, expected).await;
        for node in &rest {
            until_refused(&cluster, *node, reason).await;
        }
        works(&cluster, &rest).await;
        assert_eq!(cluster.status(leader).await.unwrap()["term"], before);
    }
    tell(&cluster, lost, &ALL, std::slice::from_ref(&ours));
    restart(&cluster, lost).await;
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn a_node_that_wants_to_join_with_another_secret_or_none_is_told_so() {
    let (cluster, ours) = with_secret().await;
    let before = members(&cluster, 1).await;
    let theirs = secret(&cluster, "theirs", THEIRS);
    cluster.join(4, 1, &[&theirs]).await;
    says(&cluster, 4, "another secret").await;
    cluster.kill9(4);
    cluster.join(4, 1, &[]).await;
    says(&cluster, 4, "carries no proof").await;
    until_refused(&cluster, 1, "missing").await;
    assert_eq!(members(&cluster, 1).await, before);
    works(&cluster, &ALL).await;
    cluster.kill9(4);
    cluster.join(4, 1, &[&ours]).await;
    cluster.agreed(&[1, 2, 3, 4]).await;
    works(&cluster, &[1, 2, 3, 4]).await;
}

#[tokio::test]
async fn a_request_that_somebody_has_recorded_counts_no_second_time() {
    let (cluster, ours) = with_secret().await;
    works(&cluster, &ALL).await;
    let wire = Wire::tap(&cluster, 4001, address(1)).await;
    let (own, via) = (format!("--advertise-addr={}", address(4)), format!("--join={HUB}:4001"));
    cluster.set_flags(4, &[&own, &via, &ours]);
    cluster.up(4).await;
    cluster.agreed(&[1, 2, 3, 4]).await;
    let secret_file = ours.replace("--cluster-", "--");
    change(&cluster, &[&secret_file, "leave", "node4"]).await;
    cluster.kill9(4);
    let agreed = members(&cluster, 1).await;
    let recorded = wire.recorded("POST /raft/join");
    assert!(!recorded.is_empty());
    for request in recorded {
        let again = say(&cluster, address(1), request.clone()).await;
        assert!(again.starts_with("HTTP/1.1 401 ") && again.contains("taken already"), "{again}");
        let elsewhere = say(&cluster, address(2), request.clone()).await;
        assert!(elsewhere.starts_with("HTTP/1.1 401 "), "{elsewhere}");
        assert!(elsewhere.contains("for another node"), "{elsewhere}");
        let whole = String::from_utf8(request).unwrap();
        let other = whole.replace("\"as_learner\":false", "\"as_learner\":true ");
        assert_ne!(other, whole);
        let other = say(&cluster, address(1), other.into_bytes()).await;
        assert!(other.starts_with("HTTP/1.1 401 ") && other.contains("of this request"), "{other}");
    }
    assert!(refused(&cluster, 1, "replayed").await >= 1.0);
    assert!(refused(&cluster, 1, "proof").await >= 1.0);
    assert!(refused(&cluster, 2, "instance").await >= 1.0);
    assert_eq!(members(&cluster, 1).await, agreed, "it is not let in again");
    // A node that starts again has forgotten what it took, and takes none of it.
    restart(&cluster, 1).await;
    cluster.agreed(&ALL).await;
    for request in wire.recorded("POST /raft/join") {
        let again = say(&cluster, address(1), request).await;
        assert!(again.contains("before it was started again"), "{again}");
    }
    assert_eq!(members(&cluster, 1).await, agreed, "it is not let in again");
}

#[tokio::test]
async fn a_connection_that_somebody_repeats_or_changes_ends_and_the_cluster_goes_on() {
    let cluster = Cluster::of(3).await;
    let ours = secret(&cluster, "ours", OURS);
    let wire = Wire::tap(&cluster, 4003, address(3)).await;
    // The others reach node 3 by the wire only.
    let tapped = format!("{HUB}:4003");
    for node in [1, 2] {
        let list = peers(node, &ALL).replace(&address(3), &tapped);
        let own = format!("--advertise-addr={}", address(node));
        cluster.set_flags(node, &[&own, &list, &ours]);
    }
    cluster.set_flags(3, &[&format!("--advertise-addr={tapped}"), &peers(3, &ALL), &ours]);
    for node in ALL {
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    // What was said on a connection before, said again word for word.
    let recorded = wire.recorded("GET /raft/stream");
    assert!(!recorded.is_empty());
    let term = cluster.status(3).await.unwrap()["term"].clone();
    for conversation in recorded.into_iter().take(3) {
        let answer = say(&cluster, address(3), conversation).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let end = answer.find("\r\n\r\n").unwrap() + 4;
        assert_eq!(&answer[end..], "", "no frame is answered");
    }
    until_refused(&cluster, 3, "proof").await;
    assert_eq!(cluster.status(3).await.unwrap()["term"], term);
    // Whoever leads is called by the others.
    let secret_file = ours.replace("--cluster-", "--");
    change(&cluster, &[&secret_file, "transfer-leader", "node1"]).await;
    wire.bend(true);
    until_refused(&cluster, 3, "frame").await;
    works(&cluster, &[1, 2]).await;
    wire.bend(false);
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn operators_of_nodes_with_a_secret_prove_it_and_check_who_answers() {
    let (cluster, ours) = with_secret().await;
    works(&cluster, &ALL).await;
    let ours = ours.replace("--cluster-", "--");
    let theirs = secret(&cluster, "theirs", THEIRS).replace("--cluster-", "--");
    for arguments in [vec!["status"], vec![ours.as_str(), "status"], vec![&ours, "members"]] {
        let (code, said) = operate(&cluster, &arguments);
        assert!(code == 0 && said.contains("node3"), "{arguments:?}: {said}");
    }
    let (code, said) = operate(&cluster, &["transfer-leader"]);
    assert!(code == 1 && said.contains("carries no proof"), "{said}");
    assert!(said.contains("with --secret-file"), "{said}");
    let (code, said) = operate(&cluster, &[&theirs, "transfer-leader"]);
    assert!(code == 2 && said.contains("is not trusted: it has another secret"), "{said}");
    let (code, said) = operate(&cluster, &[&ours, "transfer-leader"]);
    assert!(code == 0 && said.contains(" leads"), "{said}");
    let file = ours.split_once('=').unwrap().1;
    let mut by_environment = cluster.operator(2, &["leave", "node3"]);
    let out = by_environment.env("MCP_V8_CLUSTER_SECRET_FILE", file).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    cluster.agreed(&[1, 2]).await;
    cluster.kill9(3);
    // Let in by an operator: the leader asks the node, which must prove itself too.
    cluster.wipe(3);
    tell(&cluster, 3, &[], &[]);
    cluster.up(3).await;
    let (code, said) = operate(&cluster, &[&ours, "join", "node3", &address(3)]);
    assert!(code == 1 && said.contains("proves no secret"), "{said}");
}

#[tokio::test]
async fn nodes_with_certificates_form_a_cluster_and_take_nothing_without() {
    let cluster = Cluster::with(&ALL, 4).await;
    let ours = Authority::new("ours");
    cluster.ask_by_tls(ours.client(None));
    for node in ALL {
        tell(&cluster, node, &ALL, &ours.node(&cluster, node));
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    open_routes_answer(&cluster, "mtls").await;
    nothing_changes_without_proof(&cluster, 403, "no_certificate").await;
    // A certificate of somebody else.
    let other = Authority::new("theirs").sign("10.77.0.254");
    let (wrong, url) = (ours.client(Some(&other)), format!("https://{}/raft/status", address(2)));
    let error = cluster.in_hub(async move { wrong.get(url).send().await }).await.unwrap_err();
    assert!(format!("{error:?}").contains("UnknownCA"), "{error:?}");
    until_refused(&cluster, 2, "certificate").await;
    // No TLS at all.
    let plain = b"GET /raft/status HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
    let plain = say(&cluster, address(2), plain).await;
    assert!(plain.starts_with("HTTP/1.1 400 ") && plain.contains("speaks TLS"), "{plain}");
    until_refused(&cluster, 2, "plaintext").await;
    let noise = say(&cluster, address(2), vec![22; 300]).await;
    assert!(!noise.contains("HTTP"), "{noise}");
    until_refused(&cluster, 2, "tls").await;
    // Another node comes in.
    let flags = ours.node(&cluster, 4);
    cluster.join(4, 3, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let leader = cluster.agreed(&[1, 2, 3, 4]).await;
    works(&cluster, &[1, 2, 3, 4]).await;
    cluster.kill9(leader);
    let rest = cluster.all_but(&[leader]);
    cluster.agreed(&rest).await;
    works(&cluster, &rest).await;
}

#[tokio::test]
async fn a_node_with_a_certificate_of_another_authority_or_without_tls_is_told_so() {
    let cluster = Cluster::of(3).await;
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    cluster.ask_by_tls(ours.client(None));
    for node in [1, 2] {
        tell(&cluster, node, &ALL, &ours.node(&cluster, node));
        cluster.launch(node);
    }
    cluster.agreed(&[1, 2]).await;
    works(&cluster, &[1, 2]).await;
    // Its port shows its own certificate, so it is not asked for its status: its log has it.
    tell(&cluster, 3, &ALL, &theirs.node(&cluster, 3));
    cluster.launch(3);
    until("node 3 to say that the others are of another authority", || async {
        cluster.log(3).contains("UnknownIssuer").then_some(())
    })
    .await;
    let from_third = theirs.client(None);
    let url = format!("https://{}/raft/status", address(3));
    let status =
        cluster.in_hub(async move { from_third.get(url).send().await?.text().await }).await;
    let status: Value = serde_json::from_str(&status.unwrap()).unwrap();
    let waiting = status["waiting_for"].as_str().unwrap();
    assert!(waiting.contains("none for this host and of our authority"), "{waiting}");
    works(&cluster, &[1, 2]).await;
    cluster.kill9(3);
    tell(&cluster, 3, &ALL, &[]);
    cluster.launch(3);
    until("node 3 to say that the others speak TLS", || async {
        cluster.log(3).contains("this cluster port speaks TLS").then_some(())
    })
    .await;
    until_refused(&cluster, 1, "plaintext").await;
    works(&cluster, &[1, 2]).await;
    cluster.kill9(3);
    tell(&cluster, 3, &ALL, &ours.node(&cluster, 3));
    cluster.launch(3);
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    assert_eq!(cluster.status(3).await.unwrap()["waiting_for"], Value::Null);
}

#[tokio::test]
async fn certificates_that_are_replaced_are_taken_up_while_the_cluster_runs() {
    let cluster = Cluster::of(3).await;
    let ours = Authority::new("ours");
    cluster.ask_by_tls(ours.client(None));
    for node in ALL {
        tell(&cluster, node, &ALL, &ours.node(&cluster, node));
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    // Into the same files, of an authority that nobody knows yet.
    let new = Authority::new("new");
    for node in ALL {
        new.node(&cluster, node);
    }
    for node in ALL {
        until(&format!("node {node} to take up its new certificate"), || async {
            cluster.log(node).contains("new certificates, for new connections").then_some(())
        })
        .await;
    }
    cluster.ask_by_tls(new.client(None));
    works(&cluster, &ALL).await;
    let leader = cluster.agreed(&ALL).await;
    // New connections, by the new ones only.
    restart(&cluster, leader).await;
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    // Something that is wrong is not taken up.
    let cert = cluster.file("node1.cert", "rubbish");
    until("node 1 to refuse a broken certificate", || async {
        let log = cluster.log(1);
        let said = log.contains("the new certificates are not used, the old ones are");
        (said && log.contains(cert.to_str().unwrap())).then_some(())
    })
    .await;
    works(&cluster, &ALL).await;
}

#[tokio::test]
async fn operators_of_nodes_with_certificates_show_one() {
    let cluster = Cluster::of(3).await;
    let ours = Authority::new("ours");
    cluster.ask_by_tls(ours.client(None));
    for node in ALL {
        tell(&cluster, node, &ALL, &ours.node(&cluster, node));
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    let flags = ours.files(&cluster, "operator", "operator", "tls-");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (code, said) = operate(&cluster, &[&flags[..], &["status"]].concat());
    assert!(code == 0 && said.contains("node3") && !said.contains("not reached"), "{said}");
    change(&cluster, &[&flags[..], &["leave", "node3"]].concat()).await;
    for arguments in [["status", ""], ["leave", "node2"]] {
        let arguments: Vec<&str> = arguments.into_iter().filter(|word| !word.is_empty()).collect();
        let (code, said) = operate(&cluster, &arguments);
        assert!(code == 1 && said.contains("this cluster port speaks TLS"), "{said}");
    }
    let theirs = Authority::new("theirs").files(&cluster, "other", "operator", "tls-");
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    let (code, said) = operate(&cluster, &[&theirs[..], &["leave", "node2"]].concat());
    assert!(code == 2 && said.contains("is not trusted"), "{said}");
    // Our authority, and a certificate of theirs: the node does not take it.
    let mixed = [theirs[0], theirs[1], flags[2], "leave", "node2"];
    let (code, said) = operate(&cluster, &mixed);
    assert!(code == 2 && said.contains("--tls-cert") && said.contains("UnknownIssuer"), "{said}");
    cluster.agreed(&[1, 2]).await;
}

#[tokio::test]
async fn a_secret_and_certificates_are_both_asked_for() {
    let cluster = Cluster::of(3).await;
    let ours = Authority::new("ours");
    cluster.ask_by_tls(ours.client(None));
    let (our_secret, their_secret) =
        (secret(&cluster, "ours", OURS), secret(&cluster, "theirs", THEIRS));
    let flags = |node: usize, secret: &String| {
        let mut flags = ours.node(&cluster, node);
        flags.push(secret.clone());
        flags.push("--cluster-auth=required".to_owned());
        flags
    };
    for node in ALL {
        tell(&cluster, node, &ALL, &flags(node, &our_secret));
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    works(&cluster, &ALL).await;
    open_routes_answer(&cluster, "mtls+secret").await;
    nothing_changes_without_proof(&cluster, 403, "no_certificate").await;
    let operator = ours.files(&cluster, "operator", "operator", "tls-");
    let operator: Vec<&str> = operator.iter().map(String::as_str).collect();
    let (code, said) = operate(&cluster, &[&operator[..], &["transfer-leader"]].concat());
    assert!(code == 1 && said.contains("carries no proof"), "{said}");
    let secret_file = our_secret.replace("--cluster-", "--");
    let both = [&operator[..], &[&secret_file, "transfer-leader"]].concat();
    change(&cluster, &both).await;
    // A certificate of ours does not make up for another secret.
    tell(&cluster, 3, &ALL, &flags(3, &their_secret));
    restart(&cluster, 3).await;
    says(&cluster, 3, "is not by this node's secret").await;
    works(&cluster, &[1, 2]).await;
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
