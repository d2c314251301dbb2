//! Clients behind a load balancer: each request goes to a node that was ready when it was last looked
//! at.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::writers::{Write, write};
use crate::nodes::{NODES, Nodes};

/// How often the balancer looks.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Shared {
    ready: Mutex<Vec<String>>,
    stop: AtomicBool,
    requests: AtomicUsize,
    writes: Mutex<Vec<Write>>,
    failures: Mutex<Vec<String>>,
}

/// The clients and their balancer: three quarters write, the others run scripts of 20 ms.
pub struct Balanced {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What came of it.
pub struct Outcome {
    pub requests: usize,
    pub writes: Vec<Write>,
    pub failures: Vec<String>,
}

impl Balanced {
    /// Starts so many clients.
    pub fn start(nodes: &Nodes, clients: usize) -> Self {
        let urls: Vec<String> = (0..NODES).map(|at| nodes.url(at)).collect();
        let shared = Arc::new(Shared { ready: Mutex::new(urls.clone()), ..Shared::default() });
        let client = mcp_v8_tests::client();
        let mut tasks = JoinSet::new();
        tasks.spawn(balance(Arc::clone(&shared), client.clone(), urls));
        for which in 0..clients {
            tasks.spawn(ask(Arc::clone(&shared), client.clone(), which));
        }
        Self { shared, tasks }
    }

    /// Ends them.
    pub async fn stop(self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        Outcome {
            requests: self.shared.requests.load(Ordering::Relaxed),
            writes: std::mem::take(&mut self.shared.writes.lock().unwrap()),
            failures: std::mem::take(&mut self.shared.failures.lock().unwrap()),
        }
    }
}

async fn balance(shared: Arc<Shared>, client: reqwest::Client, urls: Vec<String>) {
    while !shared.stop.load(Ordering::Relaxed) {
        let mut ready = Vec::new();
        for url in &urls {
            let looking = client.get(format!("{url}/readyz")).timeout(LOOK * 5).send();
            if looking.await.is_ok_and(|answer| answer.status().is_success()) {
                ready.push(url.clone());
            }
        }
        *shared.ready.lock().unwrap() = ready;
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(shared: Arc<Shared>, client: reqwest::Client, which: usize) {
    let mut turn = which;
    while !shared.stop.load(Ordering::Relaxed) {
        turn += 1;
        let url = {
            let ready = shared.ready.lock().unwrap();
            assert!(!ready.is_empty(), "no node is ready");
            ready[turn % ready.len()].clone()
        };
        let begun = Instant::now();
        let failure = if which % 4 == 3 {
            let code = format!("await new Promise(done => setTimeout(done, 20)); '{turn}'");
            let asking = client.post(format!("{url}/api/exec?wait=60"));
            match asking.json(&json!({ "code": code })).send().await {
                Ok(answer) => {
                    let answer: Value = answer.json().await.unwrap_or_default();
                    let right = answer["result"].as_str() == Some(&turn.to_string());
                    (!right).then(|| answer.to_string())
                }
                Err(error) => Some(format!("{error:?}")),
            }
        } else {
            match write(&client, &url).send().await {
                Ok(answer) if answer.status().is_success() => {
                    let ended = Instant::now();
                    shared.writes.lock().unwrap().push(Write { begun, ended });
                    None
                }
                Ok(answer) => Some(answer.text().await.unwrap_or_default()),
                Err(error) => Some(format!("{error:?}")),
            }
        };
        shared.requests.fetch_add(1, Ordering::Relaxed);
        shared.failures.lock().unwrap().extend(failure);
    }
}
