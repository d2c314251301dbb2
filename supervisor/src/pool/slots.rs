//! The slots of one kind of workers, each of which keeps one ready.
//!
//! # Contract
//! * A slot whose worker is taken, dies or does not start begins again, with back-off after start-up
//!   deaths.
//! * Whoever takes gets the worker that has been ready longest, waits when there is none, and fails
//!   at once while workers do not start at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mcp_v8_protocol::{Hello, ToWorker, encode};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::breaker::{Breaker, Health, backoff};
use super::error::StartError;
use super::group::{Group, GroupError};
use super::lineage::Lineage;
use super::sandbox::{Judgement, Mode};
use super::spawner::{Entrance, Spawner};
use super::templates::Templates;
use super::worker::Worker;
use super::{PoolError, PoolSettings, Processes, Purpose, TakeError, broken_by, logs, stopped};
use crate::heaps::Engines;
use crate::metrics;

type Taker = oneshot::Sender<Worker>;

/// Where workers come from.
#[derive(Debug)]
pub(super) enum Source {
    Fork(Box<Templates>),
    Exec(Spawner),
}

/// Workers of one kind.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) source: Source,
    pub(super) breaker: Breaker,
    /// Workers that are ready and wait for a script.
    pub(super) idle: AtomicUsize,
    mode: Mode,
    group: Option<Arc<Result<Arc<Group>, GroupError>>>,
    /// What the heaps are written by that its workers restore, once one has started.
    pub(super) engines: watch::Sender<Option<Engines>>,
    /// The sandbox of the first worker, or what it lacks of what is demanded.
    pub(super) sandbox: watch::Sender<Option<Result<Judgement, String>>>,
    takers: mpsc::UnboundedSender<Taker>,
    /// Slots with a ready worker queue here, in the order in which they got ready.
    waiting: Mutex<mpsc::UnboundedReceiver<Taker>>,
    stop: CancellationToken,
    slots: TaskTracker,
    reapers: TaskTracker,
}

impl Shared {
    /// Starts the slots on the current runtime.
    pub(super) fn start(
        settings: &PoolSettings,
        purpose: Purpose,
        group: Option<Arc<Result<Arc<Group>, GroupError>>>,
    ) -> Result<Arc<Self>, PoolError> {
        let greeting = encode(&ToWorker::Hello(Hello {
            heap_bytes: settings.heap_bytes,
            isolate: settings.warm && purpose == Purpose::Scripts,
        }))?;
        let sandbox = if settings.sandbox == Mode::Off { "--sandbox=off" } else { "--sandbox=on" };
        let process = match settings.processes {
            Processes::Fork => "--process=template",
            Processes::Exec => "--process=single",
        };
        let mut arguments = vec![sandbox, process];
        if purpose == Purpose::Heaps {
            arguments.push("--heaps");
        }
        let all = group.as_deref().and_then(|group| group.as_ref().ok()).cloned();
        let groups = all.as_ref().and_then(|group| group.leaves()).cloned();
        let own = settings.processes == Processes::Exec;
        if groups.is_some() && !own {
            arguments.push("--groups=own");
        }
        let entrance = all.map(|group| Entrance { group, own });
        let program = settings.worker_path.clone();
        let spawner = Spawner::start(program, arguments, logs::start()?, greeting, entrance)?;
        let reapers = TaskTracker::new();
        let source = match settings.processes {
            Processes::Fork => {
                let templates = Templates::new(spawner, settings.sandbox, groups, reapers.clone());
                Source::Fork(Box::new(templates))
            }
            Processes::Exec => Source::Exec(spawner),
        };
        // Unbounded by itself; the executions that call `take` are bounded by their slots.
        let (takers, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Self {
            source,
            breaker: Breaker::default(),
            idle: AtomicUsize::new(0),
            mode: settings.sandbox,
            group,
            engines: watch::Sender::new(None),
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
        Ok(shared)
    }

    pub(super) async fn take(&self) -> Result<Worker, TakeError> {
        let mut health = self.breaker.subscribe();
        let (taker, taken) = oneshot::channel();
        // The receiver lives in `self`.
        let _ = self.takers.send(taker);
        tokio::select! {
            biased;
            worker = taken => worker.map_err(|_| stopped()),
            broken = health.wait_for(|health| matches!(health, Health::Broken(_))) => {
                Err(broken_by(broken.as_deref().ok()))
            }
        }
    }

    /// Ends every idle worker and returns when all children are reaped.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.slots.close();
        self.slots.wait().await;
        if let Source::Fork(templates) = &self.source {
            templates.stop().await;
        }
        self.reapers.close();
        self.reapers.wait().await;
    }

    /// What a worker has, and what all have in common.
    pub(super) fn with_group(&self, mut sandbox: Judgement) -> Judgement {
        if let Some(group) = self.group.as_deref().filter(|_| !sandbox.layers.is_empty()) {
            let missing = group.as_ref().err().map(GroupError::to_string);
            sandbox.layers.insert("control_group", missing);
            // Where there is none at all, that says it.
            if let Ok(group) = group {
                sandbox.layers.insert("worker_control_groups", group.not_divided());
            }
        }
        sandbox
    }

    /// The first start decides; a judgement of a worker that never started is replaced by a real one.
    fn note_sandbox(&self, seen: impl FnOnce() -> Result<Judgement, String>) {
        self.sandbox.send_if_modified(|known| {
            let settled = match known {
                None => false,
                Some(Ok(judgement)) => !judgement.layers.is_empty(),
                Some(Err(_)) => true,
            };
            if settled {
                return false;
            }
            let seen = Some(seen());
            let new = *known != seen;
            *known = seen;
            new
        });
    }
}

/// Keeps one ready worker until the pool stops.
async fn slot(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    // Dropping the future drops its worker, which kills and reaps it.
    stop.run_until_cancelled(keep_one_ready(&shared)).await;
}

/// Counts a worker as one that waits, while it does.
struct Idle<'a>(&'a AtomicUsize);

impl<'a> Idle<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        metrics::idle_workers(1.0);
        Self(count)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::idle_workers(-1.0);
    }
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
                shared.note_sandbox(|| match &error {
                    StartError::Sandbox(_) => Err(error.to_string()),
                    _ => Ok(Judgement::default()),
                });
                shared.breaker.died(error.to_string(), Instant::now());
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        failures = 0;
        shared.note_sandbox(|| Ok(worker.sandbox().clone()));
        if let Some(engines) = worker.engines() {
            shared.engines.send_if_modified(|known| {
                let new = known.as_ref() != Some(engines);
                if new {
                    *known = Some(engines.clone());
                }
                new
            });
        }
        shared.breaker.started();
        let idle = Idle::begin(&shared.idle);
        let lineage = worker.lineage();
        let taker = tokio::select! {
            biased;
            reason = worker.lost() => Err(Some(reason)),
            () = distrusted(lineage.as_deref()) => Err(None),
            taker = next_taker(shared) => Ok(taker),
        };
        drop(idle);
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
    if let Some(Ok(group)) = shared.group.as_deref() {
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
