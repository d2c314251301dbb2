//! Requests to the cluster port of a node.

use std::fs::File;
use std::time::Duration;

use mcp_v8_cluster::backup::FileError;
use mcp_v8_cluster::backup::restore::RestoreError;
use mcp_v8_cluster::backup::save::SaveError;
use mcp_v8_cluster::backup::stopped::StoppedError;
use mcp_v8_cluster::node::config::check_address;
use mcp_v8_cluster::node::status::Status;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use uuid::Uuid;

/// How long an answer may take: the leader commits before it answers.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long nothing may come of something large.
const SILENCE: Duration = Duration::from_secs(120);

/// How long something large may take altogether.
const DOWNLOAD: Duration = Duration::from_secs(6 * 60 * 60);

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
    /// The node stopped answering in the middle.
    #[error("{address} has broken off: {problem}; try again, or ask another node")]
    BrokenOff {
        /// Where.
        address: String,
        /// Why.
        problem: String,
    },
    /// The cluster does not do it.
    #[error("refused: {0}")]
    Refused(String),
    /// The flags make no sense.
    #[error("{0}")]
    Flags(String),
    /// Founders could not agree on the new cluster's id.
    #[error(
        "several founders need --cluster-token, a text that is the same for all of them and was \
         not used before: it makes the id of the new cluster. For example --cluster-token={0}"
    )]
    Token(Uuid),
    /// The backup is not saved.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The file is no backup.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store of a stopped node is not read.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
    /// There is no store.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl OperateError {
    /// 1 when the cluster said no, 2 when nobody was asked.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_)
            | Self::Save(_)
            | Self::File(_)
            | Self::Stopped(_)
            | Self::Restore(_) => 1,
            Self::Address(_)
            | Self::Unreachable { .. }
            | Self::BrokenOff { .. }
            | Self::Flags(_)
            | Self::Token(_) => 2,
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
        OperateError::Unreachable { address: self.address.clone(), problem: reasons(error) }
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
        if answer.status().is_success() { Ok(()) } else { Err(refusal(answer).await) }
    }

    /// Writes the body of an answer to a file. What it is, and whether it is whole, is for the
    /// caller to check.
    pub async fn download(&self, path: &str, file: &mut File) -> Result<(), OperateError> {
        let url = format!("http://{}{path}", self.address);
        let broken =
            |problem: String| OperateError::BrokenOff { address: self.address.clone(), problem };
        let silent = || broken(format!("nothing has come for {SILENCE:?}"));
        let request = self.http.get(url).timeout(DOWNLOAD);
        // The node writes all of it down before it sends the first byte.
        let answer = timeout(SILENCE, request.send()).await.map_err(|_| silent())?;
        let mut answer = answer.map_err(|error| self.failed(&error))?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        let file = file.try_clone().map_err(|error| broken(error.to_string()))?;
        let mut file = tokio::fs::File::from_std(file);
        loop {
            let chunk = timeout(SILENCE, answer.chunk()).await.map_err(|_| silent())?;
            let chunk = chunk.map_err(|error| broken(reasons(&error)))?;
            let Some(chunk) = chunk else { break };
            file.write_all(&chunk).await.map_err(|error| broken(error.to_string()))?;
        }
        file.flush().await.map_err(|error| broken(error.to_string()))
    }
}

/// An error with its reasons: what matters ("connection refused") is in the sources.
fn reasons(error: &reqwest::Error) -> String {
    let mut problem = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        problem = format!("{problem}: {inner}");
        source = inner.source();
    }
    problem
}

/// What a node says that does not do what it was asked.
async fn refusal(answer: reqwest::Response) -> OperateError {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    let error = body["error"].as_str().map(str::to_owned);
    OperateError::Refused(error.unwrap_or_else(|| status.to_string()))
}
