//! What a node asks of others before there is a connection: their status, and to be let in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Node;
use super::context::Context;
use super::status::Status;
use super::troubles::Way;
use crate::limits::{PROPOSE_MS_MAX, STATUS_MS_MAX};
use crate::net::ask::{Ask, AskError, said};

/// The body of `POST /raft/join`.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct JoinBody {
    /// The name of the node.
    pub node_id: String,
    /// Where its cluster port is reached.
    pub addr: String,
    /// Whether it stays a learner.
    #[serde(default)]
    pub as_learner: bool,
    /// Its disk, when it says so itself.
    #[serde(default)]
    pub storage_id: Option<uuid::Uuid>,
    /// The cluster that its disk belongs to, if any.
    #[serde(default)]
    pub cluster_id: Option<uuid::Uuid>,
    /// Whether it runs scripts.
    #[serde(default = "yes")]
    pub runs_scripts: bool,
}

fn yes() -> bool {
    true
}

/// Why a node is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Whoever may decide says no.
    #[error("{0}")]
    Refused(String),
    /// Nobody has decided: there is no leader, or no answer.
    #[error("{0}")]
    Unanswered(String),
}

/// Asks a member to let this node in, or to note its disk or its new address.
///
/// # Errors
/// [`JoinError`].
pub async fn post_join(node: &Node, seed: &str) -> Result<(), JoinError> {
    let context = &node.inner.context;
    let credentials = &context.auth.credentials;
    // A proof names the process that it is for.
    let to = match &credentials.secret {
        Some(_) => {
            let status = status_of(context, seed).await;
            status.map_err(|error| JoinError::Unanswered(error.to_string()))?.instance
        }
        None => None,
    };
    // A struct of texts and flags.
    let body = serde_json::to_vec(&JoinBody::of(node)).unwrap_or_default();
    let ask = Ask { address: seed, method: Method::POST, path: "/raft/join", body, to };
    // The leader commits it before it answers.
    let patience = Duration::from_millis(PROPOSE_MS_MAX);
    let asked = timeout(patience, ask.send(credentials)).await;
    let asked = asked.unwrap_or_else(|_| Err(AskError::Unreachable("no answer".to_owned())));
    context.heed(seed, Way::Request, asked.as_ref().err());
    match asked {
        Ok((status, _)) if status.is_success() => Ok(()),
        Ok((StatusCode::CONFLICT, body)) => Err(JoinError::Refused(said(&body))),
        Ok((_, body)) => Err(JoinError::Unanswered(said(&body))),
        Err(error) => Err(JoinError::Unanswered(error.to_string())),
    }
}

impl JoinBody {
    /// What this node says of itself.
    pub fn of(node: &Node) -> Self {
        let config = node.config();
        Self {
            node_id: config.name.clone(),
            addr: config.advertise.clone(),
            as_learner: config.learner,
            storage_id: Some(node.store().identity().storage),
            cluster_id: node.inner.context.cluster(),
            runs_scripts: config.runs_scripts,
        }
    }
}

/// The status of one node.
pub async fn status_of(context: &Context, address: &str) -> Result<Status, AskError> {
    let credentials = &context.auth.credentials;
    let patience = Duration::from_millis(STATUS_MS_MAX);
    let ask = Ask::get(address, "/raft/status").send(credentials);
    let asked = match timeout(patience, ask).await {
        Ok(Ok((code, body))) => read(credentials.method(), code, &body),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(AskError::Unreachable(format!("no answer within {patience:?}"))),
    };
    context.heed(address, Way::Request, asked.as_ref().err());
    asked
}

fn read(ours: &str, code: StatusCode, body: &[u8]) -> Result<Status, AskError> {
    if !code.is_success() {
        return Err(AskError::refused(code, body));
    }
    let status: Status = serde_json::from_slice(body)
        .map_err(|error| AskError::Unreachable(format!("no status ({code}): {error}")))?;
    if status.peer_auth == ours {
        return Ok(status);
    }
    Err(AskError::Denied(format!(
        "{} was started with peer authentication '{}' and this node with '{ours}'; give all nodes \
         the same of --cluster-secret-file and --cluster-tls-cert, -key and -ca",
        status.node_id, status.peer_auth
    )))
}

/// Statuses of those that answer and are trusted, by address.
pub async fn statuses(
    context: &Arc<Context>,
    addresses: impl IntoIterator<Item = String>,
) -> BTreeMap<String, Status> {
    let mut asking = JoinSet::new();
    for address in addresses {
        let context = Arc::clone(context);
        asking.spawn(async move {
            let status = status_of(&context, &address).await.ok()?;
            Some((address, status))
        });
    }
    asking.join_all().await.into_iter().flatten().collect()
}
