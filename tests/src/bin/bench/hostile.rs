//! Normal scripts while others attack: one real server, answers that are all checked, and the rate
//! of the normal ones compared with what it is without the attacks.
//!
//! # How it is measured
//! * One client in eight is hostile, the others are normal; each sends its next script when it has the
//!   answer to the last. There is a slot for each client, so that no script waits for another to end:
//!   what they compete for is the processor.
//! * Of ten executions at most one is hostile: hostile clients that are faster are held back. What the
//!   hostile ones are, and how many of a thousand, is in [`KINDS`]. Four of a thousand run into their
//!   limit, which is a second at least: as much as hundreds of normal scripts, so that their number
//!   decides the figure more than all else. The last row says what loops alone do when nothing holds
//!   them back.
//! * The rate is normal executions by the time from the first to the last of them. It is compared with
//!   that of as many normal clients alone, on a server of their own, in turns.
//! * No script can make its process crash, as far as is known. So some hold memory and loop until
//!   they are found by it and sent SIGSEGV; half of these are always the same code, and quarantined
//!   after three deaths.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcp_v8_cluster::limits::QUARANTINE_DEATHS;
use mcp_v8_supervisor::limits::{IDLE_WORKERS_MAX, RETAINED_EXECUTIONS_MAX};
use mcp_v8_tests::{
    Server, anonymous_memory_bytes, cpu_seconds, descriptors, signal_process, until,
};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Options;
use crate::load::{at_share, mib, ms};
use crate::processes::Mark;

/// Turns of each kind.
const TURNS: usize = 5;

/// Normal executions for each hostile one, at least.
const NORMAL_EACH: usize = 9;

/// Memory the supervisor may gain in the second half, when it keeps as many executions as it may.
const GROWTH_BYTES_MAX: u64 = 20 * 1024 * 1024;

/// What normal scripts must keep of their rate.
const RATE_SHARE_MIN: f64 = 0.7;

/// What a script that is to be killed holds: far more than any other here.
const MARK_BYTES: u64 = 96 * 1024 * 1024;
const MARK_TOLERANCE_BYTES: u64 = 8 * 1024 * 1024;

/// An attack and what must come of it.
struct Kind {
    name: &'static str,
    /// How many of a thousand.
    share: usize,
    code: &'static str,
    /// Seconds and MiB.
    limits: (u64, u64),
    right: Right,
}

/// The right answer.
#[derive(Clone, Copy)]
enum Right {
    /// A result that ends so, and at least so many bytes of output.
    Completed(&'static str, usize),
    /// The kind of error, and what its text begins with.
    Failed(&'static str, &'static str),
    /// It is killed by a signal; the same code each time or not.
    Killed { same: bool },
}

const OUT_OF_MEMORY: Right = Right::Failed("out_of_memory", "Out of memory");
const TIMED_OUT: Right = Right::Failed("timed_out", "Execution timed out");

const fn kind(
    name: &'static str,
    share: usize,
    code: &'static str,
    limits: (u64, u64),
    right: Right,
) -> Kind {
    Kind { name, share, code, limits, right }
}

const KINDS: &[Kind] = &[
    kind("loop", 1, "for (;;) {}", (1, 32), TIMED_OUT),
    kind(
        "microtask storm",
        1,
        "const again = () => queueMicrotask(again); again()",
        (1, 32),
        TIMED_OUT,
    ),
    kind(
        "promise storm",
        1,
        "const again = () => { Promise.resolve().then(again) }; again()",
        (1, 32),
        TIMED_OUT,
    ),
    kind("regular expression", 1, "/^(a+)+$/.test('a'.repeat(60) + 'b')", (1, 32), TIMED_OUT),
    kind("new Array(1e9).fill(0)", 2, "new Array(1e9).fill(0)", (10, 8), OUT_OF_MEMORY),
    kind(
        "arrays without end",
        60,
        "let all = []; for (;;) all = [all, new Array(1000).fill(0)]",
        (10, 8),
        OUT_OF_MEMORY,
    ),
    kind(
        "strings without end",
        50,
        "const all = []; for (let i = 0; ; i++) all.push('x'.repeat(1000) + i)",
        (10, 8),
        OUT_OF_MEMORY,
    ),
    kind(
        "buffers without end",
        50,
        "const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1))",
        (10, 8),
        Right::Failed("script_error", "RangeError: Array buffer allocation failed"),
    ),
    kind(
        "WebAssembly memory",
        50,
        "const memory = new WebAssembly.Memory({ initial: 1 }); for (;;) memory.grow(64)",
        (10, 16),
        Right::Failed("script_error", "RangeError: WebAssembly.Memory.grow()"),
    ),
    kind(
        "deep recursion",
        150,
        "function dive() { return dive() + 1 } dive()",
        (10, 32),
        Right::Failed("script_error", "RangeError: Maximum call stack size exceeded"),
    ),
    kind(
        "output flood",
        60,
        "const line = 'x'.repeat(100); for (let i = 0; i < 20000; i++) console.log(line); 'done'",
        (10, 32),
        Right::Completed("done", 1 << 20),
    ),
    kind(
        "huge result",
        60,
        "'x'.repeat(2 ** 22)",
        (10, 32),
        Right::Completed("it was longer than 1 MiB]", 0),
    ),
    kind(
        "unhandled rejection",
        150,
        "Promise.reject(new Error('nobody')); 1",
        (10, 32),
        Right::Failed("unhandled_rejection", "Error: nobody"),
    ),
    kind("syntax error", 158, "let = = 1", (10, 32), Right::Failed("syntax_error", "SyntaxError")),
    kind("null thrown", 60, "throw null", (10, 32), Right::Failed("script_error", "Uncaught null")),
    kind(
        "proxy thrown",
        60,
        "const trap = () => { for (;;); }; \
         throw new Proxy(new Error('m'), { get: trap, has: trap, ownKeys: trap, getPrototypeOf: trap })",
        (10, 32),
        Right::Failed("script_error", "Uncaught Proxy"),
    ),
    kind(
        "await without end",
        80,
        "await new Promise(() => {})",
        (10, 32),
        Right::Failed("stalled", "The top-level await"),
    ),
    kind("killed by SIGSEGV", 3, "for (;;) {}", (10, 128), Right::Killed { same: false }),
    kind("the same, killed by SIGSEGV", 3, "for (;;) {}", (10, 128), Right::Killed { same: true }),
];

/// The first of them.
const LOOP: usize = 0;

/// Coprime to a thousand: kinds are spread over each thousand, which has them all.
const SPREAD: usize = 617;

impl Kind {
    /// That of the hostile execution with this number.
    fn of(number: usize) -> usize {
        let mut place = number * SPREAD % 1000;
        let mut kinds = KINDS.iter();
        kinds
            .position(|kind| {
                let here = place < kind.share;
                place = place.saturating_sub(kind.share);
                here
            })
            .expect("shares of a thousand")
    }
}

/// A server, and what is known of it.
struct Target {
    server: Server,
    mark: Mark,
    normal: AtomicUsize,
    hostile: AtomicUsize,
    /// Workers that the code which is always the same has killed. Held while one is killed.
    deaths: tokio::sync::Mutex<usize>,
    /// How long the answers to each kind took.
    took: Mutex<BTreeMap<usize, Vec<Duration>>>,
}

impl Target {
    async fn start(clients: usize) -> Arc<Self> {
        let server = Server::start(&[&format!("--max-concurrent-executions={clients}")]).await;
        server.at_rest(clients.min(IDLE_WORKERS_MAX)).await;
        Arc::new(Self {
            mark: Mark::new(&server, MARK_BYTES, MARK_TOLERANCE_BYTES),
            server,
            normal: AtomicUsize::new(0),
            hostile: AtomicUsize::new(0),
            deaths: tokio::sync::Mutex::new(0),
            took: Mutex::default(),
        })
    }

    async fn post(&self, request: &Value) -> (StatusCode, Value) {
        let request = self.server.post("/api/exec?wait=60").json(request);
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// A script as people write them, and its answer.
    async fn normal(&self) {
        let n = self.normal.fetch_add(1, Ordering::Relaxed);
        let (code, result, output) = match n % 6 {
            0 => (format!("{n} + 1"), (n + 1).to_string(), String::new()),
            1 => (
                format!("console.log('number', {n}); console.error('done'); 'ok'"),
                "ok".to_owned(),
                format!("number {n}\n[ERROR] done\n"),
            ),
            2 => (
                format!(
                    "const rows = Array.from({{ length: 2000 }}, (_, id) => ({{ id, group: id % 7, value: id * {n} }}));
                    const sums = {{}};
                    for (const row of JSON.parse(JSON.stringify(rows))) sums[row.group] = (sums[row.group] ?? 0) + 1;
                    sums"
                ),
                r#"{"0":286,"1":286,"2":286,"3":286,"4":286,"5":285,"6":285}"#.to_owned(),
                String::new(),
            ),
            3 => (
                format!(
                    "const numbers = Array.from({{ length: 10000 }}, (_, i) => (i * 7919 + {n}) % 10007);
                    numbers.sort((a, b) => a - b);
                    numbers.every((x, i) => i === 0 || numbers[i - 1] <= x) && new Set(numbers).size"
                ),
                "10000".to_owned(),
                String::new(),
            ),
            4 => (
                format!(
                    "const wait = (ms, value) => new Promise(done => setTimeout(done, ms, value));
                    const values = await Promise.all([wait(2, {n}), wait(1, 2), 3]);
                    values.join()"
                ),
                format!("{n},2,3"),
                String::new(),
            ),
            _ => (
                format!(
                    "interface Word {{ text: string; count: number }}
                    const text = 'the quick brown fox jumps over the lazy dog {n} '.repeat(400);
                    const counts = new Map<string, number>();
                    for (const [word] of text.matchAll(/[a-z]+/g)) counts.set(word, (counts.get(word) ?? 0) + 1);
                    const words: Word[] = [...counts].map(([text, count]) => ({{ text, count }}));
                    words.sort((a, b) => b.count - a.count || (a.text < b.text ? -1 : 1));
                    words.slice(0, 2)"
                ),
                r#"[{"text":"the","count":800},{"text":"brown","count":400}]"#.to_owned(),
                String::new(),
            ),
        };
        let (status, answer) = self.post(&json!({ "code": code })).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["result"], result, "{code}: {answer}");
        assert_eq!(answer["output"], output, "{code}: {answer}");
    }

    /// An attack that nobody has tried before, byte for byte, unless it is meant to be the same.
    async fn hostile(&self, attack: Attack) {
        let n = self.hostile.fetch_add(1, Ordering::Relaxed);
        let which = if attack == Attack::Loops { LOOP } else { Kind::of(n) };
        let kind = &KINDS[which];
        let code = match kind.right {
            Right::Killed { same: true } => format!("{}{}", self.mark.script(), kind.code),
            Right::Killed { same: false } => format!("{}{} // {n}", self.mark.script(), kind.code),
            _ => format!("{} // {n}", kind.code),
        };
        let request = json!({
            "code": code,
            "execution_timeout_secs": kind.limits.0,
            "heap_memory_max_mb": kind.limits.1,
        });
        let took = match kind.right {
            Right::Killed { same } => self.kill(&request, same).await,
            right => {
                let begun = Instant::now();
                let (status, answer) = self.post(&request).await;
                assert_eq!(status, StatusCode::OK, "{}: {answer}", kind.name);
                assert!(right.is(&answer), "{}: {answer:.2000}", kind.name);
                begun.elapsed()
            }
        };
        self.took.lock().unwrap().entry(which).or_default().push(took);
    }

    /// Runs a script that holds the mark, and kills its process; or is refused. Says how long the
    /// answer took after that.
    async fn kill(&self, request: &Value, same: bool) -> Duration {
        // One at a time: the process is found by what it holds.
        let mut deaths = self.deaths.lock().await;
        if same && *deaths == QUARANTINE_DEATHS {
            let begun = Instant::now();
            let (status, answer) = self.post(request).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
            assert!(text(&answer["error"]).starts_with("quarantined"), "{answer}");
            return begun.elapsed();
        }
        let killing = async {
            let find = || async { self.mark.find(&self.server) };
            let pid = until("the script that is to be killed", find).await;
            signal_process(pid, Signal::SEGV);
            Instant::now()
        };
        let ((status, answer), killed) = tokio::join!(self.post(request), killing);
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["error_detail"]["kind"], "worker_crashed", "{answer}");
        assert!(text(&answer["error"]).contains("signal 11"), "{answer}");
        *deaths += usize::from(same);
        killed.elapsed()
    }
}

impl Right {
    fn is(self, answer: &Value) -> bool {
        match self {
            Self::Completed(end, output_bytes) => {
                answer["status"] == "completed"
                    && text(&answer["result"]).ends_with(end)
                    && text(&answer["output"]).len() >= output_bytes
            }
            Self::Failed(kind, start) => {
                answer["error_detail"]["kind"] == kind && text(&answer["error"]).starts_with(start)
            }
            Self::Killed { .. } => false,
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What hostile clients do in a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attack {
    Nothing,
    /// One for every [`NORMAL_EACH`] normal ones.
    Mixed,
    /// Loops, one after the other.
    Loops,
}

/// What a turn, or several, came to.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    wall: Duration,
    cpu_secs: f64,
    /// Hostile executions, of which the last ones may have ended later.
    hostile: usize,
}

impl Tally {
    fn add(&mut self, mut turn: Self) {
        self.latencies.append(&mut turn.latencies);
        self.wall += turn.wall;
        self.cpu_secs += turn.cpu_secs;
        self.hostile += turn.hostile;
    }

    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64()
    }

    fn print(&mut self, name: &str, to: f64) {
        self.latencies.sort_unstable();
        println!(
            "| {name} | {} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
            self.latencies.len(),
            self.hostile,
            self.rate(),
            self.rate() / to,
            ms(at_share(&self.latencies, 0.50)),
            ms(at_share(&self.latencies, 0.99)),
            self.cpu_secs / self.wall.as_secs_f64(),
        );
    }
}

/// Runs so many scripts from normal clients and, where they attack, hostile ones.
async fn turn(
    target: &Arc<Target>,
    clients: (usize, usize),
    executions: usize,
    attack: Attack,
) -> Tally {
    let left = Arc::new(AtomicUsize::new(executions));
    let take = |left: &AtomicUsize| {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    };
    // Of normal scripts. When the last client has gone, hostile ones hear of it.
    let done = Arc::new(watch::Sender::new(0));
    let (begun, cpu) = (Instant::now(), cpu_seconds(target.server.pid()));
    let mut hostiles = JoinSet::new();
    let given = Arc::new(AtomicUsize::new(0));
    for _ in 0..if attack == Attack::Nothing { 0 } else { clients.1 } {
        let (target, mut done) = (Arc::clone(target), done.subscribe());
        let (given, left) = (Arc::clone(&given), Arc::clone(&left));
        hostiles.spawn(async move {
            let mut ended = 0;
            loop {
                let number = given.fetch_add(1, Ordering::Relaxed);
                let due = if attack == Attack::Mixed { (number + 1) * NORMAL_EACH } else { 0 };
                let due = done.wait_for(|done| *done >= due).await.is_ok();
                if !due || done.has_changed().is_err() || (attack == Attack::Mixed && !take(&left))
                {
                    return ended;
                }
                target.hostile(attack).await;
                ended += 1;
            }
        });
    }
    let mut normals = JoinSet::new();
    for _ in 0..clients.0 {
        let (target, done, left) = (Arc::clone(target), Arc::clone(&done), Arc::clone(&left));
        normals.spawn(async move {
            let mut latencies = Vec::new();
            while take(&left) {
                let begun = Instant::now();
                target.normal().await;
                latencies.push(begun.elapsed());
                done.send_modify(|done| *done += 1);
            }
            latencies
        });
    }
    drop(done);
    let latencies = normals.join_all().await.concat();
    let (wall, cpu_secs) = (begun.elapsed(), cpu_seconds(target.server.pid()) - cpu);
    let hostile = hostiles.join_all().await.into_iter().sum();
    Tally { latencies, wall, cpu_secs, hostile }
}

/// Prints its tables; fails where something was not as it must be.
pub async fn run(options: &Options) {
    assert_eq!(KINDS.iter().map(|kind| kind.share).sum::<usize>(), 1000);
    let hostile = (options.clients / 8).max(1);
    let clients = (options.clients.saturating_sub(hostile).max(1), hostile);
    let each = options.executions / TURNS;
    let normal = each * NORMAL_EACH / (NORMAL_EACH + 1);
    let (target, peaceful) =
        (Target::start(options.clients).await, Target::start(options.clients).await);
    let pid = target.server.pid();
    let (mut alone, mut mixed) = (Tally::default(), Tally::default());
    let mut seen = Vec::new();
    for _ in 0..TURNS {
        alone.add(turn(&peaceful, clients, normal, Attack::Nothing).await);
        mixed.add(turn(&target, clients, each, Attack::Mixed).await);
        target.server.at_rest(options.clients.min(IDLE_WORKERS_MAX)).await;
        seen.push((anonymous_memory_bytes(pid), descriptors(pid), target.server.children().len()));
    }
    let executions = target.normal.load(Ordering::Relaxed) + target.hostile.load(Ordering::Relaxed);
    let took = std::mem::take(&mut *target.took.lock().unwrap());
    let mut loops = turn(&target, clients, normal / 2, Attack::Loops).await;

    println!(
        "{executions} executions on the server under attack; {} normal clients, {} hostile, a slot each",
        clients.0, clients.1
    );
    println!();
    println!(
        "| normal scripts | executions | hostile ones meanwhile | per second | share | p50 ms | p99 ms | processors busy |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let rate = alone.rate();
    alone.print("alone", rate);
    mixed.print(&format!("beside {} hostile clients", clients.1), rate);
    loops.print(&format!("beside {} loops at any time", clients.1), rate);
    println!();
    println!("| hostile | executions | p50 ms | worst ms |");
    println!("|---|---|---|---|");
    for (which, mut took) in took {
        took.sort_unstable();
        println!(
            "| {} | {} | {:.1} | {:.1} |",
            KINDS[which].name,
            took.len(),
            ms(at_share(&took, 0.50)),
            ms(took[took.len() - 1])
        );
    }
    println!();
    println!("| the server after turn | its memory, MiB | descriptors | children | zombies |");
    println!("|---|---|---|---|---|");
    for (turn, (memory, descriptors, children)) in seen.iter().enumerate() {
        println!("| {} | {:.1} | {descriptors} | {children} | 0 |", turn + 1, mib(*memory));
    }

    target.server.assert_serves().await;
    assert_eq!(
        target.server.metric("mcp_v8_executions_refused_total{reason=\"overloaded\"}").await,
        0.0
    );
    let quarantine = target.server.json("/api/quarantine").await;
    let entries = quarantine["entries"].as_array().unwrap();
    let quarantined = entries.iter().filter(|entry| entry["quarantined"] == true).count();
    let same = *target.deaths.lock().await;
    assert_eq!(quarantined, usize::from(same == QUARANTINE_DEATHS), "{quarantine}");
    // The C library keeps pieces of what was freed, so memory settles later than what is retained,
    // at twice as much.
    let ((_, fds, children), (memory, ..)) = (seen[0], seen[TURNS / 2]);
    let (memory_after, fds_after, children_after) = seen[TURNS - 1];
    if executions / TURNS >= RETAINED_EXECUTIONS_MAX {
        let growth = memory_after.saturating_sub(memory);
        assert!(growth <= GROWTH_BYTES_MAX, "grew by {growth} bytes from {memory}");
    } else {
        println!();
        println!("Too few executions to judge memory: the first turn did not fill the registry.");
    }
    assert!(fds_after <= fds + options.clients, "descriptors: {fds} before, {fds_after} after");
    assert_eq!(children_after, children, "children");
    let share = mixed.rate() / rate;
    assert!(share >= RATE_SHARE_MIN, "normal scripts kept {share:.2} of their rate");
}
