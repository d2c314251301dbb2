//! Closed loops and what is measured of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcp_v8_protocol::{Job, JobLimits};
use mcp_v8_supervisor::pool::sandbox::Mode;
use mcp_v8_supervisor::pool::{Pool, PoolSettings, Processes};
use mcp_v8_tests::{anonymous_memory_bytes, binary, cpu_seconds};
use tokio_util::sync::CancellationToken;

/// Heap of every script: the server's default.
pub const HEAP_BYTES: u64 = 128 * 1024 * 1024;

/// Longer than any script here takes.
const WALL: Duration = Duration::from_secs(30);

const WARM_UP: Duration = Duration::from_secs(1);

/// A job with the server's default limits.
pub fn job(code: &str) -> Job {
    Job {
        execution_id: "bench".to_owned(),
        attempt: 1,
        code: code.to_owned().into(),
        limits: JobLimits {
            heap_bytes: HEAP_BYTES,
            buffer_bytes: HEAP_BYTES,
            console_bytes: 1024,
            cpu_secs: 60,
        },
        heap: None,
    }
}

/// The pool inside this process, with the sandbox required.
pub fn start_pool(processes: Processes, warm: bool, idle_workers: usize) -> Pool {
    let settings = PoolSettings {
        worker_path: binary("mcp-v8-worker"),
        sandbox: Mode::Required,
        processes,
        warm,
        idle_workers,
        heap_bytes: HEAP_BYTES,
    };
    Pool::start(settings).unwrap()
}

/// Runs a script through the pool. Returns its result and the time from dispatch to the end of the
/// process.
pub async fn run_in(pool: &Pool, code: &str) -> (Option<String>, Duration) {
    let worker = pool.take().await.unwrap();
    let (job, stop) = (job(code), CancellationToken::new());
    let begun = Instant::now();
    let outcome = worker.run(job, WALL, &stop, |_| {}).await;
    (outcome.unwrap(), begun.elapsed())
}

/// The value that `share` of all are below or at.
pub fn at_share(sorted: &[Duration], share: f64) -> Duration {
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

/// In milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// In MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// One closed loop.
pub struct Row {
    name: String,
    latencies: Vec<Duration>,
    wall: Duration,
    cpu_secs: f64,
    peak_bytes: u64,
}

impl Row {
    /// The head of the table.
    pub const HEAD: &str = "| what | executions | per second | p50 ms | p99 ms | CPU ms each | peak MiB |\n\
                            |---|---|---|---|---|---|---|";

    /// Prints a row of it.
    pub fn print(mut self) {
        self.latencies.sort_unstable();
        let count = self.latencies.len();
        println!(
            "| {} | {count} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} |",
            self.name,
            count as f64 / self.wall.as_secs_f64(),
            ms(at_share(&self.latencies, 0.50)),
            ms(at_share(&self.latencies, 0.99)),
            self.cpu_secs * 1000.0 / count as f64,
            mib(self.peak_bytes),
        );
    }
}

/// Runs `once` in `clients` loops until `time` is over. CPU is that of
/// the process `pid` and its children, the peak that of its own memory.
pub async fn measure<F, R>(name: String, pid: u32, clients: usize, time: Duration, once: F) -> Row
where
    F: Fn() -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send,
{
    closed_loop(clients, WARM_UP, once.clone()).await;
    let (cpu, begun) = (cpu_seconds(pid), Instant::now());
    let (latencies, peak_bytes) = with_peak(pid, closed_loop(clients, time, once)).await;
    Row { name, latencies, wall: begun.elapsed(), cpu_secs: cpu_seconds(pid) - cpu, peak_bytes }
}

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
