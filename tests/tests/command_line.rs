//! The command line as a person meets it: `exec`, `--help`, and starts that cannot work.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use mcp_v8_tests::{Server, binary, free_port};

fn mcp_v8(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(binary("mcp-v8"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn exec_runs_a_script_from_stdin_or_a_file_without_a_server() {
    let out = mcp_v8(&["exec", "-"], "console.log('hi'); const n: number = 6; n * 7");
    assert_eq!((text(&out.stdout), text(&out.stderr)), ("hi\n42\n", ""));
    assert_eq!(out.status.code(), Some(0));
    let mut file = tempfile::Builder::new().suffix(".ts").tempfile().unwrap();
    write!(file, "throw new Error('no')").unwrap();
    let out = mcp_v8(&["exec", file.path().to_str().unwrap()], "");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).starts_with("Error: no\n    at script."), "{out:?}");
}

#[test]
fn exec_says_why_it_cannot_run() {
    let port = free_port();
    let url = format!("--url=http://127.0.0.1:{port}");
    for (arguments, stdin, expected) in [
        (vec!["exec", "/nonexistent.js"], "", "/nonexistent.js: No such file"),
        (vec!["exec", "-"], " ", "`code` is empty"),
        (vec!["exec", "-", "--url=ftp://x"], "1", "--url ftp://x: expected something like"),
        (vec!["exec", "-", url.as_str()], "1", "onnection refused"),
        (vec!["exec", "-", "--worker-path=/nonexistent"], "1", "/nonexistent is missing"),
    ] {
        let out = mcp_v8(&arguments, stdin);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(text(&out.stderr).contains(expected), "{arguments:?}: {}", text(&out.stderr));
    }
}

#[tokio::test]
async fn exec_shows_console_lines_live_with_and_without_a_server() {
    let server = Server::start(&[]).await;
    let url = format!("--url={}", server.url);
    let script = "console.log('first'); await new Promise(done => setTimeout(done, 3000)); 'last'";
    for arguments in [vec!["exec", "-"], vec!["exec", "-", url.as_str()]] {
        let mut child = Command::new(binary("mcp-v8"))
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "first");
        assert!(child.try_wait().unwrap().is_none(), "the line came while the script ran");
        assert_eq!(lines.next().unwrap().unwrap(), "last");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_start_that_cannot_work_is_one_sentence_that_names_the_flag() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = format!("--http-port={}", taken.local_addr().unwrap().port());
    let cases: &[(&[&str], &str)] = &[
        (&["--bind-host=127.0.0.1", &port], "another program uses this port"),
        (&["--http-port=1", "--bind-host=192.0.2.1"], "--bind-host"),
        (&["--session-db-path=/proc/x"], "--session-db-path /proc/x"),
        (&["--worker-path=/nonexistent"], "--worker-path"),
        (&["--instructions=@/nonexistent"], "--instructions @/nonexistent"),
        (&["--config=/nonexistent.toml"], "--config /nonexistent.toml"),
        (&["--cluster-port=4000"], "--cluster-port needs --http-port or --sse-port"),
        (&["--peers=node2@b:4000"], "--peers is for a node of a cluster: give --cluster-port"),
        (&["--http-port=1", "--cluster-port=1"], "--cluster-port names the port of another"),
        (
            &["--http-port=1", "--cluster-port=2", "--heartbeat-interval=300"],
            "--heartbeat-interval=300 must be below --election-timeout-min=300",
        ),
        (&["--http-port=1", "--cluster-port=2", "--node-id=a/b"], "--node-id: 'a/b'"),
        (&["--http-port=1", "--cluster-port=2", "--peers=node1@b:1"], "lists this node itself"),
        (&["--http-port=1", "--cluster-port=2", "--peers=b"], "accepted: ID@HOST:PORT"),
        (
            &["--http-port=1", "--cluster-port=2", "--peers=n@b:1", "--join=c:1"],
            "--peers founds a cluster and --join enters a running one",
        ),
        (
            &["--http-port=1", "--cluster-port=2", "--cluster-auth=required"],
            "--cluster-auth=required, and nothing to prove who is of this cluster: give",
        ),
        (
            &["--http-port=1", "--cluster-port=2", "--cluster-tls-cert=c", "--cluster-tls-ca=a"],
            "--cluster-tls-cert is given and --cluster-tls-key is not",
        ),
        (&["--http-port=1", "--cluster-auth=required"], "give --cluster-port as well"),
        (&["cluster", "--secret-file=/nonexistent", "status"], "--secret-file /nonexistent: "),
        (&["cluster", "--tls-key=k", "status"], "--tls-key is given and --tls-cert is not"),
        (&["--heap-store=s3"], "--heap-store=s3 needs --s3-bucket"),
        (&["--http-port=1", "--s3-bucket=b"], "go with --heap-store=s3"),
        (&["--http-port=1", "--stateless", "--heap-store=s3", "--s3-bucket=b"], "--stateless"),
        (&["--heap-store=s3", "--s3-bucket=b", "--cache-max-mb=63"], "--cache-max-mb"),
        (&["--http-port=1", "--heap-dir=/proc/nowhere"], "--heap-dir /proc/nowhere"),
        (&["--http-port=1", "--session-id=s"], "X-MCP-Session-Id"),
        (&["--http-port=x"], "--http-port"),
        (&["--nonsense"], "--nonsense"),
    ];
    for (arguments, expected) in cases {
        let out = mcp_v8(arguments, "");
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(text(&out.stderr).contains(expected), "{arguments:?}: {}", text(&out.stderr));
        assert_eq!(text(&out.stdout), "", "{arguments:?}");
    }
}

#[test]
fn a_node_that_cannot_prove_itself_as_it_is_told_does_not_start() {
    let state = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &str, mode| {
        let path = state.path().join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let long = "s".repeat(32);
    let cert = file("cert", "no PEM", 0o600);
    for (flags, expected) in [
        (
            vec![format!("--cluster-secret-file={}", file("short", "secret\n", 0o600))],
            "holds 6 bytes",
        ),
        (vec![format!("--cluster-secret-file={}", file("seen", &long, 0o644))], "chmod 600"),
        (vec!["--cluster-secret-file=/nonexistent".to_owned()], "/nonexistent: No such file"),
        (
            ["cert", "key", "ca"].map(|what| format!("--cluster-tls-{what}={cert}")).to_vec(),
            "no certificate in it",
        ),
    ] {
        let (http, port) = (free_port(), free_port());
        let mut words = vec![
            "--bind-host=127.0.0.1".to_owned(),
            format!("--http-port={http}"),
            format!("--cluster-port={port}"),
            format!("--session-db-path={}", state.path().join("db").display()),
        ];
        words.extend(flags);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let out = mcp_v8(&words, "");
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{words:?}: {said}");
        let named = words[4].split('=').next().unwrap();
        assert!(said.contains(expected) && said.contains("--cluster-"), "{named}: {said}");
    }
}

#[test]
fn help_and_openapi_are_printed() {
    let out = mcp_v8(&["--help"], "");
    for expected in ["--http-port", "mcp-v8 exec", "Not supported yet", "MCP_V8_HTTP_PORT"] {
        assert!(text(&out.stdout).contains(expected), "{expected}");
    }
    let out = mcp_v8(&["--print-openapi"], "");
    let api: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(api["openapi"].as_str().unwrap().starts_with("3."));
}
