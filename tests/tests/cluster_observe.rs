//! What an operator sees of a cluster: the metrics of its nodes, and one story of an execution that
//! goes from node to node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use mcp_v8_tests::cluster::{Cluster, HTTP_PORT, ip};
use mcp_v8_tests::metrics::{agree, given};
use mcp_v8_tests::until;
use reqwest::Client;
use serde_json::{Value, json};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A script that ends soon, after it was given to another node.
const SCRIPT: &str = "await new Promise(done => setTimeout(done, 4000)); 'done'";

/// The lines of a node's log that are JSON and have this message.
fn lines(cluster: &Cluster, node: usize, message: &str) -> Vec<Value> {
    let log = cluster.log(node);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn a_node_gives_the_metrics_that_are_told_of_and_ids_go_along_to_the_next() {
    let flags = ["--log-format=json", "--log-level=debug", "--drain-timeout=0"];
    let cluster = Cluster::start_with(3, &flags).await;
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();

    let leader = cluster.leader(&cluster.all()).await;
    let url = format!("http://{}:{HTTP_PORT}", ip(leader));
    let failing = cluster.exec(leader, "throw 1", 30).await.unwrap();
    assert_eq!(failing.body["status"], "failed");
    cluster.run_js(leader, "1", 30).await.unwrap();
    let text = until("the metrics of a leader", || {
        let get = client.get(format!("{url}/metrics"));
        let text = cluster.in_hub(async move { get.send().await.unwrap().text().await.unwrap() });
        async move {
            let text = text.await;
            let used = ["route=\"/mcp\"", "tool=\"run_js\"", "raft_peer_lag_entries{"];
            used.iter().all(|part| text.contains(part)).then_some(text)
        }
    })
    .await;
    // That of a leader: others have no lag to tell of.
    agree(&given(&text), &["node", "used", "cluster"]);

    // A script that its node gives away while its caller waits there.
    let node = *cluster.all().iter().find(|node| **node != leader).unwrap();
    let post = client
        .post(format!("http://{}:{HTTP_PORT}/api/exec?wait=60", ip(node)))
        .header("x-request-id", "request-1")
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .json(&json!({ "code": SCRIPT, "session": "s 1" }));
    let answer = cluster.in_hub(async move { post.send().await.unwrap().json::<Value>().await });
    let stop = async {
        until("the script to be accepted", || async {
            (!lines(&cluster, node, "an execution is accepted").is_empty()).then_some(())
        })
        .await;
        cluster.sigterm(node);
    };
    let (answer, ()) = tokio::join!(answer, stop);
    let answer = answer.unwrap();
    assert_eq!(answer["result"], "done", "{answer}");

    let ended = until("its end in a log", || async {
        let others = cluster.all_but(&[node]).into_iter();
        let mut ends = others.flat_map(|other| lines(&cluster, other, "an execution has ended"));
        ends.find(|line| line["execution_id"] == answer["execution_id"])
    })
    .await;
    for (key, value) in [
        ("session", json!("s 1")),
        ("request_id", json!("request-1")),
        ("trace_id", json!(TRACE)),
        ("attempt", json!(2)),
        ("status", json!("completed")),
    ] {
        assert_eq!(ended[key], value, "{key} in {ended}");
    }
    assert_ne!(ended["node"], json!(format!("node{node}")), "{ended}");
    let taken: Vec<_> = cluster
        .all_but(&[node])
        .into_iter()
        .flat_map(|other| lines(&cluster, other, "taken over"))
        .filter(|line| line["execution_id"] == answer["execution_id"])
        .collect();
    assert!(taken.len() == 1 && taken[0]["session"] == "s 1", "{taken:?}");
}
