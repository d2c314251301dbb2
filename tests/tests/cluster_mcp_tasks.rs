//! Tasks in a cluster: each request about one at another node, as a balancer sends them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use mcp_v8_tests::cluster::{Cluster, ip};
use mcp_v8_tests::until;
use reqwest::Client;
use serde_json::{Value, json};

const ALL: [usize; 3] = [1, 2, 3];

const REVISION: &str = "2026-07-28";

/// How long a request may take: a node may have to find a leader first.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Asks a node as a client that knows tasks does. `name` is what the request is about.
async fn ask(cluster: &Cluster, node: usize, method: &str, name: &str, params: Value) -> Value {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {
            "extensions": { "io.modelcontextprotocol/tasks": {} },
        },
    });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let client = Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("http://{}:3000/mcp", ip(node)))
        .timeout(ANSWER_MAX)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", REVISION)
        .header("mcp-method", method)
        .header("mcp-name", name)
        .json(&message);
    let body = cluster.in_hub(async move { request.send().await.unwrap().text().await.unwrap() });
    let body = body.await;
    let documents = body.lines().filter_map(|line| {
        serde_json::from_str::<Value>(line.strip_prefix("data:").unwrap_or(line)).ok()
    });
    let mut replies = documents.filter(|document| document["id"].is_number());
    replies.next().unwrap_or_else(|| panic!("no reply: {body}"))
}

/// Begins a task at a node.
async fn begin(cluster: &Cluster, node: usize, code: &str) -> String {
    let arguments = json!({ "code": code, "execution_timeout_secs": 120, "wait_secs": 0 });
    let params = json!({ "name": "run_js", "arguments": arguments });
    let created = ask(cluster, node, "tools/call", "run_js", params).await;
    assert_eq!(created["result"]["resultType"], "task", "{created}");
    created["result"]["taskId"].as_str().unwrap().to_owned()
}

async fn task(cluster: &Cluster, node: usize, method: &str, id: &str) -> Value {
    let mut params = json!({ "taskId": id });
    if method == "tasks/update" {
        params["inputResponses"] = json!({});
    }
    ask(cluster, node, method, id, params).await
}

async fn over(cluster: &Cluster, node: usize, id: &str) -> Value {
    until(&format!("the task to be over at node {node}"), || async {
        let result = task(cluster, node, "tasks/get", id).await["result"].clone();
        (result["status"] != "working").then_some(result)
    })
    .await
}

/// P6: whichever node is asked, at once, and whichever has run it.
#[tokio::test(flavor = "multi_thread")]
async fn p6_a_task_is_answered_and_cancelled_at_any_node() {
    let cluster = Cluster::start(3).await;
    for first in ALL {
        // In the moment in which its id is known.
        let id = begin(&cluster, first, "for (;;);").await;
        for node in ALL {
            let working = task(&cluster, node, "tasks/get", &id).await;
            assert_eq!(working["result"]["taskId"], *id, "{working}");
            assert_eq!(working["result"]["status"], "working", "{working}");
            let updated = task(&cluster, node, "tasks/update", &id).await;
            assert_eq!(updated["result"]["resultType"], "complete", "{updated}");
        }
        let other = cluster.all_but(&[first])[0];
        let cancelled = task(&cluster, other, "tasks/cancel", &id).await;
        assert_eq!(cancelled["result"]["resultType"], "complete", "{cancelled}");
        for node in ALL {
            assert_eq!(over(&cluster, node, &id).await["status"], "cancelled");
        }
        let id = begin(&cluster, first, "console.log('x'); 6 * 7").await;
        let first_seen = over(&cluster, other, &id).await;
        assert_eq!(first_seen["result"]["structuredContent"]["result"], "42", "{first_seen}");
        for node in ALL {
            assert_eq!(over(&cluster, node, &id).await, first_seen, "every node says the same");
        }
        for node in ALL {
            let unknown = task(&cluster, node, "tasks/get", "unknown").await;
            assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
        }
    }
}

/// P6: a task goes on when the node that it began at is lost.
#[tokio::test(flavor = "multi_thread")]
async fn p6_a_task_outlives_its_node() {
    let cluster = Cluster::start(3).await;
    let code = "await new Promise(done => setTimeout(done, 3000)); 6 * 7";
    let id = begin(&cluster, 1, code).await;
    cluster.kill9(1);
    let result =
        mcp_v8_tests::until_within(Duration::from_secs(60), "the task to be over", || async {
            let result = task(&cluster, 2, "tasks/get", &id).await["result"].clone();
            (result["status"] == "completed").then_some(result)
        })
        .await;
    assert_eq!(result["result"]["structuredContent"]["result"], "42", "{result}");
    assert_eq!(over(&cluster, 3, &id).await, result);
}
