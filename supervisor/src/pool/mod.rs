//! The worker pool: processes started ahead of need, one execution each.
//!
//! # Contract
//! * Shares nothing with its children and survives any of them; after PostgreSQL's postmaster.
//! * A fixed number of slots each keep one ready worker. A slot whose worker is taken, dies or does
//!   not start begins again, with back-off after start-up deaths.
//! * By default a ready worker is a child forked from a template process ([`templates`]); or it is a
//!   process of its own, started from the program.
//! * Workers for jobs that keep their heap are of another kind ([`Pool::take_for_heap`]): they have no
//!   isolate before the heap is known. There are none until the first such job.
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
mod keeping;
mod lineage;
mod logs;
mod process;
pub mod sandbox;
mod slots;
mod spawner;
pub mod state;
mod talk;
mod template;
mod templates;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use mcp_v8_protocol::EncodeError;
use tokio::sync::{OnceCell, watch};

pub use self::breaker::Health;
pub use self::error::StartError;
use self::group::{Group, GroupError};
use self::sandbox::{Judgement, Mode};
use self::slots::Shared;
pub use self::worker::{HeapTask, KeptHeap, ScriptEvent, Worker};
use crate::heaps::Engines;

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

/// Handle of the pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool {
    settings: Arc<PoolSettings>,
    /// The control group of all workers, or why there is none. None without a sandbox.
    group: Option<Arc<Result<Arc<Group>, GroupError>>>,
    shared: Arc<Shared>,
    /// Those for jobs that keep their heap, once there was one.
    heaps: Arc<OnceCell<Arc<Shared>>>,
}

/// What the jobs of a worker are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Scripts,
    Heaps,
}

impl Pool {
    /// Starts the slots on the current runtime.
    ///
    /// # Errors
    /// [`PoolError`]. A worker program that does not start is not one: see [`Pool::health`].
    pub fn start(settings: PoolSettings) -> Result<Self, PoolError> {
        let group = match settings.sandbox {
            Mode::Off => None,
            _ => Some(Arc::new(Group::create().map(Arc::new))),
        };
        let shared = Shared::start(&settings, Purpose::Scripts, group.clone())?;
        Ok(Self { settings: Arc::new(settings), group, shared, heaps: Arc::default() })
    }

    /// Takes a ready worker, waiting for one if need be.
    ///
    /// # Errors
    /// [`TakeError`] while workers do not start.
    pub async fn take(&self) -> Result<Worker, TakeError> {
        self.shared.take().await
    }

    /// Takes a worker for a job that keeps its heap, waiting for one if need be. The first call starts
    /// what makes them.
    ///
    /// # Errors
    /// [`TakeError`] while workers do not start.
    pub async fn take_for_heap(&self) -> Result<Worker, TakeError> {
        self.heaps().await?.take().await
    }

    /// What the heaps are written by that workers of this server restore. The first call starts what
    /// makes them.
    ///
    /// # Errors
    /// [`TakeError`] while workers do not start.
    pub async fn heap_engines(&self) -> Result<Engines, TakeError> {
        let shared = self.heaps().await?;
        let mut engines = shared.engines.subscribe();
        let mut health = shared.breaker.subscribe();
        tokio::select! {
            biased;
            // The sender lives in `shared`.
            engines = engines.wait_for(Option::is_some) => {
                engines.ok().and_then(|engines| engines.clone()).ok_or_else(stopped)
            }
            broken = health.wait_for(|health| matches!(health, Health::Broken(_))) => {
                Err(broken_by(broken.as_deref().ok()))
            }
        }
    }

    async fn heaps(&self) -> Result<&Arc<Shared>, TakeError> {
        let start = || async {
            let started = Shared::start(&self.settings, Purpose::Heaps, self.group.clone());
            started.map_err(|error| TakeError { reason: error.to_string() })
        };
        self.heaps.get_or_try_init(start).await
    }

    /// The sandbox that workers have, once the first has started; or why the first was refused for
    /// its sandbox. A worker that fails for another reason is not waited for longer than that.
    pub async fn first_sandbox(&self) -> Result<Judgement, String> {
        let mut sandbox = self.shared.sandbox.subscribe();
        // The sender lives in `shared`.
        let first = sandbox.wait_for(Option::is_some).await;
        let first = first.ok().and_then(|first| first.clone());
        first.unwrap_or_else(|| Ok(Judgement::default())).map(|seen| self.shared.with_group(seen))
    }

    /// The sandbox of the first worker, if one has started.
    pub fn sandbox(&self) -> Option<Judgement> {
        let first = self.shared.sandbox.borrow().clone()?.ok()?;
        Some(self.shared.with_group(first))
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
        self.shared.stop().await;
        if let Some(heaps) = self.heaps.get() {
            heaps.stop().await;
        }
        if let Some(Ok(group)) = self.group.as_deref() {
            let group = Arc::clone(group);
            // The kernel may take a moment to see that it is empty.
            let _ = tokio::task::spawn_blocking(move || group.remove()).await;
        }
    }
}

fn stopped() -> TakeError {
    TakeError { reason: "the pool has stopped".to_owned() }
}

/// Why workers do not start, by the health that says so.
fn broken_by(health: Option<&Health>) -> TakeError {
    match health {
        Some(Health::Broken(reason)) => TakeError { reason: reason.clone() },
        _ => stopped(),
    }
}
