//! Nodes and operators that share a secret.

use super::*;
use crate::wire::{HUB, Wire};

/// Three nodes that share a secret, and the flag that names it; a fourth is there to come in.
async fn with_secret() -> (Cluster, String) {
    let cluster = Cluster::with(&ALL, 4).await;
    let ours = secret_file(&cluster, "ours", OURS);
    for node in ALL {
        tell(&cluster, node, &ALL, std::slice::from_ref(&ours));
        cluster.launch(node);
    }
    cluster.agreed(&ALL).await;
    (cluster, ours)
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
    let ours = secret_file(&cluster, "ours", OURS);
    let theirs = secret_file(&cluster, "theirs", THEIRS);
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
    let theirs = secret_file(&cluster, "theirs", THEIRS);
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
    let theirs = secret_file(&cluster, "theirs", THEIRS);
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
    let operators = ours.replace("--cluster-", "--");
    change(&cluster, &[&operators, "leave", "node4"]).await;
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
        // With its nonce no answer is proven that somebody could pass off as one to it.
        let nonce = whole.lines().find(|line| line.starts_with("x-mcp-v8-nonce: ")).unwrap();
        let status = format!("GET /raft/status HTTP/1.1\r\nhost: x\r\n{nonce}\r\n\r\n");
        let status = say(&cluster, address(1), status.into_bytes()).await;
        assert!(status.contains("x-mcp-v8-proof: "), "{status}");
        let leave =
            format!("POST /raft/join HTTP/1.1\r\nhost: x\r\n{nonce}\r\ncontent-length: 0\r\n\r\n");
        let leave = say(&cluster, address(1), leave.into_bytes()).await;
        assert!(!again.contains("x-mcp-v8-proof") && !leave.contains("x-mcp-v8-proof"), "{leave}");
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
    let ours = secret_file(&cluster, "ours", OURS);
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
    let operators = ours.replace("--cluster-", "--");
    change(&cluster, &[&operators, "transfer-leader", "node1"]).await;
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
    let theirs = secret_file(&cluster, "theirs", THEIRS).replace("--cluster-", "--");
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
    let backup = cluster.file("a.backup");
    let out = format!("--out={}", backup.display());
    let (code, said) = operate(&cluster, &["backup", &out]);
    assert!(code == 1 && said.contains("carries no proof") && !backup.exists(), "{said}");
    let (code, said) = operate(&cluster, &[&theirs, "backup", &out]);
    assert!(code == 2 && said.contains("another secret") && !backup.exists(), "{said}");
    let (code, said) = operate(&cluster, &[&ours, "backup", &out]);
    assert!(code == 0 && said.contains("is whole") && backup.exists(), "{said}");
    let node = format!("--node={}", address(2));
    let mut by_environment = cluster.operator(&[&node, "leave", "node3"]);
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
