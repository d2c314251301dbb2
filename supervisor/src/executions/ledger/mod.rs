//! Executions in the replicated state: committed before they run, ended by a committed outcome,
//! known to every node.
//!
//! # Contract
//! * A script runs here only after its [`Submit`](command::Submit) is committed with this node as
//!   owner, or after the cluster has given it to this node. A node that stops commits what is
//!   submitted to it with another node as owner, and gives away what it has ([`handover`]).
//! * Nobody hears an outcome that is not committed. What counts is the row: when it was ended by
//!   another attempt, that is the outcome here as well.
//! * An execution that runs elsewhere is shown by a mirror: console text comes from its owner while
//!   it runs, its end from the row.

mod complete;
mod handover;
mod lookup;
mod mirror;
mod quarantine;
mod submit;
mod text;
mod told;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use mcp_v8_cluster::command::{self, PartKind};
use mcp_v8_cluster::node::Node;
use mcp_v8_cluster::state::rows::ExecutionRow;
use mcp_v8_cluster::state::{Rows, StateError, executions as rows, principals};
use parking_lot::Mutex;
use tokio::sync::watch as channel;
use uuid::Uuid;

pub(super) use self::complete::complete;
pub(super) use self::handover::{give_running, give_waiting};
pub(super) use self::lookup::{cancel, cancel_for_sure, find, get, list, origin};
pub(super) use self::quarantine::{died, lift};
pub(super) use self::submit::{Step, Submission, submit};
pub use self::told::{CancelledElsewhere, RequestCancelled};
pub(super) use self::told::{applied_elsewhere, tell_cancelled};
pub(super) use self::watch::attach;
use super::Shared;
use super::execution::{Execution, StopCause};
use super::model::Status;
use crate::access::Principal;
use crate::heaps::Heaps;

/// The replicated executions, as this node sees them.
#[derive(Debug)]
pub struct Ledger {
    node: Node,
    heaps: Heaps,
    inner: Mutex<Inner>,
    /// Counts changes of executions, for those who wait for one.
    changed: channel::Sender<u64>,
    /// Counts what was given to other nodes, so that it goes round.
    turn: AtomicUsize,
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
    /// Over this node of the cluster and its heaps.
    pub fn new(node: Node, heaps: Heaps) -> Self {
        let changed = channel::Sender::new(0);
        Self { node, heaps, inner: Mutex::default(), changed, turn: AtomicUsize::new(0) }
    }

    /// This node of the cluster.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The heaps.
    pub fn heaps(&self) -> &Heaps {
        &self.heaps
    }

    /// The rows of the replicated state.
    pub fn rows(&self) -> impl Rows + Send + 'static {
        self.node.rows()
    }

    fn row(&self, id: Uuid) -> Result<Option<ExecutionRow>, StateError> {
        rows::execution(&self.node.rows(), id)
    }

    /// Whose an execution is.
    fn principal(&self, id: Uuid) -> Result<Principal, StateError> {
        principals::of(&self.node.rows(), id).map(Principal::from_id)
    }

    fn text(&self, id: Uuid, kind: PartKind, parts: u32) -> Result<String, StateError> {
        rows::text(&self.node.rows(), id, kind, parts)
    }
}

/// Milliseconds since 1970.
pub fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time so many milliseconds after the beginning of 1970.
pub fn time(ms: u64) -> SystemTime {
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

/// Notes that an execution runs here.
fn begin(shared: &Arc<Shared>, ledger: &Ledger, execution: &Arc<Execution>) {
    ledger.inner.lock().running.insert(execution.id(), Arc::clone(execution));
    shared.registry.lock().insert(Arc::clone(execution), None);
    shared.active.send_modify(|active| *active += 1);
}

/// Stops an execution that may run elsewhere; its outcome comes from there.
fn abandon(shared: &Arc<Shared>, execution: &Arc<Execution>) {
    if execution.request_stop(StopCause::Abandoned).is_ok() && shared.queue.remove(execution) {
        shared.end(execution, Err(StopCause::Abandoned.detail()), None, None);
    }
}
