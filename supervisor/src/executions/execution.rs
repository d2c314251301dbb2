//! One execution: its state, its console, and those who wait for it.
//!
//! # Contract
//! * It ends exactly once; whatever comes later is ignored.
//! * A cancel that was accepted is its outcome, even when the script finishes in the same moment.
//! * Readers never wait for the script: every lock is held for a copy, not for an await.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_cluster::command::Owner;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::console::{Console, Page};
use super::model::{
    ErrorDetail, ErrorKind, ExecutionInfo, ExecutionSummary, OutputPage, RunResult, Status, rfc3339,
};
use crate::access::Principal;
use crate::access::limit::RunningPlace;
use crate::heaps::HeapId;
use crate::observe::Origin;
use crate::observe::story::Phases;

/// Bytes a row costs besides its texts, for the retention budget.
const ROW_BYTES: usize = 1024;

/// Why somebody wants an execution to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// Its caller asked, or went away.
    Cancelled,
    /// The server is stopping.
    ShuttingDown,
    /// The cluster may have given it to another node, where it runs again.
    Abandoned,
}

impl StopCause {
    /// The error that the execution ends with.
    pub fn detail(self) -> ErrorDetail {
        match self {
            Self::Cancelled => ErrorDetail::new(ErrorKind::Cancelled, "Cancelled by user"),
            Self::ShuttingDown => ErrorDetail::new(
                ErrorKind::ShuttingDown,
                "The server stopped before the script had ended. Run it again.",
            ),
            // Nobody sees it: the outcome comes from the node that runs it again.
            Self::Abandoned => ErrorDetail::new(ErrorKind::NodeLost, "The node was lost"),
        }
    }
}

/// What a script left: its result text, or why there is none.
pub type Outcome = Result<Option<String>, ErrorDetail>;

/// Under what an execution runs, where executions are replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// This node, in one of its lives.
    pub owner: Owner,
    /// How often it was given to a node, from 1.
    pub attempt: u32,
}

#[derive(Debug, Default)]
struct Inner {
    console: Console,
    stop: Option<StopCause>,
    /// The heap it leaves if it completes.
    heap: Option<HeapId>,
    /// Keys of the artifacts it leaves if it completes.
    artifacts: Vec<String>,
    /// How long it waited here for a worker, once one was to be had.
    queued: Option<Duration>,
    phases: Phases,
    /// That it is counted among those of its caller; until its end.
    place: Option<RunningPlace>,
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    outcome: Outcome,
    at: SystemTime,
}

impl Inner {
    fn status(&self) -> Status {
        match &self.end {
            None => Status::Running,
            Some(End { outcome: Ok(_), .. }) => Status::Completed,
            Some(End { outcome: Err(detail), .. }) => detail.kind.status(),
        }
    }
}

/// A script from acceptance to retention.
#[derive(Debug)]
pub struct Execution {
    principal: Principal,
    id: Uuid,
    accepted_at: SystemTime,
    idempotency_key: Option<String>,
    lease: Option<Lease>,
    session: Option<String>,
    /// The request that asked for it, where that is known here.
    origin: OnceLock<Origin>,
    /// When this node began with it.
    begun: (SystemTime, Instant),
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
    stop: CancellationToken,
}

impl Execution {
    /// A new execution, waiting for a worker.
    pub fn new(principal: Principal, id: Uuid, idempotency_key: Option<String>) -> Self {
        Self::accepted(principal, id, idempotency_key, SystemTime::now(), None)
    }

    /// One that was accepted then, and runs here under `lease`; elsewhere without one.
    pub fn accepted(
        principal: Principal,
        id: Uuid,
        idempotency_key: Option<String>,
        accepted_at: SystemTime,
        lease: Option<Lease>,
    ) -> Self {
        Self {
            principal,
            id,
            accepted_at,
            idempotency_key,
            lease,
            session: None,
            origin: OnceLock::new(),
            begun: (SystemTime::now(), Instant::now()),
            inner: Mutex::new(Inner::default()),
            changed: watch::Sender::new(()),
            stop: CancellationToken::new(),
        }
    }

    /// The same as a step of this session.
    pub fn in_session(self, session: Option<String>) -> Self {
        Self { session, ..self }
    }

    /// The session whose step it is, as far as that is known here.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Notes the request that asked for it. The first one stands.
    pub fn asked_by(&self, origin: Origin) {
        let _ = self.origin.set(origin);
    }

    /// The request that asked for it.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.get()
    }

    /// How often it was given to a node, from 1.
    pub fn attempt(&self) -> u32 {
        self.lease.as_ref().map_or(1, |lease| lease.attempt)
    }

    /// When this node began with it: with its acceptance, unless another node had it before.
    pub fn begun_at(&self) -> SystemTime {
        if self.attempt() == 1 { self.accepted_at } else { self.begun.0 }
    }

    /// Notes that it waits for nothing but a worker any more; returns how long it has waited here.
    pub fn taken(&self) -> Duration {
        let queued = self.begun.1.elapsed();
        let mut inner = self.inner.lock();
        inner.queued = Some(queued);
        inner.phases.note("queued", self.begun.1, None);
        queued
    }

    /// How long it has waited here.
    pub fn queued(&self) -> Option<Duration> {
        self.inner.lock().queued
    }

    /// Notes something that was done for it since then.
    pub fn note(&self, phase: &'static str, begun: Instant, failed: Option<&'static str>) {
        self.inner.lock().phases.note(phase, begun, failed);
    }

    /// What was noted.
    pub fn take_phases(&self) -> Phases {
        std::mem::take(&mut self.inner.lock().phases)
    }

    /// How it stands, and of what kind its error is.
    pub fn ending(&self) -> (Status, Option<ErrorKind>) {
        let inner = self.inner.lock();
        let kind = match &inner.end {
            Some(End { outcome: Err(detail), .. }) => Some(detail.kind),
            _ => None,
        };
        (inner.status(), kind)
    }

    /// It, counted among those of its caller until its end.
    pub fn in_place(self, place: Option<RunningPlace>) -> Self {
        self.inner.lock().place = place;
        self
    }

    /// Whose it is.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// Its id; ids sort by time of acceptance.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The key it was submitted under, as it is kept.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// Under what it runs here.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether its outcome comes from this node.
    pub fn runs_here(&self) -> bool {
        self.lease.is_some() && self.stop_cause() != Some(StopCause::Abandoned)
    }

    /// When it was accepted.
    pub fn accepted_at(&self) -> SystemTime {
        self.accepted_at
    }

    /// Cancelled once somebody wants it to stop.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.inner.lock().status()
    }

    /// Whether it is over.
    pub fn ended(&self) -> bool {
        self.status() != Status::Running
    }

    /// Bytes of console text so far.
    pub fn output_bytes(&self) -> u64 {
        self.inner.lock().console.bytes() as u64
    }

    /// Appends console text.
    pub fn append(&self, chunk: &str) {
        self.inner.lock().console.append(chunk);
        self.changed.send_replace(());
    }

    /// Asks it to stop. The first cause stands.
    ///
    /// # Errors
    /// The status it has, when it is over already.
    pub fn request_stop(&self, cause: StopCause) -> Result<(), Status> {
        let mut inner = self.inner.lock();
        if inner.end.is_some() {
            return Err(inner.status());
        }
        inner.stop.get_or_insert(cause);
        drop(inner);
        self.stop.cancel();
        Ok(())
    }

    /// Why it was asked to stop, if it was.
    pub fn stop_cause(&self) -> Option<StopCause> {
        self.inner.lock().stop
    }

    /// Its outcome after `outcome` of its process: a stop that was accepted takes precedence.
    pub fn settled(&self, outcome: Outcome) -> Outcome {
        match self.stop_cause() {
            Some(cause) => Err(cause.detail()),
            None => outcome,
        }
    }

    /// Replaces its console text: what it printed here is not what counts.
    pub fn set_output(&self, text: &str) {
        let mut inner = self.inner.lock();
        inner.console = Console::default();
        inner.console.append(text);
        drop(inner);
        self.changed.send_replace(());
    }

    /// Notes the heap that it leaves if it completes.
    pub fn set_heap(&self, heap: HeapId) {
        self.inner.lock().heap = Some(heap);
    }

    /// Notes the keys, as they are kept, of the artifacts that it leaves if it completes.
    pub fn set_artifacts(&self, keys: Vec<String>) {
        let said = keys.iter().map(|key| self.principal.said(key)).collect();
        self.inner.lock().artifacts = said;
    }

    /// Ends it with the outcome that counts, as of then, and returns the bytes it keeps, or `None`
    /// when it had ended before.
    pub fn end_as(&self, outcome: Outcome, at: SystemTime) -> Option<usize> {
        let mut inner = self.inner.lock();
        if inner.end.is_some() {
            return None;
        }
        let text_bytes = match &outcome {
            Ok(result) => result.as_ref().map_or(0, String::len),
            Err(detail) => detail.bytes(),
        };
        inner.console.finish();
        inner.end = Some(End { outcome, at });
        let place = inner.place.take();
        let bytes = ROW_BYTES + text_bytes + inner.console.bytes();
        drop(inner);
        // Before anybody sees the end: its caller may have another.
        drop(place);
        self.changed.send_replace(());
        Some(bytes)
    }

    /// Wakes at each new piece of console text and at the end.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns once it has ended.
    pub async fn finished(&self) {
        let mut changed = self.subscribe();
        while !self.ended() {
            // The sender lives in `self`, so this cannot fail while we borrow it.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// What `get_execution` shows.
    pub fn info(&self) -> ExecutionInfo {
        let inner = self.inner.lock();
        let detail = match &inner.end {
            Some(End { outcome: Err(detail), .. }) => Some(detail.clone()),
            _ => None,
        };
        ExecutionInfo {
            execution_id: self.id.to_string(),
            status: inner.status(),
            result: match &inner.end {
                Some(End { outcome: Ok(result), .. }) => Some(result.clone().unwrap_or_default()),
                _ => None,
            },
            heap: match &inner.end {
                Some(End { outcome: Ok(_), .. }) => inner.heap.map(|heap| heap.to_string()),
                _ => None,
            },
            fs: None,
            error: detail.as_ref().map(ErrorDetail::text),
            error_detail: detail,
            started_at: rfc3339(self.accepted_at),
            completed_at: inner.end.as_ref().map(|end| rfc3339(end.at)),
            artifacts: match &inner.end {
                Some(End { outcome: Ok(_), .. }) => inner.artifacts.clone(),
                _ => Vec::new(),
            },
        }
    }

    /// What a list shows.
    pub fn summary(&self) -> ExecutionSummary {
        let inner = self.inner.lock();
        ExecutionSummary {
            execution_id: self.id.to_string(),
            status: inner.status(),
            started_at: rfc3339(self.accepted_at),
            completed_at: inner.end.as_ref().map(|end| rfc3339(end.at)),
            node: None,
            session: None,
        }
    }

    /// What `run_js` answers.
    pub fn run_result(&self) -> RunResult {
        let info = self.info();
        RunResult {
            execution_id: info.execution_id,
            status: info.status,
            output: self.output(),
            result: info.result,
            heap: info.heap,
            artifacts: info.artifacts,
            error: info.error,
            error_detail: info.error_detail,
        }
    }

    /// All console text so far.
    pub fn output(&self) -> String {
        self.inner.lock().console.text().to_owned()
    }

    /// Console text from byte `offset` on, at most `limit` bytes, whole characters.
    pub fn output_from(&self, offset: u64, limit: u64) -> Page {
        self.inner.lock().console.page_by_bytes(offset, limit)
    }

    /// One page of console text.
    pub fn page(&self, by: PageBy) -> OutputPage {
        let inner = self.inner.lock();
        let console = &inner.console;
        let page = match by {
            PageBy::Lines { offset, limit } => console.page_by_lines(offset, limit),
            PageBy::Bytes { offset, limit } => console.page_by_bytes(offset, limit),
        };
        let total_bytes = console.bytes() as u64;
        OutputPage {
            execution_id: self.id.to_string(),
            next_line_offset: page.end_line + 1,
            next_byte_offset: page.end_byte,
            has_more: page.end_byte < total_bytes,
            data: page.data,
            start_line: page.start_line,
            end_line: page.end_line,
            total_lines: console.lines(),
            start_byte: page.start_byte,
            end_byte: page.end_byte,
            total_bytes,
            status: inner.status(),
        }
    }
}

/// How a page of console text is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageBy {
    /// Lines, counted from 1.
    Lines {
        /// First line.
        offset: u64,
        /// Most lines.
        limit: u64,
    },
    /// Bytes, counted from 0.
    Bytes {
        /// First byte.
        offset: u64,
        /// Most bytes.
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(execution: &Execution, result: Option<&str>) -> Option<usize> {
        let outcome = execution.settled(Ok(result.map(str::to_owned)));
        execution.end_as(outcome, SystemTime::now())
    }

    #[test]
    fn an_accepted_cancel_is_the_outcome_and_a_late_finish_changes_nothing() {
        let execution = Execution::new(Principal::EVERYBODY, Uuid::now_v7(), None);
        assert!(execution.request_stop(StopCause::Cancelled).is_ok());
        assert!(finish(&execution, Some("late")).is_some());
        assert_eq!(execution.status(), Status::Cancelled);
        assert!(finish(&execution, None).is_none());
        let info = execution.info();
        assert_eq!(info.error.as_deref(), Some("Cancelled by user"));
        assert_eq!(info.result, None);
        assert_eq!(execution.request_stop(StopCause::Cancelled), Err(Status::Cancelled));
    }

    #[test]
    fn a_page_says_what_comes_next() {
        let execution = Execution::new(Principal::EVERYBODY, Uuid::now_v7(), None);
        execution.append("a\nb\n");
        let page = execution.page(PageBy::Lines { offset: 1, limit: 1 });
        assert_eq!((page.data.as_str(), page.next_line_offset, page.next_byte_offset), ("a", 2, 2));
        assert!(page.has_more);
        let page = execution.page(PageBy::Lines { offset: page.next_line_offset, limit: 1 });
        assert_eq!((page.data.as_str(), page.has_more), ("b", false));
    }
}
