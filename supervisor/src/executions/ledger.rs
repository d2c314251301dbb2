//! Executions in the replicated state: committed before they run, ended by a committed outcome,
//! known to every node.
//!
//! # Contract
//! * A script runs here only after its [`Submit`](command::Submit) is committed with this node as
//!   owner, or after the cluster has given it to this node.
//! * Nobody hears an outcome that is not committed. What counts is the row: when it was ended by
//!   another attempt, that is the outcome here as well.
//! * An execution that runs elsewhere is shown by a mirror: console text comes from its owner while
//!   it runs, its end from the row.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use mcp_v8_cluster::command::{self, Command, PartKind, Reply, Text};
use mcp_v8_cluster::node::{Application, Node};
use mcp_v8_cluster::state::rows::ExecutionRow;
use mcp_v8_cluster::state::{Change, StateError, executions as rows, keys};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::execution::{Execution, Lease, Outcome, StopCause};
use super::model::{ErrorDetail, ErrorKind, ExecutionList, ExecutionSummary, Status, rfc3339};
use super::quarantine::CodeHash;
use super::queue::Queued;
use super::registry::Digest;
use super::submit::{Bounds, SubmitError};
use super::{LookupError, Shared};
use crate::limits::{
    FIRST_LOOK_MAX, FOLLOW_WAIT, INLINE_TEXT_BYTES_MAX, PAGE_BYTES_MAX, TEXT_PART_BYTES,
    TEXT_PARTS_AT_ONCE,
};
use crate::metrics;

/// The replicated executions, as this node sees them.
#[derive(Debug)]
pub struct Ledger {
    node: Node,
    inner: Mutex<Inner>,
    /// Counts changes of executions, for those who wait for one.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Submissions on their way: their changes are known already.
    submitting: HashSet<Uuid>,
    /// Executions that run here.
    running: HashMap<Uuid, Arc<Execution>>,
    /// Executions of other nodes that somebody looks at.
    mirrors: HashMap<Uuid, Weak<Execution>>,
}

impl Ledger {
    /// Over this node of the cluster.
    pub fn new(node: Node) -> Self {
        Self { node, inner: Mutex::default(), changed: watch::Sender::new(0) }
    }

    fn row(&self, id: Uuid) -> Result<Option<ExecutionRow>, StateError> {
        rows::execution(&self.node.rows(), id)
    }

    fn text(&self, id: Uuid, kind: PartKind, parts: u32) -> Result<String, StateError> {
        rows::text(&self.node.rows(), id, kind, parts)
    }
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

fn shown(status: command::Status) -> Status {
    match status {
        command::Status::Running => Status::Running,
        command::Status::Completed => Status::Completed,
        command::Status::Failed => Status::Failed,
        command::Status::Cancelled => Status::Cancelled,
        command::Status::TimedOut => Status::TimedOut,
    }
}

fn kept(status: Status) -> command::Status {
    match status {
        Status::Running => command::Status::Running,
        Status::Completed => command::Status::Completed,
        Status::Failed => command::Status::Failed,
        Status::Cancelled => command::Status::Cancelled,
        Status::TimedOut => command::Status::TimedOut,
    }
}

/// Why a text is not sent ahead.
enum PutError {
    /// The execution has ended, or another attempt of it counts.
    Over,
    /// It may be tried again.
    Failed(String),
}

/// Sends a text ahead if it is long.
async fn put(
    node: &Node,
    execution: Uuid,
    attempt: u32,
    kind: PartKind,
    text: &str,
) -> Result<Text, PutError> {
    if text.len() <= INLINE_TEXT_BYTES_MAX {
        return Ok(Text::Inline(text.to_owned()));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut at = TEXT_PART_BYTES.min(rest.len());
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    for (first, together) in (0_u32..).zip(pieces.chunks(TEXT_PARTS_AT_ONCE)) {
        let first = first * TEXT_PARTS_AT_ONCE as u32;
        let sending = (first..).zip(together).map(|(number, piece)| {
            let part =
                command::Part { execution, attempt, kind, number, text: (*piece).to_owned() };
            node.propose(Command::Part(part))
        });
        for sent in futures_util::future::join_all(sending).await {
            match sent.map_err(|error| PutError::Failed(error.to_string()))?.reply {
                Reply::Done => {}
                Reply::EndedBefore | Reply::Fenced | Reply::NoExecution => {
                    return Err(PutError::Over);
                }
                other => return Err(PutError::Failed(format!("{other:?}"))),
            }
        }
    }
    Ok(Text::Parts(u32::try_from(pieces.len()).unwrap_or(u32::MAX)))
}

/// The execution that was accepted under this key, as far as this node knows.
pub(super) async fn find(
    shared: &Arc<Shared>,
    key: Option<&(String, Digest)>,
) -> Result<Option<Arc<Execution>>, SubmitError> {
    let (Some(ledger), Some((text, digest))) = (&shared.ledger, key) else { return Ok(None) };
    let unavailable = |error: &dyn std::fmt::Display| SubmitError::Cluster(error.to_string());
    let known = rows::by_key(&ledger.node.rows(), text).map_err(|error| unavailable(&error))?;
    match known {
        None => Ok(None),
        Some(known) if known.digest != *digest => Err(SubmitError::KeyConflict),
        Some(known) => {
            get_or_running(shared, known.execution).await.map_err(|error| unavailable(&error))
        }
    }
}

/// Commits a submission and queues it.
pub(super) async fn submit(
    shared: &Arc<Shared>,
    code: Arc<String>,
    hash: Option<CodeHash>,
    bounds: Bounds,
    key: Option<(String, Digest)>,
) -> Result<Arc<Execution>, SubmitError> {
    shared.queue.reserve(code.len()).map_err(|waiting| SubmitError::Overloaded { waiting })?;
    let place = Place { shared: Arc::clone(shared), code_bytes: Some(code.len()) };
    // Goes on when the caller goes away: what is committed runs.
    let committing = tokio::spawn(commit(place, code, hash, bounds, key));
    let id = match committing.await {
        Ok(committed) => committed?,
        Err(error) => return Err(SubmitError::Cluster(error.to_string())),
    };
    match id {
        Submitted::Here(execution) => Ok(execution),
        Submitted::Before(id) => {
            let found = get_or_running(shared, id).await;
            let found = found.map_err(|error| SubmitError::Cluster(error.to_string()))?;
            found.ok_or_else(|| SubmitError::Cluster("the first execution is forgotten".to_owned()))
        }
    }
}

enum Submitted {
    /// A new one.
    Here(Arc<Execution>),
    /// One that was accepted under the same key.
    Before(Uuid),
}

/// A place in the queue, given back unless it is used.
struct Place {
    shared: Arc<Shared>,
    code_bytes: Option<usize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(bytes) = self.code_bytes {
            self.shared.queue.unreserve(bytes);
        }
    }
}

/// A submission on its way.
struct Submitting {
    shared: Arc<Shared>,
    id: Uuid,
}

impl Drop for Submitting {
    /// Looks at what has changed meanwhile: one that was committed although its answer was lost runs
    /// here like any that the cluster gives to this node.
    fn drop(&mut self) {
        let Some(ledger) = &self.shared.ledger else { return };
        ledger.inner.lock().submitting.remove(&self.id);
        look(&Handle::current(), &self.shared, ledger, self.id);
    }
}

/// How long a submission waits for its node to be let in.
const OWNER_WAIT: Duration = Duration::from_secs(2);

async fn commit(
    mut place: Place,
    code: Arc<String>,
    hash: Option<CodeHash>,
    bounds: Bounds,
    key: Option<(String, Digest)>,
) -> Result<Submitted, SubmitError> {
    let shared = Arc::clone(&place.shared);
    let Some(ledger) = &shared.ledger else {
        return Err(SubmitError::Cluster("there is no cluster".to_owned()));
    };
    let node = &ledger.node;
    let unavailable = |problem: String| SubmitError::Cluster(problem);
    let Some(owner) = node.owner_within(OWNER_WAIT).await else {
        let reasons = node.not_ready().join("; ");
        return Err(unavailable(format!("this node has no place in the cluster yet: {reasons}")));
    };
    let (id, accepted_at) = (Uuid::now_v7(), SystemTime::now());
    ledger.inner.lock().submitting.insert(id);
    let _submitting = Submitting { shared: Arc::clone(&shared), id };
    let text = put(node, id, 0, PartKind::Code, &code).await.map_err(|error| match error {
        PutError::Failed(problem) => unavailable(problem),
        PutError::Over => unavailable("its id is taken".to_owned()),
    })?;
    let submit = command::Submit {
        execution: id,
        owner: owner.clone(),
        accepted_ms: ms(accepted_at),
        key: key
            .as_ref()
            .map(|(text, digest)| command::Key { text: text.clone(), digest: *digest }),
        limits: command::Limits {
            wall_secs: bounds.wall.as_secs(),
            heap_bytes: bounds.heap_bytes,
            console_bytes: bounds.console_bytes,
        },
        code: text,
    };
    let proposed = node.propose(Command::Submit(submit)).await;
    match proposed.map_err(|error| unavailable(error.to_string()))?.reply {
        Reply::Accepted(accepted) if accepted == id => {}
        Reply::Accepted(first) => return Ok(Submitted::Before(first)),
        Reply::KeyConflict => return Err(SubmitError::KeyConflict),
        Reply::Fenced => {
            let problem = "the cluster had declared this node lost; it is coming back";
            return Err(unavailable(problem.to_owned()));
        }
        other => return Err(unavailable(format!("an answer to another question: {other:?}"))),
    }
    let lease = Lease { owner, attempt: 1 };
    let key = key.map(|(text, _)| text);
    let execution = Arc::new(Execution::accepted(id, key, accepted_at, Some(lease)));
    begin(&shared, ledger, &execution);
    place.code_bytes = None;
    shared.queue.push_reserved(Queued { execution: Arc::clone(&execution), code, hash, bounds });
    if node.owner().as_ref() != execution.lease().map(|lease| &lease.owner) {
        abandon(&shared, &execution);
    }
    Ok(Submitted::Here(execution))
}

/// Notes that an execution runs here.
fn begin(shared: &Arc<Shared>, ledger: &Ledger, execution: &Arc<Execution>) {
    ledger.inner.lock().running.insert(execution.id(), Arc::clone(execution));
    shared.registry.lock().insert(Arc::clone(execution), None);
    shared.active.send_modify(|active| *active += 1);
}

/// Stops an execution that may run elsewhere; its outcome comes from there.
fn abandon(shared: &Arc<Shared>, execution: &Arc<Execution>) {
    if execution.request_stop(StopCause::Abandoned).is_ok() && shared.queue.remove(execution.id()) {
        shared.end(execution, Err(StopCause::Abandoned.detail()), None);
    }
}

/// Commits the outcome of an execution that ran here; then it has ended.
pub(super) async fn complete(
    shared: &Arc<Shared>,
    execution: &Arc<Execution>,
    outcome: Outcome,
    ran: Option<Duration>,
) {
    let (Some(ledger), Some(lease)) = (&shared.ledger, execution.lease()) else { return };
    let ended_at = SystemTime::now();
    let outcome = execution.settled(outcome);
    let abandoned = execution.stop_cause() == Some(StopCause::Abandoned);
    let committed = if abandoned {
        None
    } else {
        commit_end(ledger, execution, lease, &outcome, ended_at).await
    };
    let id = execution.id();
    {
        let mut inner = ledger.inner.lock();
        if inner.running.get(&id).is_some_and(|running| Arc::ptr_eq(running, execution)) {
            inner.running.remove(&id);
        }
    }
    match committed {
        Some(status) if status == kept(status_of(&outcome)) => {
            end(shared, execution, outcome, ended_at, ran);
        }
        Some(command::Status::Cancelled) => {
            end(shared, execution, Err(StopCause::Cancelled.detail()), ended_at, ran);
        }
        // Another attempt counts, or this node is at its end.
        _ => {
            shared.registry.lock().remove(execution);
            shared.active.send_modify(|active| *active -= 1);
            let (shared, execution) = (Arc::clone(shared), Arc::clone(execution));
            tokio::spawn(async move { mirror(&shared, &execution).await });
        }
    }
}

fn status_of(outcome: &Outcome) -> Status {
    match outcome {
        Ok(_) => Status::Completed,
        Err(detail) => detail.kind.status(),
    }
}

fn end(
    shared: &Arc<Shared>,
    execution: &Arc<Execution>,
    outcome: Outcome,
    at: SystemTime,
    ran: Option<Duration>,
) {
    if let Some(bytes) = execution.end_as(outcome, at) {
        shared.registry.lock().retain(execution.id(), bytes);
        metrics::finished(execution.status(), ran);
        shared.active.send_modify(|active| *active -= 1);
    }
}

/// Commits an end, as often as it takes; the status that counts, or `None` when another attempt
/// does.
async fn commit_end(
    ledger: &Ledger,
    execution: &Execution,
    lease: &Lease,
    outcome: &Outcome,
    ended_at: SystemTime,
) -> Option<command::Status> {
    let (node, id, attempt) = (&ledger.node, execution.id(), lease.attempt);
    let output = execution.output();
    // A struct of texts and numbers.
    let json =
        outcome.as_ref().err().map(|detail| serde_json::to_string(detail).unwrap_or_default());
    let json = json.unwrap_or_default();
    loop {
        let proposing = async {
            let put = |kind, text| put(node, id, attempt, kind, text);
            let (mut result, mut error) = (None, None);
            match outcome {
                Ok(Some(text)) => result = Some(put(PartKind::Result, text).await?),
                Ok(None) => {}
                Err(_) => error = Some(put(PartKind::Error, &json).await?),
            }
            let end = command::End {
                status: kept(status_of(outcome)),
                ended_ms: ms(ended_at),
                result,
                error,
                output: put(PartKind::Output, &output).await?,
                output_bytes: output.len() as u64,
            };
            let complete =
                command::Complete { execution: id, attempt, owner: lease.owner.clone(), end };
            let proposed = node.propose(Command::Complete(complete)).await;
            let proposed = proposed.map_err(|error| PutError::Failed(error.to_string()))?;
            Ok::<_, PutError>(proposed.reply)
        };
        match proposing.await {
            Ok(Reply::Ended(status)) => return Some(status),
            Ok(_) | Err(PutError::Over) => return None,
            Err(PutError::Failed(problem)) => {
                // Fenced by now: whatever this node says does not count.
                if execution.stop_cause() == Some(StopCause::Abandoned)
                    || node.owner().as_ref() != Some(&lease.owner)
                {
                    return None;
                }
                tracing::warn!(execution = %id, problem, "its outcome is not committed yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// The execution with this id, from the row.
pub(super) async fn get(
    shared: &Arc<Shared>,
    id: Uuid,
) -> Result<Option<Arc<Execution>>, LookupError> {
    let Some(ledger) = &shared.ledger else { return Ok(None) };
    let unavailable = |error: &dyn std::fmt::Display| LookupError::Unavailable(error.to_string());
    let row = ledger.row(id).map_err(|error| unavailable(&error))?;
    // An end is an end; anything else may be out of date here.
    let row = match row {
        Some(row) if row.end.is_some() => Some(row),
        _ => {
            ledger.node.barrier().await.map_err(|error| unavailable(&error))?;
            ledger.row(id).map_err(|error| unavailable(&error))?
        }
    };
    let Some(row) = row else { return Ok(None) };
    if row.end.is_some() {
        let execution = Arc::new(from_row(id, &row));
        let bytes = restore(ledger, &execution, &row).map_err(|error| unavailable(&error))?;
        let mut registry = shared.registry.lock();
        if let Some(known) = registry.get(id) {
            return Ok(Some(known));
        }
        registry.insert(Arc::clone(&execution), None);
        registry.retain(id, bytes);
        return Ok(Some(execution));
    }
    let execution = {
        let mut inner = ledger.inner.lock();
        if let Some(running) = inner.running.get(&id) {
            return Ok(Some(Arc::clone(running)));
        }
        inner.mirrors.retain(|_, mirror| mirror.strong_count() > 0);
        if let Some(known) = inner.mirrors.get(&id).and_then(Weak::upgrade)
            && !known.ended()
        {
            return Ok(Some(known));
        }
        let execution = Arc::new(from_row(id, &row));
        inner.mirrors.insert(id, Arc::downgrade(&execution));
        execution
    };
    let (shared, weak) = (Arc::clone(shared), Arc::downgrade(&execution));
    let (seen, first) = oneshot::channel();
    tokio::spawn(async move { follow(&shared, id, weak, Some(seen)).await });
    // Whoever asks gets what has been printed by now, if its owner can be asked.
    let _ = tokio::time::timeout(FIRST_LOOK_MAX, first).await;
    Ok(Some(execution))
}

/// The same, for one that may have just begun here.
async fn get_or_running(
    shared: &Arc<Shared>,
    id: Uuid,
) -> Result<Option<Arc<Execution>>, LookupError> {
    let here = shared.registry.lock().get(id);
    match here {
        Some(here) => Ok(Some(here)),
        None => get(shared, id).await,
    }
}

fn from_row(id: Uuid, row: &ExecutionRow) -> Execution {
    let key = row.key.as_ref().map(|key| key.text.clone());
    Execution::accepted(id, key, time(row.accepted_ms), None)
}

/// Ends an execution as its row says, and returns the bytes it keeps.
fn restore(
    ledger: &Ledger,
    execution: &Execution,
    row: &ExecutionRow,
) -> Result<usize, StateError> {
    let (id, Some(end)) = (execution.id(), &row.end) else { return Ok(0) };
    let output = ledger.text(id, PartKind::Output, end.output_parts)?;
    let outcome = match (shown(row.status), end.error_parts) {
        (Status::Cancelled, _) => Err(StopCause::Cancelled.detail()),
        (_, Some(parts)) => {
            let json = ledger.text(id, PartKind::Error, parts)?;
            Err(serde_json::from_str(&json).unwrap_or_else(|_| {
                ErrorDetail::new(ErrorKind::WorkerCrashed, "The error cannot be shown")
            }))
        }
        (_, None) => {
            let text = |parts| ledger.text(id, PartKind::Result, parts);
            Ok(end.result_parts.map(text).transpose()?)
        }
    };
    execution.set_output(&output);
    Ok(execution.end_as(outcome, time(end.ended_ms)).unwrap_or_default())
}

/// Waits for the end of an execution whose outcome another attempt gives.
async fn mirror(shared: &Arc<Shared>, execution: &Arc<Execution>) {
    follow(shared, execution.id(), Arc::downgrade(execution), None).await;
}

/// What nodes ask each other about executions.
#[derive(Debug, Serialize, Deserialize)]
enum Call {
    /// Console text from byte `from` on, once there is some, or the attempt is over.
    Output {
        /// The execution.
        id: Uuid,
        /// The first byte.
        from: u64,
        /// Whether to wait for some.
        wait: bool,
    },
}

/// Answer to [`Call::Output`].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Output {
    text: String,
    /// Whether it runs there.
    here: bool,
}

/// Keeps a mirror up to date until its execution has ended or nobody looks at it; `first` hears when
/// its owner was asked once.
async fn follow(
    shared: &Arc<Shared>,
    id: Uuid,
    mirror: Weak<Execution>,
    mut first: Option<oneshot::Sender<()>>,
) {
    let Some(ledger) = &shared.ledger else { return };
    let mut changed = ledger.changed.subscribe();
    let mut attempt = 0;
    let mut pause = Duration::from_millis(20);
    loop {
        changed.borrow_and_update();
        let Some(execution) = mirror.upgrade() else { return };
        let row = match ledger.row(id) {
            Ok(Some(row)) => row,
            // Forgotten while we looked: nothing will come any more.
            Ok(None) if attempt > 0 => {
                execution.end_as(
                    Err(ErrorDetail::new(ErrorKind::NodeLost, "The execution is forgotten")),
                    SystemTime::now(),
                );
                return;
            }
            Ok(None) => {
                wait_for_change(&mut changed, FOLLOW_WAIT).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(execution = %id, %error, "cannot be read");
                return;
            }
        };
        if row.end.is_some() {
            if let Err(error) = restore(ledger, &execution, &row) {
                tracing::warn!(execution = %id, %error, "cannot be read");
            }
            return;
        }
        if row.attempt != attempt {
            attempt = row.attempt;
            execution.set_output("");
        }
        let call = Call::Output { id, from: execution.output_bytes(), wait: first.is_none() };
        drop(execution);
        // A struct of numbers.
        let body = serde_json::to_vec(&call).unwrap_or_default();
        let asking = ledger.node.call(&row.owner.node, body, FOLLOW_WAIT * 2);
        let answer = tokio::select! {
            answer = asking => answer.ok(),
            () = wait_for_change_of(ledger, &mut changed, id, &row) => continue,
        };
        let answer: Option<Output> = answer.and_then(|body| serde_json::from_slice(&body).ok());
        let asked_before = first.is_none();
        match answer {
            Some(output) if output.here => {
                pause = Duration::from_millis(20);
                if let Some(execution) = mirror.upgrade()
                    && !output.text.is_empty()
                {
                    execution.append(&output.text);
                }
            }
            _ if !asked_before => {}
            // It has not begun there, is over, or the node is not reached.
            _ => {
                wait_for_change(&mut changed, pause).await;
                pause = (pause * 2).min(FOLLOW_WAIT);
            }
        }
        if let Some(first) = first.take() {
            // Whoever waited may have gone.
            let _ = first.send(());
        }
    }
}

async fn wait_for_change(changed: &mut watch::Receiver<u64>, patience: Duration) {
    // Either way the row is read again.
    let _ = tokio::time::timeout(patience, changed.changed()).await;
}

/// Returns when this row is not what it was.
async fn wait_for_change_of(
    ledger: &Ledger,
    changed: &mut watch::Receiver<u64>,
    id: Uuid,
    row: &ExecutionRow,
) {
    loop {
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
        if !ledger.row(id).is_ok_and(|now| now.as_ref() == Some(row)) {
            return;
        }
    }
}

/// Answers [`Call::Output`].
async fn output(shared: &Arc<Shared>, id: Uuid, from: u64, wait: bool) -> Output {
    let Some(ledger) = &shared.ledger else { return Output::default() };
    let running = ledger.inner.lock().running.get(&id).cloned();
    let Some(execution) = running else { return Output::default() };
    let mut changed = execution.subscribe();
    let more = async {
        while execution.output_bytes() <= from && !execution.ended() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    };
    // Either way, what there is.
    if wait {
        let _ = tokio::time::timeout(FOLLOW_WAIT, more).await;
    }
    Output { text: execution.output_from(from, PAGE_BYTES_MAX).data, here: true }
}

/// Asks the owner of an execution, through the log, to stop it.
pub(super) async fn cancel(shared: &Arc<Shared>, id: Uuid) -> Result<(), LookupError> {
    let Some(ledger) = &shared.ledger else { return Ok(()) };
    let cancel = Command::Cancel(command::Cancel { execution: id });
    let proposed = ledger.node.propose(cancel).await;
    match proposed.map_err(|error| LookupError::Unavailable(error.to_string()))?.reply {
        Reply::NoExecution => Err(LookupError::NotFound(id.to_string())),
        // The caller sees how it ended.
        _ => Ok(()),
    }
}

/// Executions, newest first.
pub(super) async fn list(
    shared: &Arc<Shared>,
    cursor: Option<Uuid>,
    limit: usize,
) -> Result<ExecutionList, SubmitError> {
    let empty = ExecutionList { executions: Vec::new(), next_cursor: None };
    let Some(ledger) = &shared.ledger else { return Ok(empty) };
    let unavailable = |error: &dyn std::fmt::Display| SubmitError::Cluster(error.to_string());
    ledger.node.barrier().await.map_err(|error| unavailable(&error))?;
    let tree = ledger.node.rows();
    let reading = tokio::task::spawn_blocking(move || {
        let first = keys::EXECUTIONS.to_vec();
        let end = match cursor {
            Some(cursor) => keys::execution(cursor),
            None => vec![keys::EXECUTIONS[0] + 1],
        };
        let mut read = Vec::new();
        for row in tree.range(first..end).rev().take(limit + 1) {
            let (key, value) = row?;
            read.push(rows::listed(&key, &value)?);
        }
        Ok::<_, StateError>(read)
    });
    let read = reading.await.map_err(|error| unavailable(&error))?;
    let mut read = read.map_err(|error| unavailable(&error))?;
    let more = read.len() > limit;
    read.truncate(limit);
    let next_cursor = if more { read.last().map(|(id, _)| id.to_string()) } else { None };
    let executions = read
        .into_iter()
        .map(|(id, row)| ExecutionSummary {
            execution_id: id.to_string(),
            status: shown(row.status),
            started_at: rfc3339(time(row.accepted_ms)),
            completed_at: row.end.map(|end| rfc3339(time(end.ended_ms))),
        })
        .collect();
    Ok(ExecutionList { executions, next_cursor })
}

/// Hears of the replicated state.
struct Watcher {
    shared: Weak<Shared>,
    runtime: Handle,
}

/// Connects the executions with the node, and takes what the cluster has for this node.
pub(super) fn attach(shared: &Arc<Shared>) {
    let Some(ledger) = &shared.ledger else { return };
    let watcher = Watcher { shared: Arc::downgrade(shared), runtime: Handle::current() };
    ledger.node.attach(Arc::new(watcher));
}

/// Looks at an execution that has changed.
fn look(runtime: &Handle, shared: &Arc<Shared>, ledger: &Ledger, id: Uuid) {
    let running = {
        let inner = ledger.inner.lock();
        if inner.submitting.contains(&id) {
            return;
        }
        inner.running.get(&id).cloned()
    };
    let Ok(Some(row)) = ledger.row(id) else { return };
    if row.end.is_some() {
        return;
    }
    let lease = Lease { owner: row.owner.clone(), attempt: row.attempt };
    match running {
        Some(running) if running.lease() == Some(&lease) => {
            if row.cancelled {
                let shared = Arc::clone(shared);
                runtime.spawn(async move {
                    let executions = super::Executions { shared };
                    // It may have ended in this moment.
                    let _ = executions.stop(&running, StopCause::Cancelled);
                });
            }
        }
        stale => {
            if let Some(stale) = stale {
                abandon_on(runtime, shared, stale);
            }
            if ledger.node.owner().as_ref() == Some(&row.owner) {
                let shared = Arc::clone(shared);
                runtime.spawn(async move { adopt(&shared, id, &row, lease) });
            }
        }
    }
}

fn abandon_on(runtime: &Handle, shared: &Arc<Shared>, execution: Arc<Execution>) {
    let shared = Arc::clone(shared);
    runtime.spawn(async move { abandon(&shared, &execution) });
}

/// Runs an execution that the cluster has given to this node.
fn adopt(shared: &Arc<Shared>, id: Uuid, row: &ExecutionRow, lease: Lease) {
    let Some(ledger) = &shared.ledger else { return };
    let code = match ledger.text(id, PartKind::Code, row.code_parts) {
        Ok(code) => Arc::new(code),
        Err(error) => {
            tracing::error!(execution = %id, %error, "its source cannot be read");
            return;
        }
    };
    let key = row.key.as_ref().map(|key| key.text.clone());
    let execution =
        Arc::new(Execution::accepted(id, key, time(row.accepted_ms), Some(lease.clone())));
    {
        let mut inner = ledger.inner.lock();
        let known = inner.running.get(&id).and_then(|running| running.lease());
        if known == Some(&lease) {
            return;
        }
        inner.running.insert(id, Arc::clone(&execution));
    }
    tracing::info!(execution = %id, attempt = lease.attempt, "taken over");
    begin(shared, ledger, &execution);
    let bounds = Bounds {
        wall: Duration::from_secs(row.limits.wall_secs),
        heap_bytes: row.limits.heap_bytes,
        console_bytes: row.limits.console_bytes,
    };
    shared.queue.push_always(Queued {
        execution: Arc::clone(&execution),
        code,
        hash: None,
        bounds,
    });
    if row.cancelled {
        let executions = super::Executions { shared: Arc::clone(shared) };
        let _ = executions.stop(&execution, StopCause::Cancelled);
    }
    if ledger.node.owner().as_ref() != execution.lease().map(|lease| &lease.owner) {
        // Fenced in between.
        abandon(shared, &execution);
    }
}

impl Application for Watcher {
    fn applied(&self, changes: &[Change]) {
        let Some(shared) = self.shared.upgrade() else { return };
        let Some(ledger) = &shared.ledger else { return };
        for change in changes {
            if let Change::Execution(id) = change {
                look(&self.runtime, &shared, ledger, *id);
            }
        }
        ledger.changed.send_modify(|count| *count += 1);
    }

    fn replaced(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let Some(ledger) = &shared.ledger else { return };
        match rows::running(&ledger.node.rows()) {
            Ok(running) => {
                for (id, _) in running {
                    look(&self.runtime, &shared, ledger, id);
                }
            }
            Err(error) => tracing::error!(%error, "running executions cannot be read"),
        }
        ledger.changed.send_modify(|count| *count += 1);
    }

    fn fenced(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let Some(ledger) = &shared.ledger else { return };
        let running: Vec<_> = ledger.inner.lock().running.values().cloned().collect();
        for execution in running {
            abandon_on(&self.runtime, &shared, execution);
        }
    }

    fn call(&self, body: Vec<u8>) -> BoxFuture<'static, Vec<u8>> {
        let shared = self.shared.clone();
        let runtime = self.runtime.clone();
        Box::pin(async move {
            let answering = runtime.spawn(async move {
                let (Some(shared), Ok(call)) = (shared.upgrade(), serde_json::from_slice(&body))
                else {
                    return Vec::new();
                };
                let Call::Output { id, from, wait } = call;
                // A struct of a text and a flag.
                serde_json::to_vec(&output(&shared, id, from, wait).await).unwrap_or_default()
            });
            answering.await.unwrap_or_default()
        })
    }
}
