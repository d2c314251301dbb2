//! Nodes and operators with certificates, and with a secret besides.

use super::*;
use crate::certificates::Authority;

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
    let cert = cluster.secret_file("node1.cert", "rubbish");
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
    let backup = cluster.file("a.backup");
    let out = format!("--out={}", backup.display());
    let (code, said) = operate(&cluster, &[&flags[..], &["backup", &out]].concat());
    assert!(code == 0 && said.contains("is whole") && backup.exists(), "{said}");
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
        (secret_file(&cluster, "ours", OURS), secret_file(&cluster, "theirs", THEIRS));
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
    let operators = our_secret.replace("--cluster-", "--");
    let both = [&operator[..], &[&operators, "transfer-leader"]].concat();
    change(&cluster, &both).await;
    // A certificate of ours does not make up for another secret.
    tell(&cluster, 3, &ALL, &flags(3, &their_secret));
    restart(&cluster, 3).await;
    says(&cluster, 3, "is not by this node's secret").await;
    works(&cluster, &[1, 2]).await;
}
