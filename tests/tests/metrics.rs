//! `docs/metrics.md` tells of the metrics of a server, all of them and no others. (Those of a node of a
//! cluster: `tests/tests/cluster_observe.rs`.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mcp_v8_tests::metrics::{agree, given};
use mcp_v8_tests::{Server, until};
use serde_json::json;

#[tokio::test]
async fn the_page_tells_of_what_a_server_gives_and_of_nothing_else() {
    let server = Server::start(&[]).await;
    server.run("throw 1").await;
    let call = server.run_js(1, json!({ "code": "1" }));
    call.send().await.unwrap().text().await.unwrap();
    let text = until("the metrics of what was done", || async {
        let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        let done = [
            "mcp_v8_executions_failed_total{kind=\"script_error\"} 1",
            "mcp_v8_http_requests_total{method=\"POST\",route=\"/api/exec\",status=\"2xx\"} 1",
            "mcp_v8_http_request_seconds_count{route=\"/mcp\"} 1",
            "mcp_v8_mcp_calls_total{tool=\"run_js\",outcome=\"ok\"} 1",
            "mcp_v8_execution_queue_seconds_count 2",
            "mcp_v8_execution_seconds_count 2",
            "mcp_v8_worker_exits_total{cause=\"done\"} 2",
        ];
        done.iter().all(|line| text.lines().any(|found| found == *line)).then_some(text)
    })
    .await;
    // Two submissions and two ends, and what else a node commits.
    let commits = server.metric("mcp_v8_commit_seconds_count").await;
    assert!(commits >= 4.0, "{commits}");
    agree(&given(&text), &["node", "used"]);
}

#[tokio::test]
async fn what_callers_write_makes_no_labels() {
    let server = Server::start(&["--stateless"]).await;
    let series = || async {
        let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        text.lines()
            .filter(|line| line.starts_with("mcp_v8_"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let write = |number: usize| {
        let server = &server;
        async move {
            server.get(&format!("/no/such/route/{number}")).send().await.unwrap();
            server.get(&format!("/api/executions/{number}")).send().await.unwrap();
            let method = reqwest::Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
            server.client.request(method, &server.url).send().await.unwrap();
            let tool = format!("tool{number}");
            let call = mcp_v8_tests::call_tool(server.post("/mcp"), 1, &tool, json!({}));
            call.send().await.unwrap().text().await.unwrap();
        }
    };
    write(0).await;
    until("the first to be counted", || async {
        let all = series().await.join("\n");
        let counted = all.contains("tool=\"unknown\"") && all.contains("route=\"/mcp\"");
        counted.then_some(())
    })
    .await;
    let before = series().await.len();
    for number in 1..50 {
        write(number).await;
    }
    let after = series().await;
    assert_eq!(after.len(), before, "{after:#?}");
}
