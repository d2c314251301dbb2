//! Writes to a cluster that are remembered by who made them, and read again.
//!
//! # Contract
//! * A write counts when it is answered 200; what is not answered so may or may not have happened.
//! * Writes go to tags of heaps: heap number `n` holds the last value written to `n`.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::cluster::{Answered, Cluster};
use crate::until;

/// How long a healed cluster may take to be one.
pub const HEAL_MAX: Duration = Duration::from_secs(10);

/// What a request may take: more than the server tries a command.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Requests that read everything back, at once.
const READERS: usize = 32;

/// A heap, by number.
pub fn heap(number: usize) -> String {
    format!("{number:064x}")
}

/// Writes a value through a node.
pub async fn put(cluster: &Cluster, node: usize, number: usize, value: &str) -> Answered {
    cluster.put_tags(node, &heap(number), &json!({ "v": value }), PATIENCE).await
}

/// Reads a value through a node.
pub async fn get(cluster: &Cluster, node: usize, number: usize) -> Answered {
    cluster.get_tags(node, &heap(number), PATIENCE).await
}

/// Whether it was answered 200.
pub fn accepted(answer: &Answered) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.status == 200)
}

/// Writes a value that must be accepted.
pub async fn must_put(cluster: &Cluster, node: usize, number: usize, value: &str) {
    let answer = put(cluster, node, number, value).await;
    assert!(accepted(&answer), "node {node}: {answer:?}");
}

/// That a node shows this value.
pub async fn assert_has(cluster: &Cluster, node: usize, number: usize, value: &str) {
    let answer = get(cluster, node, number).await;
    assert!(accepted(&answer), "node {node}: {answer:?}");
    assert_eq!(answer.unwrap().body["tags"]["v"], value, "node {node}, heap {number}");
}

/// Writers, and what came of what they wrote.
#[derive(Debug, Default)]
pub struct Writers {
    taken: RefCell<Vec<(usize, String)>>,
    failed: RefCell<Vec<(usize, Answered)>>,
    next: Cell<usize>,
    stop: Cell<bool>,
    /// What every value ends with.
    tail: String,
}

impl Writers {
    /// Writers that begin with this number.
    pub fn from(first: usize) -> Self {
        Self { next: Cell::new(first), ..Self::default() }
    }

    /// Values are longer by so many bytes.
    pub fn longer(self, bytes: usize) -> Self {
        Self { tail: "x".repeat(bytes), ..self }
    }

    /// Makes them stop after what they are at.
    pub fn stop(&self) {
        self.stop.set(true);
    }

    /// Numbers and values of the writes that were accepted so far.
    pub fn taken(&self) -> Vec<(usize, String)> {
        self.taken.borrow().clone()
    }

    /// What was not accepted, and at which node.
    pub fn failed(&self) -> Vec<(usize, Answered)> {
        self.failed.borrow().clone()
    }

    /// That none was refused or without answer.
    pub fn assert_none_failed(&self) {
        let failed = self.failed();
        assert!(failed.is_empty(), "{} writes failed: {:?}", failed.len(), failed.first());
    }

    /// How many writes were accepted so far.
    pub fn count(&self) -> usize {
        self.taken.borrow().len()
    }

    /// Waits until so many more writes were accepted.
    pub async fn more(&self, count: usize) {
        let wanted = self.count() + count;
        until(&format!("{count} more writes"), || async { (self.count() >= wanted).then_some(()) })
            .await;
    }

    /// Writes through these nodes, so many writers at once, until told to stop.
    pub async fn write(&self, cluster: &Cluster, nodes: &[usize], writers: usize) {
        let writer = |which: usize| async move {
            while !self.stop.get() {
                let number = self.next.replace(self.next.get() + 1);
                let (node, value) =
                    (nodes[(number + which) % nodes.len()], format!("value {number}{}", self.tail));
                let answer = put(cluster, node, number, &value).await;
                if accepted(&answer) {
                    self.taken.borrow_mut().push((number, value));
                } else {
                    self.failed.borrow_mut().push((node, answer));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        join_all((0..writers).map(writer)).await;
    }
}

/// That these values are there: each is read through one of these nodes, in turn.
pub async fn assert_all(cluster: &Cluster, nodes: &[usize], written: &[(usize, String)]) {
    let mut lost = Vec::new();
    for chunk in written.chunks(READERS) {
        let reads =
            chunk.iter().map(|(number, _)| get(cluster, nodes[number % nodes.len()], *number));
        for ((number, value), answer) in chunk.iter().zip(join_all(reads).await) {
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            if answer.body["tags"]["v"] != value.as_str() {
                lost.push((*number, answer.body));
            }
        }
    }
    let (lost_count, all) = (lost.len(), written.len());
    assert!(lost.is_empty(), "{lost_count} of {all} acknowledged writes lost: {lost:.3?}");
}
