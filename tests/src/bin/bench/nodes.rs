//! Three nodes of one cluster on this machine, as an operator would start them.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mcp_v8_tests::{binary, free_port, signal_process, until, until_within};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Members of a cluster.
pub const NODES: usize = 3;

struct Node {
    http: u16,
    cluster: u16,
    child: Option<Child>,
}

/// The nodes, counted from 0; they end when this is dropped.
pub struct Nodes {
    nodes: Vec<Node>,
    /// Whether the first one has founded the cluster alone and the others enter it.
    joining: bool,
    client: reqwest::Client,
    dir: TempDir,
}

/// What a node is called.
fn name(at: usize) -> String {
    format!("node{}", at + 1)
}

impl Nodes {
    fn new(joining: bool) -> Self {
        let node = |_| Node { http: free_port(), cluster: free_port(), child: None };
        let nodes = (0..NODES).map(node).collect();
        let dir = tempfile::tempdir().unwrap();
        Self { nodes, joining, client: mcp_v8_tests::client(), dir }
    }

    /// Starts all of them; gives the leader once all are ready.
    pub async fn start() -> (Self, usize) {
        let mut nodes = Self::new(false);
        (0..NODES).for_each(|at| nodes.launch(at));
        let leader = nodes.ready().await;
        (nodes, leader)
    }

    /// Starts the first one only, as a cluster that the others enter when they are launched.
    pub async fn start_first() -> Self {
        let mut nodes = Self::new(true);
        nodes.launch(0);
        nodes.ready_after(0, Instant::now()).await;
        nodes
    }

    /// How a node is told of the others.
    fn others(&self, at: usize) -> Option<String> {
        if self.joining {
            return (at > 0).then(|| format!("--join=127.0.0.1:{}", self.nodes[0].cluster));
        }
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
        let peers: Vec<String> = others
            .map(|(other, node)| format!("{}@127.0.0.1:{}", name(other), node.cluster))
            .collect();
        Some(format!("--peers={}", peers.join(",")))
    }

    /// Starts the process of a node.
    pub fn launch(&mut self, at: usize) {
        let Node { http, cluster, .. } = self.nodes[at];
        let child = Command::new(binary("mcp-v8"))
            .arg(format!("--http-port={http}"))
            .arg(format!("--cluster-port={cluster}"))
            .arg(format!("--node-id={}", name(at)))
            .arg(format!("--advertise-addr=127.0.0.1:{cluster}"))
            .args(self.others(at))
            .arg(format!("--session-db-path={}", self.dir.path().display()))
            .arg("--bind-host=127.0.0.1")
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.nodes[at].child = Some(child);
    }

    /// Where a node serves clients.
    pub fn url(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}", self.nodes[at].http)
    }

    /// The directory of a node's heaps.
    pub fn heaps(&self, at: usize) -> PathBuf {
        self.dir.path().join("heaps").join(name(at))
    }

    /// All others.
    pub fn all_but(at: usize) -> Vec<usize> {
        (0..NODES).filter(|other| *other != at).collect()
    }

    /// The process of a node that runs.
    pub fn pid(&self, at: usize) -> u32 {
        self.nodes[at].child.as_ref().unwrap().id()
    }

    /// Ends a node as a power cut does.
    pub fn kill(&mut self, at: usize) {
        let mut child = self.nodes[at].child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a signal to a node.
    pub fn signal(&self, at: usize, signal: Signal) {
        signal_process(self.pid(at), signal);
    }

    /// Waits for the end of a node that was told to stop.
    pub async fn exited(&mut self, at: usize) -> ExitStatus {
        let child = std::sync::Mutex::new(self.nodes[at].child.take().unwrap());
        let limit = Duration::from_secs(90);
        until_within(limit, "the node to stop", || async {
            child.lock().unwrap().try_wait().unwrap()
        })
        .await
    }

    /// Has another node lead, whichever does now.
    pub async fn lead(&self, at: usize) {
        until("the leader that is wanted", || async {
            let (_, status) = self.status(at).await?;
            if status["role"] == "Leader" {
                return Some(());
            }
            let url = format!("http://127.0.0.1:{}/raft/transfer-leader", self.nodes[at].cluster);
            let transfer = self.client.post(url).json(&json!({ "to": name(at) }));
            // Looked at again in any case.
            let _ = transfer.send().await;
            None
        })
        .await;
    }

    /// What a node says about itself, and whether it is ready.
    pub async fn status(&self, at: usize) -> Option<(bool, Value)> {
        let asking = self.client.get(format!("{}/raft/status", self.url(at)));
        let answer = asking.timeout(Duration::from_secs(1)).send().await.ok()?;
        Some((answer.status().is_success(), answer.json().await.ok()?))
    }

    /// Waits until all are ready under one leader, and gives it.
    pub async fn ready(&self) -> usize {
        let leader = until("a leader that all are ready under", || async {
            let mut leader = None;
            for at in 0..NODES {
                let (ready, status) = self.status(at).await?;
                let named = status["leader_id"].as_str().filter(|_| ready)?.to_owned();
                if *leader.get_or_insert_with(|| named.clone()) != named {
                    return None;
                }
            }
            leader
        })
        .await;
        (0..NODES).find(|at| name(*at) == leader).unwrap()
    }

    /// Waits until a node is ready; says how long that took.
    pub async fn ready_after(&self, at: usize, begun: Instant) -> Duration {
        until_within(Duration::from_secs(300), "the node to be ready", || async {
            self.status(at).await.filter(|(ready, _)| *ready).map(drop)
        })
        .await;
        begun.elapsed()
    }

    /// One number of a node's status.
    pub async fn number(&self, at: usize, field: &str) -> u64 {
        until("a status", || async { self.status(at).await?.1[field].as_u64() }).await
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
