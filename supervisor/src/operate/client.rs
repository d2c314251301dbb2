//! Requests to the cluster port of a node.

use std::time::Duration;

use mcp_v8_cluster::node::config::check_address;
use mcp_v8_cluster::node::status::Status;
use serde_json::Value;

/// How long an answer may take: the leader commits before it answers.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The address is none.
    #[error("--node: '{0}' is not host:port; give the cluster port of any member")]
    Address(String),
    /// The node does not answer.
    #[error("{address} is not reached: {problem}; is it the cluster port of a running node?")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        problem: String,
    },
    /// The cluster does not do it.
    #[error("refused: {0}")]
    Refused(String),
}

impl OperateError {
    /// 1 when the cluster said no, 2 when nobody was asked.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Address(_) | Self::Unreachable { .. } => 2,
        }
    }
}

/// A node to ask.
#[derive(Debug)]
pub struct Client {
    address: String,
    http: reqwest::Client,
}

impl Client {
    /// The node whose cluster port is at `address`.
    pub fn new(address: &str) -> Result<Self, OperateError> {
        check_address("node", address).map_err(|_| OperateError::Address(address.to_owned()))?;
        // Somebody may have installed one already; then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let http = http.map_err(|error| OperateError::Unreachable {
            address: address.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self { address: address.to_owned(), http })
    }

    fn failed(&self, error: &reqwest::Error) -> OperateError {
        let mut problem = error.to_string();
        // The reason ("connection refused") is in the sources.
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            problem = format!("{problem}: {inner}");
            source = inner.source();
        }
        OperateError::Unreachable { address: self.address.clone(), problem }
    }

    /// What the node says about itself.
    pub async fn status(&self) -> Result<Status, OperateError> {
        let url = format!("http://{}/raft/status", self.address);
        let answer = self.http.get(url).send().await.map_err(|error| self.failed(&error))?;
        answer.json().await.map_err(|error| self.failed(&error))
    }

    /// What the leader says about itself: only it knows how far the others are.
    pub async fn leader_status(&self) -> Result<Status, OperateError> {
        let status = self.status().await?;
        let leader = status.leader_id.as_ref().and_then(|leader| status.peer_addrs.get(leader));
        match leader {
            Some(address) if status.leader_id.as_ref() != Some(&status.node_id) => {
                Ok(Self::new(address)?.status().await.unwrap_or(status))
            }
            _ => Ok(status),
        }
    }

    /// Asks for a change.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(), OperateError> {
        let url = format!("http://{}{path}", self.address);
        let request = self.http.post(url).json(body);
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        let error = body["error"].as_str().map(str::to_owned);
        Err(OperateError::Refused(error.unwrap_or_else(|| status.to_string())))
    }
}
