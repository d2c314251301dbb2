//! Executions over REST: queue, cancel, idempotency, paging, isolation, stop of the server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::time::Duration;

use mcp_v8_protocol::limits::CODE_BYTES_MAX;
use mcp_v8_supervisor::limits::QUEUE_DEPTH_MAX;
use mcp_v8_tests::{Server, until};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

/// P3: no two executions share a process, and nothing of one is seen by the next.
#[tokio::test]
async fn p3_nothing_of_one_execution_is_visible_to_the_next() {
    let server = Server::start(&["--max-concurrent-executions=1"]).await;
    let mut processes = HashSet::new();
    for _ in 0..5 {
        let worker = until("one idle worker", || async {
            let workers = server.workers();
            (workers.len() == 1).then(|| workers[0])
        })
        .await;
        assert!(processes.insert(worker), "process {worker} is used again");
        let left =
            "globalThis.left = 1; Array.prototype.left = 1; setInterval(() => {}, 1e6).unref?.();";
        let answer = server.run(&format!("{left} throw 'end'")).await;
        assert_eq!(answer["status"], "failed");
        let answer = server.run("`${typeof left} ${[].left}`").await;
        assert_eq!(answer["result"], "undefined undefined", "{answer}");
    }
}

/// P9: overload is answered at once with a typed error.
#[tokio::test]
async fn p9_a_full_queue_refuses_at_once_and_serves_again() {
    let server = Server::start(&["--max-concurrent-executions=1", "--execution-timeout=300"]).await;
    let mut accepted = Vec::new();
    let refused = loop {
        let response = server
            .post("/api/exec")
            .json(&json!({ "code": "while(true){}" }))
            .send()
            .await
            .unwrap();
        match response.status() {
            StatusCode::ACCEPTED => {
                let body: Value = response.json().await.unwrap();
                accepted.push(body["execution_id"].as_str().unwrap().to_owned());
            }
            _ => break response,
        }
        assert!(accepted.len() <= QUEUE_DEPTH_MAX + 2, "the queue never fills");
    };
    assert!(accepted.len() >= QUEUE_DEPTH_MAX, "{} accepted", accepted.len());
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await.unwrap();
    assert!(body["error"].as_str().unwrap().starts_with("overloaded:"), "{body}");
    // Waiting ones are cancelled without ever having had a worker.
    for id in accepted.iter().rev() {
        let path = format!("/api/executions/{id}/cancel");
        let response = server.post(&path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    server.assert_serves().await;
}

/// P9: the bytes of code that wait are bounded too.
#[tokio::test]
async fn p9_large_scripts_that_wait_are_bounded_in_bytes() {
    let server = Server::start(&["--max-concurrent-executions=1", "--execution-timeout=300"]).await;
    let mut code = b"while(true){}//".to_vec();
    code.resize(CODE_BYTES_MAX, b'x');
    let mut accepted = 0;
    let status = loop {
        let request = server.post("/api/exec").header("content-type", "text/plain");
        let status = request.body(code.clone()).send().await.unwrap().status();
        if status != StatusCode::ACCEPTED {
            break status;
        }
        accepted += 1;
    };
    assert_eq!(
        (accepted, status),
        (16, StatusCode::SERVICE_UNAVAILABLE),
        "16 times 16 MiB is the bound"
    );
}

#[tokio::test]
async fn cancelling_ends_a_running_script_and_says_so_everywhere() {
    let server = Server::start(&[]).await;
    let id = server.submit("console.log('begun'); while(true){}").await;
    until("the script to run", || async {
        let page = server.json(&format!("/api/executions/{id}/output")).await;
        (page["data"] == "begun").then_some(())
    })
    .await;
    let cancel = format!("/api/executions/{id}/cancel");
    let response = server.post(&cancel).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body, json!({ "ok": true }));
    let info = server.json(&format!("/api/executions/{id}")).await;
    assert_eq!(
        (&info["status"], &info["error"]),
        (&json!("cancelled"), &json!("Cancelled by user"))
    );
    let again = server.post(&cancel).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    let body: Value = again.json().await.unwrap();
    let expected = format!("Execution '{id}' is not running (status: cancelled)");
    assert_eq!(body, json!({ "ok": false, "error": expected }));
}

#[tokio::test]
async fn a_waiting_caller_that_goes_away_cancels_its_script_unless_it_left_a_key() {
    let server = Server::start(&[]).await;
    let listed = |status: &'static str| {
        let server = &server;
        async move {
            let list = server.json("/api/executions").await;
            let rows = list["executions"].as_array().unwrap();
            (rows.len() == 1 && rows[0]["status"] == status).then_some(())
        }
    };
    let request = server.post("/api/exec?wait=60").json(&json!({ "code": "while(true){}" }));
    let call = tokio::spawn(request.send());
    until("the script to be there", || listed("running")).await;
    call.abort();
    until("the script to be cancelled", || listed("cancelled")).await;

    let server = Server::start(&[]).await;
    let code = "await new Promise(done => setTimeout(done, 1000)); 'kept'";
    let request = || {
        let request = server.post("/api/exec?wait=60").json(&json!({ "code": code }));
        request.header("Idempotency-Key", "key-1")
    };
    let call = tokio::spawn(request().send());
    until("the script to be there", || async {
        let list = server.json("/api/executions").await;
        (list["executions"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    call.abort();
    let answer: Value = request().send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"], "kept", "{answer}");
    let list = server.json("/api/executions").await;
    assert_eq!(list["executions"].as_array().unwrap().len(), 1, "a retry finds the first: {list}");
    let other =
        server.post("/api/exec").json(&json!({ "code": "2" })).header("Idempotency-Key", "key-1");
    assert_eq!(other.send().await.unwrap().status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn output_is_readable_while_the_script_runs_and_in_pages() {
    let server = Server::start(&[]).await;
    let id = server
        .submit("for (let i = 1; i <= 250; i++) console.log('line ' + i); await new Promise(d => setTimeout(d, 500)); console.log('last')")
        .await;
    let path = format!("/api/executions/{id}/output");
    let live = server.json(&format!("{path}?line_offset=250&wait=10")).await;
    assert_eq!((&live["data"], &live["status"]), (&json!("line 250"), &json!("running")), "{live}");
    let last = server.json(&format!("{path}?line_offset=251&wait=10")).await;
    assert_eq!(last["data"], "last", "{last}");
    let first = server.json(&path).await;
    assert_eq!((&first["start_line"], &first["end_line"]), (&json!(1), &json!(100)));
    assert_eq!((&first["next_line_offset"], &first["has_more"]), (&json!(101), &json!(true)));
    let bytes = server.json(&format!("{path}?byte_offset=5&byte_limit=3")).await;
    assert_eq!(bytes["data"], "1\nl", "{bytes}");
}

#[tokio::test]
async fn a_script_waits_for_a_worker_without_burning_its_timeout() {
    let server = Server::start(&["--max-concurrent-executions=1"]).await;
    let block = json!({ "code": "while(true){}", "execution_timeout_secs": 3 });
    let response = server.post("/api/exec").json(&block).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer = server.run_with(json!({ "code": "'ran'", "execution_timeout_secs": 1 })).await;
    assert_eq!(answer["result"], "ran", "{answer}");
}

#[tokio::test]
async fn the_state_of_a_list_is_newest_first_and_goes_on_from_its_cursor() {
    let server = Server::start(&[]).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(server.run("1").await["execution_id"].as_str().unwrap().to_owned());
    }
    ids.reverse();
    let page = server.json("/api/executions?limit=3").await;
    let seen = |page: &Value| -> Vec<String> {
        let rows = page["executions"].as_array().unwrap();
        rows.iter().map(|row| row["execution_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(seen(&page), ids[..3]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = server.json(&format!("/api/executions?limit=3&cursor={cursor}")).await;
    assert_eq!(seen(&rest), ids[3..]);
    assert!(rest["next_cursor"].is_null());
}

/// P8, as far as one node goes: a planned stop fails no request and leaves no process.
#[tokio::test]
async fn p8_sigterm_finishes_what_runs_answers_it_and_leaves_nothing_behind() {
    let mut server = Server::start(&[]).await;
    let code =
        "console.log('begun'); await new Promise(done => setTimeout(done, 1500)); 'finished'";
    let call = tokio::spawn(server.post("/api/exec?wait=30").json(&json!({ "code": code })).send());
    until("the script to run", || async {
        let list = server.json("/api/executions").await;
        (list["executions"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let workers = server.children();
    server.signal(Signal::TERM);
    until("readiness to turn red", || async {
        let status = server.get("/readyz").send().await.ok()?.status();
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let refused = server.post("/api/exec").json(&json!({ "code": "1" })).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["connection"], "close", "the next request goes elsewhere");
    let answer: Value = call.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["result"], "finished", "{answer}");
    assert_eq!(server.exited().await.code(), Some(0));
    for pid in workers {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_no_worker_behind() {
    let mut server = Server::start(&[]).await;
    let id = server.submit("console.log('begun'); while(true){}").await;
    until("the script to run", || async {
        let page = server.json(&format!("/api/executions/{id}/output")).await;
        (page["data"] == "begun").then_some(())
    })
    .await;
    let workers = server.children();
    assert!(!workers.is_empty());
    server.signal(Signal::KILL);
    server.exited().await;
    until("its workers to be gone", || async {
        let gone = workers.iter().all(|pid| {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
        gone.then_some(())
    })
    .await;
}

/// Whenever its caller goes: before it is accepted, in that moment, or later.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_whose_only_caller_goes_away_is_cancelled_whenever_that_is() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start(&[]).await;
    let address = server.url.strip_prefix("http://").unwrap();
    let code = "for (;;);";
    let request = format!(
        "POST /api/exec?wait=60 HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{code}",
        code.len()
    );
    for tenth_ms in 0..60 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(100 * tenth_ms)).await;
    }
    until("all of them to be cancelled", || async {
        let list = server.json("/api/executions?limit=1000").await;
        let list = list["executions"].as_array().unwrap().clone();
        let all = list.iter().all(|execution| execution["status"] == "cancelled");
        (!list.is_empty() && all).then_some(())
    })
    .await;
}
