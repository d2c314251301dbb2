//! P8 on one node: a planned stop loses no answer, whatever the transport; and who goes away takes
//! its scripts along, unless it left a key.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use mcp_v8_tests::{Server, binary, signal_process, until};
use rustix::process::Signal;
use serde_json::{Value, json};

async fn accepted(server: &Server, count: usize) {
    until("the scripts to be accepted", || async {
        let list = server.json("/api/executions").await;
        (list["executions"].as_array().unwrap().len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_sigterm_loses_no_answer_over_mcp() {
    const CALLS: usize = 12;
    for _ in 0..3 {
        let mut server = Server::start(&[]).await;
        let calls: Vec<_> = (0..CALLS)
            .map(|id| {
                let code = "await new Promise(done => setTimeout(done, 400)); 'x'.repeat(60_000)";
                tokio::spawn(server.run_js(id, json!({ "code": code })).send())
            })
            .collect();
        accepted(&server, CALLS).await;
        server.signal(Signal::TERM);
        for call in calls {
            let text = call.await.unwrap().unwrap().text().await.unwrap();
            assert!(text.contains("completed"), "an answer was lost: {text:.300}");
        }
        assert_eq!(server.exited().await.code(), Some(0));
    }
}

/// A large answer is written to its end before the process goes, though stdin stays open.
#[test]
fn p8_sigterm_loses_no_answer_over_stdio() {
    let state = tempfile::tempdir().unwrap();
    let mut child = Command::new(binary("mcp-v8"))
        .arg(format!("--session-db-path={}", state.path().display()))
        .env("RUST_LOG", "error")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut send = |message: Value| writeln!(stdin, "{message}").unwrap();
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    send(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}));
    lines.next().unwrap().unwrap();
    send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let code = "console.log('begun'); await new Promise(done => setTimeout(done, 700)); 'x'.repeat(400_000)";
    let params =
        json!({"name": "run_js", "arguments": {"code": code}, "_meta": {"progressToken": 1}});
    send(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}));
    let progress = lines.next().unwrap().unwrap();
    assert!(progress.contains("begun"), "{progress}");
    signal_process(child.id(), Signal::TERM);
    let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let result = answer["result"]["structuredContent"]["result"].as_str().unwrap();
    assert_eq!(result.len(), 400_000);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(stdin);
}

#[tokio::test]
async fn a_dropped_mcp_call_cancels_its_script_unless_it_left_a_key() {
    let server = Server::start(&[]).await;
    let code = "await new Promise(done => setTimeout(done, 1500)); 'kept'";
    let status = async |expected: &str| {
        until(expected, || async {
            let list = server.json("/api/executions?limit=1").await;
            (list["executions"][0]["status"] == expected).then_some(())
        })
        .await;
    };
    let call = tokio::spawn(server.run_js(1, json!({ "code": code })).send());
    accepted(&server, 1).await;
    call.abort();
    status("cancelled").await;
    let keyed = json!({ "code": code, "idempotency_key": "k" });
    let call = tokio::spawn(server.run_js(2, keyed).send());
    accepted(&server, 2).await;
    call.abort();
    status("completed").await;
}

/// A client that takes nothing any more ends the server, though it keeps stdin open.
#[test]
fn a_closed_stdout_ends_a_stdio_server() {
    let state = tempfile::tempdir().unwrap();
    let mut child = Command::new(binary("mcp-v8"))
        .arg(format!("--session-db-path={}", state.path().display()))
        .env("RUST_LOG", "off")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello});
    writeln!(stdin, "{initialize}").unwrap();
    assert!(child.wait().unwrap().code().is_some());
}
