//! The worker pool: processes started ahead of need, one execution each.
//!
//! # Contract
//! * Shares nothing with its children and survives any of them; after PostgreSQL's postmaster.
//! * A fixed number of slots each keep one ready worker. A slot whose worker is taken, dies or does
//!   not start begins again, with back-off after start-up deaths.
//! * By default a ready worker is a child forked from a template process ([`templates`]); or it is a
//!   process of its own, started from the program.
//! * [`Pool::take`] gives the worker that has been ready longest, waits when there is none, and
//!   fails at once while workers do not start at all.
//!
//! The operating system's sandbox is entered by the worker itself (`worker/src/sandbox/`) and judged
//! from outside in [`sandbox`].

mod attribution;
mod breaker;
mod budget;
mod channel;
mod error;
mod group;
mod lineage;
mod logs;
mod process;
pub mod sandbox;
mod spawner;
mod template;
mod templates;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use mcp_v8_protocol::{EncodeError, Hello, ToWorker, encode};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::breaker::Health;
use self::breaker::{Breaker, backoff};
pub use self::error::StartError;
use self::group::{Group, GroupError};
use self::lineage::Lineage;
use self::sandbox::{Judgement, Mode};
use self::spawner::Spawner;
use self::templates::Templates;
pub use self::worker::{ConsoleEvent, Worker};
use crate::metrics;

/// How worker processes come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Processes {
    /// Forked from a process in which V8 is ready.
    #[default]
    Fork,
    /// Started from the program: slower, and with a memory layout of its own each time.
    Exec,
}

/// What the pool runs.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// The worker program.
    pub worker_path: PathBuf,
    /// Ready workers to keep. With none, no process is ever started, and the pool is ready.
    pub idle_workers: usize,
    /// What the sandbox must hold.
    pub sandbox: Mode,
    /// How they come to be.
    pub processes: Processes,
    /// Whether they have an isolate before their job is known.
    pub warm: bool,
    /// Heap limit they are prepared for; a job with another one costs a rebuild of its isolate.
    pub heap_bytes: u64,
}

/// Why the pool cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// No thread or pipe for it.
    #[error("cannot start the worker pool: {0}")]
    Io(#[from] io::Error),
    /// The greeting does not fit a frame.
    #[error("cannot greet workers: {0}")]
    Greeting(#[from] EncodeError),
}

/// Workers do not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("worker processes do not start: {reason}")]
pub struct TakeError {
    /// What the last one died of.
    pub reason: String,
}

type Taker = oneshot::Sender<Worker>;

/// Handle of the pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// Where workers come from.
#[derive(Debug)]
enum Source {
    Fork(Box<Templates>),
    Exec(Spawner),
}

#[derive(Debug)]
struct Shared {
    source: Source,
    breaker: Breaker,
    mode: Mode,
    /// The control group of all workers, or why there is none. None without a sandbox.
    group: Option<Result<Arc<Group>, GroupError>>,
    /// The sandbox of the first worker, or what it lacks of what is demanded.
    sandbox: watch::Sender<Option<Result<Judgement, String>>>,
    takers: mpsc::UnboundedSender<Taker>,
    /// Slots with a ready worker queue here, in the order in which they got ready.
    waiting: Mutex<mpsc::UnboundedReceiver<Taker>>,
    stop: CancellationToken,
    slots: TaskTracker,
    reapers: TaskTracker,
}

impl Pool {
    /// Starts the slots on the current runtime.
    ///
    /// # Errors
    /// [`PoolError`]. A worker program that does not start is not one: see [`Pool::health`].
    pub fn start(settings: PoolSettings) -> Result<Self, PoolError> {
        let greeting = encode(&ToWorker::Hello(Hello {
            heap_bytes: settings.heap_bytes,
            isolate: settings.warm,
        }))?;
        let sandbox = if settings.sandbox == Mode::Off { "--sandbox=off" } else { "--sandbox=on" };
        let process = match settings.processes {
            Processes::Fork => "--process=template",
            Processes::Exec => "--process=single",
        };
        let arguments = [sandbox, process];
        let group = match settings.sandbox {
            Mode::Off => None,
            _ => Some(Group::create().map(Arc::new)),
        };
        let entered = group.as_ref().and_then(|group| group.as_ref().ok()).cloned();
        let spawner = Spawner::start(
            settings.worker_path,
            arguments,
            logs::start()?,
            greeting,
            entered.clone(),
        )?;
        let reapers = TaskTracker::new();
        let source = match settings.processes {
            Processes::Fork => {
                let templates = Templates::new(spawner, settings.sandbox, reapers.clone());
                Source::Fork(Box::new(templates))
            }
            Processes::Exec => Source::Exec(spawner),
        };
        // Unbounded by itself; the executions that call `take` are bounded by their slots.
        let (takers, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            source,
            breaker: Breaker::default(),
            mode: settings.sandbox,
            group,
            sandbox: watch::Sender::new(None),
            takers,
            waiting: Mutex::new(waiting),
            stop: CancellationToken::new(),
            slots: TaskTracker::new(),
            reapers,
        });
        if settings.idle_workers == 0 {
            shared.breaker.started();
        }
        for _ in 0..settings.idle_workers {
            shared.slots.spawn(slot(Arc::clone(&shared)));
        }
        Ok(Self { shared })
    }

    /// Takes a ready worker, waiting for one if need be.
    ///
    /// # Errors
    /// [`TakeError`] while workers do not start.
    pub async fn take(&self) -> Result<Worker, TakeError> {
        let mut health = self.shared.breaker.subscribe();
        let (taker, taken) = oneshot::channel();
        // The receiver lives in `shared`.
        let _ = self.shared.takers.send(taker);
        tokio::select! {
            biased;
            worker = taken => worker.map_err(|_| TakeError { reason: "the pool has stopped".to_owned() }),
            broken = health.wait_for(|health| matches!(health, Health::Broken(_))) => {
                let reason = match broken.as_deref() {
                    Ok(Health::Broken(reason)) => reason.clone(),
                    _ => "the pool has stopped".to_owned(),
                };
                Err(TakeError { reason })
            }
        }
    }

    /// The sandbox that workers have, once the first has started; or why the first was refused for
    /// its sandbox. A worker that fails for another reason is not waited for longer than that.
    pub async fn first_sandbox(&self) -> Result<Judgement, String> {
        let mut sandbox = self.shared.sandbox.subscribe();
        // The sender lives in `shared`.
        let first = sandbox.wait_for(Option::is_some).await;
        first.ok().and_then(|first| first.clone()).unwrap_or_else(|| Ok(Judgement::default()))
    }

    /// The sandbox of the first worker, if one has started.
    pub fn sandbox(&self) -> Option<Judgement> {
        self.shared.sandbox.borrow().clone()?.ok()
    }

    /// What the pool can do at the moment.
    pub fn health(&self) -> Health {
        self.shared.breaker.subscribe().borrow().clone()
    }

    /// Watches the health.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.shared.breaker.subscribe()
    }

    /// The reason, while workers do not start.
    pub fn broken(&self) -> Option<String> {
        match self.health() {
            Health::Broken(reason) => Some(reason),
            Health::Starting | Health::Ready => None,
        }
    }

    /// Ends every idle worker and returns when all children are reaped.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.slots.close();
        self.shared.slots.wait().await;
        if let Source::Fork(templates) = &self.shared.source {
            templates.stop().await;
        }
        self.shared.reapers.close();
        self.shared.reapers.wait().await;
        if let Some(Ok(group)) = &self.shared.group {
            group.remove();
        }
    }
}

impl Shared {
    /// What a worker has, and what all have in common.
    fn with_group(&self, sandbox: &Judgement) -> Judgement {
        let mut sandbox = sandbox.clone();
        if let Some(group) = &self.group {
            let missing = group.as_ref().err().map(GroupError::to_string);
            sandbox.layers.insert("control_group", missing);
        }
        sandbox
    }

    /// The first start decides; a judgement of a worker that never started is replaced by a real one.
    fn note_sandbox(&self, seen: Result<Judgement, String>) {
        self.sandbox.send_if_modified(|known| {
            let unknown = match known {
                None => true,
                Some(Ok(judgement)) => judgement.layers.is_empty() && *known != Some(seen.clone()),
                Some(Err(_)) => false,
            };
            if unknown {
                *known = Some(seen);
            }
            unknown
        });
    }
}

/// Keeps one ready worker until the pool stops.
async fn slot(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    // Dropping the future drops its worker, which kills and reaps it.
    stop.run_until_cancelled(keep_one_ready(&shared)).await;
}

async fn keep_one_ready(shared: &Shared) {
    let mut failures = 0;
    loop {
        let mut worker = match start(shared).await {
            Ok(worker) => worker,
            Err(error) => {
                failures += 1;
                let pause = backoff(failures);
                tracing::error!(%error, retry_in_ms = pause.as_millis() as u64, "a worker did not start");
                metrics::worker_start_failed();
                shared.note_sandbox(match &error {
                    StartError::Sandbox(_) => Err(error.to_string()),
                    _ => Ok(Judgement::default()),
                });
                shared.breaker.died(error.to_string(), Instant::now());
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        failures = 0;
        shared.note_sandbox(Ok(shared.with_group(worker.sandbox())));
        shared.breaker.started();
        metrics::idle_workers(1.0);
        let lineage = worker.lineage();
        let taker = tokio::select! {
            biased;
            reason = worker.lost() => Err(Some(reason)),
            () = distrusted(lineage.as_deref()) => Err(None),
            taker = next_taker(shared) => Ok(taker),
        };
        metrics::idle_workers(-1.0);
        match taker {
            // A sibling ended as an attack may; see `lineage`.
            Err(None) => worker.end().await,
            Ok(Some(taker)) => {
                // A taker that has gone away leaves the worker with us; it is as good as new, but
                // rare enough to be ended rather than carried on.
                if let Err(worker) = taker.send(worker) {
                    worker.end().await;
                }
            }
            Ok(None) => return,
            Err(Some(reason)) => {
                // Not a start-up death, but nothing a job did either: a short pause keeps a storm
                // of kills from becoming a storm of forks.
                tracing::warn!(pid = worker.pid(), reason, "an idle worker was lost");
                metrics::worker_exit("idle");
                worker.end().await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn start(shared: &Shared) -> Result<Worker, StartError> {
    let begun = Instant::now();
    let mut worker = match &shared.source {
        Source::Fork(templates) => templates.fork().await?,
        Source::Exec(spawner) => {
            let spawned = spawner.spawn().await.map_err(StartError::Spawn)?;
            Worker::start(spawned, shared.mode, shared.reapers.clone()).await?
        }
    };
    if let Some(Ok(group)) = &shared.group {
        worker.count_kills_of(Arc::clone(group));
    }
    metrics::worker_started(begun.elapsed());
    tracing::trace!(pid = worker.pid(), v8 = worker.v8_version(), "worker ready");
    Ok(worker)
}

async fn distrusted(lineage: Option<&Lineage>) {
    match lineage {
        Some(lineage) => lineage.distrusted().await,
        None => std::future::pending().await,
    }
}

/// The next taker that still waits.
async fn next_taker(shared: &Shared) -> Option<Taker> {
    let mut waiting = shared.waiting.lock().await;
    loop {
        let taker = waiting.recv().await?;
        if !taker.is_closed() {
            return Some(taker);
        }
    }
}
