//! P5 by the operating system: what holds scripts in, and what happens on a host that cannot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use mcp_v8_tests::{Server, binary, free_port, until};
use serde_json::Value;

const LAYERS: [&str; 6] =
    ["descriptors", "resources", "no_new_privileges", "landlock", "capabilities", "system_calls"];

/// Starts a server that is expected to refuse, through `launcher`.
fn refused(launcher: &[&str], flags: &[&str]) -> Output {
    let state = tempfile::tempdir().unwrap();
    let program = binary("mcp-v8");
    let mut words: Vec<&str> = launcher.to_vec();
    words.push(program.to_str().unwrap());
    Command::new(words[0])
        .args(&words[1..])
        .args(["--bind-host=127.0.0.1", &format!("--http-port={}", free_port())])
        .arg(format!("--session-db-path={}", state.path().display()))
        .args(flags)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn liar() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("hostile-claims-a-sandbox");
    symlink(binary("mcp-v8-hostile-worker"), &program).unwrap();
    let flag = format!("--worker-path={}", program.display());
    (dir, flag)
}

#[tokio::test]
async fn p5_every_layer_is_on_by_default_and_the_kernel_confirms_it() {
    let server = Server::start(&[]).await;
    let readiness = server.json("/readyz").await;
    for layer in LAYERS {
        assert_eq!(readiness["sandbox"].get(layer), Some(&Value::Null), "{readiness}");
        let metric = format!("mcp_v8_sandbox_layer{{layer=\"{layer}\"}}");
        assert_eq!(server.metric(&metric).await, 1.0, "{layer}");
    }
    let workers = until("idle workers", || async {
        let idle = server.metric("mcp_v8_workers_idle").await;
        (idle > 0.0 && idle as usize == server.children().len()).then(|| server.children())
    })
    .await;
    for pid in workers {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let shows = |line: &str| assert!(status.contains(line), "{line}: {status}");
        shows("NoNewPrivs:\t1");
        shows("Seccomp:\t2");
        shows("CapEff:\t0000000000000000");
        shows("CapPrm:\t0000000000000000");
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert!(fds <= 5, "{fds} descriptors");
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let limited = |name: &str, value: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            let soft = line[name.len()..].split_whitespace().next().unwrap();
            assert_eq!(soft, value, "{line}");
        };
        limited("Max core file size", "0");
        limited("Max file size", "0");
        limited("Max open files", "16");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_worker_that_claims_a_sandbox_it_does_not_have_is_found_out() {
    let (_dir, worker) = liar();
    let out = refused(&[], &[&worker]);
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("the sandbox is incomplete: privileges: no_new_privileges is not on: the worker says it is on, the kernel says NoNewPrivs: 0"), "{text}");
    assert!(text.contains("network: system_calls is not on"), "{text}");
    assert!(text.contains("--sandbox=best-effort"), "{text}");
    let server = Server::launch(&[&worker, "--sandbox=best-effort"]).await;
    let readiness = server.json("/readyz").await;
    assert!(readiness["sandbox"]["system_calls"].is_string(), "{readiness}");
}

/// *Required* refuses with the property and a way out; *best-effort* runs and says what is missing.
#[tokio::test]
async fn a_host_that_forbids_a_layer_is_refused_or_told_of() {
    let without = binary("mcp-v8-without");
    for (calls, layer, property) in
        [("landlock", "landlock", "files"), ("seccomp", "system_calls", "network")]
    {
        let launcher = [without.to_str().unwrap(), calls];
        let out = refused(&launcher, &[]);
        assert_eq!(out.status.code(), Some(2), "{calls}");
        let text = String::from_utf8(out.stderr).unwrap();
        assert!(text.contains(&format!("{property}: {layer} is not on")), "{text}");
        assert!(text.contains("the kernel needs") && text.contains("best-effort"), "{text}");

        let server = Server::launch_by(&launcher, &["--sandbox=best-effort"]).await;
        server.assert_serves().await;
        let readiness = server.json("/readyz").await;
        assert_eq!(readiness["status"], "ready");
        for other in LAYERS {
            let on = readiness["sandbox"][other].is_null();
            assert_eq!(on, other != layer, "{calls}: {readiness}");
        }
    }
}

#[tokio::test]
async fn off_puts_on_nothing_and_says_so() {
    let server = Server::start(&["--sandbox=off"]).await;
    let readiness = server.json("/readyz").await;
    assert_eq!(readiness["sandbox"], serde_json::json!({}));
    server.assert_serves().await;
}
