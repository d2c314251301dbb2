//! Traces: continued from whoever asks, exported to a collector, in nobody's way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mcp_v8_tests::collector::{Arrived, Collector};
use mcp_v8_tests::{Server, free_port, until};
use reqwest::StatusCode;
use serde_json::{Value, json};

const PARENT: &str = "b7ad6b7169203331";

/// What no span may hold.
const SECRET: &str = "xyzzy-in-the-code";

fn trace_id(number: u32) -> String {
    format!("0af7651916cd43dd8448eb21{number:08x}")
}

fn traceparent(number: u32) -> String {
    format!("00-{}-{PARENT}-01", trace_id(number))
}

/// Spans are delivered soon.
fn soon() -> [(&'static str, String); 1] {
    [("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned())]
}

/// What came of a trace, once there is a span of this name and all it is a part of.
async fn arrived(collector: &Collector, trace: &str, names: &[&str]) -> Vec<Arrived> {
    until(&format!("spans {names:?}"), || async {
        let spans = collector.trace(trace);
        let has = |name: &&str| spans.iter().any(|span| span.name == *name);
        names.iter().all(has).then_some(spans)
    })
    .await
}

fn named<'a>(spans: &'a [Arrived], name: &str) -> &'a Arrived {
    let mut found = spans.iter().filter(|span| span.name == name);
    let one = found.next().unwrap_or_else(|| panic!("no {name}: {spans:#?}"));
    assert!(found.next().is_none(), "{name} twice: {spans:#?}");
    one
}

#[tokio::test]
async fn a_trace_goes_on_from_its_caller_through_the_execution_and_its_phases() {
    let collector = Collector::start().await;
    let endpoint = format!("--otlp-endpoint={}", collector.url);
    let server = Server::launch_in(&[], &soon(), &[&endpoint, "--node-id=node7"]).await;
    let code = format!("console.log('{SECRET}'); globalThis.x = '{SECRET}'");
    let response = server
        .post("/api/exec?wait=60")
        .header("traceparent", traceparent(1))
        .header("tracestate", "one=1")
        .header("x-request-id", "request-1")
        .header("authorization", format!("Bearer {SECRET}"))
        .json(&json!({ "code": code, "session": "s" }))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-request-id"], "request-1");
    let run: Value = response.json().await.unwrap();
    assert_eq!(run["status"], "completed", "{run}");

    let spans = arrived(&collector, &trace_id(1), &["POST /api/exec", "execution"]).await;
    let request = named(&spans, "POST /api/exec");
    assert_eq!((request.parent_id.as_str(), request.state.as_str()), (PARENT, "one=1"));
    assert_eq!(request.attributes["http.response.status_code"], "200");
    let execution = named(&spans, "execution");
    assert_eq!(execution.parent_id, request.span_id);
    for (key, value) in [
        ("mcp_v8.execution.id", run["execution_id"].as_str().unwrap()),
        ("mcp_v8.execution.status", "completed"),
        ("mcp_v8.session", "s"),
        ("mcp_v8.node", "node7"),
        ("mcp_v8.request.id", "request-1"),
    ] {
        assert_eq!(execution.attributes[key], value, "{key}");
    }
    for (key, value) in [("service.name", "mcp-v8"), ("service.instance.id", "node7")] {
        assert_eq!(execution.resource[key], value, "{key}");
    }
    let phases: Vec<_> = spans.iter().filter(|span| span.parent_id == execution.span_id).collect();
    for name in ["queued", "prepare", "run", "store", "spread", "commit"] {
        let of_name: Vec<_> = phases.iter().filter(|span| span.name == name).collect();
        // Accepted, and ended.
        assert_eq!(of_name.len(), if name == "commit" { 2 } else { 1 }, "{name}: {spans:#?}");
        for phase in of_name {
            let ((begun, ended), whole) = (phase.times, execution.times);
            // Two clocks, one of which may be set meanwhile.
            let slack = 5_000_000;
            assert!(begun <= ended, "{phase:?}");
            assert!(
                begun + slack >= whole.0 && ended <= whole.1 + slack,
                "{phase:?} {execution:?}"
            );
        }
    }
    assert_eq!(spans.len(), phases.len() + 2, "{spans:#?}");
    assert!(!format!("{:?}", collector.spans()).contains(SECRET));

    // A failure is one in the trace, without its message.
    let failing = server.post("/api/exec?wait=60").header("traceparent", traceparent(2));
    failing.body(format!("throw new Error('{SECRET}')")).send().await.unwrap();
    let spans = arrived(&collector, &trace_id(2), &["execution"]).await;
    let execution = named(&spans, "execution");
    assert!(execution.failed && execution.attributes["error.type"] == "script_error");
    assert!(!format!("{spans:?}").contains(SECRET));
}

#[tokio::test]
async fn a_tool_call_is_a_part_of_its_request_or_of_what_its_message_names() {
    let collector = Collector::start().await;
    // As OpenTelemetry names it, for any program.
    let environment = [
        soon()[0].clone(),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()),
        ("OTEL_SERVICE_NAME", "scripts".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test".to_owned()),
    ];
    let server = Server::launch_in(&[], &environment, &[]).await;
    let call = server.run_js(1, json!({ "code": "1 + 1" })).header("traceparent", traceparent(1));
    assert!(call.send().await.unwrap().text().await.unwrap().contains("completed"));
    let names = ["POST /mcp", "tools/call run_js", "execution"];
    let spans = arrived(&collector, &trace_id(1), &names).await;
    let (request, tool) = (named(&spans, names[0]), named(&spans, names[1]));
    let execution = named(&spans, names[2]);
    assert_eq!(request.parent_id, PARENT);
    assert_eq!((&tool.parent_id, &execution.parent_id), (&request.span_id, &tool.span_id));
    assert_eq!(execution.resource["service.name"], "scripts");
    assert_eq!(execution.resource["deployment.environment.name"], "test");

    let mut message: Value = serde_json::from_slice(
        server
            .run_js(2, json!({ "code": "1 + 1" }))
            .build()
            .unwrap()
            .body()
            .unwrap()
            .as_bytes()
            .unwrap(),
    )
    .unwrap();
    message["params"]["_meta"]["traceparent"] = traceparent(2).into();
    let call = server.run_js(2, json!({})).json(&message);
    assert!(call.send().await.unwrap().text().await.unwrap().contains("completed"));
    let spans = arrived(&collector, &trace_id(2), &names[1..]).await;
    assert_eq!(named(&spans, names[1]).parent_id, PARENT);
}

#[tokio::test]
async fn what_is_not_chosen_is_not_exported_and_a_bad_traceparent_begins_a_trace() {
    let collector = Collector::start().await;
    let endpoint = format!("--otlp-endpoint={}", collector.url);
    let server = Server::launch_in(&[], &soon(), &[&endpoint, "--otlp-sample=1"]).await;
    let send = |parent: String| server.get("/api/version").header("traceparent", parent).send();
    send(traceparent(1).replace("-01", "-00")).await.unwrap();
    send(format!("00-{}-{PARENT}-0", trace_id(2))).await.unwrap();
    // The last one, so that the others would have come by then.
    send(traceparent(3)).await.unwrap();
    let spans = arrived(&collector, &trace_id(3), &["GET /api/version"]).await;
    assert_eq!(named(&spans, "GET /api/version").parent_id, PARENT);
    assert!(collector.trace(&trace_id(1)).is_empty(), "its caller did not choose it");
    let all = collector.spans();
    let versions: Vec<_> = all.iter().filter(|span| span.name == "GET /api/version").collect();
    assert_eq!(versions.len(), 2, "{all:#?}");
    let begun = versions.iter().find(|span| span.trace_id != trace_id(3)).unwrap();
    assert!(begun.parent_id.is_empty() && begun.trace_id != trace_id(2), "{begun:?}");
    // Probes begin none.
    assert!(all.iter().all(|span| !span.name.contains("livez")), "{all:#?}");

    let endpoint = format!("--otlp-endpoint={}", collector.url);
    let server = Server::launch_in(&[], &soon(), &[&endpoint, "--otlp-sample=0"]).await;
    server.get("/api/version").send().await.unwrap();
    let chosen = server.get("/api/version").header("traceparent", traceparent(4));
    chosen.send().await.unwrap();
    arrived(&collector, &trace_id(4), &["GET /api/version"]).await;
    assert_eq!(collector.spans().len(), all.len() + 1, "{:#?}", collector.spans());
}

/// Requests at once.
const AT_ONCE: usize = 24;

/// More requests than there is room for spans.
const FILLING: usize = 3000;

/// Requests after those: their spans would take more than the growth that is allowed.
const MORE: usize = 15_000;

/// What each of them may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// How much a server may grow that has as many spans as it keeps.
const GROWTH_KIB_MAX: u64 = 4 * 1024;

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn ask(server: &Server, requests: usize) {
    let clients = (0..AT_ONCE).map(|_| async {
        for _ in 0..requests / AT_ONCE {
            let begun = Instant::now();
            let request = server.get("/api/version").header("traceparent", traceparent(1));
            // Each span keeps it.
            let request = request.header("tracestate", format!("one={}", "x".repeat(256)));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(begun.elapsed() < ANSWER_MAX, "an answer took {:?}", begun.elapsed());
        }
    });
    join_all(clients).await;
}

#[tokio::test]
async fn a_collector_that_hangs_costs_no_request_anything_and_memory_stays() {
    // It accepts, and says nothing.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("--otlp-endpoint=http://{}", silent.local_addr().unwrap());
    let mut server = Server::launch_in(&[], &soon(), &[&endpoint]).await;
    let (connection, _) = {
        server.get("/api/version").send().await.unwrap();
        silent.accept().await.unwrap()
    };
    ask(&server, FILLING).await;
    let before = resident_kib(server.pid());
    ask(&server, MORE).await;
    let after = resident_kib(server.pid());
    server.assert_serves().await;
    let ended = server.metric("mcp_v8_trace_spans_total{outcome=\"ended\"}").await;
    let exported = server.metric("mcp_v8_trace_spans_total{outcome=\"exported\"}").await;
    assert!(ended >= MORE as f64 && exported == 0.0, "{ended} {exported}");
    assert!(after < before + GROWTH_KIB_MAX, "{before} KiB became {after} KiB");
    let begun = Instant::now();
    assert!(server.terminate().await.success());
    // What a stop takes, and the time for the last spans.
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    drop(connection);
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_counted_and_one_that_comes_gets_what_is_new() {
    let port = free_port();
    let endpoint = format!("--otlp-endpoint=http://127.0.0.1:{port}");
    let environment = [soon()[0].clone(), ("OTEL_EXPORTER_OTLP_TIMEOUT", "300".to_owned())];
    let server = Server::launch_in(&[], &environment, &[&endpoint]).await;
    server.assert_serves().await;
    until("spans to be given up", || async {
        let failed = server.metric("mcp_v8_trace_spans_total{outcome=\"failed\"}").await;
        (failed > 0.0).then_some(())
    })
    .await;
    let collector =
        Collector::on(tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap());
    until("a span to arrive", || async {
        server.get("/api/version").send().await.unwrap();
        (!collector.spans().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_last_spans_are_delivered_when_the_server_is_told_to_stop() {
    let collector = Collector::start().await;
    let endpoint = format!("--otlp-endpoint={}", collector.url);
    // Not by themselves.
    let never = [("OTEL_BSP_SCHEDULE_DELAY", "3600000".to_owned())];
    let mut server = Server::launch_in(&[], &never, &[&endpoint]).await;
    let run = server.post("/api/exec?wait=60").header("traceparent", traceparent(1)).body("1 + 1");
    assert_eq!(run.send().await.unwrap().status(), StatusCode::OK);
    assert!(collector.spans().is_empty());
    assert!(server.terminate().await.success());
    let spans = collector.trace(&trace_id(1));
    assert!(spans.iter().any(|span| span.name == "execution"), "{spans:#?}");
}
