//! What a server without a cluster keeps, and who may have it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mcp_v8_tests::{binary, client, free_port, until};
use serde_json::{Value, json};

/// A server over a directory that outlives it.
struct Kept {
    child: Child,
    url: String,
}

impl Kept {
    async fn start(state: &Path) -> Self {
        let port = free_port();
        let child = Command::new(binary("mcp-v8"))
            .args(["--bind-host=127.0.0.1", &format!("--http-port={port}")])
            .arg(format!("--session-db-path={}", state.display()))
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        until("it to be ready", || async {
            let answer = client().get(format!("{}/readyz", server.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        server
    }

    async fn get(&self, path: &str) -> Value {
        let request = client().get(format!("{}{path}", self.url));
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn exec(&self, wait: &str, key: &str, code: &str) -> Value {
        let request = client()
            .post(format!("{}/api/exec{wait}", self.url))
            .header("idempotency-key", key)
            .json(&json!({ "code": code }));
        request.send().await.unwrap().json().await.unwrap()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn p1_what_a_single_server_acknowledged_outlives_kill_9() {
    let state = tempfile::tempdir().unwrap();
    let server = Kept::start(state.path()).await;
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        let code = format!("console.log('out {n}'); {n} * 2");
        let answer = server.exec("?wait=30", &format!("key {n}"), &code).await;
        acknowledged.push(answer["execution_id"].as_str().unwrap().to_owned());
    }
    drop(server);
    let server = Kept::start(state.path()).await;
    for (n, id) in acknowledged.iter().enumerate() {
        let found = server.get(&format!("/api/executions/{id}")).await;
        assert_eq!(found["result"], (n * 2).to_string(), "{found}");
        let output = server.get(&format!("/api/executions/{id}/output")).await;
        assert_eq!(output["data"], format!("out {n}"));
    }
    let again = server.exec("?wait=30", "key 3", "console.log('out 3'); 3 * 2").await;
    assert_eq!(again["execution_id"], acknowledged[3].as_str());
}

#[tokio::test]
async fn p2_what_ran_when_a_single_server_was_killed_runs_again_and_ends_once() {
    let state = tempfile::tempdir().unwrap();
    let server = Kept::start(state.path()).await;
    let code = "console.log('begun'); await new Promise(done => setTimeout(done, 1000)); 'done'";
    let id = server.exec("", "key", code).await["execution_id"].as_str().unwrap().to_owned();
    let path = format!("/api/executions/{id}");
    until("the script to begin", || async {
        let output = server.get(&format!("{path}/output")).await;
        (output["data"] == "begun").then_some(())
    })
    .await;
    drop(server);
    let server = Kept::start(state.path()).await;
    let ended = server.get(&format!("{path}?wait=30")).await;
    assert_eq!((&ended["status"], &ended["result"]), (&json!("completed"), &json!("done")));
    assert_eq!(server.get(&format!("{path}/output")).await["data"], "begun");
}

/// Answers to writes and completed syncs, in the order in which the server made them.
#[tokio::test]
async fn p1_no_answer_goes_out_before_the_disk_has_it() {
    const WRITES: usize = 20;
    let state = tempfile::tempdir().unwrap();
    let server = Kept::start(state.path()).await;
    let trace = state.path().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-s", "64", "-e", "trace=fdatasync,write,writev,sendto", "-o"])
        .args([trace.as_os_str(), "-p".as_ref(), server.child.id().to_string().as_ref()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let heap = "a".repeat(64);
    let url = format!("{}/api/heaps/{heap}/tags", server.url);
    let read = || std::fs::read_to_string(&trace).unwrap_or_default();
    until("strace to watch", || async {
        client().get(&url).send().await.unwrap();
        read().contains("HTTP/1.1 200").then_some(())
    })
    .await;
    let watched = read().len();
    for n in 0..WRITES {
        let request = client().put(&url).json(&json!({ "tags": { "n": n.to_string() } }));
        assert!(request.send().await.unwrap().status().is_success());
    }
    let after = until("the answers in the trace", || async {
        let after = read().split_off(watched);
        (after.matches("HTTP/1.1 200").count() >= WRITES).then_some(after)
    })
    .await;
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&strace),
        rustix::process::Signal::INT,
    )
    .unwrap();
    strace.wait().unwrap();
    let mut synced = false;
    for line in after.lines() {
        synced |= line.contains("fdatasync") && line.trim_end().ends_with("= 0");
        if line.contains("HTTP/1.1 200") {
            assert!(synced, "an answer without a sync before it:\n{after}");
            synced = false;
        }
    }
}

#[tokio::test]
async fn what_a_single_server_kept_is_backed_up_while_it_is_stopped_and_restored_elsewhere() {
    let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("laptop.backup");
    let cluster = |words: &[&str]| {
        let out = Command::new(binary("mcp-v8")).arg("cluster").args(words).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let complained = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.code(), said, complained)
    };
    let (from, to) = (state.path().display().to_string(), other.path().display().to_string());
    let out = format!("--out={}", file.display());
    let backup = ["backup", &out, &format!("--session-db-path={from}")];
    let restore = ["restore", file.to_str().unwrap(), &format!("--session-db-path={to}")];
    let server = Kept::start(state.path()).await;
    let first = server.exec("?wait=30", "key", "console.log('printed'); 6 * 7").await;
    let code = "await new Promise(done => setTimeout(done, 3000)); 'ran again'";
    let running = server.exec("", "key 2", code).await;
    let held = cluster(&backup);
    assert_eq!(held.0, Some(1), "{held:?}");
    assert!(held.2.contains(&format!("is in use by process {}", server.child.id())), "{held:?}");
    assert!(!file.exists());
    // SIGKILL: the backup has what was acknowledged all the same.
    drop(server);
    let taken = cluster(&backup);
    assert_eq!(taken.0, Some(0), "{taken:?}");
    let restored = cluster(&restore);
    assert_eq!(restored.0, Some(0), "{restored:?}");
    let start = format!("mcp-v8 --http-port=3000 --node-id=node1 --session-db-path={to}");
    assert!(restored.1.contains(&start), "{restored:?}");
    let server = Kept::start(other.path()).await;
    let again = server.exec("?wait=30", "key", "console.log('printed'); 6 * 7").await;
    assert_eq!(again["execution_id"], first["execution_id"]);
    let output = format!("/api/executions/{}/output", first["execution_id"].as_str().unwrap());
    assert_eq!(server.get(&output).await["data"], "printed");
    let path = format!("/api/executions/{}?wait=30", running["execution_id"].as_str().unwrap());
    let ended = server.get(&path).await;
    assert_eq!((&ended["status"], &ended["result"]), (&json!("completed"), &json!("ran again")));
    // Where it came from is as it was.
    let server = Kept::start(state.path()).await;
    assert_eq!(server.get(&output).await["data"], "printed");
}

#[tokio::test]
async fn a_second_server_on_the_same_database_is_told_who_has_it() {
    let state = tempfile::tempdir().unwrap();
    let first = Kept::start(state.path()).await;
    let second = Command::new(binary("mcp-v8"))
        .args(["--bind-host=127.0.0.1", &format!("--http-port={}", free_port())])
        .arg(format!("--session-db-path={}", state.path().display()))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    let error = String::from_utf8_lossy(&second.stderr);
    let holder = format!("is in use by process {}", first.child.id());
    assert!(error.contains(&holder) && error.contains("--session-db-path"), "{error}");
}

/// Two clients of one person, each with a server of its own and no options.
#[test]
fn two_servers_that_clients_start_without_options_both_serve() {
    let start = || {
        let mut child = Command::new(binary("mcp-v8"))
            .env("RUST_LOG", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    };
    let mut servers = [start(), start()];
    for (child, lines) in &mut servers {
        let stdin = child.stdin.as_mut().unwrap();
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let params = json!({"name": "run_js", "arguments": {"code": "6 * 7"}});
        for message in [
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}),
        ] {
            writeln!(stdin, "{message}").unwrap();
        }
        lines.next().unwrap().unwrap();
        let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["result"]["structuredContent"]["result"], "42", "{answer}");
    }
    for (mut child, _) in servers {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}
