//! Clients that write all the time: tags of heaps, 255 bytes each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::nodes::Nodes;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 255;

/// Heaps that are written to in turn.
const HEAPS: u64 = 10_000;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A write to the next heap.
pub fn write(client: &reqwest::Client, url: &str) -> RequestBuilder {
    let heap = NEXT.fetch_add(1, Ordering::Relaxed) % HEAPS;
    client
        .put(format!("{url}/api/heaps/{heap:064x}/tags"))
        .json(&json!({ "tags": { "value": "v".repeat(VALUE_BYTES) } }))
}

/// One write that was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    pub begun: Instant,
    pub ended: Instant,
}

/// The clients.
pub struct Writers {
    stop: Arc<AtomicBool>,
    /// When the write began that was begun last of those that were accepted.
    latest: watch::Receiver<Instant>,
    clients: JoinSet<Vec<Write>>,
}

impl Writers {
    /// So many clients at these nodes, in closed loops.
    pub fn start(nodes: &Nodes, at: &[usize], clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = mcp_v8_tests::client();
        let (latest, seen) = watch::channel(Instant::now());
        let mut running = JoinSet::new();
        for which in 0..clients {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            let (url, latest) = (nodes.url(at[which % at.len()]), latest.clone());
            running.spawn(async move {
                let mut writes = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let answer = write(&client, &url).send().await;
                    let ended = Instant::now();
                    if answer.is_ok_and(|answer| answer.status().is_success()) {
                        writes.push(Write { begun, ended });
                        latest.send_if_modified(|latest| {
                            let later = begun > *latest;
                            *latest = begun.max(*latest);
                            later
                        });
                    } else {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                writes
            });
        }
        Self { stop, latest: seen, clients: running }
    }

    /// Waits until a write that was begun after this has been accepted.
    pub async fn written_after(&self, begun: Instant) {
        self.latest.clone().wait_for(|latest| *latest > begun).await.unwrap();
    }

    /// What they wrote.
    pub async fn stop(self) -> Vec<Write> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.concat()
    }
}

/// Writes until the log has so many entries more; gives how many it has then.
pub async fn fill(nodes: &Nodes, at: &[usize], leader: usize, entries: u64) -> u64 {
    /// Few, or many writes would share an entry.
    const CLIENTS: usize = 12;
    let wanted = nodes.number(leader, "commit_index").await + entries;
    let writers = Writers::start(nodes, at, CLIENTS);
    let committed = loop {
        let committed = nodes.number(leader, "commit_index").await;
        if committed >= wanted {
            break committed;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    writers.stop().await;
    committed
}
