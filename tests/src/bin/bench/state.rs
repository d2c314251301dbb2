//! Steps of sessions through the server: time, rate and bytes, on one node and on three; and many
//! sessions through three nodes of which one after the other is killed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_tests::{Server, until_within};
use serde_json::{Value, json};

use crate::Options;
use crate::load::{at_share, ms};
use crate::nodes::{NODES, Nodes};

/// What changes in each step.
const STEP: &str = "globalThis.n = (globalThis.n ?? 0) + 1; n";

/// Sessions at once, as the target has it.
const SESSIONS: usize = 16;

/// Heaps by what is on them.
const HEAPS: &[(&str, &str)] = &[
    ("nothing but the variable", "globalThis.n = 0"),
    (
        "20,000 objects and a buffer of 1 MiB",
        "globalThis.list = Array.from({length: 20000}, (_, i) => ({i, s: 's' + i}));
         globalThis.large = new Uint8Array(1 << 20).map((_, i) => i * 7); globalThis.n = 0",
    ),
];

/// How often a node is killed.
const KILL_EVERY: Duration = Duration::from_secs(5);

/// How long a client of the soak waits for one answer, and goes on asking.
const PATIENCE: Duration = Duration::from_secs(15);
const GIVEN_UP: Duration = Duration::from_secs(240);

/// Older than any file may be that nothing names.
const LONG_AGO: Duration = Duration::from_secs(24 * 3600);

/// Prints all of it.
pub async fn run(options: &Options) {
    if options.chosen("steps") {
        println!(
            "| nodes | heap | step p50 ms | p99 ms | steps/s, {SESSIONS} sessions | p50 ms | stored bytes per step |"
        );
        println!("|---|---|---|---|---|---|---|");
        for (name, setup) in HEAPS {
            let server = Server::start(&[]).await;
            steps("one", name, setup, std::slice::from_ref(&server.url), options.time).await;
        }
        for (name, setup) in HEAPS {
            let (nodes, _) = Nodes::start().await;
            let urls: Vec<String> = (0..NODES).map(|at| nodes.url(at)).collect();
            steps("three", name, setup, &urls, options.time).await;
        }
        println!();
    }
    if options.chosen("soak") {
        soak(options.sessions, options.steps).await;
    }
}

/// A step, which must complete.
async fn step(client: &reqwest::Client, url: &str, session: &str, code: &str) -> Value {
    let post = client.post(format!("{url}/api/exec?wait=60"));
    let answer = post.json(&json!({ "code": code, "session": session })).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "completed", "{answer}");
    answer
}

/// The sum of a metric over all nodes.
async fn metric(client: &reqwest::Client, urls: &[String], name: &str) -> f64 {
    let mut sum = 0.0;
    for url in urls {
        let text = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        sum += value.unwrap_or(0.0);
    }
    sum
}

async fn steps(nodes: &str, heap: &str, setup: &str, urls: &[String], time: Duration) {
    let client = mcp_v8_tests::client();
    let sessions: Vec<String> = (0..SESSIONS).map(|n| format!("s{n}")).collect();
    for session in &sessions {
        step(&client, &urls[0], session, setup).await;
        step(&client, &urls[0], session, STEP).await;
    }
    let count = AtomicUsize::new(0);
    let run = async |session: &str, end: Instant| {
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let url = &urls[count.fetch_add(1, Ordering::Relaxed) % urls.len()];
            let begun = Instant::now();
            step(&client, url, session, STEP).await;
            latencies.push(begun.elapsed());
        }
        latencies
    };
    run(&sessions[0], Instant::now() + time / 4).await;
    let mut alone = run(&sessions[0], Instant::now() + time).await;
    let kept = metric(&client, urls, "mcp_v8_heaps_kept_total ").await;
    let bytes = metric(&client, urls, "mcp_v8_heaps_kept_stored_bytes_total ").await;
    let begun = Instant::now();
    let together = sessions.iter().map(|session| run(session, begun + time));
    let together = futures_util::future::join_all(together).await;
    let wall = begun.elapsed();
    let kept = metric(&client, urls, "mcp_v8_heaps_kept_total ").await - kept;
    let bytes = metric(&client, urls, "mcp_v8_heaps_kept_stored_bytes_total ").await - bytes;
    let mut together: Vec<Duration> = together.into_iter().flatten().collect();
    alone.sort_unstable();
    together.sort_unstable();
    println!(
        "| {nodes} | {heap} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} |",
        ms(at_share(&alone, 0.5)),
        ms(at_share(&alone, 0.99)),
        together.len() as f64 / wall.as_secs_f64(),
        ms(at_share(&together, 0.5)),
        bytes / kept,
    );
}

/// A step under a key, at one node after the other until one says how it ended.
async fn step_under_key(
    client: &reqwest::Client,
    urls: &[String],
    first: usize,
    session: &str,
    key: &str,
) -> Value {
    let begun = Instant::now();
    for at in first.. {
        let url = format!("{}/api/exec?wait=14", urls[at % urls.len()]);
        let post = client.post(url).header("idempotency-key", key).timeout(PATIENCE);
        let answer = post.json(&json!({ "code": STEP, "session": session })).send().await;
        if let Ok(answer) = answer
            && answer.status().as_u16() == 200
            && let Ok(body) = answer.json::<Value>().await
        {
            return body;
        }
        assert!(begun.elapsed() < GIVEN_UP, "no node says how {key} ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("numbers do not end")
}

/// Many sessions through three nodes, one of which is killed every five seconds. Every step that was
/// answered is there, once; and no file is left that nothing names.
async fn soak(sessions: usize, steps: usize) {
    let (mut nodes, _) = Nodes::start().await;
    let urls: Arc<Vec<String>> = Arc::new((0..NODES).map(|at| nodes.url(at)).collect());
    let client = mcp_v8_tests::client();
    let (next, done, lost, over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let begun = Instant::now();
    let clients: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (client, urls) = (client.clone(), Arc::clone(&urls));
            let (next, done, lost) = (Arc::clone(&next), Arc::clone(&done), Arc::clone(&lost));
            tokio::spawn(async move {
                loop {
                    let which = next.fetch_add(1, Ordering::Relaxed);
                    if which >= sessions {
                        return;
                    }
                    let session = format!("s{which}");
                    let (mut n, mut asked) = (0, 0);
                    while n < steps {
                        asked += 1;
                        let key = format!("{session} {asked}");
                        let answer =
                            step_under_key(&client, &urls, which + asked, &session, &key).await;
                        if answer["error"]["kind"] == "node_lost" {
                            // Every node it was given to was killed; the old head stands.
                            lost.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        n += 1;
                        assert_eq!(answer["result"], n.to_string(), "{key}: {answer}");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let watched = {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            for client in clients {
                client.await.unwrap();
            }
            over.store(true, Ordering::Relaxed);
        })
    };
    let mut kills = 0;
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(KILL_EVERY).await;
        let victim = kills % NODES;
        nodes.kill(victim);
        nodes.launch(victim);
        kills += 1;
        nodes.ready().await;
    }
    watched.await.unwrap();
    let wall = begun.elapsed();
    let total = done.load(Ordering::Relaxed);
    println!(
        "| sessions | steps each | nodes killed | steps lost | steps/s | counters exact | bytes per heap and node | files that nothing names |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut named = HashSet::new();
    for which in 0..sessions {
        let (session, url) = (format!("s{which}"), &urls[which % NODES]);
        let page = format!("{url}/api/sessions/{session}/snapshots?fields=output_heap&limit=1000");
        let page: Value = client.get(page).send().await.unwrap().json().await.unwrap();
        let entries = page["entries"].as_array().unwrap();
        assert_eq!(entries.len(), steps, "{session}");
        named.extend(entries.iter().map(|entry| entry["output_heap"].as_str().unwrap().to_owned()));
        let last = &urls[(which + 1) % NODES];
        let post = client.post(format!("{last}/api/exec?wait=60"));
        let heap = entries[steps - 1]["output_heap"].as_str().unwrap();
        let answer = post.json(&json!({ "code": "n", "heap": heap })).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["result"], steps.to_string(), "{session}: {answer}");
        // That script has left a heap as well, which its execution names.
        named.insert(answer["heap"].as_str().unwrap().to_owned());
    }
    // What is left must go, and what is named must come: files are looked after at each start.
    for at in 0..NODES {
        nodes.kill(at);
        files(&nodes.heaps(at)).iter().for_each(|file| age(file));
        nodes.launch(at);
        nodes.ready().await;
    }
    let mut bytes = 0;
    for at in 0..NODES {
        let dir = nodes.heaps(at);
        until_within(GIVEN_UP, "each node to have what is named and nothing else", || async {
            let here: HashSet<String> = files(&dir)
                .iter()
                .filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()))
                .collect();
            (here == named).then_some(())
        })
        .await;
        bytes = files(&dir).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    }
    println!(
        "| {sessions} | {steps} | {kills} | {} | {:.0} | all | {} | 0 |",
        lost.load(Ordering::Relaxed),
        total as f64 / wall.as_secs_f64(),
        bytes / named.len() as u64,
    );
}

/// Files of heaps in a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let shards = std::fs::read_dir(dir).into_iter().flatten().flatten();
    shards
        .flat_map(|shard| std::fs::read_dir(shard.path()).into_iter().flatten().flatten())
        .map(|file| file.path())
        .collect()
}

fn age(file: &Path) {
    let past = SystemTime::now() - LONG_AGO;
    // One that is gone in this moment is none that is left.
    if let Ok(file) = std::fs::File::open(file) {
        file.set_modified(past).unwrap();
    }
}
