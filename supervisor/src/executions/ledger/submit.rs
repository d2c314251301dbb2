//! A submission, from a place in the queue to the queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_cluster::command::{self, Act, Base, Command, For, Owner, PartKind, Reply};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::text::{PutError, put};
use super::watch::{admit_in_turn, look};
use super::{Ledger, abandon, begin, ms};
use crate::access::Principal;
use crate::executions::execution::{Execution, Lease};
use crate::executions::quarantine::CodeHash;
use crate::executions::queue::Queued;
use crate::executions::registry::Digest;
use crate::executions::submit::{Bounds, SubmitError};
use crate::executions::{Executions, Shared};
use crate::failpoints::Point;
use crate::heaps::HeapId;
use crate::observe::{Origin, story};

/// What is submitted.
pub(in crate::executions) struct Submission {
    /// For whom.
    pub by: Principal,
    /// The source.
    pub code: Arc<String>,
    /// Its hash, when it is known already.
    pub hash: Option<CodeHash>,
    /// Its limits.
    pub bounds: Bounds,
    /// What makes it recognisable when it comes again.
    pub key: Option<(String, Digest)>,
    /// What becomes of its heap, when that is kept.
    pub step: Option<Step>,
    /// The request that asks.
    pub origin: Option<Origin>,
}

/// An execution that keeps its heap.
pub(in crate::executions) struct Step {
    /// The session whose next step it is.
    pub session: Option<String>,
    /// What it begins with.
    pub base: Base,
    /// Tags of the heap it leaves.
    pub tags: BTreeMap<String, String>,
}

/// Commits a submission and queues it, here or, when this node stops, on another.
pub(in crate::executions) async fn submit(
    executions: &Executions,
    submission: Submission,
) -> Result<Arc<Execution>, SubmitError> {
    let (by, code_bytes, hash) = (submission.by, submission.code.len(), submission.hash);
    let shared = &executions.shared;
    // Before it is asked whether this node stops: a drain waits for this one, or it goes elsewhere.
    let mut counted = Some(Counted::new(shared));
    match executions.check_open(hash) {
        // Whoever takes it looks at the code before it runs.
        Err(SubmitError::ShuttingDown) if has_taker(shared) => counted = None,
        open => open?,
    }
    shared.queue.reserve(code_bytes).map_err(|waiting| SubmitError::Overloaded { waiting })?;
    let place = Place { shared: Arc::clone(shared), code_bytes: Some(code_bytes) };
    // Goes on when the caller goes away: what is committed runs.
    let origin = submission.origin.clone();
    let committing = tokio::spawn(async move {
        let committed = commit(place, submission).await;
        drop(counted);
        committed
    });
    let submitted = match committing.await {
        Ok(committed) => committed?,
        Err(error) => return Err(SubmitError::Cluster(error.to_string())),
    };
    match submitted {
        Submitted::Here(execution) => Ok(execution),
        Submitted::Before(id) => find(shared, by, id).await,
        Submitted::Elsewhere(id, place) => {
            let execution = find(shared, by, id).await?;
            origin.into_iter().for_each(|origin| execution.asked_by(origin));
            // It keeps its place in this queue until its end: a node that stops sends the others
            // no more than it would take itself.
            let kept = Arc::clone(&execution);
            tokio::spawn(async move {
                kept.finished().await;
                drop(place);
            });
            Ok(execution)
        }
    }
}

fn has_taker(shared: &Shared) -> bool {
    shared.ledger.as_ref().is_some_and(|ledger| !ledger.takers().is_empty())
}

/// An execution that is in the rows.
async fn find(
    shared: &Arc<Shared>,
    by: Principal,
    id: Uuid,
) -> Result<Arc<Execution>, SubmitError> {
    let found = super::lookup::known(shared, by, id).await;
    let found = found.map_err(|error| SubmitError::Cluster(error.to_string()))?;
    found.ok_or_else(|| SubmitError::Cluster("the execution is forgotten".to_owned()))
}

enum Submitted {
    /// A new one.
    Here(Arc<Execution>),
    /// A new one that another node runs.
    Elsewhere(Uuid, Place),
    /// One that was accepted under the same key.
    Before(Uuid),
}

/// A submission that a drain waits for.
struct Counted {
    shared: Arc<Shared>,
}

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.active.send_modify(|active| *active += 1);
        Self { shared: Arc::clone(shared) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.active.send_modify(|active| *active -= 1);
    }
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

/// How often a submission to a node that stops is offered to others, should they stop as well.
const OFFERS_MAX: usize = 8;

fn unavailable(problem: impl std::fmt::Display) -> SubmitError {
    SubmitError::Cluster(problem.to_string())
}

/// Who runs what is submitted now: this node, or another when this one stops.
async fn runner(shared: &Shared, ledger: &Ledger) -> Result<Owner, SubmitError> {
    if shared.closing.load(Ordering::SeqCst) {
        return ledger.taker().ok_or(SubmitError::ShuttingDown);
    }
    ledger.node.owner_within(OWNER_WAIT).await.ok_or_else(|| {
        let reasons = ledger.node.not_ready().join("; ");
        unavailable(format!("this node has no place in the cluster yet: {reasons}"))
    })
}

/// The command that does this for a caller: as it was before there were several, where there is one
/// and no bound on what it has.
fn command_for(by: Principal, running_max: Option<u32>, act: Act) -> Command {
    match (by.id(), running_max, act) {
        (None, None, Act::Submit(submit)) => Command::Submit(submit),
        (None, None, Act::SubmitStep(step)) => Command::SubmitStep(step),
        (principal, running_max, act) => Command::For(For { principal, running_max, act }),
    }
}

async fn commit(mut place: Place, submission: Submission) -> Result<Submitted, SubmitError> {
    let Submission { by, code, hash, bounds, key, step, origin } = submission;
    let shared = Arc::clone(&place.shared);
    let Some(ledger) = &shared.ledger else {
        return Err(unavailable("there is no cluster"));
    };
    if step.is_some() {
        Point::Received.pass();
    }
    let node = &ledger.node;
    let (id, accepted_at, begun) = (Uuid::now_v7(), SystemTime::now(), Instant::now());
    ledger.inner.lock().submitting.insert(id);
    let _submitting = Submitting { shared: Arc::clone(&shared), id };
    let mut submit = command::Submit {
        execution: id,
        owner: runner(&shared, ledger).await?,
        accepted_ms: ms(accepted_at),
        key: key
            .as_ref()
            .map(|(text, digest)| command::Key { text: text.clone(), digest: *digest }),
        limits: command::Limits {
            wall_secs: bounds.wall.as_secs(),
            heap_bytes: bounds.heap_bytes,
            console_bytes: bounds.console_bytes,
        },
        code: command::Text::Parts(0),
    };
    let mut offers = 0;
    let accepted = loop {
        offers += 1;
        submit.code =
            put(node, id, 0, PartKind::Code, &code).await.map_err(|error| match error {
                PutError::Failed(problem) => unavailable(problem),
                PutError::Over => unavailable("its id is taken"),
            })?;
        let act = match &step {
            None => Act::Submit(submit.clone()),
            Some(Step { session, base, tags }) => Act::SubmitStep(command::SubmitStep {
                submit: submit.clone(),
                session: session.clone(),
                base: *base,
                tags: tags.clone(),
            }),
        };
        let running_max = shared.shares.limits().running_max;
        let proposed =
            node.propose(command_for(by, running_max, act)).await.map_err(unavailable)?;
        match proposed.reply {
            Reply::Accepted(accepted) if accepted == id => break proposed.index,
            Reply::Accepted(first) => return Ok(Submitted::Before(first)),
            Reply::KeyConflict => return Err(SubmitError::KeyConflict),
            Reply::NoHeap(heap) => return Err(SubmitError::NoHeap(HeapId(heap))),
            Reply::TooManySessions => return Err(SubmitError::TooManySessions),
            Reply::TooManyRunning => {
                let max = running_max.unwrap_or_default();
                return Err(SubmitError::TooManyRunning { max });
            }
            // Whoever was to run it has gone, which is seen here once this is applied.
            Reply::Fenced if shared.closing.load(Ordering::SeqCst) && offers < OFFERS_MAX => {
                node.applied_to(proposed.index).await.map_err(unavailable)?;
                submit.owner = runner(&shared, ledger).await?;
            }
            Reply::Fenced => {
                return Err(unavailable(
                    "the cluster had declared this node lost; it is coming back",
                ));
            }
            other => return Err(unavailable(format!("an answer to another question: {other:?}"))),
        }
    };
    if step.is_some() {
        Point::Submitted.pass();
    }
    let session = step.as_ref().and_then(|step| step.session.as_deref());
    let session = session.map(|name| by.said(name));
    if submit.owner.node != node.name() {
        let elsewhere = Execution::accepted(by, id, None, accepted_at, None).in_session(session);
        origin.into_iter().for_each(|origin| elsewhere.asked_by(origin));
        story::accepted(&elsewhere, Some(&submit.owner.node));
        node.applied_to(accepted).await.map_err(unavailable)?;
        return Ok(Submitted::Elsewhere(id, place));
    }
    let lease = Lease { owner: submit.owner, attempt: 1 };
    let key = key.map(|(text, _)| text);
    let execution = Execution::accepted(by, id, key, accepted_at, Some(lease)).in_session(session);
    let execution = Arc::new(execution);
    origin.into_iter().for_each(|origin| execution.asked_by(origin));
    execution.note("commit", begun, None);
    story::accepted(&execution, Some(node.name()));
    begin(&shared, ledger, &execution);
    place.code_bytes = None;
    let keeps_heap = step.is_some();
    shared.queue.push_reserved(Queued {
        execution: Arc::clone(&execution),
        code,
        hash,
        bounds,
        keeps_heap,
    });
    if keeps_heap {
        admit_in_turn(&shared, ledger, id);
    }
    if node.owner().as_ref() != execution.lease().map(|lease| &lease.owner) {
        abandon(&shared, &execution);
    }
    Ok(Submitted::Here(execution))
}
