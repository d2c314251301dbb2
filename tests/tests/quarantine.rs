//! Code that kills workers is refused for a while, and nothing else is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mcp_v8_cluster::limits::QUARANTINE_DEATHS;
use mcp_v8_supervisor::limits::HASH_INLINE_BYTES_MAX;
use mcp_v8_tests::{Server, hostile, signal_process, until};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

async fn submit(server: &Server, code: &str) -> (StatusCode, Value) {
    let request = server.post("/api/exec?wait=30").json(&json!({ "code": code }));
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn lift(server: &Server, hash: &str) -> (StatusCode, String) {
    let request = server.client.delete(format!("{}/api/quarantine/{hash}", server.url));
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn entries(server: &Server) -> Vec<Value> {
    server.json("/api/quarantine").await["entries"].as_array().unwrap().clone()
}

/// P4: a script that kills workers must not go on doing so.
#[tokio::test]
async fn p4_code_that_killed_workers_is_refused_until_it_is_lifted() {
    let (server, _dir) = hostile("obeys", &[]).await;
    for (code, kind, reason) in [
        ("segmentation fault", "worker_crashed", "signal 11: invalid memory access"),
        ("forbidden system call", "worker_crashed", "signal 31: a system call that the sandbox"),
        ("trap", "worker_crashed", "signal 5: V8 could not go on"),
        ("silent exit", "worker_crashed", "exit code 7"),
        ("assertion", "worker_crashed", "last words"),
        ("garbage", "worker_protocol", "broke the protocol"),
        ("stops by itself", "worker_protocol", "stopped by itself"),
    ] {
        for death in 1..=QUARANTINE_DEATHS {
            let (status, answer) = submit(&server, code).await;
            assert_eq!(status, StatusCode::OK, "{code}: {answer}");
            assert_eq!(answer["error_detail"]["kind"], kind, "{code}: {answer}");
            assert!(answer["error_detail"].get("violent").is_none(), "{answer}");
            let entry = &entries(&server).await[0];
            assert_eq!(entry["deaths"], death, "{code}: {entry}");
            assert_eq!(entry["quarantined"], death == QUARANTINE_DEATHS, "{code}: {entry}");
        }
        assert_eq!(server.metric("mcp_v8_quarantined").await, 1.0);
        let entry = &entries(&server).await[0];
        let hash = entry["hash"].as_str().unwrap();
        let until = entry["until"].as_str().unwrap();
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{entry}");

        let (status, answer) = submit(&server, code).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{code}: {answer}");
        let error = answer["error"].as_str().unwrap();
        let expected = format!(
            "It is refused until {until}; an operator can lift that with DELETE /api/quarantine/{hash}"
        );
        assert!(error.starts_with("quarantined: this code killed 3 worker processes"), "{error}");
        assert!(error.contains(reason) && error.ends_with(&expected), "{error}");

        let (status, answer) = submit(&server, &format!("{code}?")).await;
        assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("completed")), "{answer}");

        assert_eq!(lift(&server, hash).await, (StatusCode::NO_CONTENT, String::new()));
        let (status, answer) = lift(&server, hash).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(answer.contains(&format!("no deaths are counted for code {hash}")), "{answer}");
        let (status, _) = submit(&server, code).await;
        assert_eq!(status, StatusCode::OK, "{code} is accepted again");
        assert_eq!(lift(&server, hash).await.0, StatusCode::NO_CONTENT, "{code}: a mere count");
    }
    let refused = server.metric("mcp_v8_executions_refused_total{reason=\"quarantined\"}").await;
    assert_eq!(refused, 7.0);
    let (status, answer) = lift(&server, "nonsense").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer.contains("`hash` is not a SHA-256; accepted: 64 hexadecimal"), "{answer}");
}

/// Ends in good order, limits that do their job and what others did are no reason.
#[tokio::test]
async fn what_no_script_did_to_its_worker_is_not_counted() {
    let (server, _dir) = hostile("obeys", &["--execution-timeout=1"]).await;
    for (code, kind) in [
        ("throws", "script_error"),
        ("out of memory", "out_of_memory"),
        ("internal error", "worker_crashed"),
        ("killed from outside", "worker_crashed"),
        ("silent", "timed_out"),
    ] {
        for _ in 0..=QUARANTINE_DEATHS {
            let (_, answer) = submit(&server, code).await;
            assert_eq!(answer["error_detail"]["kind"], kind, "{code}: {answer}");
        }
        assert_eq!(entries(&server).await, Vec::<Value>::new(), "{code}");
    }
    let (server, _dir) = hostile("obeys", &[]).await;
    for _ in 0..=QUARANTINE_DEATHS {
        let id = server.submit("silent").await;
        let cancelled = server.post(&format!("/api/executions/{id}/cancel")).send().await.unwrap();
        assert_eq!(cancelled.status(), StatusCode::OK);
    }
    assert_eq!(entries(&server).await, Vec::<Value>::new());
}

#[tokio::test]
async fn those_that_wait_when_their_code_is_quarantined_do_not_run() {
    const WAITING: usize = 4;
    let (server, _dir) = hostile("obeys", &["--max-concurrent-executions=1"]).await;
    let blocker = server.submit("silent").await;
    let mut ids = Vec::new();
    for _ in 0..QUARANTINE_DEATHS + WAITING {
        ids.push(server.submit("trap").await);
    }
    let other = server.submit("another").await;
    let cancelled = server.post(&format!("/api/executions/{blocker}/cancel")).send().await;
    assert_eq!(cancelled.unwrap().status(), StatusCode::OK);
    for (n, id) in ids.iter().enumerate() {
        let info = server.json(&format!("/api/executions/{id}?wait=10")).await;
        let kind = if n < QUARANTINE_DEATHS { "worker_crashed" } else { "quarantined" };
        assert_eq!(info["status"], "failed", "{info}");
        assert_eq!(info["error_detail"]["kind"], kind, "{n}: {info}");
        let error = info["error"].as_str().unwrap();
        assert_eq!(error.starts_with("quarantined: this code killed 3"), kind == "quarantined");
    }
    let info = server.json(&format!("/api/executions/{other}?wait=10")).await;
    assert_eq!(info["status"], "completed", "{info}");
    assert_eq!(entries(&server).await[0]["deaths"], QUARANTINE_DEATHS);
    let died = server.metric("mcp_v8_worker_exits_total{cause=\"signal\"}").await;
    assert_eq!(died as usize, QUARANTINE_DEATHS);
}

/// P2: the outcome of a key stays what it was.
#[tokio::test]
async fn a_retry_with_its_key_finds_the_first_execution_although_its_code_is_quarantined() {
    let (server, _dir) = hostile("obeys", &[]).await;
    let first = || async {
        let request = server.post("/api/exec?wait=30").json(&json!({ "code": "trap" }));
        request.header("Idempotency-Key", "key-1").send().await.unwrap()
    };
    let before: Value = first().await.json().await.unwrap();
    for _ in 1..QUARANTINE_DEATHS {
        submit(&server, "trap").await;
    }
    assert_eq!(submit(&server, "trap").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let after = first().await;
    assert_eq!(after.status(), StatusCode::OK);
    assert_eq!(after.json::<Value>().await.unwrap(), before);
}

/// The real worker, code that is hashed on another thread, and the refusal as an MCP client sees it.
#[tokio::test]
async fn a_real_worker_that_dies_of_a_fault_counts_and_mcp_clients_can_read_why() {
    let server = Server::start(&["--max-concurrent-executions=1"]).await;
    let long = "x".repeat(HASH_INLINE_BYTES_MAX);
    let code = format!("console.log('begun'); while(true){{}} // {long}");
    for _ in 0..QUARANTINE_DEATHS {
        let id = server.submit(&code).await;
        until("the script to run", || async {
            let page = server.json(&format!("/api/executions/{id}/output")).await;
            (page["total_lines"] == 1).then_some(())
        })
        .await;
        signal_process(server.busy_worker().await, Signal::SEGV);
        let info = server.json(&format!("/api/executions/{id}?wait=10")).await;
        assert_eq!(info["error_detail"]["kind"], "worker_crashed", "{info}");
    }
    let answer = server.run_js(1, json!({ "code": code })).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("\"isError\":true"), "{text}");
    assert!(text.contains("quarantined: this code killed 3 worker processes within 1h"), "{text}");
    assert!(text.contains("signal 11: invalid memory access"), "{text}");
    server.assert_serves().await;
}
