//! Heaps in an S3 bucket: sessions that go on from it alone, and what is in it that should not be.
//!
//! The S3 server is moto's, from PyPI: the protocol is Amazon's, the storage is its memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mcp_v8_tests::bucket::{BUCKET, S3};
use mcp_v8_tests::{Server, binary, free_port};
use serde_json::{Value, json};

async fn server(s3: &S3, cache: &Path) -> Server {
    let (bucket, cache) =
        (format!("--s3-bucket={BUCKET}/some/where"), format!("--cache-dir={}", cache.display()));
    let flags = ["--heap-store=s3", bucket.as_str(), cache.as_str()];
    Server::launch_in(&[], &s3.environment(), &flags).await
}

async fn step(server: &Server, session: &str, code: &str) -> Value {
    server.run_with(json!({ "code": code, "session": session })).await
}

/// P7: what was answered is in the bucket; the directory of the node may go.
#[tokio::test(flavor = "multi_thread")]
async fn p7_sessions_and_artifacts_go_on_from_the_bucket_alone() {
    let (s3, cache) = (S3::on_loopback().await, tempfile::tempdir().unwrap());
    let mut server = server(&s3, cache.path()).await;
    // More than goes in one piece.
    let code = "globalThis.n = 0; globalThis.noise = crypto.getRandomValues(new Uint8Array(65536));
        const large = new Uint8Array(12 * 1024 * 1024);
        for (let at = 0; at < large.length; at += 65536)
            crypto.getRandomValues(large.subarray(at, at + 65536));
        artifact('large', 'a/b', large); noise.join()";
    let first = step(&server, "s", code).await;
    assert_eq!(first["status"], "completed", "{first}");
    for n in 1..=20 {
        let ran = step(&server, "s", "n += 1").await;
        assert_eq!(ran["result"], n.to_string(), "{ran}");
        let objects = s3.objects().await;
        let heap = ran["heap"].as_str().unwrap();
        let name = objects.iter().find(|name| name.ends_with(heap)).expect("it was answered");
        assert!(name.starts_with("some/where/"), "{name}");
    }
    let large = server.get("/api/artifacts/large").send().await.unwrap().bytes().await.unwrap();
    server.crash();
    std::fs::remove_dir_all(cache.path()).unwrap();
    server.restart().await;
    assert_eq!(step(&server, "s", "[n, noise.join()].length").await["result"], "2");
    let noise = step(&server, "s", "noise.join()").await;
    assert_eq!(
        (&noise["result"], &step(&server, "s", "n").await["result"]),
        (&first["result"], &json!("20"))
    );
    let again = server.get("/api/artifacts/large").send().await.unwrap().bytes().await.unwrap();
    assert!(again.len() == 12 * 1024 * 1024 && again == large);
}

/// P7: the bucket is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn p7_a_changed_or_missing_object_is_refused_and_harms_no_other_session() {
    let (s3, cache) = (S3::on_loopback().await, tempfile::tempdir().unwrap());
    let mut server = server(&s3, cache.path()).await;
    let heap = step(&server, "s", "globalThis.n = 1").await["heap"].as_str().unwrap().to_owned();
    let other = step(&server, "t", "globalThis.m = 5").await["heap"].as_str().unwrap().to_owned();
    let objects = s3.objects().await;
    let name = |heap: &str| objects.iter().find(|name| name.ends_with(heap)).unwrap().clone();
    let (object, foreign) = (s3.object(&name(&heap)).await, s3.object(&name(&other)).await);
    let mut changed = object.clone();
    *changed.last_mut().unwrap() ^= 1;
    for bad in [changed, object[..object.len() / 2].to_vec(), foreign, vec![0; 10]] {
        s3.put(&name(&heap), bad).await;
        server.crash();
        std::fs::remove_dir_all(cache.path()).unwrap();
        server.restart().await;
        let refused = step(&server, "s", "n").await;
        assert_eq!(refused["error_detail"]["kind"], "heap_not_restored", "{refused}");
        assert_eq!(step(&server, "t", "m").await["result"], "5");
    }
    s3.put(&name(&heap), object).await;
    assert_eq!(step(&server, "s", "n").await["result"], "1");
}

/// P2, P10: without its bucket no step is answered that would be lost, and the old head stands.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_step_whose_heap_reaches_no_bucket_fails_and_says_why() {
    let (s3, cache) = (S3::on_loopback().await, tempfile::tempdir().unwrap());
    let server = server(&s3, cache.path()).await;
    step(&server, "s", "globalThis.n = 1").await;
    drop(s3);
    let failed = step(&server, "s", "n += 1").await;
    assert_eq!(failed["error_detail"]["kind"], "heap_not_saved", "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("the bucket: "), "{failed}");
    let history = server.json("/api/sessions/s/snapshots").await;
    assert_eq!(history["entries"].as_array().unwrap().len(), 1, "{history}");
    // What leaves no heap needs no bucket.
    let thrown = server.run("throw new Error('still here')").await;
    assert_eq!(thrown["error_detail"]["kind"], "script_error", "{thrown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_does_not_exist_ends_the_start() {
    let (s3, state) = (S3::on_loopback().await, tempfile::tempdir().unwrap());
    let mut command = Command::new(binary("mcp-v8"));
    command
        .args(["--bind-host=127.0.0.1", &format!("--http-port={}", free_port())])
        .arg(format!("--session-db-path={}", state.path().display()))
        .args(["--heap-store=s3", "--s3-bucket=nothere"])
        .envs(s3.environment());
    let starting = tokio::task::spawn_blocking(move || {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.wait_with_output().unwrap()
    });
    let out = starting.await.unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("--s3-bucket nothere: ") && said.contains("404 Not Found"), "{said}");
}
