//! All nodes of a cluster restarted in turn, behind nginx, while clients go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcp_v8_tests::nginx::Nginx;
use mcp_v8_tests::run_js;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Options;
use super::load::{at_share, ms};
use super::nodes::{NODES, Nodes};

/// What a call may take, at the ninety-ninth of a hundred, while nodes are restarted.
const P99_MAX: Duration = Duration::from_secs(1);

/// A call.
struct Call {
    mcp: bool,
    begun: Instant,
    took: Duration,
    /// Why it failed.
    failed: Option<String>,
}

/// Closed loops of clients.
struct Clients {
    calls: Arc<Mutex<Vec<Call>>>,
    stop: Arc<AtomicBool>,
    loops: JoinSet<()>,
}

impl Clients {
    fn start(url: &str, count: usize) -> Self {
        let (calls, stop) = (Arc::<Mutex<Vec<Call>>>::default(), Arc::<AtomicBool>::default());
        let next = Arc::new(AtomicUsize::new(0));
        let mut loops = JoinSet::new();
        for which in 0..count {
            let (calls, stop, next) = (Arc::clone(&calls), Arc::clone(&stop), Arc::clone(&next));
            let (client, url) = (mcp_v8_tests::client(), url.to_owned());
            loops.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let mcp = which % 2 == 1;
                    let begun = Instant::now();
                    let failed = call(&client, &url, mcp, number).await.err();
                    let took = begun.elapsed();
                    calls.lock().unwrap().push(Call { mcp, begun, took, failed });
                }
            });
        }
        Self { calls, stop, loops }
    }

    async fn stop(self) -> Vec<Call> {
        self.stop.store(true, Ordering::Relaxed);
        self.loops.join_all().await;
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

/// One script, over MCP or REST; its answer is checked.
async fn call(client: &reqwest::Client, url: &str, mcp: bool, number: usize) -> Result<(), String> {
    let code = format!("console.log('call {number}'); {number} + 1");
    let request = if mcp {
        run_js(client.post(format!("{url}/mcp")), number, json!({ "code": code }))
    } else {
        client.post(format!("{url}/api/exec?wait=60")).json(&json!({ "code": code }))
    };
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| format!("{status}: {error:?}"))?;
    let event = text.lines().rev().find_map(|line| line.strip_prefix("data:"));
    let body: Value = serde_json::from_str(event.unwrap_or(&text)).unwrap_or_default();
    let run = if mcp { &body["result"]["structuredContent"] } else { &body };
    if status.is_success() && run["result"].as_str() == Some((number + 1).to_string().as_str()) {
        Ok(())
    } else {
        Err(format!("{status}: {text:.300}"))
    }
}

fn row(name: &str, calls: &[&Call]) -> Duration {
    let mut took: Vec<Duration> = calls.iter().map(|call| call.took).collect();
    took.sort_unstable();
    let failed = calls.iter().filter(|call| call.failed.is_some()).count();
    let (p50, p99) = (at_share(&took, 0.50), at_share(&took, 0.99));
    println!(
        "| {name} | {} | {failed} | {:.1} | {:.1} | {:.1} |",
        calls.len(),
        ms(p50),
        ms(p99),
        ms(took.last().copied().unwrap_or_default()),
    );
    p99
}

/// Restarts every node `rounds` times.
pub async fn run(options: &Options) {
    let (mut nodes, _) = Nodes::start().await;
    let addresses: [String; NODES] =
        std::array::from_fn(|at| nodes.url(at).trim_start_matches("http://").to_owned());
    let nginx = Nginx::cluster(&addresses).await;
    let clients = Clients::start(&nginx.url, options.clients);
    // Connections and processes are there from here on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let measured = Instant::now();
    tokio::time::sleep(options.time).await;
    let restarted = Instant::now();
    let mut away = Vec::new();
    for _ in 0..options.restarts {
        for at in 0..NODES {
            nodes.signal(at, Signal::TERM);
            let status = nodes.exited(at).await;
            assert!(status.success(), "node {at} ended with {status}");
            let ended = Instant::now();
            nodes.launch(at);
            away.push(nodes.ready_after(at, ended).await);
        }
    }
    let over = Instant::now();
    let calls = clients.stop().await;

    let shown = |from: Instant, to: Instant, mcp: Option<bool>| {
        let within = calls.iter().filter(move |call| {
            call.begun < to
                && call.begun + call.took > from
                && mcp.is_none_or(|mcp| mcp == call.mcp)
        });
        within.collect::<Vec<_>>()
    };
    println!(
        "| calls through nginx, {} clients | calls | failed | p50 ms | p99 ms | worst ms |",
        options.clients
    );
    println!("|---|---|---|---|---|---|");
    row("REST, before", &shown(measured, restarted, Some(false)));
    row("MCP, before", &shown(measured, restarted, Some(true)));
    let rest = row("REST, while all nodes are restarted", &shown(restarted, over, Some(false)));
    let mcp = row("MCP, while all nodes are restarted", &shown(restarted, over, Some(true)));
    away.sort_unstable();
    let asked_twice = nginx
        .requests()
        .iter()
        .filter(|line| line.split('|').next().is_some_and(|asked| asked.contains(',')))
        .count();
    println!();
    println!(
        "{} restarts in {:.1} s; from the end of a node's process to its being ready: median {:.0} ms, \
         worst {:.0} ms; requests that nginx took to a second node: {asked_twice}",
        away.len(),
        (over - restarted).as_secs_f64(),
        ms(at_share(&away, 0.5)),
        ms(away.last().copied().unwrap_or_default()),
    );
    let failures: Vec<&String> = calls.iter().filter_map(|call| call.failed.as_ref()).collect();
    if !failures.is_empty() {
        println!("{}", nginx.errors());
        panic!("{} calls failed, the first: {}", failures.len(), failures[0]);
    }
    assert!(rest.max(mcp) < P99_MAX, "p99 of {:?}", rest.max(mcp));
}
