//! Clients at random nodes see one register, whatever happens to the nodes.
//!
//! # Contract
//! * Clients write values that are never written twice and read them back, on short-lived registers
//!   (tags of a heap), while a nemesis kills, freezes and cuts off nodes and lets them come back.
//! * The history of every register is linearizable; that includes a last read of each, from another
//!   node each time, after everything is healed: an acknowledged write is never lost.
//! * Healed, the cluster is one again within [`HEAL_MAX`].
//! * `MCP_V8_NEMESIS_SECS` is how long it lasts (default 60), `MCP_V8_NEMESIS_SEED` makes the nemesis
//!   do the same again. The seed is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::{join, join_all};
use mcp_v8_tests::cluster::{Answer, Answered, Cluster, Silence};
use mcp_v8_tests::history::{Action, Begun, Content, History};
use serde_json::json;

const NODES: usize = 3;

const CLIENTS: usize = 5;

/// Operations on one register before the clients go on to the next: the check is exponential.
const OPERATIONS: usize = 20;

/// How long a client waits for an answer: shorter than the server tries, so that some operations
/// happen after their client has gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the cluster may take to be one after everything is healed.
const HEAL_MAX: Duration = Duration::from_secs(10);

/// Numbers that follow from a seed (SplitMix64).
struct Random(Cell<u64>);

impl Random {
    fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let z = self.0.get();
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn node(&self) -> usize {
        self.below(NODES) + 1
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// Everything that the clients did.
#[derive(Default)]
struct Record {
    registers: RefCell<BTreeMap<usize, History>>,
    next_client: Cell<usize>,
    next_value: Cell<u64>,
    operations: Cell<usize>,
    answered: Cell<usize>,
    open: Cell<usize>,
    refused: Cell<usize>,
}

fn count(cell: &Cell<usize>) {
    cell.set(cell.get() + 1);
}

impl Record {
    fn client(&self) -> usize {
        count(&self.next_client);
        self.next_client.get()
    }

    fn begin(&self, register: usize, client: usize, action: Action) -> Begun {
        self.registers.borrow_mut().entry(register).or_default().begin(client, action)
    }

    /// Notes how an operation ended; gives whether its client can go on as the same.
    fn end(&self, register: usize, begun: Begun, action: Action, answer: Answered) -> bool {
        let mut registers = self.registers.borrow_mut();
        let history = registers.get_mut(&register).unwrap();
        match (answer, action) {
            (Ok(Answer { status: 200, body }), Action::Write(_)) => {
                assert_eq!(body, json!({"ok": true}));
                count(&self.answered);
                history.wrote(begun);
                true
            }
            (Ok(Answer { status: 200, body }), Action::Read) => {
                let tags = body["tags"].as_object().expect("a read answers with tags");
                let content: Content =
                    tags.get("v").map(|value| value.as_str().unwrap().parse().unwrap());
                count(&self.answered);
                history.read(begun, content);
                true
            }
            (Ok(Answer { status, body }), action) => {
                assert_eq!(status, 503, "{action:?}: {body}");
                // A refused write may still happen.
                count(&self.refused);
                if action == Action::Read {
                    history.void(begun);
                }
                action == Action::Read
            }
            (Err(Silence::NotSent(_)), _) => {
                history.void(begun);
                true
            }
            (Err(Silence::Unknown(_)), action) => {
                count(&self.open);
                if action == Action::Read {
                    history.void(begun);
                }
                action == Action::Read
            }
        }
    }
}

fn heap(register: usize) -> String {
    format!("{register:064x}")
}

/// One operation at one node; gives whether its client can go on as the same.
async fn operate(
    cluster: &Cluster,
    record: &Record,
    client: usize,
    node: usize,
    register: usize,
    action: Action,
) -> bool {
    let begun = record.begin(register, client, action);
    let answer = match action {
        Action::Write(value) => {
            let tags = json!({ "v": value.to_string() });
            cluster.put_tags(node, &heap(register), &tags, PATIENCE).await
        }
        Action::Read => cluster.get_tags(node, &heap(register), PATIENCE).await,
    };
    let not_sent = matches!(answer, Err(Silence::NotSent(_)));
    let same = record.end(register, begun, action, answer);
    if not_sent {
        // The node is down: not again at once.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    same
}

async fn client(cluster: &Cluster, record: &Record, random: &Random, until: Instant) {
    let mut client = record.client();
    while Instant::now() < until {
        count(&record.operations);
        let register = record.operations.get() / OPERATIONS;
        let action = if random.below(2) == 0 {
            record.next_value.set(record.next_value.get() + 1);
            Action::Write(record.next_value.get())
        } else {
            Action::Read
        };
        if !operate(cluster, record, client, random.node(), register, action).await {
            client = record.client();
        }
    }
}

/// Does harm and undoes it, until the time is over; then the cluster must be one again.
async fn nemesis(cluster: &Cluster, random: &Random, until: Instant) -> usize {
    let begun = Instant::now();
    let say = |what: String| println!("{:>7.3} s: {what}", begun.elapsed().as_secs_f64());
    let all = cluster.all();
    let mut harms = 0;
    while Instant::now() < until {
        let pause = |least: usize, most: usize| {
            let ms = least + random.below(most - least);
            tokio::time::sleep(Duration::from_millis(ms as u64))
        };
        pause(200, 1500).await;
        harms += 1;
        let node = random.node();
        // Leaders are worth it.
        let node = match random.below(2) {
            0 => cluster.leader_among(&all).await.unwrap_or(node),
            _ => node,
        };
        match random.below(8) {
            0 => {
                say(format!("kill -9 of {node}"));
                cluster.kill9(node);
                pause(100, 3000).await;
                cluster.launch(node);
            }
            1 => {
                say("kill -9 of all".to_owned());
                for node in &all {
                    cluster.kill9(*node);
                }
                for node in &all {
                    pause(1, 300).await;
                    cluster.launch(*node);
                }
            }
            2 => {
                say(format!("SIGSTOP of {node}"));
                cluster.sigstop(node);
                pause(100, 4000).await;
                cluster.sigcont(node);
            }
            3 => {
                say(format!("{node} cut off"));
                cluster.isolate(node);
                pause(300, 4000).await;
                cluster.heal();
            }
            4 => {
                let to = node % NODES + 1;
                say(format!("loss from {node} to {to}"));
                cluster.one_way(node, to);
                pause(300, 4000).await;
                cluster.heal();
            }
            5 => {
                let frozen = node % NODES + 1;
                say(format!("{node} cut off, then {frozen} frozen, {node} healed first"));
                cluster.isolate(node);
                pause(100, 2000).await;
                cluster.sigstop(frozen);
                pause(100, 1000).await;
                cluster.heal();
                pause(100, 2000).await;
                cluster.sigcont(frozen);
            }
            6 => {
                say(format!("SIGTERM of {node}"));
                cluster.sigterm(node);
                let status = cluster.exited(node, Duration::from_secs(40)).await;
                assert_eq!(status.code(), Some(0), "after SIGTERM of node {node}");
                cluster.launch(node);
            }
            _ => {
                let other = node % NODES + 1;
                say(format!("kill -9 of {node} and {other}"));
                cluster.kill9(node);
                cluster.kill9(other);
                pause(100, 2000).await;
                cluster.launch(other);
                pause(100, 1000).await;
                cluster.launch(node);
            }
        }
        for node in &all {
            assert!(cluster.runs(*node), "node {node} has ended by itself");
        }
    }
    let healed = Instant::now();
    cluster.agreed_within(&all, HEAL_MAX).await;
    cluster.ready_within(&all, HEAL_MAX).await;
    println!("one cluster again {:?} after the last harm", healed.elapsed());
    harms
}

#[tokio::test]
async fn registers_are_linearizable_while_nodes_are_killed_frozen_and_cut_off() {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = setting("MCP_V8_NEMESIS_SEED").unwrap_or(clock.as_millis() as u64);
    let secs = setting("MCP_V8_NEMESIS_SECS").unwrap_or(60);
    println!("MCP_V8_NEMESIS_SEED={seed} MCP_V8_NEMESIS_SECS={secs}");
    // Every other seed makes whoever was away get a snapshot rather than the log.
    let flags: &[&str] = if seed.is_multiple_of(2) { &["--snapshot-entries=100"] } else { &[] };
    let cluster = Cluster::start_with(NODES, flags).await;
    let all = cluster.all();
    let record = Record::default();
    let until = Instant::now() + Duration::from_secs(secs);
    // Each has numbers of its own, so that the harm depends on the seed alone.
    let randoms: Vec<Random> =
        (0..=CLIENTS as u64).map(|number| Random(Cell::new(seed ^ (number << 48)))).collect();
    let clients = randoms[1..].iter().map(|random| client(&cluster, &record, random, until));
    let (_, harms) = join(join_all(clients), nemesis(&cluster, &randoms[0], until)).await;

    let reader = record.client();
    let registers: Vec<usize> = record.registers.borrow().keys().copied().collect();
    for register in &registers {
        for node in &all {
            let before = record.answered.get();
            operate(&cluster, &record, reader, *node, *register, Action::Read).await;
            assert_eq!(record.answered.get(), before + 1, "register {register} at node {node}");
        }
    }
    cluster.agreed_within(&all, HEAL_MAX).await;

    let (answered, open, refused) =
        (record.answered.get(), record.open.get(), record.refused.get());
    println!(
        "{harms} harms; {} registers, {answered} operations answered, {refused} refused, {open} without answer",
        registers.len()
    );
    assert!(answered as u64 > 10 * secs, "hardly anything was answered: {answered}");
    let checking = Instant::now();
    for (register, history) in record.registers.borrow().iter() {
        if let Err(history) = history.check() {
            panic!("register {register} is not linearizable (seed {seed}):\n{history}");
        }
    }
    println!("checked in {:?}", checking.elapsed());
}
