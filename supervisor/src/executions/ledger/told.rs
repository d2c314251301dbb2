//! What nodes ask and tell each other about executions and their callers.
//!
//! # Contract
//! * Whoever is told answers once it has heeded it; until then it is told again, for
//!   [`OTHERS_TOLD_MAX`]. A node that is not reached in that time has lost what it had of its clients.
//! * A node that does not know a message answers nothing, as one of an earlier version does.

use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::Ledger;
use crate::executions::Shared;
use crate::limits::{OTHERS_TOLD_MAX, SESSION_END_SEEN_MAX};
use crate::observe::CalledFor;

/// The pause before a node is told again.
const AGAIN: Duration = Duration::from_millis(50);

/// One message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Call {
    /// Console text from byte `from` on, once there is some, or the attempt is over.
    Output {
        /// The execution.
        id: Uuid,
        /// The first byte.
        from: u64,
        /// Whether to wait for some.
        wait: bool,
        /// The request that has asked for the execution, if that was at the node that calls.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        called_for: Option<CalledFor>,
    },
    /// A client has cancelled a request, at the node that calls.
    Cancelled(RequestCancelled),
    /// Answered once this entry of the log is applied.
    Applied {
        /// Its index.
        index: u64,
    },
}

/// A client's request that is not to be answered any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCancelled {
    /// The MCP session.
    pub session: String,
    /// The id of the request, as JSON-RPC has it: a number or a text.
    pub request: serde_json::Value,
    /// Why.
    pub reason: String,
}

/// A request that was cancelled at another node, for whoever has it.
#[derive(Debug)]
pub struct CancelledElsewhere {
    /// Which.
    pub cancelled: RequestCancelled,
    /// Dropped once it is heeded.
    pub heeded: oneshot::Sender<()>,
}

/// Tells all other nodes of a request that was cancelled here.
pub(in crate::executions) async fn tell_cancelled(ledger: &Ledger, cancelled: RequestCancelled) {
    tell(ledger, &Call::Cancelled(cancelled), Instant::now() + OTHERS_TOLD_MAX).await;
}

/// Returns once all other nodes that are reached have applied an entry, or [`SESSION_END_SEEN_MAX`] is over.
pub(in crate::executions) async fn applied_elsewhere(ledger: &Ledger, index: u64) {
    tell(ledger, &Call::Applied { index }, Instant::now() + SESSION_END_SEEN_MAX).await;
}

async fn tell(ledger: &Ledger, call: &Call, deadline: Instant) {
    // A struct of texts, numbers and a JSON value.
    let body = serde_json::to_vec(call).unwrap_or_default();
    let telling = ledger.node.peers().into_iter().map(|peer| {
        let (node, body) = (&ledger.node, body.clone());
        async move {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match node.call(peer.name(), body.clone(), left).await {
                    Ok(_) => return,
                    Err(error) if Instant::now() + AGAIN >= deadline => {
                        tracing::warn!(node = peer.name(), %error, "is not told what a client has done");
                        return;
                    }
                    Err(_) => sleep(AGAIN).await,
                }
            }
        }
    });
    join_all(telling).await;
}

/// Answers [`Call::Cancelled`].
pub(super) async fn cancelled(shared: &Shared, cancelled: RequestCancelled) {
    let Some(told) = shared.cancelled_elsewhere.get() else { return };
    let (heeded, done) = oneshot::channel();
    let deadline = Instant::now() + OTHERS_TOLD_MAX;
    if told.send(CancelledElsewhere { cancelled, heeded }).await.is_ok() {
        // Either way: it is dropped, never sent.
        let _ = timeout_at(deadline, done).await;
    }
}

/// Answers [`Call::Applied`].
pub(super) async fn applied(ledger: &Ledger, index: u64) {
    if let Err(error) = ledger.node.applied_to(index).await {
        tracing::debug!(%error, index, "another node waits for an entry");
    }
}
