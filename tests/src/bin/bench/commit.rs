//! Commits of 255 bytes over three nodes on this machine, beside etcd with three members under the
//! same load, and beside the disk alone.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mcp_v8_tests::{free_port, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Options;
use crate::load::{at_share, ms};
use crate::nodes::{NODES, Nodes};

const VALUE_BYTES: usize = 255;

/// Three members of etcd, which end when this is dropped.
struct Members {
    children: Vec<Child>,
    /// Where each serves clients.
    urls: Vec<String>,
    _dir: TempDir,
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Three members of etcd.
async fn etcd() -> (Members, usize) {
    let dir = tempfile::tempdir().unwrap();
    let ports: Vec<(u16, u16)> = (0..NODES).map(|_| (free_port(), free_port())).collect();
    let cluster: Vec<String> = ports
        .iter()
        .enumerate()
        .map(|(at, (_, peer))| format!("node{}=http://127.0.0.1:{peer}", at + 1))
        .collect();
    let mut members = Members { children: Vec::new(), urls: Vec::new(), _dir: dir };
    for (at, (client, peer)) in ports.iter().enumerate() {
        let name = format!("node{}", at + 1);
        let (client, peer) =
            (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let child = Command::new("etcd")
            .args(["--name", &name])
            .args(["--data-dir", members._dir.path().join(&name).to_str().unwrap()])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
            .args(["--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd: apt-get install etcd-server");
        members.children.push(child);
        members.urls.push(client);
    }
    let http = mcp_v8_tests::client();
    let leader = until("a leader of etcd", || async {
        for (at, url) in members.urls.iter().enumerate() {
            let status = http.post(format!("{url}/v3/maintenance/status")).body("{}").send();
            let status: Value = status.await.ok()?.json().await.ok()?;
            let leader = status["leader"].as_str()?;
            if leader != "0" && status["header"]["member_id"].as_str() == Some(leader) {
                return Some(at);
            }
        }
        None
    })
    .await;
    (members, leader)
}

/// Which of the two a request is for.
#[derive(Clone, Copy)]
enum Kind {
    Ours,
    Etcd,
}

/// Makes the request that commits 255 bytes under the `n`th key.
fn request(client: &reqwest::Client, kind: Kind, url: &str, n: u64) -> reqwest::RequestBuilder {
    let value = "v".repeat(VALUE_BYTES);
    match kind {
        Kind::Ours => client
            .put(format!("{url}/api/heaps/{:064x}/tags", n % 10_000))
            .json(&json!({ "tags": { "value": value } })),
        Kind::Etcd => client
            .post(format!("{url}/v3/kv/put"))
            // Its gateway takes base64: 340 characters for 255 bytes.
            .body(
                json!({ "key": format!("{:0>64}", n % 10_000), "value": "dmFs".repeat(85) })
                    .to_string(),
            ),
    }
}

async fn row(name: &str, kind: Kind, url: &str, clients: usize, options: &Options) {
    if !options.chosen(name) {
        return;
    }
    let client = mcp_v8_tests::client();
    let next = Arc::new(AtomicU64::new(0));
    let (warm, begun) = (options.time / 4, Instant::now());
    let loops: Vec<_> = (0..clients)
        .map(|_| {
            let (client, url, next) = (client.clone(), url.to_owned(), Arc::clone(&next));
            let end = begun + warm + options.time;
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let asked = Instant::now();
                    let answer = request(&client, kind, &url, n).send().await.unwrap();
                    assert!(answer.status().is_success(), "{:?}", answer.text().await);
                    answer.bytes().await.unwrap();
                    if asked > begun + warm {
                        latencies.push(asked.elapsed());
                    }
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for one in loops {
        all.extend(one.await.unwrap());
    }
    all.sort_unstable();
    println!(
        "| {name} | {clients} | {} | {:.0} | {:.2} | {:.2} |",
        all.len(),
        all.len() as f64 / options.time.as_secs_f64(),
        ms(at_share(&all, 0.50)),
        ms(at_share(&all, 0.99)),
    );
}

/// Appends and syncs of the disk alone.
fn disk(options: &Options) {
    let mut file = tempfile::tempfile().unwrap();
    let (value, mut times) = ([7_u8; VALUE_BYTES], Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < options.time / 2 {
        let asked = Instant::now();
        file.write_all(&value).unwrap();
        file.sync_data().unwrap();
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    println!(
        "| append and fdatasync of a file | 1 | {} | {:.0} | {:.2} | {:.2} |",
        times.len(),
        times.len() as f64 / begun.elapsed().as_secs_f64(),
        ms(at_share(&times, 0.50)),
        ms(at_share(&times, 0.99)),
    );
}

/// Prints a table.
pub async fn run(options: &Options) {
    println!(
        "| commits of {VALUE_BYTES} bytes | clients | commits | per second | p50 ms | p99 ms |"
    );
    println!("|---|---|---|---|---|---|");
    disk(options);
    // One after the other: each has the machine to itself.
    let (nodes, leader) = Nodes::start().await;
    let urls: Vec<String> = (0..NODES).map(|at| nodes.url(at)).collect();
    rows("mcp-v8", Kind::Ours, &urls, leader, options).await;
    drop(nodes);
    let (members, leader) = etcd().await;
    rows("etcd", Kind::Etcd, &members.urls, leader, options).await;
}

async fn rows(name: &str, kind: Kind, urls: &[String], leader: usize, options: &Options) {
    let places = [("leader", &urls[leader]), ("follower", &urls[(leader + 1) % NODES])];
    for clients in [1, 64] {
        for (place, url) in places {
            row(&format!("{name}, at the {place}"), kind, url, clients, options).await;
        }
    }
}
