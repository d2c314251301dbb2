//! What a node tells operators of itself beyond Raft, and what it hears when it asks the others.
//!
//! # Contract
//! * [`Node::overview`] reads counters and asks nobody. What the server above adds, it adds at once.
//! * [`Node::overviews`] asks every other member at the same time and waits at most [`STATUS_MS_MAX`];
//!   a member without an answer is there with the reason.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Node;
use super::context::Context;
use super::status::{MemberStatus, Status};
use super::troubles::Way;
use crate::limits::STATUS_MS_MAX;
use crate::net::ask::{Ask, AskError};

/// Where a node tells it, on the cluster port.
pub const OVERVIEW_PATH: &str = "/raft/overview";

/// What the server above says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Why it should get no traffic; nothing when it should.
    pub not_ready: Vec<String>,
    /// The rest, in terms that only servers know.
    pub server: serde_json::Value,
}

/// One node. Tells no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Raft's side.
    pub status: Status,
    /// The server's.
    pub described: Described,
}

/// A member, and what it has said or why it has said nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The member, as the node knows it that asked.
    pub member: MemberStatus,
    /// What it says.
    pub said: Result<Overview, String>,
}

/// How the server above describes itself.
pub(super) type Describe = Box<dyn Fn() -> Described + Send + Sync>;

impl Node {
    /// Has the server above describe itself; once. Must answer at once.
    pub fn describe_with(&self, describe: impl Fn() -> Described + Send + Sync + 'static) {
        // A second one would be a mistake of ours, and changes nothing.
        let _ = self.inner.describe.set(Box::new(describe));
    }

    /// This node.
    pub fn overview(&self) -> Overview {
        let described = match self.inner.describe.get() {
            Some(describe) => describe(),
            None => Described { not_ready: self.not_ready(), ..Described::default() },
        };
        Overview { status: self.status(), described }
    }

    /// Every member that this node knows of, itself included, in the order of the membership.
    pub async fn overviews(&self) -> Vec<Heard> {
        let own = self.overview();
        let id = self.id().map(|id| id.to_string());
        let mut heard: Vec<Heard> = Vec::new();
        let mut asking = JoinSet::new();
        for (at, member) in own.status.members.iter().enumerate() {
            let said = if Some(&member.id) == id.as_ref() {
                Ok(own.clone())
            } else {
                let (context, address) = (Arc::clone(&self.inner.context), member.address.clone());
                asking.spawn(async move { (at, ask(&context, &address).await) });
                Err("it was not asked".to_owned())
            };
            heard.push(Heard { member: member.clone(), said });
        }
        while let Some(answer) = asking.join_next().await {
            // A task that asks does not panic.
            if let Ok((at, said)) = answer
                && let Some(heard) = heard.get_mut(at)
            {
                heard.said = said;
            }
        }
        heard
    }
}

async fn ask(context: &Context, address: &str) -> Result<Overview, String> {
    let patience = Duration::from_millis(STATUS_MS_MAX);
    let ask = Ask::get(address, OVERVIEW_PATH).send(&context.auth.credentials);
    let asked = match timeout(patience, ask).await {
        Ok(Ok((code, body))) => read(code, &body),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(AskError::Unreachable(format!("no answer within {patience:?}"))),
    };
    context.heed(address, Way::Request, asked.as_ref().err());
    asked.map_err(|error| error.to_string())
}

fn read(code: StatusCode, body: &[u8]) -> Result<Overview, AskError> {
    if code == StatusCode::NOT_FOUND || code == StatusCode::FORBIDDEN {
        let problem = "it runs an earlier release, which does not tell";
        return Err(AskError::Unreachable(problem.to_owned()));
    }
    if !code.is_success() {
        return Err(AskError::refused(code, body));
    }
    serde_json::from_slice(body).map_err(|error| {
        AskError::Unreachable(format!("it runs another release, which says it otherwise: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_release_is_told_from_one_of_ours() {
        let problem = |code, body: &[u8]| read(code, body).unwrap_err().to_string();
        assert!(problem(StatusCode::NOT_FOUND, b"{}").contains("earlier release"));
        assert!(problem(StatusCode::FORBIDDEN, b"{}").contains("earlier release"));
        assert!(problem(StatusCode::OK, b"{\"status\":1}").contains("another release"));
        let refused = problem(StatusCode::INTERNAL_SERVER_ERROR, br#"{"error":"no"}"#);
        assert!(refused.starts_with("no (500"), "{refused}");
    }
}
