//! How late the answer is when a script reaches its time limit, seen by its client, and whether the
//! process is gone by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mcp_v8_tests::{Server, signal_process, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::Options;
use crate::load::{at_share, ms};
use crate::processes::{Mark, is_gone};

/// The least there is.
const LIMIT: Duration = Duration::from_secs(1);

/// P4.
const LATE_MAX: Duration = Duration::from_millis(250);

/// What each client's script holds more than the one before, so that its process can be told.
const MARK_STEP_BYTES: u64 = 10 * 1024 * 1024;
const MARK_TOLERANCE_BYTES: u64 = 4 * 1024 * 1024;

/// A script that does not end by itself.
struct Way {
    name: &'static str,
    code: &'static str,
    /// How many at once: loops take a processor each, and how late a client is heard when there is
    /// none is not the question.
    at_once: usize,
    /// Whether its process is stopped by a signal.
    stopped: bool,
}

const WAYS: &[Way] = &[
    Way { name: "loop", code: "for (;;) {}", at_once: 2, stopped: false },
    Way {
        name: "built-in function that hears no stop",
        code: "Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)",
        at_once: 2,
        stopped: false,
    },
    Way { name: "process stopped by SIGSTOP", code: "for (;;) {}", at_once: 2, stopped: true },
];

/// Prints a table; fails where an answer was later than it may be.
pub async fn run(options: &Options) {
    println!("| script | at once | tries | p50 ms | p99 ms | worst ms | ended by SIGKILL |");
    println!("|---|---|---|---|---|---|---|");
    let mut worst = Duration::ZERO;
    for way in WAYS.iter().filter(|way| options.chosen(way.name)) {
        let server = Arc::new(
            Server::start(&[&format!("--max-concurrent-executions={}", way.at_once)]).await,
        );
        until("all workers", || async { (server.workers().len() == way.at_once).then_some(()) })
            .await;
        let tries = Arc::new(AtomicUsize::new(options.tries));
        let starting = Arc::new(Mutex::new(()));
        let mut clients = JoinSet::new();
        for client in 1..=way.at_once as u64 {
            let mark = Mark::new(&server, client * MARK_STEP_BYTES, MARK_TOLERANCE_BYTES);
            let (server, tries) = (Arc::clone(&server), Arc::clone(&tries));
            let starting = Arc::clone(&starting);
            clients.spawn(async move {
                let mut late = Vec::new();
                let one_less = |left: usize| left.checked_sub(1);
                while tries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                    late.push(once(&server, way, mark, &starting).await);
                }
                late
            });
        }
        let mut late = clients.join_all().await.concat();
        late.sort_unstable();
        let p99 = at_share(&late, 0.99);
        let killed = "mcp_v8_worker_exits_total{cause=\"killed_at_deadline\"}";
        println!(
            "| {} | {} | {} | {:.1} | {:.1} | {:.1} | {} |",
            way.name,
            way.at_once,
            late.len(),
            ms(at_share(&late, 0.50)),
            ms(p99),
            ms(late[late.len() - 1]),
            server.metric(killed).await,
        );
        worst = worst.max(p99);
    }
    assert!(worst <= LATE_MAX, "p99 is {worst:?} after the limit");
}

/// Runs one to its limit and says how much later its client had the answer.
async fn once(server: &Server, way: &Way, mark: Mark, starting: &Mutex<()>) -> Duration {
    let request = json!({
        "code": format!("{}{}", mark.script(), way.code),
        "execution_timeout_secs": LIMIT.as_secs(),
    });
    // While a script fills its memory it holds what another one does.
    let starts = starting.lock().await;
    let ask = async {
        let begun = Instant::now();
        let request = server.post("/api/exec?wait=60").json(&request);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        (answer, begun.elapsed())
    };
    let find = async {
        let pid = until("the process of the script", || async { mark.find(server) }).await;
        if way.stopped {
            signal_process(pid, Signal::STOP);
        }
        drop(starts);
        pid
    };
    let ((answer, took), pid) = tokio::join!(ask, find);
    assert!(is_gone(pid), "{} is still there when its client has the answer", way.name);
    assert_eq!(answer["status"], "timed_out", "{}: {answer}", way.name);
    took.saturating_sub(LIMIT)
}
