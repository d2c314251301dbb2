//! A submission, from a place in the queue to the queue.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp_v8_cluster::command::{self, Command, PartKind, Reply};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::text::{PutError, put};
use super::watch::look;
use super::{abandon, begin, ms};
use crate::executions::Shared;
use crate::executions::execution::{Execution, Lease};
use crate::executions::quarantine::CodeHash;
use crate::executions::queue::Queued;
use crate::executions::registry::Digest;
use crate::executions::submit::{Bounds, SubmitError};

/// Commits a submission and queues it.
pub(in crate::executions) async fn submit(
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
            let found = super::lookup::known(shared, id).await;
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
