//! Ten thousand executions in a row leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mcp_v8_tests::{Server, anonymous_memory_bytes, descriptors};

const EXECUTIONS: usize = 10_000;
/// By then every buffer has its size and the registry has begun to fill.
const WARM_UP: usize = 500;
const GROWTH_BYTES_MAX: u64 = 20 * 1024 * 1024;
/// The page caches of the store, for its log and for its rows, and its recent entries fill up.
const STORE_BYTES_MAX: u64 = (32 + 32 + 8) * 1024 * 1024;
const CLIENTS: usize = 8;
const WORKERS: usize = 2;

/// P9: memory and registries are bounded.
#[tokio::test(flavor = "multi_thread")]
async fn p9_ten_thousand_executions_grow_nothing() {
    grow_at_most(GROWTH_BYTES_MAX, &["--stateless"]).await;
}

/// P9: so is what is kept on disk, in memory.
#[tokio::test(flavor = "multi_thread")]
async fn p9_ten_thousand_executions_that_are_kept_grow_nothing_but_caches() {
    grow_at_most(GROWTH_BYTES_MAX + STORE_BYTES_MAX, &[]).await;
}

async fn grow_at_most(growth_max: u64, flags: &[&str]) {
    let at_once = format!("--max-concurrent-executions={WORKERS}");
    let server = Server::start(&[&[at_once.as_str()], flags].concat()).await;
    let quiet = || async {
        // No worker more, no zombie.
        server.at_rest(WORKERS).await;
        (anonymous_memory_bytes(server.pid()), descriptors(server.pid()))
    };
    let run = async |count: usize| {
        let load = (0..CLIENTS).map(|client| {
            let server = &server;
            async move {
                for n in (client..count).step_by(CLIENTS) {
                    let answer = server.run(&format!("console.log('run {n}'); {n} + 1")).await;
                    assert_eq!(answer["result"], (n + 1).to_string(), "{answer}");
                    assert_eq!(answer["output"], format!("run {n}\n"));
                }
            }
        });
        futures_util::future::join_all(load).await;
    };
    run(WARM_UP).await;
    let (memory, fds) = quiet().await;
    run(EXECUTIONS).await;
    let (memory_after, fds_after) = quiet().await;
    let growth = memory_after.saturating_sub(memory);
    assert!(growth <= growth_max, "grew by {growth} bytes from {memory}");
    assert!(fds_after <= fds + CLIENTS, "descriptors: {fds} before, {fds_after} after");
}
