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
//!
//! The registry is in memory; replicated state takes its place behind the same calls.

mod console;
mod execution;
pub mod model;
mod quarantine;
mod queue;
mod registry;
mod submit;
mod wait;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_protocol::{Job, JobLimits};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

pub use self::console::Page;
pub use self::execution::{Execution, Outcome, PageBy, StopCause};
use self::model::{ErrorDetail, ErrorKind, ExecutionList, QuarantineList, Status};
use self::quarantine::{CodeHash, Quarantine};
pub use self::quarantine::{LiftError, Refusal};
use self::queue::{Queue, Queued};
use self::registry::{KeyLookup, Registry};
pub use self::submit::{Bounds, Submit, SubmitError, check_range};
pub use self::wait::{CancelOnDrop, Wait};
use crate::limits::{CPU_GRACE_SECS, LIST_DEFAULT, LIST_MAX, QUEUE_DEPTH_MAX, STOP_MAX};
use crate::metrics;
use crate::pool::{ConsoleEvent, Pool, TakeError};

/// Console notice after the budget is used up.
fn truncation_notice(bytes: u64) -> String {
    format!(
        "[console output cut here: the limit of {bytes} bytes was reached; the script went on]\n"
    )
}

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
}

/// Why an execution could not be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// There is none with this id.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// It is over.
    #[error("Execution '{id}' is not running (status: {})", status.as_str())]
    NotRunning {
        /// The id.
        id: String,
        /// The status it has.
        status: Status,
    },
}

/// No execution has this id, or it was dropped from the registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Execution '{0}' not found")]
pub struct NotFound(pub String);

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
    slots: Arc<Semaphore>,
    draining: AtomicBool,
    /// Executions that have not ended.
    active: watch::Sender<usize>,
}

impl Executions {
    /// Starts the dispatcher on the current runtime.
    pub fn start(settings: Settings, pool: Pool) -> Self {
        let shared = Arc::new(Shared {
            settings,
            pool,
            registry: Mutex::default(),
            queue: Queue::default(),
            quarantine: Quarantine::default(),
            slots: Arc::new(Semaphore::new(settings.concurrent_max)),
            draining: AtomicBool::new(false),
            active: watch::Sender::new(0),
        });
        tokio::spawn(dispatch(Arc::clone(&shared)));
        Self { shared }
    }

    /// Accepts a script. It runs as soon as a worker is free.
    ///
    /// # Errors
    /// [`SubmitError`], at once.
    pub async fn submit(&self, submit: Submit) -> Result<Arc<Execution>, SubmitError> {
        let accepted = self.admit(submit).await;
        if let Err(error) = &accepted {
            metrics::refused(error);
        }
        accepted
    }

    async fn admit(&self, submit: Submit) -> Result<Arc<Execution>, SubmitError> {
        submit.check()?;
        let shared = &self.shared;
        let digest = match submit.idempotency_key {
            Some(_) => Some(submit.digest().await),
            None => None,
        };
        let code = Arc::new(submit.code);
        let armed = shared.quarantine.is_armed(SystemTime::now());
        let hash = if armed { Some(CodeHash::of(&code).await) } else { None };
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
        if shared.draining.load(Ordering::Acquire) {
            return Err(SubmitError::ShuttingDown);
        }
        if let Some(reason) = shared.pool.broken() {
            return Err(SubmitError::Unavailable { reason });
        }
        if let Some(hash) = hash {
            shared.quarantine.check(hash, SystemTime::now())?;
        }
        let settings = &shared.settings;
        let heap_bytes = submit.heap_memory_max_mb.unwrap_or(settings.heap_mb) * 1024 * 1024;
        let bounds = Bounds {
            wall: Duration::from_secs(
                submit.execution_timeout_secs.unwrap_or(settings.timeout_secs),
            ),
            heap_bytes,
            console_bytes: settings.console_bytes,
        };
        let execution = Arc::new(Execution::new(Uuid::now_v7(), submit.idempotency_key));
        let queued = Queued { execution: Arc::clone(&execution), code, hash, bounds };
        // Counted before it can run, and all of it under the registry's lock: a drain sees either
        // this execution or a refusal.
        shared.active.send_modify(|active| *active += 1);
        if let Err(waiting) = shared.queue.push(queued) {
            shared.active.send_modify(|active| *active -= 1);
            return Err(SubmitError::Overloaded { waiting });
        }
        registry.insert(Arc::clone(&execution), digest);
        Ok(execution)
    }

    /// The execution with this id.
    ///
    /// # Errors
    /// [`NotFound`], also for an id that is not one of ours.
    pub fn get(&self, id: &str) -> Result<Arc<Execution>, NotFound> {
        Uuid::try_parse(id)
            .ok()
            .and_then(|uuid| self.shared.registry.lock().get(uuid))
            .ok_or_else(|| NotFound(id.to_owned()))
    }

    /// Executions, newest first.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] for a `limit` or `cursor` that is not accepted.
    pub fn list(
        &self,
        limit: Option<u64>,
        cursor: Option<&str>,
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
        let (rows, more) = self.shared.registry.lock().list(cursor, limit as usize);
        let next_cursor = match rows.last() {
            Some(last) if more => Some(last.id().to_string()),
            _ => None,
        };
        Ok(ExecutionList {
            executions: rows.iter().map(|row| row.summary()).collect(),
            next_cursor,
        })
    }

    /// Cancels an execution and returns once it has ended.
    ///
    /// # Errors
    /// [`CancelError`] when there is none or it is over.
    pub async fn cancel(&self, id: &str) -> Result<(), CancelError> {
        let execution = self.get(id)?;
        self.stop(&execution, StopCause::Cancelled)
            .map_err(|status| CancelError::NotRunning { id: id.to_owned(), status })?;
        execution.finished().await;
        Ok(())
    }

    /// Asks an execution to stop, without waiting for it. One that still waits for a worker ends
    /// here and now.
    ///
    /// # Errors
    /// Its status, when it is over.
    pub fn stop(&self, execution: &Arc<Execution>, cause: StopCause) -> Result<(), Status> {
        execution.request_stop(cause)?;
        if self.shared.queue.remove(execution.id()) {
            self.shared.finish(execution, Err(cause.detail()), None);
        }
        Ok(())
    }

    /// Accepts nothing any more; waits until every execution has ended, at most `patience`, then
    /// stops what is left.
    pub async fn drain(&self, patience: Duration) {
        {
            let _admission = self.shared.registry.lock();
            self.shared.draining.store(true, Ordering::Release);
        }
        if tokio::time::timeout(patience, self.idle()).await.is_err() {
            let rows = self.shared.registry.lock().all();
            for row in rows {
                // One that has just ended needs no stop.
                let _ = self.stop(&row, StopCause::ShuttingDown);
            }
            // They end within the kill grace; a stop must not hang on one that does not.
            let _ = tokio::time::timeout(STOP_MAX, self.idle()).await;
        }
    }

    async fn idle(&self) {
        let mut active = self.shared.active.subscribe();
        // The sender lives as long as `self`.
        let _ = active.wait_for(|active| *active == 0).await;
    }

    /// Whether [`Executions::drain`] was called.
    pub fn draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }

    /// The codes that killed workers.
    pub fn quarantine(&self) -> QuarantineList {
        self.shared.quarantine.list(SystemTime::now())
    }

    /// Forgets the deaths that the code with this hash caused; it is accepted again.
    ///
    /// # Errors
    /// [`LiftError`] for what is no hash, and for code without deaths.
    pub fn lift_quarantine(&self, hash: &str) -> Result<(), LiftError> {
        self.shared.quarantine.lift(hash.parse()?, SystemTime::now())
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
    fn finish(&self, execution: &Execution, outcome: Outcome, ran: Option<Duration>) {
        if let Some(bytes) = execution.finish(outcome) {
            self.registry.lock().retain(execution.id(), bytes);
            metrics::finished(execution.status(), ran);
            self.active.send_modify(|active| *active -= 1);
        }
    }
}

/// Hands queued executions to workers, as many at once as there are slots.
async fn dispatch(shared: Arc<Shared>) {
    loop {
        let Ok(slot) = Arc::clone(&shared.slots).acquire_owned().await else { return };
        let queued = shared.queue.next().await;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            run(&shared, queued).await;
            drop(slot);
        });
    }
}

/// One execution, from a free slot to its end.
async fn run(shared: &Shared, queued: Queued) {
    let Queued { execution, code, hash, bounds } = queued;
    let stop = execution.stop_token();
    let mut running =
        Running { shared, execution: &execution, code_bytes: code.len(), end: None, ran: None };
    if let Err(refusal) = still_accepted(shared, &code, hash).await {
        running.end = Some(Err(refusal.into()));
        return;
    }
    let taken = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        taken = shared.pool.take() => Some(taken),
    };
    let (outcome, ran) = match taken {
        // `finish` puts the cause in.
        None => (Ok(None), None),
        Some(Err(TakeError { reason })) => {
            let message = format!("worker processes do not start: {reason}");
            (Err(ErrorDetail::new(ErrorKind::Unavailable, message)), None)
        }
        Some(Ok(worker)) => {
            let job = Job {
                execution_id: execution.id().to_string(),
                attempt: 1,
                code: Arc::clone(&code),
                limits: JobLimits {
                    heap_bytes: bounds.heap_bytes,
                    buffer_bytes: bounds.heap_bytes,
                    console_bytes: bounds.console_bytes,
                    cpu_secs: bounds.wall.as_secs() + CPU_GRACE_SECS,
                },
            };
            let started = Instant::now();
            let mut at_line_start = true;
            let outcome = worker
                .run(job, bounds.wall, stop, |event| match event {
                    ConsoleEvent::Text(text) => {
                        at_line_start = text.ends_with('\n');
                        execution.append(text);
                    }
                    ConsoleEvent::Truncated => {
                        if !at_line_start {
                            execution.append("\n");
                        }
                        execution.append(&truncation_notice(bounds.console_bytes));
                    }
                })
                .await;
            (outcome, Some(started.elapsed()))
        }
    };
    let death = match &outcome {
        // Whatever became of a process that was told to stop is not the script's doing.
        Err(detail) if detail.violent && !stop.is_cancelled() => Some(detail.message.clone()),
        _ => None,
    };
    running.end = Some(outcome);
    running.ran = ran;
    if let Some(reason) = death {
        let hash = hash_of(&code, hash).await;
        shared.quarantine.died(hash, &reason, SystemTime::now());
    }
}

/// Whether the code of an execution that has waited may run.
async fn still_accepted(
    shared: &Shared,
    code: &Arc<String>,
    hash: Option<CodeHash>,
) -> Result<(), Refusal> {
    if !shared.quarantine.is_armed(SystemTime::now()) {
        return Ok(());
    }
    let hash = hash_of(code, hash).await;
    shared.quarantine.check(hash, SystemTime::now())
}

async fn hash_of(code: &Arc<String>, known: Option<CodeHash>) -> CodeHash {
    match known {
        Some(hash) => hash,
        None => CodeHash::of(code).await,
    }
}

/// Gives back what an execution holds and ends it, whatever becomes of the task that runs it.
struct Running<'a> {
    shared: &'a Shared,
    execution: &'a Execution,
    code_bytes: usize,
    end: Option<Outcome>,
    ran: Option<Duration>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shared.queue.release(self.code_bytes);
        let end = self.end.take().unwrap_or_else(|| {
            Err(ErrorDetail::new(ErrorKind::WorkerCrashed, "The server failed to run the script"))
        });
        self.shared.finish(self.execution, end, self.ran);
    }
}
