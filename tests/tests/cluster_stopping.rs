//! P8 in a cluster: a planned stop of a node costs nobody an answer.
//!
//! # Contract
//! * Clients behave as behind a load balancer that looks at `/readyz` ten times a second: each request
//!   goes to a node that was ready at the last look. None of them fails, and neither do those that
//!   were on their way when a node was told to stop.
//! * Scripts that wait on a stopping node, and those that run beyond the drain time, end on another
//!   node, and whoever waits for one at the stopping node hears it there.
//! * The gap in writes is printed, and bounded at twice the promise: debug builds on a busy machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use mcp_v8_tests::cluster::{Answered, Cluster, Silence};
use mcp_v8_tests::{until, until_within};
use serde_json::{Value, json};

const ALL: [usize; 3] = [1, 2, 3];

const CLIENTS: usize = 16;

/// How long writes may stop when a leader is stopped as planned: twice the promise.
const GAP_MAX: Duration = Duration::from_millis(400);

/// How long a node without long scripts may take to stop.
const STOP_MAX: Duration = Duration::from_secs(15);

/// What a request may take: more than the server tries a command.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often the load balancer looks.
const LOOK: Duration = Duration::from_millis(100);

fn sleeping(ms: u32, result: &str) -> String {
    format!("await new Promise(done => setTimeout(done, {ms})); '{result}'")
}

async fn settled(cluster: &Cluster) -> usize {
    let leader = cluster.agreed(&ALL).await;
    cluster.ready(&ALL).await;
    leader
}

/// What clients behind a load balancer see.
struct Traffic<'a> {
    cluster: &'a Cluster,
    ready: RefCell<Vec<usize>>,
    stop: Cell<bool>,
    requests: Cell<usize>,
    failed: RefCell<Vec<(usize, &'static str, Answered)>>,
    /// When the last write was answered, and the longest time between two.
    written: Cell<Instant>,
    gap: Cell<Duration>,
}

impl<'a> Traffic<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            ready: RefCell::new(ALL.to_vec()),
            stop: Cell::new(false),
            requests: Cell::new(0),
            failed: RefCell::default(),
            written: Cell::new(Instant::now()),
            gap: Cell::new(Duration::ZERO),
        }
    }

    async fn balance(&self) {
        while !self.stop.get() {
            let looks = ALL.map(|node| async move {
                let answer = self.cluster.get_within(node, "/readyz", LOOK * 10).await;
                answer.is_ok_and(|answer| answer.status == 200).then_some(node)
            });
            *self.ready.borrow_mut() = join_all(looks).await.into_iter().flatten().collect();
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn client(&self, which: usize) {
        let mut number = which;
        while !self.stop.get() {
            number += CLIENTS;
            let node = {
                let ready = self.ready.borrow();
                assert!(!ready.is_empty(), "no node is ready");
                ready[number / CLIENTS % ready.len()]
            };
            let (what, answer, right) = self.ask(which, node, number).await;
            self.requests.set(self.requests.get() + 1);
            if !right {
                self.failed.borrow_mut().push((node, what, answer));
            }
        }
    }

    async fn ask(
        &self,
        which: usize,
        node: usize,
        number: usize,
    ) -> (&'static str, Answered, bool) {
        let heap = format!("{which:064x}");
        let value = number.to_string();
        let is = |answer: &Answered, at: &str, expected: &str| {
            answer.as_ref().is_ok_and(|answer| {
                answer.status == 200 && answer.body.pointer(at).is_some_and(|got| got == expected)
            })
        };
        match which % 4 {
            0 | 1 => {
                let tags = json!({ "v": value });
                let wrote = self.cluster.put_tags(node, &heap, &tags, PATIENCE).await;
                if !wrote.as_ref().is_ok_and(|answer| answer.status == 200) {
                    return ("write", wrote, false);
                }
                let before = self.written.replace(Instant::now());
                self.gap.set(self.gap.get().max(before.elapsed()));
                let read = self.cluster.get_tags(node, &heap, PATIENCE).await;
                let right = is(&read, "/tags/v", &value);
                ("read of what was written", read, right)
            }
            2 => {
                let ran = self.cluster.exec(node, &sleeping(300, &value), 30).await;
                let right = is(&ran, "/result", &value);
                ("script", ran, right)
            }
            _ => {
                let ran = self.cluster.run_js(node, &format!("'{value}'"), 30).await;
                let right = is(&ran, "/result", &value);
                ("run_js", ran, right)
            }
        }
    }
}

#[tokio::test]
async fn p8_sigterm_of_a_leader_or_a_follower_under_load_fails_no_request() {
    let cluster = Cluster::start(3).await;
    let mut longest = Duration::ZERO;
    for round in 0..4_usize {
        let leader = settled(&cluster).await;
        let stopped = if round % 2 == 0 { leader } else { cluster.all_but(&[leader])[0] };
        let traffic = Traffic::new(&cluster);
        let stopping = async {
            let warm = Duration::from_millis(1500);
            tokio::time::sleep(warm).await;
            traffic.gap.set(Duration::ZERO);
            let begun = Instant::now();
            cluster.sigterm(stopped);
            let status = cluster.exited(stopped, STOP_MAX).await;
            let took = begun.elapsed();
            assert_eq!(status.code(), Some(0), "node {stopped}");
            tokio::time::sleep(warm).await;
            traffic.stop.set(true);
            took
        };
        let clients = join_all((0..CLIENTS).map(|which| traffic.client(which)));
        let (_, (_, took)) = join(clients, join(traffic.balance(), stopping)).await;
        let (gap, failed) = (traffic.gap.get(), traffic.failed.take());
        println!(
            "round {round}: node {stopped} ({}) stopped in {took:?}; {} requests, longest time \
             without a write {gap:?}",
            if stopped == leader { "the leader" } else { "a follower" },
            traffic.requests.get(),
        );
        assert!(failed.is_empty(), "{} requests failed: {:?}", failed.len(), failed.first());
        longest = longest.max(gap);
        cluster.up(stopped).await;
    }
    assert!(longest <= GAP_MAX, "no writes for {longest:?}");
}

/// Waits until a node says that it is not ready, which it does at once.
async fn red(cluster: &Cluster, node: usize) {
    until("the node to be not ready", || async {
        let ready = cluster.get_within(node, "/readyz", LOOK * 10).await.ok()?;
        (ready.status == 503).then_some(())
    })
    .await;
}

/// What a script gave, which must be this.
fn assert_result<'a>(answer: &'a Answered, result: &str) -> &'a Value {
    let answer = answer.as_ref().unwrap();
    assert_eq!((answer.status, &answer.body["result"]), (200, &json!(result)), "{answer:?}");
    &answer.body
}

fn times(answers: &[(Answered, Duration)]) -> Vec<Duration> {
    answers.iter().map(|(_, took)| *took).collect()
}

#[tokio::test]
async fn p8_what_waits_and_what_runs_too_long_ends_on_another_node_and_is_answered_here() {
    const LONG: Duration = Duration::from_secs(5);
    const DRAIN_SECS: u64 = 2;
    let drain = format!("--drain-timeout={DRAIN_SECS}");
    let cluster = Cluster::start_with(3, &[&drain, "--max-concurrent-executions=2"]).await;
    for stops_the_leader in [true, false] {
        let leader = settled(&cluster).await;
        let node = if stops_the_leader { leader } else { cluster.all_but(&[leader])[0] };
        let rest = cluster.all_but(&[node]);
        let ran = |code: String, mcp: bool| {
            let cluster = &cluster;
            async move {
                let begun = Instant::now();
                let answer = match mcp {
                    false => cluster.exec(node, &code, 60).await,
                    true => cluster.run_js(node, &code, 60).await,
                };
                (answer, begun.elapsed())
            }
        };
        // They take both places; what comes behind them waits.
        let long = [false, true].map(|mcp| ran(sleeping(LONG.as_millis() as u32, "long"), mcp));
        let waiting = (0..6).map(|which| async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ran("'waited'".to_owned(), which % 2 == 0).await
        });
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(800)).await;
            cluster.sigterm(node);
            red(&cluster, node).await;
            // It answers whoever asks it although it is not ready, and does not wait for them to stop.
            let late = join_all((0..8).map(|_| async {
                let mut late = Vec::new();
                loop {
                    match cluster.exec(node, "'late'", 30).await {
                        Err(Silence::NotSent(_)) => break late,
                        // In the very moment in which the port was closed, long after it was red.
                        Err(Silence::Unknown(error)) if error.contains("ConnectionReset") => {
                            break late;
                        }
                        answer => late.push(answer),
                    }
                }
            }));
            let late = late.await.concat();
            let status = cluster.exited(node, STOP_MAX).await;
            assert_eq!(status.code(), Some(0));
            late
        };
        let (long, (waited, late)) = join(join_all(long), join(join_all(waiting), stopping)).await;
        for (answer, took) in &long {
            let shown = assert_result(answer, "long");
            // It began anew, elsewhere, when the drain time was over.
            assert!(*took > LONG + Duration::from_secs(DRAIN_SECS), "{took:?}");
            let id = shown["execution_id"].as_str().unwrap();
            for other in &rest {
                assert_result(&cluster.get_execution(*other, id).await, "long");
            }
        }
        for (answer, took) in &waited {
            assert_result(answer, "waited");
            // At once, and not when those that run are handed over.
            assert!(*took < Duration::from_secs(DRAIN_SECS), "{took:?}");
        }
        assert!(!late.is_empty());
        for answer in &late {
            assert_result(answer, "late");
        }
        println!(
            "node {node}: {} that came late were answered; long {:?}; waited {:?}",
            late.len(),
            times(&long),
            times(&waited),
        );
        cluster.up(node).await;
    }
}

#[tokio::test]
async fn whoever_waits_for_what_takes_longer_than_the_stop_hears_that_it_goes_on() {
    let cluster = Cluster::start_with(3, &["--drain-timeout=0"]).await;
    let leader = settled(&cluster).await;
    let node = cluster.all_but(&[leader])[0];
    let code = json!({ "code": sleeping(45_000, "at last"), "execution_timeout_secs": 120 });
    let asking = cluster.exec_with(node, &code, 100);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.sigterm(node);
        cluster.exited(node, Duration::from_secs(45)).await
    };
    let (answer, status) = join(asking, stopping).await;
    assert_eq!(status.code(), Some(0));
    let answer = answer.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.body["execution_id"].as_str().unwrap();
    let ended = cluster.ended(leader, id, Duration::from_secs(60)).await;
    assert_eq!(ended["result"], "at last", "{ended}");
}

#[tokio::test]
async fn a_node_that_keeps_nothing_runs_what_comes_until_load_balancers_have_seen_it_stop() {
    let cluster = Cluster::start_with(3, &["--stateless"]).await;
    settled(&cluster).await;
    cluster.sigterm(1);
    red(&cluster, 1).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        assert_result(&cluster.exec(1, "'here'", 30).await, "here");
    }
    let status = cluster.exited(1, STOP_MAX).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_cluster_that_is_stopped_all_at_once_ends_and_comes_back_with_what_it_had() {
    let cluster = Cluster::start_with(3, &["--drain-timeout=1"]).await;
    settled(&cluster).await;
    let done = cluster.exec(1, "'before'", 30).await.unwrap();
    let id = done.body["execution_id"].as_str().unwrap().to_owned();
    for node in ALL {
        cluster.sigterm(node);
    }
    for node in ALL {
        let status = cluster.exited(node, STOP_MAX).await;
        assert_eq!(status.code(), Some(0), "node {node}");
    }
    for node in ALL {
        cluster.launch(node);
    }
    settled(&cluster).await;
    for node in ALL {
        let shown = cluster.get_execution(node, &id).await.unwrap();
        assert_eq!(shown.body["result"], "before", "node {node}: {shown:?}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_node_at_once_and_its_script_runs_elsewhere() {
    let cluster = Cluster::start(3).await;
    let leader = settled(&cluster).await;
    let node = cluster.all_but(&[leader])[0];
    let id = cluster.submit(node, &sleeping(3000, "elsewhere")).await;
    cluster.sigterm(node);
    red(&cluster, node).await;
    let begun = Instant::now();
    cluster.sigterm(node);
    let status = cluster.exited(node, Duration::from_secs(2)).await;
    println!("ended {:?} after the second signal", begun.elapsed());
    assert_eq!(status.code(), Some(0));
    let ended = until_within(Duration::from_secs(30), "the script to end", || async {
        let shown = cluster.get_execution(leader, &id).await.ok()?;
        (shown.body["status"] != "running").then_some(shown.body)
    })
    .await;
    assert_eq!(ended["result"], "elsewhere", "{ended}");
}
