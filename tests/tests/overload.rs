//! P9 at the listener: bodies, sessions and connections are bounded, and what is refused is told so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream;

use mcp_v8_supervisor::limits::{
    BODIES_BYTES_MAX, BODY_BYTES_MAX, CONNECTIONS_MAX, MCP_SESSIONS_MAX,
};
use mcp_v8_tests::{Server, anonymous_memory_bytes, until};
use reqwest::StatusCode;
use serde_json::json;

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap()
}

/// Announces a body and sends none of it.
fn announce(server: &Server, bytes: usize) -> TcpStream {
    let mut stream = connect(server);
    let head = format!(
        "POST /api/exec HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test]
async fn p9_bodies_that_are_being_read_share_one_budget() {
    let server = Server::start(&[]).await;
    let fit = BODIES_BYTES_MAX / (BODY_BYTES_MAX + 4096);
    let held: Vec<TcpStream> = (0..fit).map(|_| announce(&server, BODY_BYTES_MAX)).collect();
    let large = || async {
        let request = server.post("/api/exec?wait=30").header("content-type", "text/plain");
        let body = vec![b' '; BODY_BYTES_MAX];
        request.body(body).send().await.ok().map(|response| response.status())
    };
    until("the budget to be used up", || async {
        (large().await? == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    server.assert_serves().await;
    drop(held);
    // Blank code is refused for what it is once there is room to read it.
    until("the budget to be free again", || async {
        (large().await? == StatusCode::BAD_REQUEST).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_at_the_bound_is_read_and_one_byte_more_is_refused_by_its_head() {
    let server = Server::start(&[]).await;
    let mut stream = announce(&server, BODY_BYTES_MAX + 1);
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    let request = server.post("/api/exec").header("content-type", "text/plain");
    let answer = request.body(vec![b' '; BODY_BYTES_MAX]).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("`code` is empty"), "it was read to its end: {text}");
}

/// Sessions exist in revisions up to 2025-11-25; a client that opens them and goes away must not
/// grow the server without end.
#[tokio::test]
async fn p9_sessions_are_bounded_and_the_rest_is_still_served() {
    let server = Server::start(&[]).await;
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    });
    let open = || async {
        let request = server.post("/mcp").header("accept", "application/json, text/event-stream");
        request.json(&initialize).send().await.unwrap()
    };
    let before = anonymous_memory_bytes(server.pid());
    for _ in 0..MCP_SESSIONS_MAX {
        assert_eq!(open().await.status(), StatusCode::OK);
    }
    let refused = open().await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text().await.unwrap().contains("sessions are open"));
    let each = (anonymous_memory_bytes(server.pid()) - before) / MCP_SESSIONS_MAX as u64;
    assert!(each < 128 * 1024, "{each} bytes a session");
    server.assert_serves().await;
}

/// Connections past the bound wait in the kernel and are served when others close.
#[tokio::test]
async fn p9_connections_past_the_bound_wait_for_others_to_close() {
    let server = Server::start(&[]).await;
    let idle: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(&server)).collect();
    until("the connections to be accepted", || async {
        (mcp_v8_tests::descriptors(server.pid()) >= CONNECTIONS_MAX).then_some(())
    })
    .await;
    let waiting = tokio::spawn(server.get("/livez").send());
    drop(idle);
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
}
