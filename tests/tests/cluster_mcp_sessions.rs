//! Sessions of MCP clients in a cluster, each request at another node, as a balancer sends them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use futures_util::future::join_all;
use mcp_v8_tests::cluster::{Cluster, ip, name};
use mcp_v8_tests::until;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

const ALL: [usize; 3] = [1, 2, 3];

/// How long a request may take: a node may have to find a leader first.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Answer {
    status: u16,
    session: Option<String>,
    body: String,
}

impl Answer {
    /// The JSON-RPC answer in it.
    fn reply(&self) -> Value {
        let lines = self.body.lines();
        let documents = lines.filter_map(|line| {
            serde_json::from_str::<Value>(line.strip_prefix("data:").unwrap_or(line)).ok()
        });
        let mut replies = documents.filter(|document| document["id"].is_number());
        replies.next().unwrap_or_else(|| panic!("no reply: {self:?}"))
    }
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// A request to a node.
fn request(
    client: &Client,
    method: Method,
    node: usize,
    session: Option<&str>,
    message: Option<Value>,
) -> RequestBuilder {
    let request = client
        .request(method, format!("http://{}:3000/mcp", ip(node)))
        .timeout(ANSWER_MAX)
        .header("accept", "application/json, text/event-stream");
    let request = match session {
        Some(id) => {
            request.header("mcp-session-id", id).header("mcp-protocol-version", "2025-06-18")
        }
        None => request,
    };
    message.into_iter().fold(request, |request, message| request.json(&message))
}

async fn answered(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let header = response.headers().get("mcp-session-id");
    let session = header.map(|id| id.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    Answer { status, session, body: response.text().await.unwrap() }
}

/// Sends a request to a node, over a connection of its own.
async fn send(
    cluster: &Cluster,
    method: Method,
    node: usize,
    session: Option<&str>,
    message: Option<Value>,
) -> Answer {
    cluster.in_hub(answered(request(&client(), method, node, session, message))).await
}

async fn post(cluster: &Cluster, node: usize, session: &str, message: Value) -> Answer {
    send(cluster, Method::POST, node, Some(session), Some(message)).await
}

/// Begins a session at a node.
async fn initialize(cluster: &Cluster, node: usize) -> Answer {
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    send(cluster, Method::POST, node, None, Some(message)).await
}

async fn begun(cluster: &Cluster, node: usize) -> String {
    let answer = initialize(cluster, node).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.session.expect("the revision has sessions")
}

fn initialized() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

fn run_js(id: u64, code: &str) -> Value {
    let arguments = json!({ "code": code, "execution_timeout_secs": 120, "wait_secs": 120 });
    let params = json!({ "name": "run_js", "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

async fn run(cluster: &Cluster, node: usize, session: &str, id: u64) -> Value {
    let answer = post(cluster, node, session, run_js(id, "6 * 7")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.reply()["result"]["structuredContent"]["result"].clone()
}

/// P6: whichever node a request of a session comes to, at once, and when all processes are new.
#[tokio::test(flavor = "multi_thread")]
async fn p6_an_mcp_session_goes_on_at_any_node() {
    let cluster = Cluster::start(3).await;
    for first in ALL {
        let session = begun(&cluster, first).await;
        let others = cluster.all_but(&[first]);
        let accepted = post(&cluster, others[0], &session, initialized()).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        for (id, node) in (10..).zip([others[1], first, others[0], first]) {
            assert_eq!(run(&cluster, node, &session, id).await, "42");
        }
        // A node whose process is new, too.
        cluster.kill9(first);
        cluster.up(first).await;
        cluster.agreed(&ALL).await;
        cluster.ready(&ALL).await;
        for (id, node) in (20..).zip(ALL) {
            assert_eq!(run(&cluster, node, &session, id).await, "42");
        }
    }
}

/// P6: a notification that a request is cancelled need not come where the request is.
#[tokio::test(flavor = "multi_thread")]
async fn p6_a_request_is_cancelled_through_any_node() {
    let cluster = Cluster::start(3).await;
    let session = begun(&cluster, 1).await;
    for (id, node) in (30..).zip([2, 1]) {
        let running = post(&cluster, node, &session, run_js(id, "for (;;);"));
        let cancelling = async {
            until("the script to run", || async {
                let list = cluster.get(3, "/api/executions").await.ok()?.body;
                let executions = list["executions"].as_array()?.clone();
                executions.iter().any(|execution| execution["status"] == "running").then_some(())
            })
            .await;
            let params = json!({ "requestId": id, "reason": "enough" });
            let cancelled =
                json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
            let accepted = post(&cluster, 3, &session, cancelled).await;
            assert_eq!(accepted.status, 202, "{accepted:?}");
            until("the script to be cancelled", || async {
                let list = cluster.get(3, "/api/executions").await.ok()?.body;
                let executions = list["executions"].as_array()?.clone();
                executions.iter().all(|execution| execution["status"] == "cancelled").then_some(())
            })
            .await;
        };
        tokio::select! {
            () = cancelling => {}
            // Nobody answers a request that was cancelled; its stream may end.
            () = async { running.await; std::future::pending::<()>().await } => {}
        }
    }
    assert_eq!(run(&cluster, 1, &session, 40).await, "42", "the session goes on");
}

/// A session that its client has ended is found at no node, also where it was open.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ended_at_one_node_has_ended_at_all() {
    let cluster = Cluster::start(3).await;
    let client = client();
    for ends_at in ALL.into_iter().cycle().take(30) {
        let session = begun(&cluster, 1).await;
        let pinging = json!({ "jsonrpc": "2.0", "id": 10, "method": "ping" });
        let ping =
            |node| request(&client, Method::POST, node, Some(&session), Some(pinging.clone()));
        // Over connections that are open by then.
        let open = ALL.map(|node| cluster.in_hub(answered(ping(node))));
        for answer in join_all(open).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let ending = request(&client, Method::DELETE, ends_at, Some(&session), None);
        let asked = ALL.map(ping);
        let (ended, asked) = cluster
            .in_hub(async {
                let ended = answered(ending).await;
                (ended, join_all(asked.map(answered)).await)
            })
            .await;
        assert_eq!(ended.status, 204, "{ended:?}");
        // At once, wherever it is asked for.
        for answer in asked {
            assert_eq!(answer.status, 404, "ended at node {ends_at}: {answer:?}");
        }
    }
    for unknown in ["unknown", &"x".repeat(4096)] {
        let answer = post(&cluster, 1, unknown, run_js(21, "1")).await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
}

/// P10: a session that the other nodes would not know is not begun.
#[tokio::test(flavor = "multi_thread")]
async fn p10_without_a_majority_no_session_begins_and_that_is_said() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader(&ALL).await;
    let session = begun(&cluster, leader).await;
    let others = cluster.all_but(&[leader]);
    let of_another = begun(&cluster, others[0]).await;
    others.iter().for_each(|node| cluster.kill9(*node));
    // Whether there is such a session cannot be said: 404 would end it for its client.
    let asked = join_all((60..64).map(|id| post(&cluster, leader, &of_another, run_js(id, "1"))));
    for answer in asked.await {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains("unavailable: "), "{answer:?}");
    }
    let refused = initialize(&cluster, leader).await;
    assert_eq!((refused.status, &refused.session), (503, &None), "{refused:?}");
    assert!(refused.body.contains("unavailable: "), "{refused:?}");
    let ended = send(&cluster, Method::DELETE, leader, Some(&session), None).await;
    assert_eq!(ended.status, 503, "{ended:?}");
    for node in &others {
        cluster.up(*node).await;
    }
    cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    assert_eq!(run(&cluster, others[0], &session, 50).await, "42");
    assert_eq!(run(&cluster, leader, &of_another, 51).await, "42");
}

/// P6: what is cancelled while the node that has the call stops, as the last that it waits for, is
/// cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn p6_a_cancel_is_not_lost_with_the_node_that_stops() {
    let cluster = Cluster::start_with(3, &["--drain-timeout=1"]).await;
    for (id, stops) in (70..).zip(ALL) {
        let others = cluster.all_but(&[stops]);
        let session = begun(&cluster, stops).await;
        let running = post(&cluster, stops, &session, run_js(id, "for (;;);"));
        let cancelling = async {
            let running = until("the script to run", || async {
                let list = cluster.get(others[0], "/api/executions").await.ok()?.body;
                let executions = list["executions"].as_array()?.clone();
                executions.into_iter().find(|execution| execution["status"] == "running")
            })
            .await;
            let execution = running["execution_id"].as_str().expect("it has an id").to_owned();
            cluster.sigterm(stops);
            until("another node to have the script", || async {
                let path = format!("/api/executions/{execution}");
                let execution = cluster.get(others[0], &path).await.ok()?.body;
                (execution["node"] != name(stops)).then_some(())
            })
            .await;
            let params = json!({ "requestId": id });
            let cancelled =
                json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
            let accepted = post(&cluster, others[1], &session, cancelled).await;
            assert_eq!(accepted.status, 202, "{accepted:?}");
            let ended = cluster.ended(others[0], &execution, Duration::from_secs(10)).await;
            assert_eq!(ended["status"], "cancelled", "{ended}");
        };
        tokio::select! {
            () = cancelling => {}
            () = async { running.await; std::future::pending::<()>().await } => {}
        }
        let status = cluster.exited(stops, Duration::from_secs(20)).await;
        assert_eq!(status.code(), Some(0));
        cluster.up(stops).await;
        cluster.agreed(&ALL).await;
        cluster.ready(&ALL).await;
    }
}
