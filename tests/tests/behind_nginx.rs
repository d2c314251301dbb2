//! Servers behind nginx, with the configurations of deploy/: what clients do to a server through a proxy
//! leaves nothing behind and holds nobody up, and `/health` tells the truth.
//!
//! # Contract
//! * A server at rest has as many descriptors as before, whatever clients did.
//! * Calls of real MCP clients through nginx, while nodes are restarted, are in
//!   `tests/clients/test_through_nginx.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mcp_v8_tests::nginx::{Nginx, replaced};
use mcp_v8_tests::{Server, binary, client, descriptors, free_port, run_js, until};
use reqwest::StatusCode;
use serde_json::{Value, json};

const WORKERS: usize = 2;

/// What a script may take while others misbehave, on a machine that is busy with other tests.
const PROMPT: Duration = Duration::from_secs(5);

fn address(server: &Server) -> String {
    server.url.trim_start_matches("http://").to_owned()
}

async fn server(flags: &[&str]) -> (Server, usize) {
    let at_once = format!("--max-concurrent-executions={WORKERS}");
    let server = Server::start(&[&[at_once.as_str()], flags].concat()).await;
    for _ in 0..4 {
        server.assert_serves().await;
    }
    server.at_rest(WORKERS).await;
    let before = descriptors(server.pid());
    (server, before)
}

/// Waits until a server has no more descriptors than before, but for the connections of this test.
async fn leaves_nothing(server: &Server, before: usize) {
    server.at_rest(WORKERS).await;
    until(&format!("{before} descriptors, as before"), || async {
        (descriptors(server.pid()) <= before + 2).then_some(())
    })
    .await;
}

/// Sends a request and gives the connection, unread.
fn sent(nginx: &Nginx, head: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(nginx.url.trim_start_matches("http://")).unwrap();
    let head = format!("{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
    stream.write_all(format!("{head}Content-Type: text/plain\r\n\r\n{body}").as_bytes()).unwrap();
    stream
}

#[tokio::test]
async fn p9_clients_that_disappear_in_the_middle_of_a_run_leave_nothing_behind() {
    let (server, before) = server(&[]).await;
    let nginx = Nginx::single_with(&address(&server), |text| text).await;
    let hang = "await new Promise(done => setTimeout(done, 25_000))";
    let rest: Vec<TcpStream> =
        (0..10).map(|_| sent(&nginx, "POST /api/exec?wait=60", hang)).collect();
    let calls = (0..10).map(|id| {
        let post = run_js(client().post(format!("{}/mcp", nginx.url)), id, json!({ "code": hang }));
        tokio::spawn(post.send())
    });
    let calls: Vec<_> = calls.collect();
    until("all scripts to be there", || async {
        (server.metric("mcp_v8_executions_active").await == 20.0).then_some(())
    })
    .await;
    drop(rest);
    for call in calls {
        call.abort();
    }
    until("none of them to be left", || async {
        (server.metric("mcp_v8_executions_active").await == 0.0).then_some(())
    })
    .await;
    leaves_nothing(&server, before).await;
    let ended = server.json("/api/executions?limit=20").await;
    let cancelled = |row: &&Value| row["status"] == "cancelled";
    assert_eq!(ended["executions"].as_array().unwrap().iter().filter(cancelled).count(), 20);
    server.assert_serves().await;
}

/// A session of an older revision, with its stream for messages from the server.
async fn session_with_stream(url: &str) -> (String, reqwest::Response) {
    let post = client().post(format!("{url}/mcp"));
    let hello = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    });
    let accept = "application/json, text/event-stream";
    let answer = post.header("accept", accept).json(&hello).send().await.unwrap();
    let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let get = client().get(format!("{url}/mcp")).header("accept", "text/event-stream");
    let get = get.header("mcp-session-id", &id).header("mcp-protocol-version", "2025-06-18");
    let stream = get.send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    (id, stream)
}

#[tokio::test]
async fn p9_streams_that_nginx_closes_for_being_idle_leave_nothing_behind() {
    const STREAMS: usize = 40;
    // Sooner than the server sends a comment to keep a stream open, and later than all are open.
    const IDLE: Duration = Duration::from_secs(8);
    let (server, before) = server(&[]).await;
    let impatient = |text: String| {
        let idle = format!("proxy_read_timeout {}s;", IDLE.as_secs());
        replaced(&text, "proxy_read_timeout 3600s;", &idle)
    };
    let nginx = Nginx::single_with(&address(&server), impatient).await;
    let sessions = join_all((0..STREAMS).map(|_| session_with_stream(&nginx.url))).await;
    assert!(descriptors(server.pid()) >= before + STREAMS);
    let (ids, streams): (Vec<_>, Vec<_>) = sessions.into_iter().unzip();
    let ends =
        streams.into_iter().map(|stream| tokio::time::timeout(IDLE + PROMPT, stream.bytes()));
    assert!(join_all(ends).await.iter().all(Result::is_ok), "nginx ends every stream");
    leaves_nothing(&server, before).await;
    // The session outlives its stream.
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let post = client().post(format!("{}/mcp", nginx.url)).header("mcp-session-id", &ids[0]);
    let post = post.header("mcp-protocol-version", "2025-06-18");
    let post = post.header("accept", "application/json, text/event-stream");
    assert_eq!(post.json(&ping).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn p9_slow_readers_of_ten_mebibytes_hold_nobody_up_and_leave_nothing_behind() {
    const READERS: usize = 8;
    let (server, before) = server(&["--console-bytes-max=16777216"]).await;
    let nginx = Nginx::single_with(&address(&server), |text| text).await;
    let flood =
        "const line = 'x'.repeat(1023); for (let i = 0; i < 10 * 1024; i++) console.log(line)";
    let mut readers: Vec<TcpStream> =
        (0..READERS).map(|_| sent(&nginx, "POST /api/exec?wait=60", flood)).collect();
    // Those of MCP are not buffered by nginx: they hold the server's connections.
    let mut mcp = Vec::new();
    for id in 0..READERS {
        let post = client().post(format!("{}/mcp", nginx.url));
        let code = format!("{flood}; 'x'.repeat(900_000)");
        mcp.push(run_js(post, id, json!({ "code": code })).send().await.unwrap());
    }
    // Each has a few bytes, and takes no more for now.
    for reader in &mut readers {
        let mut beginning = [0; 12];
        reader.read_exact(&mut beginning).unwrap();
        assert_eq!(&beginning, b"HTTP/1.1 200");
    }
    for number in 0..20 {
        let begun = Instant::now();
        let post = client().post(format!("{}/api/exec?wait=30", nginx.url));
        let answer: Value = post
            .json(&json!({ "code": format!("{number}") }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(answer["result"], number.to_string());
        assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    }
    // nginx has taken what is for the readers of REST: the server has done with them.
    until("the server to have sent what is for readers of REST", || async {
        (descriptors(server.pid()) <= before + READERS + 2).then_some(())
    })
    .await;
    let mut last = readers.pop().unwrap();
    let mut text = Vec::new();
    last.set_read_timeout(Some(PROMPT)).unwrap();
    // nginx keeps the connection; its end is told by a read that is in vain.
    let _ = last.read_to_end(&mut text);
    assert!(text.len() > 10 * 1024 * 1024, "a slow reader gets all of it: {}", text.len());
    drop((readers, mcp));
    leaves_nothing(&server, before).await;
}

/// Three nodes of one cluster that insists on proof, and the file of their secret.
async fn three_nodes(dir: &std::path::Path) -> (Vec<Server>, Vec<u16>, String) {
    let secret = dir.join("cluster.secret");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&secret).unwrap();
    file.write_all(&[b's'; 64]).unwrap();
    let secret = secret.to_str().unwrap().to_owned();
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let starting = (0..3).map(|at| {
        let others = (0..3).filter(|other| *other != at);
        let peers: Vec<String> =
            others.map(|other| format!("node{}@127.0.0.1:{}", other + 1, ports[other])).collect();
        let flags = [
            format!("--node-id=node{}", at + 1),
            format!("--cluster-port={}", ports[at]),
            format!("--advertise-addr=127.0.0.1:{}", ports[at]),
            format!("--peers={}", peers.join(",")),
            format!("--cluster-secret-file={secret}"),
            "--cluster-auth=required".to_owned(),
        ];
        async move { Server::start(&flags.each_ref().map(String::as_str)).await }
    });
    (join_all(starting).await, ports, secret)
}

#[tokio::test]
async fn health_through_nginx_is_that_of_whichever_node_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (nodes, ports, secret) = three_nodes(dir.path()).await;
    let addresses: [String; 3] = std::array::from_fn(|at| address(&nodes[at]));
    let nginx = Nginx::cluster(&addresses).await;
    let health = async || {
        let mut seen = BTreeSet::new();
        for _ in 0..9 {
            let answer = client().get(format!("{}/health", nginx.url)).send().await.unwrap();
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.unwrap();
            seen.insert((body["node_id"].as_str().unwrap().to_owned(), status));
        }
        seen
    };
    let are = |statuses: [u16; 3]| {
        let named = |(at, status)| (format!("node{}", at + 1), status);
        statuses.into_iter().enumerate().map(named).collect::<BTreeSet<_>>()
    };
    assert_eq!(health().await, are([200, 200, 200]));
    let drained = Command::new(binary("mcp-v8"))
        .args(["cluster", &format!("--node=127.0.0.1:{}", ports[0])])
        .args([&format!("--secret-file={secret}"), "drain", "node2"])
        .output()
        .unwrap();
    assert!(drained.status.success(), "{drained:?}");
    assert_eq!(health().await, are([200, 503, 200]));
    // It answers what it is asked all the same.
    for _ in 0..6 {
        let post = client().post(format!("{}/api/exec?wait=30", nginx.url));
        let answer = post.json(&json!({ "code": "6 * 7" })).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["result"], "42");
    }
}
