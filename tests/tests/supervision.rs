//! Supervision: workers that die, lie or hang, and a server that goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use mcp_v8_tests::{Server, anonymous_memory_bytes, hostile, signal_process, until};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

/// P4: nothing a script's process does stops the supervisor; the caller has a typed error.
#[tokio::test]
async fn p4_a_worker_killed_in_mid_run_is_a_typed_error_and_the_next_script_runs() {
    let server = Server::start(&["--max-concurrent-executions=1"]).await;
    for (signal, word) in [(Signal::KILL, "signal 9"), (Signal::SEGV, "signal 11")] {
        let idle = until("an idle worker", || async {
            let children = server.children();
            (children.len() == 1).then(|| children[0])
        })
        .await;
        let id = server.submit("console.log('begun'); while(true){}").await;
        until("the script to run", || async {
            let page = server.json(&format!("/api/executions/{id}/output")).await;
            (page["total_lines"] == 1).then_some(())
        })
        .await;
        signal_process(idle, signal);
        let info = server.json(&format!("/api/executions/{id}?wait=10")).await;
        assert_eq!(info["status"], "failed", "{info}");
        assert_eq!(info["error_detail"]["kind"], "worker_crashed", "{info}");
        assert!(info["error"].as_str().unwrap().contains(word), "{info}");
        server.assert_serves().await;
    }
}

#[tokio::test]
async fn an_idle_worker_that_dies_is_replaced() {
    let server = Server::start(&["--max-concurrent-executions=2"]).await;
    let before = until("two idle workers", || async {
        let children = server.children();
        (children.len() == 2).then_some(children)
    })
    .await;
    for pid in &before {
        signal_process(*pid, Signal::KILL);
    }
    until("two new workers", || async {
        let children = server.children();
        (children.len() == 2 && !children.iter().any(|pid| before.contains(pid))).then_some(())
    })
    .await;
    server.assert_serves().await;
}

#[tokio::test]
async fn a_worker_that_breaks_the_protocol_is_killed_and_counted() {
    for mode in
        ["garbage", "huge-frame", "ready-again", "floods", "endless-frame", "truncates-twice"]
    {
        let (server, _dir) = hostile(mode, &["--execution-timeout=30"]).await;
        let begun = Instant::now();
        let answer = server.run("1").await;
        assert_eq!(answer["error_detail"]["kind"], "worker_protocol", "{mode}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{mode}: not at the deadline");
        assert_eq!(
            server.metric("mcp_v8_worker_exits_total{cause=\"protocol\"}").await,
            1.0,
            "{mode}"
        );
        let memory = anonymous_memory_bytes(server.pid());
        assert!(memory < 64 * 1024 * 1024, "{mode}: {memory} bytes");
    }
}

/// P4: an answer at the latest 250 ms after the limit, and the process is gone.
#[tokio::test]
async fn p4_a_silent_or_stopped_worker_is_answered_within_250_ms_of_the_limit() {
    for mode in ["silent", "stopped"] {
        let (server, _dir) = hostile(mode, &["--execution-timeout=1"]).await;
        for _ in 0..5 {
            let begun = Instant::now();
            let answer = server.run("1").await;
            let late = begun.elapsed().saturating_sub(Duration::from_secs(1));
            assert_eq!(answer["status"], "timed_out", "{mode}: {answer}");
            assert!(late < Duration::from_millis(250), "{mode}: {late:?} late");
        }
    }
}

#[tokio::test]
async fn workers_that_do_not_start_turn_readiness_red_with_the_reason() {
    for (mode, reason) in [
        ("exits", "exit code 3"),
        ("fatal", "no room for V8"),
        ("garbage-at-start", "broke the protocol while starting"),
        ("old", "version 0.0.0"),
    ] {
        let (server, _dir) = hostile(mode, &[]).await;
        let readiness = until("the breaker to open", || async {
            let response = server.get("/readyz").send().await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let body: Value = response.json().await.unwrap();
            body["reasons"].to_string().contains(reason).then_some(body)
        })
        .await;
        assert!(readiness["reasons"][0].as_str().unwrap().contains("do not start"), "{readiness}");
        let response =
            server.post("/api/exec?wait=10").json(&json!({ "code": "1" })).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{mode}");
        assert!(response.headers().contains_key("retry-after"));
        let body: Value = response.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(reason), "{body}");
    }
}

#[tokio::test]
async fn a_worker_that_talks_while_idle_never_gets_a_job() {
    let (server, _dir) = hostile("talks-idle", &[]).await;
    until("workers to be counted", || async {
        (server.metric("mcp_v8_worker_exits_total{cause=\"idle\"}").await > 2.0).then_some(())
    })
    .await;
    assert_eq!(server.get("/livez").send().await.unwrap().status(), StatusCode::OK);
}
