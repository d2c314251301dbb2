//! P9 at the listener: bodies, sessions and connections are bounded, and what is refused is told so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use mcp_v8_supervisor::limits::{
    BODIES_BYTES_MAX, BODY_BYTES_MAX, CONNECTIONS_MAX, HEADER_READ_MAX, MCP_SESSIONS_MAX,
};
use mcp_v8_tests::{Server, anonymous_memory_bytes, free_port, until};
use reqwest::StatusCode;
use serde_json::{Value, json};

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap()
}

/// Announces a body and sends `sent` bytes of it.
fn announce(server: &Server, bytes: usize, sent: usize) -> TcpStream {
    let mut stream = connect(server);
    let head = format!(
        "POST /api/exec HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b' '; sent]).unwrap();
    stream
}

#[tokio::test]
async fn p9_bodies_that_are_being_read_share_one_budget_by_what_has_arrived() {
    let server = Server::start(&[]).await;
    // Announcing costs nothing: many that send nothing hinder nobody.
    let announced: Vec<TcpStream> =
        (0..100).map(|_| announce(&server, BODY_BYTES_MAX, 0)).collect();
    let large = || async {
        let request = server.post("/api/exec?wait=30").header("content-type", "text/plain");
        let body = vec![b' '; BODY_BYTES_MAX];
        request.body(body).send().await.ok().map(|response| response.status())
    };
    // Blank code is refused for what it is.
    assert_eq!(large().await, Some(StatusCode::BAD_REQUEST));
    let almost = BODY_BYTES_MAX - 1;
    let held: Vec<TcpStream> = (0..BODIES_BYTES_MAX / BODY_BYTES_MAX)
        .map(|_| announce(&server, BODY_BYTES_MAX, almost))
        .collect();
    until("the budget to be used up", || async {
        (large().await? == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    server.assert_serves().await;
    drop((announced, held));
    until("the budget to be free again", || async {
        (large().await? == StatusCode::BAD_REQUEST).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_at_the_bound_is_read_and_one_byte_more_is_refused_by_its_head() {
    let server = Server::start(&[]).await;
    let mut stream = announce(&server, BODY_BYTES_MAX + 1, 0);
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    let request = server.post("/api/exec").header("content-type", "text/plain");
    let answer = request.body(vec![b' '; BODY_BYTES_MAX]).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("`code` is empty"), "it was read to its end: {text}");
}

/// Sessions exist in revisions up to 2025-11-25; a client that opens them and goes away must neither
/// grow the server without end nor lock others out.
#[tokio::test]
async fn p9_sessions_are_bounded_and_the_least_recently_used_makes_room() {
    // Where sessions are kept, the one that made room would be opened again.
    let server = Server::start(&["--stateless"]).await;
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    });
    let post = |session: Option<String>, body: Value| {
        let request = server.post("/mcp").header("accept", "application/json, text/event-stream");
        let request = match session {
            Some(id) => request.header("mcp-session-id", id),
            None => request,
        };
        async move { request.json(&body).send().await.unwrap() }
    };
    let open = || async {
        let answer = post(None, initialize.clone()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
    };
    let ping = |id: &str| {
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        post(Some(id.to_owned()), initialized)
    };
    let before = anonymous_memory_bytes(server.pid());
    let (first, second) = (open().await, open().await);
    for _ in 2..MCP_SESSIONS_MAX {
        open().await;
    }
    let each = (anonymous_memory_bytes(server.pid()) - before) / MCP_SESSIONS_MAX as u64;
    assert!(each < 128 * 1024, "{each} bytes a session");
    assert_eq!(ping(&first).await.status(), StatusCode::ACCEPTED, "used just now");
    open().await;
    assert_eq!(ping(&first).await.status(), StatusCode::ACCEPTED);
    assert_eq!(ping(&second).await.status(), StatusCode::NOT_FOUND, "it made room");
    server.assert_serves().await;
}

/// A client of the older transport that does not read its stream is refused, not buffered for.
#[tokio::test]
async fn p9_an_sse_client_that_does_not_read_is_refused() {
    let port = free_port();
    let server = Server::start(&[&format!("--sse-port={port}")]).await;
    let sse = format!("127.0.0.1:{port}");
    let mut stream = BufReader::new(TcpStream::connect(&sse).unwrap());
    stream.get_mut().write_all(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    let endpoint = format!("http://{sse}{}", line.trim_start_matches("data: ").trim());
    let post = |body: Value| server.client.post(&endpoint).json(&body).send();
    let hello = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello});
    assert_eq!(post(initialize).await.unwrap().status(), StatusCode::ACCEPTED);
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(post(initialized).await.unwrap().status(), StatusCode::ACCEPTED);
    let mut sent = 0;
    let refused = loop {
        sent += 1;
        let list = json!({"jsonrpc": "2.0", "id": sent, "method": "tools/list"});
        let answer = post(list).await.unwrap();
        if answer.status() != StatusCode::ACCEPTED {
            break answer;
        }
        assert!(sent < 20_000, "a stream that nobody reads is filled without end");
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text().await.unwrap().contains("read its stream"));
    // The same id again would be one request more that counts for none.
    let again = json!({"jsonrpc": "2.0", "id": sent - 1, "method": "tools/list"});
    let again = post(again).await.unwrap();
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    assert!(again.text().await.unwrap().contains("has no answer yet"));
    let memory = anonymous_memory_bytes(server.pid());
    assert!(memory < 200 * 1024 * 1024, "{memory} bytes");
}

/// Connections past the bound wait in the kernel and are served when others close; and one that
/// sends nothing, or half a head, is closed.
#[tokio::test]
async fn p9_silent_connections_are_closed_and_those_past_the_bound_served() {
    let server = Server::start(&[]).await;
    let descriptors = || mcp_v8_tests::descriptors(server.pid());
    let before = descriptors();
    let mut idle: Vec<TcpStream> = (0..CONNECTIONS_MAX + 100).map(|_| connect(&server)).collect();
    idle[1].write_all(b"P").unwrap();
    idle[2].write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    idle[3].write_all(b"GET /livez HTTP/1.1\r\nHost:").unwrap();
    until("the connections to be accepted", || async {
        // The harness has a few of its own.
        (descriptors() + 10 >= before + CONNECTIONS_MAX).then_some(())
    })
    .await;
    let begun = Instant::now();
    let mut waiting = connect(&server);
    waiting.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(begun.elapsed() > HEADER_READ_MAX / 5, "it waited until others were closed");
    let most = before + CONNECTIONS_MAX + 10;
    assert!(descriptors() <= most, "{} descriptors", descriptors());
    for (at, stream) in idle.iter_mut().enumerate().take(5) {
        stream.set_read_timeout(Some(HEADER_READ_MAX)).unwrap();
        let mut rest = Vec::new();
        // An answer such as 408 may come first; then the end.
        assert!(stream.read_to_end(&mut rest).is_ok(), "connection {at} is still open");
    }
}
