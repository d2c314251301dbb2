//! Steps of sessions in a cluster, as a client that does not give up takes them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Answered, Cluster, name};

/// How long a client waits for an answer before it asks another node.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long it goes on asking.
const GIVEN_UP: Duration = Duration::from_secs(90);

/// Where a node has its heaps.
pub fn heaps(cluster: &Cluster, node: usize) -> PathBuf {
    cluster.disk(node).join("heaps").join(name(node))
}

/// The file of a heap at a node.
pub fn heap_file(cluster: &Cluster, node: usize, heap: &str) -> PathBuf {
    heaps(cluster, node).join(&heap[..2]).join(heap)
}

/// A step at one node, once.
pub async fn step(cluster: &Cluster, node: usize, session: &str, code: &str) -> Answered {
    cluster.exec_with(node, &json!({ "code": code, "session": session }), 60).await
}

/// A step at one node that must complete; gives its result.
pub async fn must_step(cluster: &Cluster, node: usize, session: &str, code: &str) -> String {
    let answer = step(cluster, node, session, code).await.unwrap();
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{answer:?}");
    answer.body["result"].as_str().unwrap_or_default().to_owned()
}

/// A step under a key, at one node after the other until one says how it ended.
pub async fn step_under_key(
    cluster: &Cluster,
    nodes: &[usize],
    session: &str,
    code: &str,
    key: &str,
) -> Value {
    let (request, begun) = (json!({ "code": code, "session": session }), Instant::now());
    let mut last = None;
    for node in nodes.iter().cycle() {
        assert!(begun.elapsed() < GIVEN_UP, "no node says how step {key} ended; last: {last:?}");
        let answer = cluster.exec_under_key(*node, &request, key, PATIENCE).await;
        match &answer {
            Ok(ended) if ended.status == 200 => return ended.body.clone(),
            _ => last = Some((*node, answer)),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("there are nodes")
}
