//! P5 by the operating system: what holds scripts in, and what happens on a host that cannot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mcp_v8_protocol::Layer;
use mcp_v8_tests::{Server, binary, free_port, until};
use rustix::process::geteuid;
use serde_json::Value;

/// The test worker does not fork.
const EXEC: &str = "--worker-processes=exec";

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

/// The value of a line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} of {pid}: {status}")).trim().to_owned()
}

/// The soft limit of a line of `/proc/PID/limits`.
fn limit(pid: u32, name: &str) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().split_whitespace().next().unwrap().to_owned()
}

/// Children of a template, as opposed to templates and to what holds their namespaces.
fn is_forked(pid: u32) -> bool {
    let numbers = status(pid, "NSpid");
    let inner: Vec<&str> = numbers.split_whitespace().skip(1).collect();
    inner.first().is_some_and(|inner| *inner != "1")
}

fn namespace(pid: &str, name: &str) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap()
}

#[tokio::test]
async fn p5_every_layer_is_on_by_default_and_the_kernel_confirms_it() {
    let server = Server::start(&[]).await;
    let readiness = server.json("/readyz").await;
    for layer in Layer::ALL.map(Layer::as_str) {
        assert_eq!(readiness["sandbox"].get(layer), Some(&Value::Null), "{readiness}");
        let metric = format!("mcp_v8_sandbox_layer{{layer=\"{layer}\"}}");
        assert_eq!(server.metric(&metric).await, 1.0, "{layer}");
    }
    // Both templates, what holds their namespaces, and idle workers that have sealed themselves.
    let pids = until("sealed workers", || async {
        let pids = server.children();
        let sealed = |pid: &&u32| is_forked(**pid) && status(**pid, "Seccomp_filters") == "3";
        let forked = pids.iter().filter(|pid| is_forked(**pid)).count();
        let all_sealed = pids.iter().filter(sealed).count() == forked;
        (all_sealed && forked >= 2 && pids.len() == forked + 4).then_some(pids)
    })
    .await;
    for pid in pids {
        for (name, value) in [
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("CapEff", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("Threads", "1"),
        ] {
            assert_eq!(status(pid, name), value, "{name}");
        }
        if geteuid().is_root() {
            assert_eq!(status(pid, "Uid"), "65534\t65534\t65534\t65534");
            assert_eq!(status(pid, "Gid"), "65534\t65534\t65534\t65534");
            assert_eq!(status(pid, "Groups"), "");
        }
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert!(fds <= 4, "{fds} descriptors");
        for name in ["user", "mnt", "net", "ipc", "uts", "cgroup"] {
            assert_ne!(namespace(&pid.to_string(), name), namespace("self", name), "{name}");
        }
        let root = std::fs::read_dir(format!("/proc/{pid}/root")).unwrap();
        assert_eq!(root.count(), 0, "the root is empty");
        let written = std::fs::write(format!("/proc/{pid}/root/x"), "x");
        assert_eq!(written.unwrap_err().raw_os_error(), Some(30), "EROFS");
        for (name, value) in
            [("Max core file size", "0"), ("Max file size", "0"), ("Max open files", "16")]
        {
            assert_eq!(limit(pid, name), value, "{name}");
        }
        if is_forked(pid) {
            assert_ne!(namespace(&pid.to_string(), "pid"), namespace("self", "pid"));
            assert_eq!(limit(pid, "Max processes"), "0");
            let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
            assert_eq!(fds, 3, "its socket and the log");
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_worker_that_claims_a_sandbox_it_does_not_have_is_found_out() {
    let (_dir, worker) = liar();
    let out = refused(&[], &[&worker, EXEC]);
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("the sandbox is incomplete: privileges: no_new_privileges is not on: the worker says it is on, the kernel says NoNewPrivs: 0"), "{text}");
    assert!(text.contains("network: system_calls is not on"), "{text}");
    assert!(text.contains("it shares our user namespace"), "{text}");
    assert!(text.contains("--sandbox=best-effort"), "{text}");
    let server = Server::launch(&[&worker, EXEC, "--sandbox=best-effort"]).await;
    let readiness = server.json("/readyz").await;
    assert!(readiness["sandbox"]["system_calls"].is_string(), "{readiness}");
}

/// *Required* refuses with the property and a way out; *best-effort* runs and says what is missing.
#[tokio::test]
async fn a_host_that_forbids_a_layer_is_refused_or_told_of() {
    let without = binary("mcp-v8-without");
    for (calls, missing, property) in [
        ("landlock", &["landlock"][..], None),
        ("pivot_root", &["root"], None),
        ("unshare", &["namespaces", "root"], None),
        ("setresuid", &["user"], None),
        ("landlock,unshare", &["landlock", "namespaces", "root"], Some("files: landlock")),
        ("seccomp", &["system_calls"], Some("privileges: system_calls")),
    ] {
        let launcher = [without.to_str().unwrap(), calls];
        if let Some(property) = property {
            let out = refused(&launcher, &[]);
            assert_eq!(out.status.code(), Some(2), "{calls}");
            let text = String::from_utf8(out.stderr).unwrap();
            assert!(text.contains(&format!("{property} is not on")), "{text}");
            assert!(text.contains("the kernel needs") && text.contains("best-effort"), "{text}");
        }
        // What takes no property away is no reason to refuse.
        let mode = if property.is_some() { "best-effort" } else { "required" };
        for processes in ["fork", "exec"] {
            let flags =
                [&format!("--sandbox={mode}")[..], &format!("--worker-processes={processes}")];
            let server = Server::launch_by(&launcher, &flags).await;
            server.assert_serves().await;
            let readiness = server.json("/readyz").await;
            assert_eq!(readiness["status"], "ready");
            for layer in Layer::ALL.map(Layer::as_str) {
                let on = readiness["sandbox"][layer].is_null();
                assert_eq!(on, !missing.contains(&layer), "{calls}, {processes}: {readiness}");
            }
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

/// Under systemd the server has a user of its own, and no right to make control groups unless they
/// are delegated.
#[tokio::test]
async fn a_server_that_is_not_root_has_the_same_sandbox() {
    assert!(geteuid().is_root(), "run as root: the other tests are this one otherwise");
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).unwrap();
    for name in ["mcp-v8", "mcp-v8-worker"] {
        std::fs::copy(binary(name), dir.path().join(name)).unwrap();
    }
    let url = format!("http://127.0.0.1:{}", free_port());
    // As systemd starts a service: with few open files, and the right to have more.
    let mut server = Command::new("sh")
        .args(["-c", "ulimit -Sn 256 && exec \"$0\" \"$@\""])
        .arg(dir.path().join("mcp-v8"))
        .args(["--bind-host=127.0.0.1", &format!("--http-port={}", &url[17..])])
        .arg(format!("--session-db-path={}", dir.path().join("state").display()))
        .env("RUST_LOG", "off")
        .uid(54_321)
        .gid(54_321)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let client = mcp_v8_tests::client();
    let readiness: Value = until("the server to be ready", || async {
        let answer = client.get(format!("{url}/readyz")).send().await.ok()?;
        if answer.status() == 200 { answer.json().await.ok() } else { None }
    })
    .await;
    for layer in Layer::ALL.map(Layer::as_str) {
        assert_eq!(readiness["sandbox"].get(layer), Some(&Value::Null), "{readiness}");
    }
    let group = readiness["sandbox"]["control_group"].as_str().unwrap();
    assert!(group.contains("Delegate=yes"), "{group}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files: Vec<&str> = files.split_whitespace().collect();
    assert!(files[0] == files[1] && files[0] != "256", "{files:?}");
    let run = client.post(format!("{url}/api/exec?wait=30")).body("6 * 7");
    let answer: Value = run.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"], "42", "{answer}");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// A template that is just starting when its server dies must not stay behind, nor what it forks.
#[tokio::test]
async fn a_server_that_is_killed_at_any_moment_of_its_start_leaves_no_process() {
    let mut seen = std::collections::HashSet::new();
    for delay_us in (0..80_000).step_by(1000) {
        let mut server = Command::new(binary("mcp-v8"))
            .args(["--bind-host=127.0.0.1", &format!("--http-port={}", free_port())])
            // Reading what earlier ones kept would take most of the time.
            .arg("--stateless")
            .env("RUST_LOG", "off")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let word = format!("--supervisor={}", server.id());
        // Every moment of the start is a place of its own to be killed at.
        std::thread::sleep(Duration::from_micros(delay_us));
        seen.extend(processes_with(&word));
        server.kill().unwrap();
        server.wait().unwrap();
        until("its processes to be gone", || async {
            processes_with(&word).is_empty().then_some(())
        })
        .await;
    }
    assert!(seen.len() > 20, "only {} processes were seen before the end", seen.len());
}

/// Processes with this word on their command line.
fn processes_with(word: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    pids.filter(has).collect()
}

/// The directory of a process in the hierarchy of the memory controller, version 1 or 2.
fn memory_group(pid: u32) -> PathBuf {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |controller: &str| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            (fields.next()? == controller).then(|| fields.next().unwrap().to_owned())
        })
    };
    let (root, path) = match of("memory") {
        Some(path) => ("/sys/fs/cgroup/memory", path),
        None => ("/sys/fs/cgroup", of("").unwrap()),
    };
    PathBuf::from(root).join(path.trim_start_matches('/'))
}

/// The group of all workers that a process is in.
fn group_of_all(pid: u32) -> PathBuf {
    let group = memory_group(pid);
    let is_of_all = |path: &&Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mcp-v8-workers-"))
    };
    group.ancestors().find(is_of_all).unwrap_or_else(|| panic!("{}", group.display())).to_owned()
}

/// P4: where all workers together use up what they may, one of them is ended and its caller told.
#[tokio::test]
async fn p4_the_control_group_of_all_workers_bounds_their_memory_and_the_end_is_told() {
    let mut server = Server::start(&["--heap-memory-max=1024"]).await;
    let readiness = server.json("/readyz").await;
    assert_eq!(readiness["sandbox"]["control_group"], Value::Null, "{readiness}");
    let own = readiness["sandbox"]["worker_control_groups"].as_str();
    let group = group_of_all(server.workers()[0]);
    for pid in server.workers() {
        assert_eq!(group_of_all(pid), group);
        // Version 1 has none for a single worker, and says so.
        let in_all = memory_group(pid) == group;
        assert_eq!(in_all, own.is_some_and(|why| why.contains("version 1")), "{readiness}");
        let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        assert_eq!(score.trim(), "1000", "a worker goes before its server");
    }
    let limit = ["memory.limit_in_bytes", "memory.max"].map(|name| group.join(name));
    let limit = limit.iter().find(|file| file.exists()).unwrap();
    let bound: u64 = std::fs::read_to_string(limit).unwrap().trim().parse().unwrap();
    assert!(bound > 0, "a bound of some size");
    std::fs::write(limit, (256 * 1024 * 1024).to_string()).unwrap();
    let code = "const all = []; for (let i = 0; i < 60; i++) all.push(new Uint8Array(1e7).fill(1))";
    let answer = server.run(code).await;
    assert_eq!(answer["error_detail"]["kind"], "out_of_memory", "{answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("the memory of this server for all its scripts"), "{answer}");
    server.assert_serves().await;
    assert_eq!(server.terminate().await.code(), Some(0));
    assert!(!group.exists(), "{} is left", group.display());
}
