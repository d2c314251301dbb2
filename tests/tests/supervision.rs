//! Supervision: workers that die, lie or hang, and a server that goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use mcp_v8_protocol::limits::CODE_BYTES_MAX;
use mcp_v8_tests::{
    Server, anonymous_memory_bytes, descriptors, hostile, is_zombie, signal_process, until,
};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

/// How worker processes come to be: what holds for one holds for the other.
const PROCESSES: [&str; 2] = [FORK, EXEC];
const FORK: &str = "--worker-processes=fork";
const EXEC: &str = "--worker-processes=exec";

fn in_both_ways<'a>(modes: &[&'a str]) -> Vec<(&'a str, &'static str)> {
    modes.iter().flat_map(|mode| PROCESSES.map(|processes| (*mode, processes))).collect()
}

/// P4: nothing a script's process does stops the supervisor; the caller has a typed error.
#[tokio::test]
async fn p4_a_worker_killed_in_mid_run_is_a_typed_error_and_the_next_script_runs() {
    let server = Server::start(&["--max-concurrent-executions=1"]).await;
    for (signal, word) in [(Signal::KILL, "signal 9"), (Signal::SEGV, "signal 11")] {
        let id = server.submit("console.log('begun'); while(true){}").await;
        until("the script to run", || async {
            let page = server.json(&format!("/api/executions/{id}/output")).await;
            (page["total_lines"] == 1).then_some(())
        })
        .await;
        let renewed = "mcp_v8_templates_renewed_total{reason=\"fault\"}";
        let before = server.metric(renewed).await;
        signal_process(server.busy_worker().await, signal);
        let info = server.json(&format!("/api/executions/{id}?wait=10")).await;
        assert_eq!(info["status"], "failed", "{info}");
        assert_eq!(info["error_detail"]["kind"], "worker_crashed", "{info}");
        assert!(info["error"].as_str().unwrap().contains(word), "{info}");
        server.assert_serves().await;
        // What has the memory layout in common with a process that crashed gets no more scripts.
        until("another template", || async {
            (server.metric(renewed).await > before).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_idle_worker_that_dies_is_replaced() {
    let server = Server::start(&["--max-concurrent-executions=2"]).await;
    let before = until("two idle workers", || async {
        let workers = server.workers();
        (workers.len() == 2).then_some(workers)
    })
    .await;
    for pid in &before {
        signal_process(*pid, Signal::KILL);
    }
    until("two new workers", || async {
        let workers = server.workers();
        (workers.len() == 2 && !workers.iter().any(|pid| before.contains(pid))).then_some(())
    })
    .await;
    server.assert_serves().await;
}

#[tokio::test]
async fn a_worker_that_breaks_the_protocol_is_killed_and_counted() {
    let modes = [
        "garbage",
        "huge-frame",
        "ready-again",
        "floods",
        "endless-frame",
        "truncates-twice",
        "leaves-nothing-of-it",
        "leaves-more-than-it-said",
        "leaves-without-end",
        "leaves-too-much",
        "prints-into-it",
    ];
    for (mode, processes) in in_both_ways(&modes) {
        let (server, _dir) = hostile(mode, &[processes, "--execution-timeout=30"]).await;
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
    for (mode, processes) in in_both_ways(&["silent", "stopped"]) {
        let (server, _dir) = hostile(mode, &[processes, "--execution-timeout=1"]).await;
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
    for (mode, processes, reason) in [
        ("exits", EXEC, "exit code 3"),
        ("exits", FORK, "exit code 3"),
        ("fatal", EXEC, "no room for V8"),
        ("fatal", FORK, "no room for V8"),
        ("garbage-at-start", EXEC, "broke the protocol while starting"),
        ("garbage-at-start", FORK, "broke the protocol while starting"),
        ("old", EXEC, "version 0.0.0"),
        ("old", FORK, "version 0.0.0"),
        ("forks-garbage", FORK, "broke the protocol while starting"),
        ("forks-a-claim", FORK, "descriptors that do not match the message"),
        ("forks-descriptors", FORK, "descriptors that do not match the message"),
        ("forks-nothing", FORK, "the template made no process: it took too long"),
    ] {
        let (server, _dir) = hostile(mode, &[processes]).await;
        let readiness = until("the breaker to open", || async {
            let response = server.get("/readyz").send().await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{mode}, {processes}");
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
    for (mode, processes) in in_both_ways(&["talks-idle"]) {
        let (server, _dir) = hostile(mode, &[processes]).await;
        until("workers to be counted", || async {
            (server.metric("mcp_v8_worker_exits_total{cause=\"idle\"}").await > 2.0).then_some(())
        })
        .await;
        assert_eq!(server.get("/livez").send().await.unwrap().status(), StatusCode::OK);
    }
}

/// The seed of the first conversation that is made up; the others count on from it.
const SEED: u64 = 20_261_123;
const CONVERSATIONS: u64 = 200;
/// By then every buffer has its size.
const WARM_UP: u64 = 40;
const AT_ONCE: u64 = 4;
/// What is kept of them: a few kilobytes of output and result each.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a loaded machine may add for those that run at once, a new template among them.
const SLACK: Duration = Duration::from_secs(2);

/// P4, P9: whatever workers say, in whatever order, callers have typed answers in time, and the
/// supervisor keeps nothing of it.
#[tokio::test]
async fn p4_workers_that_talk_at_random_cost_their_callers_an_error_and_the_supervisor_nothing() {
    for processes in PROCESSES {
        let flags = [
            processes,
            "--execution-timeout=1",
            "--console-bytes-max=16384",
            &format!("--max-concurrent-executions={AT_ONCE}"),
        ];
        let (server, _dir) = hostile("random", &flags).await;
        let talk = async |seeds: std::ops::Range<u64>| {
            let clients = (0..AT_ONCE).map(|client| {
                let (server, seeds) = (&server, seeds.clone());
                async move {
                    for seed in seeds.skip(client as usize).step_by(AT_ONCE as usize) {
                        assert_answer(server, seed).await;
                    }
                }
            });
            futures_util::future::join_all(clients).await;
        };
        let quiet = async || {
            let children = until("idle workers and no zombies", || async {
                let children = server.children();
                let idle = server.metric("mcp_v8_workers_idle").await;
                let none = !children.iter().any(|pid| is_zombie(*pid));
                let templates = if processes == FORK { 2 } else { 0 };
                let all = children.len() == AT_ONCE as usize + templates;
                (idle == AT_ONCE as f64 && none && all).then_some(children.len())
            })
            .await;
            (anonymous_memory_bytes(server.pid()), descriptors(server.pid()), children)
        };
        let begin = SEED + WARM_UP;
        talk(SEED..begin).await;
        let (memory, fds, children) = quiet().await;
        talk(begin..begin + CONVERSATIONS).await;
        let (memory_after, fds_after, children_after) = quiet().await;
        let growth = memory_after.saturating_sub(memory);
        assert!(growth <= GROWTH_BYTES_MAX, "{processes}: grew by {growth} bytes from {memory}");
        assert!(
            fds_after <= fds + AT_ONCE as usize,
            "{processes}: descriptors: {fds} before, {fds_after} after"
        );
        assert_eq!(children_after, children, "{processes}");
        assert_eq!(server.get("/livez").send().await.unwrap().status(), StatusCode::OK);
    }
}

/// One conversation, which ends in one of the ways that callers know.
async fn assert_answer(server: &Server, seed: u64) {
    let begun = Instant::now();
    let answer = server.run(&seed.to_string()).await;
    let took = begun.elapsed();
    let kind = answer["error_detail"]["kind"].as_str();
    let typed = match answer["status"].as_str().unwrap() {
        "completed" => kind.is_none(),
        "timed_out" => kind == Some("timed_out"),
        "failed" => kind.is_some_and(|kind| {
            [
                "syntax_error",
                "script_error",
                "unhandled_rejection",
                "stalled",
                "out_of_memory",
                "worker_crashed",
                "worker_protocol",
            ]
            .contains(&kind)
        }),
        _ => false,
    };
    assert!(typed, "seed {seed}: {answer}");
    assert!(took <= Duration::from_millis(1250) + SLACK, "seed {seed}: {took:?}: {answer}");
}

/// Jobs that are not read, one after the other.
const UNREAD: usize = 12;

/// P4, P9: a job that is not read is not waited for, and not kept.
#[tokio::test]
async fn p4_a_worker_that_does_not_read_its_job_is_answered_at_the_limit() {
    let large = "/".repeat(CODE_BYTES_MAX);
    let ways = in_both_ways(&["deaf", "hears-half"]).into_iter().map(async |(mode, processes)| {
        // What is kept on disk has memory of its own, and is no matter of this test.
        let (timeout, one) = ("--execution-timeout=1", "--max-concurrent-executions=1");
        let (server, _dir) = hostile(mode, &[processes, timeout, one, "--stateless"]).await;
        for _ in 0..UNREAD {
            let begun = Instant::now();
            let request = server.post("/api/exec?wait=60").header("content-type", "text/plain");
            let response = request.body(large.clone()).send().await.unwrap();
            let answer: Value = response.json().await.unwrap();
            assert_eq!(answer["status"], "timed_out", "{mode}, {processes}: {answer}");
            let late = begun.elapsed().saturating_sub(Duration::from_secs(1));
            assert!(late < Duration::from_millis(250) + SLACK, "{mode}: {late:?} late");
            assert_eq!(server.get("/livez").send().await.unwrap().status(), StatusCode::OK);
        }
        // The allocator keeps a few for the next ones.
        let memory = anonymous_memory_bytes(server.pid());
        let half = (UNREAD * CODE_BYTES_MAX / 2) as u64;
        assert!(memory < half, "{mode}, {processes}: {memory} bytes");
    });
    futures_util::future::join_all(ways).await;
}
