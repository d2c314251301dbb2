//! What a step costs of a session whose heap is kept: time over the worker pool alone, and bytes.
//!
//! A step changes one variable. It ends when the heap it left is hashed and ready for the next. What
//! the server adds to it (a commit, copies on other nodes) is not in here.

use std::time::{Duration, Instant};

use mcp_v8_protocol::limits::HEAP_BYTES_MAX;
use mcp_v8_supervisor::heaps::Heap;
use mcp_v8_supervisor::pool::{HeapTask, KeptHeap, Pool, Processes};
use mcp_v8_tests::cpu_seconds;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::load::{at_share, job, ms, start_pool};

const WALL: Duration = Duration::from_secs(60);

/// What changes in each step.
const STEP: &str = "globalThis.n = (globalThis.n ?? 0) + 1; n";

/// Sessions at once, as the target has it.
const SESSIONS: usize = 16;

/// Level of zstd that the figures are of: its own default.
const ZSTD_LEVEL: i32 = 3;

/// Heaps by what is on them.
const HEAPS: &[(&str, &str)] = &[
    ("nothing but the variable", "0"),
    (
        "20,000 objects and a buffer of 1 MiB",
        "globalThis.list = Array.from({length: 20000}, (_, i) => ({i, s: 's' + i}));
         globalThis.buffer = crypto.getRandomValues(new Uint8Array(65536)); globalThis.large = new Uint8Array(1 << 20).map((_, i) => buffer[i % 65521]); 0",
    ),
    (
        "100 functions, a class and a formatter",
        "globalThis.functions = Array.from({length: 100}, (_, i) => new Function('a', `return a * ${i} + this.x`));
         class Account { #balance = 0; deposit(n) { this.#balance += n; return this } get balance() { return this.#balance } }
         globalThis.account = new Account().deposit(5); globalThis.format = new Intl.NumberFormat('de'); 0",
    ),
];

/// Prints all of it.
pub async fn run(options: &Options) {
    println!(
        "| heap | process | restore ms | write ms | step p50 ms | p99 ms | CPU ms each | steps/s, 1 session | steps/s, {SESSIONS} sessions |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let ways = [(Processes::Fork, "forked"), (Processes::Exec, "started")];
    for (name, setup) in HEAPS {
        for (processes, way) in ways {
            if options.chosen(name) && options.chosen(way) {
                times(name, way, setup, processes, options.time).await;
            }
        }
    }
    println!();
    println!("| heap | raw | zstd | zstd, base as dictionary | zstd, heap before as dictionary |");
    println!("|---|---|---|---|---|");
    let pool = start_pool(Processes::Fork, true, 2);
    for (name, setup) in HEAPS {
        if options.chosen(name) {
            bytes(&pool, name, setup).await;
        }
    }
    pool.stop().await;
}

async fn step(pool: &Pool, base: Option<Heap>, code: &str) -> KeptHeap {
    let worker = pool.take_for_heap().await.unwrap();
    let task = HeapTask { base, bytes_max: HEAP_BYTES_MAX };
    let stop = CancellationToken::new();
    worker.run_keeping(job(code), task, WALL, &stop, |_| {}).await.unwrap().1
}

async fn times(name: &str, way: &str, setup: &str, processes: Processes, time: Duration) {
    let pool = start_pool(processes, true, 2);
    let begin = step(&pool, None, setup).await.heap;
    let one = sessions(&pool, &begin, 1, time).await;
    let many = sessions(&pool, &begin, SESSIONS, time).await;
    pool.stop().await;
    let median = |of: &dyn Fn(&Step) -> Duration| {
        let mut times: Vec<_> = one.steps.iter().map(of).collect();
        times.sort_unstable();
        (ms(at_share(&times, 0.5)), ms(at_share(&times, 0.99)))
    };
    let (whole, slowest) = median(&|step| step.whole);
    println!(
        "| {name} | {way} | {:.2} | {:.2} | {whole:.2} | {slowest:.2} | {:.2} | {:.0} | {:.0} |",
        median(&|step| step.restore).0,
        median(&|step| step.save).0,
        one.cpu_secs * 1000.0 / one.steps.len() as f64,
        one.steps.len() as f64 / one.wall.as_secs_f64(),
        many.steps.len() as f64 / many.wall.as_secs_f64(),
    );
}

struct Step {
    whole: Duration,
    restore: Duration,
    save: Duration,
}

struct Measured {
    steps: Vec<Step>,
    wall: Duration,
    cpu_secs: f64,
}

/// So many sessions at once, each doing one step after the other.
async fn sessions(pool: &Pool, begin: &Heap, count: usize, time: Duration) -> Measured {
    let pid = std::process::id();
    let (cpu, begun) = (cpu_seconds(pid), Instant::now());
    let end = begun + time;
    let sessions: Vec<_> = (0..count)
        .map(|_| {
            let (pool, mut heap) = (pool.clone(), begin.clone());
            tokio::spawn(async move {
                let mut steps = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    let kept = step(&pool, Some(heap), STEP).await;
                    let (restore, save) = (kept.restore, kept.save);
                    steps.push(Step { whole: begun.elapsed(), restore, save });
                    heap = kept.heap;
                }
                steps
            })
        })
        .collect();
    let mut steps = Vec::new();
    for session in sessions {
        steps.extend(session.await.unwrap());
    }
    Measured { steps, wall: begun.elapsed(), cpu_secs: cpu_seconds(pid) - cpu }
}

/// What the second of two steps takes when it is stored.
async fn bytes(pool: &Pool, name: &str, setup: &str) {
    let base = step(pool, None, "0").await.heap;
    let heap = step(pool, None, setup).await.heap;
    let before = step(pool, Some(heap), STEP).await.heap;
    let after = step(pool, Some(before.clone()), STEP).await.heap;
    let raw = after.map().unwrap().to_vec();
    let against = |dictionary: &Heap| {
        let dictionary = dictionary.map().unwrap();
        let mut compressor =
            zstd::bulk::Compressor::with_dictionary(ZSTD_LEVEL, &dictionary).unwrap();
        // What is far back must be in reach: the window is at least as large as both together.
        let window = (dictionary.len() + raw.len()).next_power_of_two().ilog2();
        compressor.window_log(window.clamp(17, 27)).unwrap();
        compressor.compress(&raw).unwrap().len()
    };
    println!(
        "| {name} | {} | {} | {} | {} |",
        raw.len(),
        zstd::bulk::compress(&raw, ZSTD_LEVEL).unwrap().len(),
        against(&base),
        against(&before),
    );
}
