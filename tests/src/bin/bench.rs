//! `mcp-v8-bench`: closed-loop load over the worker pool alone and over HTTP.
//!
//! ```text
//! mcp-v8-bench exec [--seconds N]
//! ```
//!
//! Prints a Markdown table: executions per second, p50, p99, CPU per execution over supervisor and
//! workers together, and the peak of the supervisor's memory. Every answer is checked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcp_v8_protocol::{Job, JobLimits};
use mcp_v8_supervisor::pool::sandbox::Mode;
use mcp_v8_supervisor::pool::{Pool, PoolSettings, Processes};
use mcp_v8_tests::{Server, anonymous_memory_bytes, binary, cpu_seconds};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SCRIPT: &str = "1+1";
const RESULT: &str = "2";
const HEAP_BYTES: u64 = 128 * 1024 * 1024;
const STARTS: usize = 20;
const WARM_UP: Duration = Duration::from_secs(1);

struct Row {
    name: String,
    latencies: Vec<Duration>,
    wall: Duration,
    cpu_secs: f64,
    peak_bytes: u64,
}

impl Row {
    fn print(mut self) {
        self.latencies.sort_unstable();
        let count = self.latencies.len();
        let at = |share: f64| {
            let index = ((count as f64 * share) as usize).min(count.saturating_sub(1));
            self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        };
        println!(
            "| {} | {count} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} |",
            self.name,
            count as f64 / self.wall.as_secs_f64(),
            at(0.50),
            at(0.99),
            self.cpu_secs * 1000.0 / count as f64,
            self.peak_bytes as f64 / 1024.0 / 1024.0,
        );
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut what, mut seconds, mut only) = ("exec".to_owned(), 10, String::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                seconds = arguments.next().and_then(|n| n.parse().ok()).expect("--seconds N")
            }
            "--only" => only = arguments.next().expect("--only PART OF A NAME"),
            other => what = other.to_owned(),
        }
    }
    assert_eq!(what, "exec", "usage: mcp-v8-bench exec [--seconds N] [--only NAME]");
    let time = Duration::from_secs(seconds);
    let chosen = |name: &str| name.contains(&only);
    if chosen("start") {
        start().await;
    }
    println!("| what | executions | per second | p50 ms | p99 ms | CPU ms each | peak MiB |");
    println!("|---|---|---|---|---|---|---|");
    for (way, name) in WAYS {
        for clients in [1, 2] {
            let name = format!("pool, {name}, {clients} at once");
            if chosen(&name) {
                pool(name, *way, clients, time).await.print();
            }
        }
    }
    for (clients, name) in [(1, "1 client"), (16, "16 clients")] {
        let name = format!("POST /api/exec?wait, {name}");
        if chosen(&name) {
            http(name, clients, time).await.print();
        }
    }
}

/// The ways a process for a script comes to be, and whether it has an isolate before its job.
const WAYS: &[((Processes, bool), &str)] = &[
    ((Processes::Fork, true), "forked with its isolate"),
    ((Processes::Fork, false), "forked without an isolate"),
    ((Processes::Exec, true), "started from the program"),
];

/// Time from starting the server to its first "ready".
async fn start() {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        drop(Server::start(&[]).await);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
    println!(
        "start to ready: median {:.0} ms, worst {:.0} ms of {STARTS}",
        ms(STARTS / 2),
        ms(STARTS - 1)
    );
    println!();
}

/// Runs `once` from `clients` loops until `time` is over; errors end the bench.
async fn closed_loop<F, R>(clients: usize, time: Duration, once: F) -> Vec<Duration>
where
    F: Fn() -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let end = Instant::now() + time;
    let loops: Vec<_> = (0..clients)
        .map(|_| {
            let once = once.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    once().await;
                    latencies.push(begun.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for one in loops {
        all.extend(one.await.unwrap());
    }
    all
}

/// The peak of a process's own memory while `work` goes on.
async fn with_peak<T>(pid: u32, work: impl Future<Output = T>) -> (T, u64) {
    let peak = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&peak);
    let sampler = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            every.tick().await;
            seen.fetch_max(anonymous_memory_bytes(pid), Ordering::Relaxed);
        }
    });
    let done = work.await;
    sampler.abort();
    (done, peak.load(Ordering::Relaxed))
}

async fn measure<F, R>(name: String, pid: u32, clients: usize, time: Duration, once: F) -> Row
where
    F: Fn() -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send,
{
    closed_loop(clients, WARM_UP, once.clone()).await;
    let (cpu, begun) = (cpu_seconds(pid), Instant::now());
    let (latencies, peak_bytes) = with_peak(pid, closed_loop(clients, time, once)).await;
    Row { name, latencies, wall: begun.elapsed(), cpu_secs: cpu_seconds(pid) - cpu, peak_bytes }
}

/// The pool inside this process: dispatch to result, process gone.
async fn pool(name: String, how: (Processes, bool), clients: usize, time: Duration) -> Row {
    let settings = PoolSettings {
        worker_path: binary("mcp-v8-worker"),
        sandbox: Mode::Required,
        processes: how.0,
        warm: how.1,
        idle_workers: clients.max(2),
        heap_bytes: HEAP_BYTES,
    };
    let pool = Pool::start(settings).unwrap();
    let inner = pool.clone();
    let once = move || {
        let pool = inner.clone();
        async move {
            let job = Job {
                execution_id: "bench".to_owned(),
                attempt: 1,
                code: SCRIPT.to_owned().into(),
                limits: JobLimits {
                    heap_bytes: HEAP_BYTES,
                    buffer_bytes: HEAP_BYTES,
                    console_bytes: 1024,
                    cpu_secs: 60,
                },
            };
            let worker = pool.take().await.unwrap();
            let stop = CancellationToken::new();
            let outcome = worker.run(job, Duration::from_secs(30), &stop, |_| {}).await;
            assert_eq!(outcome, Ok(Some(RESULT.to_owned())));
        }
    };
    let row = measure(name, std::process::id(), clients, time, once).await;
    pool.stop().await;
    row
}

/// A server of its own, over HTTP.
async fn http(name: String, clients: usize, time: Duration) -> Row {
    let server = Server::start(&[]).await;
    let (client, url) = (server.client.clone(), format!("{}/api/exec?wait=30", server.url));
    let once = move || {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let request = client.post(&url).json(&json!({ "code": SCRIPT }));
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(answer["result"], RESULT, "{answer}");
        }
    };
    measure(name, server.pid(), clients, time, once).await
}
