//! From the queue to a worker, and from there to the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_protocol::{Job, JobLimits};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::execution::{Execution, Outcome};
use super::model::{ErrorDetail, ErrorKind};
use super::quarantine::{CodeHash, Refusal};
use super::queue::Queued;
use super::steps::{self, Left};
use super::{Shared, ledger};
use crate::failpoints::Point;
use crate::limits::CPU_GRACE_SECS;
use crate::metrics;
use crate::observe::story;
use crate::pool::{ScriptEvent, TakeError};

/// Console notice after the budget is used up.
fn truncation_notice(bytes: u64) -> String {
    format!(
        "[console output cut here: the limit of {bytes} bytes was reached; the script went on]\n"
    )
}

/// Hands queued executions to workers, as many at once as there are slots.
pub(super) async fn dispatch(shared: Arc<Shared>) {
    loop {
        let Ok(slot) = Arc::clone(&shared.slots).acquire_owned().await else { return };
        let queued = shared.queue.next().await;
        let shared = Arc::clone(&shared);
        let span = story::span(&queued.execution);
        let running = async move { run(&shared, queued, slot).await };
        tokio::spawn(running.instrument(span));
    }
}

/// One execution, from a free slot to its end.
async fn run(shared: &Arc<Shared>, queued: Queued, slot: OwnedSemaphorePermit) {
    let Queued { execution, code, hash, bounds, keeps_heap } = queued;
    let stop = execution.stop_token();
    metrics::queued(execution.taken());
    let mut running = Running {
        shared,
        execution: &execution,
        code_bytes: code.len(),
        end: None,
        left: None,
        ran: None,
    };
    if let Err(refusal) = still_accepted(shared, &code, hash).await {
        running.end = Some(Err(refusal.into()));
        return;
    }
    let preparing_since = Instant::now();
    let preparing = async {
        let unavailable = |TakeError { reason }| {
            let message = format!("worker processes do not start: {reason}");
            ErrorDetail::new(ErrorKind::Unavailable, message)
        };
        if keeps_heap {
            let task = steps::task(shared, &execution, &bounds).await?;
            Ok::<_, ErrorDetail>((
                shared.pool.take_for_heap().await.map_err(unavailable)?,
                Some(task),
            ))
        } else {
            Ok((shared.pool.take().await.map_err(unavailable)?, None))
        }
    };
    let prepared = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        prepared = preparing => Some(prepared),
    };
    let (worker, task) = match prepared {
        Some(Ok(prepared)) => prepared,
        // `finish` puts the cause in.
        None => {
            running.end = Some(Ok(None));
            return;
        }
        Some(Err(error)) => {
            execution.note("prepare", preparing_since, Some(error.kind.as_str()));
            running.end = Some(Err(error));
            return;
        }
    };
    let job = Job {
        execution_id: execution.id().to_string(),
        attempt: execution.lease().map_or(1, |lease| lease.attempt),
        code: Arc::clone(&code),
        limits: JobLimits {
            heap_bytes: bounds.heap_bytes,
            buffer_bytes: bounds.heap_bytes,
            console_bytes: bounds.console_bytes,
            cpu_secs: bounds.wall.as_secs() + CPU_GRACE_SECS,
        },
        heap: None,
    };
    let (mut at_line_start, mut artifacts) = (true, Vec::new());
    let console = |event: ScriptEvent<'_>| match event {
        ScriptEvent::Text(text) => {
            at_line_start = text.ends_with('\n');
            execution.append(text);
        }
        ScriptEvent::Truncated => {
            if !at_line_start {
                execution.append("\n");
            }
            execution.append(&truncation_notice(bounds.console_bytes));
        }
        ScriptEvent::Artifact(artifact) => artifacts.push(artifact),
    };
    execution.note("prepare", preparing_since, None);
    let (started, busy) = (Instant::now(), Busy::begin(&shared.busy));
    let (outcome, kept) = match task {
        None => (worker.run(job, bounds.wall, stop, console).await, None),
        Some(task) => {
            let base = task.base.clone();
            Point::Dispatched.pass();
            match worker.run_keeping(job, task, bounds.wall, stop, console).await {
                Ok((result, kept)) => {
                    Point::Ran.pass();
                    (Ok(result), Some((base, kept)))
                }
                Err(error) => (Err(error), None),
            }
        }
    };
    running.ran = Some(started.elapsed());
    drop(busy);
    execution.note("run", started, outcome.as_ref().err().map(|error| error.kind.as_str()));
    // What failed leaves nothing, nor does what was told to stop.
    let leaves =
        outcome.is_ok() && (kept.is_some() || !artifacts.is_empty()) && !stop.is_cancelled();
    let outcome = if leaves {
        let mut storing = None;
        if shared.ledger.is_some() {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&shared.storing).acquire_owned().await else { return };
            storing = Some(permit);
        }
        // Another script has the processor meanwhile.
        drop(slot);
        let storing_since = Instant::now();
        let kept = steps::keep(shared, execution.principal(), kept, artifacts, storing).await;
        let failed = kept.as_ref().err().map(|error| error.kind.as_str());
        execution.note("store", storing_since, failed);
        match kept {
            Ok(left) => {
                running.left = Some(left);
                outcome
            }
            Err(error) => Err(error),
        }
    } else {
        outcome
    };
    let death = match &outcome {
        // Whatever became of a process that was told to stop is not the script's doing.
        Err(detail) if detail.violent && !stop.is_cancelled() => Some(detail.message.clone()),
        _ => None,
    };
    running.end = Some(outcome);
    if let Some(reason) = death {
        let hash = hash_of(&code, hash).await;
        tracing::info!(%hash, reason, "code killed a worker");
        match &shared.ledger {
            None => shared.quarantine.died(hash, &reason, SystemTime::now()),
            Some(_) => ledger::died(shared, hash, reason).await,
        }
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

/// Counts a script as running while a worker has it.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives back what an execution holds and ends it, whatever becomes of the task that runs it.
struct Running<'a> {
    shared: &'a Arc<Shared>,
    execution: &'a Arc<Execution>,
    code_bytes: usize,
    end: Option<Outcome>,
    left: Option<Left>,
    ran: Option<Duration>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shared.queue.release(self.code_bytes);
        let end = self.end.take().unwrap_or_else(|| {
            Err(ErrorDetail::new(ErrorKind::WorkerCrashed, "The server failed to run the script"))
        });
        self.shared.end(self.execution, end, self.left.take(), self.ran);
    }
}
