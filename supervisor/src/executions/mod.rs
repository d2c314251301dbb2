//! Executions: admission, queue, dispatch, registry.
//!
//! # Contract
//! * Every transport comes through [`Executions::submit`]; there is no other way to run a script.
//! * Admission never waits: a full queue, a broken pool or a stopping server is a typed error.
//! * At most `concurrent_max` scripts run; the others wait in order of acceptance, and their wall
//!   clock starts when a worker has their job.
//! * When an execution is seen to have ended, its process is gone, and if it died under the script
//!   that is counted.
//! * Code that is quarantined does not run: neither what is submitted nor what waits.
//! * Whoever asks says for whom. What was begun for one caller is not found for another, exactly as what
//!   does not exist.
//!
//! With a cluster ([`ledger`]), an execution is committed before it runs and its outcome before
//! anybody hears it, any node answers for it, and the registry only holds what runs here and what
//! was read lately. Without one, as for `--stateless`, the registry in memory is all there is.

mod console;
mod dispatch;
mod drain;
mod execution;
mod ledger;
pub mod model;
mod quarantine;
mod queue;
mod registry;
mod steps;
mod submit;
mod wait;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_cluster::command::Base;
use mcp_v8_cluster::node::Node;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

pub use self::console::Page;
pub use self::drain::Drained;
pub use self::execution::{Execution, Outcome, PageBy, StopCause};
pub use self::ledger::{CancelledElsewhere, RequestCancelled, ms, time};
use self::ledger::{Ledger, Step, Submission};
use self::model::{ExecutionList, Origin, QuarantineList, Status};
use self::quarantine::{CodeHash, Quarantine};
pub use self::quarantine::{LiftError, Refusal};
use self::queue::{Queue, Queued};
use self::registry::{KeyLookup, Registry};
use self::steps::Left;
pub use self::submit::{
    Bounds, KeepHeaps, Submit, SubmitError, check_range, check_session, whole_seconds,
};
pub use self::wait::{CancelOnDrop, Wait};
use crate::access::Principal;
use crate::access::limit::{PrincipalLimits, Shares};
use crate::artifacts::{Artifacts, ArtifactsOf};
use crate::heaps::Heaps;
use crate::limits::{
    CANCELLED_WAITING_MAX, LIST_DEFAULT, LIST_MAX, QUEUE_DEPTH_MAX, STORING_PER_SLOT,
};
use crate::metrics;
use crate::observe::story;
use crate::pool::Pool;

/// Defaults and bounds of every execution.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Scripts that run at once.
    pub concurrent_max: usize,
    /// Heap limit where the caller names none, in MiB.
    pub heap_mb: u64,
    /// Wall clock limit where the caller names none, in seconds.
    pub timeout_secs: u64,
    /// Console budget, in bytes.
    pub console_bytes: u64,
    /// What running scripts may take to end when this server is drained.
    pub drain: Duration,
    /// Which executions leave a heap. None do where nothing is replicated.
    pub keep_heaps: KeepHeaps,
    /// What each caller may have.
    pub principals: PrincipalLimits,
}

/// Why an execution could not be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// There is none with this id.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is over.
    #[error("Execution '{id}' is not running (status: {})", status.as_str())]
    NotRunning {
        /// The id.
        id: String,
        /// The status it has.
        status: Status,
    },
}

/// Why an execution is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// None has this id, or it was forgotten.
    #[error("Execution '{0}' not found")]
    NotFound(String),
    /// The cluster has no majority to ask.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// How many executions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// A worker has them.
    pub running: usize,
    /// As many may run at once.
    pub running_max: usize,
    /// They wait for a worker, or for their turn in a session.
    pub waiting: usize,
    /// Codes that are refused.
    pub quarantined: usize,
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    pool: Pool,
    registry: Mutex<Registry>,
    queue: Queue,
    quarantine: Quarantine,
    /// What callers have of this server.
    shares: Shares,
    slots: Arc<Semaphore>,
    /// Held by who stores what a script has left whose slot is free again.
    storing: Arc<Semaphore>,
    /// Absent where nothing is kept.
    ledger: Option<Ledger>,
    artifacts: Artifacts,
    /// Scripts that a worker has at the moment.
    busy: AtomicUsize,
    /// Whether the server stops.
    closing: AtomicBool,
    /// Where a drain on request stands.
    drained: watch::Sender<Drained>,
    /// Whether what only this server knows is not accepted any more.
    draining: AtomicBool,
    /// Cancelled when nobody may wait for an execution any more.
    hurry: CancellationToken,
    /// Executions that have not ended here.
    active: watch::Sender<usize>,
    /// Who wants to hear of requests that were cancelled at other nodes.
    cancelled_elsewhere: OnceLock<mpsc::Sender<CancelledElsewhere>>,
    /// Calls whose end cancels their execution, and cancels that are not committed yet.
    cancels: TaskTracker,
}

impl Executions {
    /// Starts the dispatcher on the current runtime. With a node executions are replicated; its heaps
    /// come with it.
    pub fn start(settings: Settings, pool: Pool, node: Option<(Node, Heaps)>) -> Self {
        let artifacts = match &node {
            Some((node, heaps)) => Artifacts::replicated(node.clone(), heaps.clone()),
            None => Artifacts::in_memory(),
        };
        let shared = Arc::new(Shared {
            settings,
            artifacts,
            pool,
            registry: Mutex::default(),
            queue: Queue::default(),
            quarantine: Quarantine::default(),
            shares: Shares::new(settings.principals),
            slots: Arc::new(Semaphore::new(settings.concurrent_max)),
            storing: Arc::new(Semaphore::new(STORING_PER_SLOT * settings.concurrent_max)),
            ledger: node.map(|(node, heaps)| Ledger::new(node, heaps)),
            busy: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            drained: watch::Sender::new(Drained::No),
            draining: AtomicBool::new(false),
            hurry: CancellationToken::new(),
            active: watch::Sender::new(0),
            cancelled_elsewhere: OnceLock::new(),
            cancels: TaskTracker::new(),
        });
        tokio::spawn(dispatch::dispatch(Arc::clone(&shared)));
        ledger::attach(&shared);
        Self { shared }
    }

    /// Tells all other nodes of a client's request that was cancelled at this one.
    pub async fn tell_cancelled(&self, cancelled: RequestCancelled) {
        if let Some(ledger) = &self.shared.ledger {
            ledger::tell_cancelled(ledger, cancelled).await;
        }
    }

    /// Returns once all other nodes that are reached have applied an entry of the log, shortly at the
    /// latest.
    pub async fn applied_elsewhere(&self, index: u64) {
        if let Some(ledger) = &self.shared.ledger {
            ledger::applied_elsewhere(ledger, index).await;
        }
    }

    /// Requests that were cancelled at other nodes, for the first who asks.
    pub fn cancelled_elsewhere(&self) -> Option<mpsc::Receiver<CancelledElsewhere>> {
        let (told, cancelled) = mpsc::channel(CANCELLED_WAITING_MAX);
        self.shared.cancelled_elsewhere.set(told).is_ok().then_some(cancelled)
    }

    /// What scripts of a caller have left under names.
    pub fn artifacts(&self, by: Principal) -> ArtifactsOf<'_> {
        self.shared.artifacts.of(by)
    }

    /// Accepts a script for a caller. It runs as soon as a worker is free.
    ///
    /// # Errors
    /// [`SubmitError`], at once.
    pub async fn submit(
        &self,
        by: Principal,
        submit: Submit,
    ) -> Result<Arc<Execution>, SubmitError> {
        let accepted = self.admit(by, submit).await;
        if let Err(error) = &accepted {
            story::refused(error.reason(), error);
        }
        accepted
    }

    /// The same for a caller that may go away. With `guarded` the execution is cancelled when the guard is
    /// dropped; when this future is, as soon as it is accepted.
    ///
    /// # Errors
    /// As [`Executions::submit`].
    pub async fn submit_guarded(
        &self,
        by: Principal,
        submit: Submit,
        guarded: bool,
    ) -> Result<(Arc<Execution>, Option<CancelOnDrop>), SubmitError> {
        if !guarded {
            return Ok((self.submit(by, submit).await?, None));
        }
        let (accepted, hears) = oneshot::channel();
        let executions = self.clone();
        let submitting = async move {
            let submitted = executions.submit(by, submit).await.map(|execution| {
                let guard = CancelOnDrop::new(&executions, &execution);
                (execution, guard)
            });
            // Where nobody hears of it, the guard goes.
            let _ = accepted.send(submitted);
        };
        self.shared.cancels.spawn(submitting.in_current_span());
        // It ends without a word only with the server.
        let (execution, guard) = hears.await.unwrap_or(Err(SubmitError::ShuttingDown))?;
        Ok((execution, Some(guard)))
    }

    /// Counts a submission of this caller, or the beginning of an MCP session.
    ///
    /// # Errors
    /// [`SubmitError::TooOften`].
    pub fn count(&self, by: Principal) -> Result<(), SubmitError> {
        let Shared { shares, settings, .. } = &*self.shared;
        shares.submits(by, Instant::now()).map_err(|wait| SubmitError::TooOften {
            per_minute: settings.principals.rate_max.unwrap_or_default(),
            wait,
        })
    }

    async fn admit(
        &self,
        by: Principal,
        mut submit: Submit,
    ) -> Result<Arc<Execution>, SubmitError> {
        submit.check()?;
        let shared = &self.shared;
        self.count(by)?;
        let keep = match shared.ledger {
            Some(_) => shared.settings.keep_heaps,
            None => KeepHeaps::Never,
        };
        let keeps_heap = submit.keeps_heap(keep)?;
        let digest = match submit.idempotency_key {
            Some(_) => Some(submit.digest().await),
            None => None,
        };
        let origin = submit.origin;
        // From here on these are names as they are kept.
        submit.session = submit.session.map(|name| by.kept(&name));
        submit.idempotency_key = submit.idempotency_key.map(|key| by.kept(&key));
        let step = keeps_heap.then(|| Step {
            session: submit.session,
            base: submit.heap.map_or(Base::Head, |heap| Base::Heap(heap.0)),
            tags: submit.tags,
        });
        let code = Arc::new(submit.code);
        let armed = shared.quarantine.is_armed(SystemTime::now());
        let hash = if armed { Some(CodeHash::of(&code).await) } else { None };
        if shared.ledger.is_some() {
            let bounds = self.bounds(submit.heap_memory_max_mb, submit.execution_timeout_secs);
            let key = submit.idempotency_key.zip(digest);
            // A retry finds its execution whatever has become of its code meanwhile.
            if let Some(first) = ledger::find(shared, by, key.as_ref()).await? {
                return Ok(first);
            }
            let submission = Submission { by, code, hash, bounds, key, step, origin };
            return ledger::submit(self, submission).await;
        }
        let mut registry = shared.registry.lock();
        if let (Some(key), Some(digest)) = (&submit.idempotency_key, &digest) {
            match registry.key(key, digest) {
                KeyLookup::Free => {}
                KeyLookup::Conflict => return Err(SubmitError::KeyConflict),
                KeyLookup::Same(id) => {
                    if let Some(first) = registry.get(id) {
                        return Ok(first);
                    }
                }
            }
        }
        self.check_open(hash)?;
        let bounds = self.bounds(submit.heap_memory_max_mb, submit.execution_timeout_secs);
        let place = shared.shares.place(by).map_err(|max| SubmitError::TooManyRunning { max })?;
        let execution = Execution::new(by, Uuid::now_v7(), submit.idempotency_key);
        let execution = Arc::new(execution.in_place(place));
        origin.into_iter().for_each(|origin| execution.asked_by(origin));
        let queued =
            Queued { execution: Arc::clone(&execution), code, hash, bounds, keeps_heap: false };
        // Counted before it can run, and all of it under the registry's lock: a drain sees either
        // this execution or a refusal.
        shared.active.send_modify(|active| *active += 1);
        if let Err(waiting) = shared.queue.push(queued) {
            shared.active.send_modify(|active| *active -= 1);
            return Err(SubmitError::Overloaded { waiting });
        }
        registry.insert(Arc::clone(&execution), digest);
        drop(registry);
        story::accepted(&execution, None);
        Ok(execution)
    }

    /// Whether new executions are taken here, and code with this hash.
    fn check_open(&self, hash: Option<CodeHash>) -> Result<(), SubmitError> {
        let shared = &self.shared;
        let stop = if shared.ledger.is_some() { &shared.closing } else { &shared.draining };
        if stop.load(Ordering::SeqCst) {
            return Err(SubmitError::ShuttingDown);
        }
        if let Some(reason) = shared.pool.broken() {
            return Err(SubmitError::Unavailable { reason });
        }
        if let Some(hash) = hash {
            shared.quarantine.check(hash, SystemTime::now())?;
        }
        Ok(())
    }

    fn bounds(&self, heap_mb: Option<u64>, timeout_secs: Option<u64>) -> Bounds {
        let settings = &self.shared.settings;
        Bounds {
            wall: Duration::from_secs(timeout_secs.unwrap_or(settings.timeout_secs)),
            heap_bytes: heap_mb.unwrap_or(settings.heap_mb) * 1024 * 1024,
            console_bytes: settings.console_bytes,
        }
    }

    /// The execution of a caller with this id, whichever node runs or ran it.
    ///
    /// # Errors
    /// [`LookupError`]; [`LookupError::NotFound`] also for an id that is not one of ours, and for one of
    /// another caller.
    pub async fn get(&self, by: Principal, id: &str) -> Result<Arc<Execution>, LookupError> {
        let not_found = || LookupError::NotFound(id.to_owned());
        let uuid = Uuid::try_parse(id).map_err(|_| not_found())?;
        let here = self.shared.registry.lock().get(uuid);
        match here {
            Some(here) if here.principal() == by => Ok(here),
            // Also what is here and another's: it takes what it takes to find that there is none.
            _ => ledger::get(&self.shared, by, uuid).await?.ok_or_else(not_found),
        }
    }

    /// Executions of a caller, newest first; with `details` also which nodes run them and for which
    /// sessions.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] for a `limit` or `cursor` that is not accepted.
    /// [`SubmitError::Cluster`] when there is no majority to ask.
    pub async fn list(
        &self,
        by: Principal,
        limit: Option<u64>,
        cursor: Option<&str>,
        details: bool,
    ) -> Result<ExecutionList, SubmitError> {
        let limit = limit.unwrap_or(LIST_DEFAULT);
        check_range("limit", limit, 1, LIST_MAX, "")?;
        let cursor = cursor
            .map(|cursor| {
                Uuid::try_parse(cursor).map_err(|_| SubmitError::Invalid {
                    field: "cursor",
                    problem: "is not a `next_cursor` of an earlier list".to_owned(),
                })
            })
            .transpose()?;
        if self.shared.ledger.is_some() {
            return ledger::list(&self.shared, by, cursor, limit as usize, details).await;
        }
        let (rows, more) = self.shared.registry.lock().list(by, cursor, limit as usize);
        let next_cursor = match rows.last() {
            Some(last) if more => Some(last.id().to_string()),
            _ => None,
        };
        Ok(ExecutionList {
            executions: rows.iter().map(|row| row.summary()).collect(),
            next_cursor,
        })
    }

    /// Cancels an execution of a caller and returns once it has ended.
    ///
    /// # Errors
    /// [`CancelError`] when there is none or it is over.
    pub async fn cancel(&self, by: Principal, id: &str) -> Result<(), CancelError> {
        let execution = self.get(by, id).await?;
        let not_running = |status| CancelError::NotRunning { id: id.to_owned(), status };
        if self.shared.ledger.is_some() && !execution.runs_here() {
            if execution.ended() {
                return Err(not_running(execution.status()));
            }
            ledger::cancel(&self.shared, execution.id()).await?;
        } else {
            self.stop(&execution, StopCause::Cancelled).map_err(not_running)?;
        }
        execution.finished().await;
        match execution.status() {
            Status::Cancelled => Ok(()),
            status => Err(not_running(status)),
        }
    }

    /// Asks an execution to stop, without waiting for it. One that still waits for a worker ends
    /// here and now.
    ///
    /// # Errors
    /// Its status, when it is over.
    pub fn stop(&self, execution: &Arc<Execution>, cause: StopCause) -> Result<(), Status> {
        if self.shared.ledger.is_some() && !execution.runs_here() {
            // It runs on another node, and whoever watches it from here has only gone away.
            ledger::cancel_for_sure(&self.shared, execution.id());
            return Ok(());
        }
        execution.request_stop(cause)?;
        if self.shared.queue.remove(execution) {
            self.shared.end(execution, Err(cause.detail()), None, None);
        }
        Ok(())
    }

    /// The codes that killed workers.
    pub fn quarantine(&self) -> QuarantineList {
        self.shared.quarantine.list(SystemTime::now())
    }

    /// Forgets the deaths that the code with this hash caused; it is accepted again.
    ///
    /// # Errors
    /// [`LiftError`] for what is no hash, for code without deaths, and when there is no majority.
    pub async fn lift_quarantine(&self, hash: &str) -> Result<(), LiftError> {
        let hash = hash.parse()?;
        match &self.shared.ledger {
            None => self.shared.quarantine.lift(hash, SystemTime::now())?,
            Some(ledger) => ledger::lift(&self.shared, ledger, hash).await?,
        }
        tracing::warn!(%hash, "the deaths of a code were forgotten on request");
        Ok(())
    }

    /// Where an execution comes from; nothing of one that is kept nowhere but here.
    ///
    /// # Errors
    /// [`LookupError::Unavailable`] when that cannot be read.
    pub fn origin(&self, execution: &Execution) -> Result<Origin, LookupError> {
        ledger::origin(&self.shared, execution.principal(), execution.id())
    }

    /// How many executions there are at the moment.
    pub fn load(&self) -> Load {
        let shared = &self.shared;
        Load {
            running: shared.busy.load(Ordering::Relaxed),
            running_max: shared.settings.concurrent_max,
            waiting: shared.queue.depth(),
            quarantined: shared.quarantine.quarantined(SystemTime::now()),
        }
    }

    /// Publishes the gauges.
    pub fn publish_gauges(&self) {
        metrics::quarantined(self.shared.quarantine.quarantined(SystemTime::now()));
        let (retained, bytes) = self.shared.registry.lock().retained();
        metrics::execution_gauges(
            *self.shared.active.borrow(),
            self.shared.queue.depth(),
            QUEUE_DEPTH_MAX,
            retained,
            bytes,
        );
    }
}

impl Shared {
    /// Ends an execution that ran here: at once, or once that is committed.
    fn end(
        self: &Arc<Self>,
        execution: &Arc<Execution>,
        outcome: Outcome,
        left: Option<Left>,
        ran: Option<Duration>,
    ) {
        if self.ledger.is_none() {
            return self.finish(execution, outcome, left, ran);
        }
        let (shared, execution) = (Arc::clone(self), Arc::clone(execution));
        let span = story::span(&execution);
        let completing =
            async move { ledger::complete(&shared, &execution, outcome, left, ran).await };
        tokio::spawn(completing.instrument(span));
    }

    fn finish(
        &self,
        execution: &Execution,
        outcome: Outcome,
        left: Option<Left>,
        ran: Option<Duration>,
    ) {
        let (outcome, now) = (execution.settled(outcome), SystemTime::now());
        // There before anybody sees that it has completed.
        if let Some(Left { artifacts, .. }) = left.filter(|_| outcome.is_ok()) {
            execution.set_artifacts(artifacts.keys());
            self.artifacts.publish(artifacts, execution.id(), now);
        }
        if let Some(bytes) = execution.end_as(outcome, now) {
            self.registry.lock().retain(execution.id(), bytes);
            story::ended(execution, None, ran);
            self.active.send_modify(|active| *active -= 1);
        }
    }
}
