//! Requests to the cluster port of a node.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use mcp_v8_cluster::auth::proof::{self, Asked, NONCE, PROOF, Signed};
use mcp_v8_cluster::auth::{AuthError, Credentials, Sources, now_ms};
use mcp_v8_cluster::backup::restore::RestoreError;
use mcp_v8_cluster::backup::save::SaveError;
use mcp_v8_cluster::backup::stopped::StoppedError;
use mcp_v8_cluster::backup::{FileError, Summary};
use mcp_v8_cluster::hex;
use mcp_v8_cluster::limits::STATUS_BYTES_MAX;
use mcp_v8_cluster::net::ask::{AskError, check_answer, check_file, said};
use mcp_v8_cluster::node::config::check_address;
use mcp_v8_cluster::node::status::Status;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
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
    /// What is to be proven cannot be.
    #[error(transparent)]
    Auth(#[from] AuthError),
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
    /// The node does not show that it is of the cluster.
    #[error("{address} is not trusted: {problem}")]
    Unproven {
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
            | Self::Auth(_)
            | Self::Unreachable { .. }
            | Self::Unproven { .. }
            | Self::BrokenOff { .. }
            | Self::Flags(_)
            | Self::Token(_) => 2,
        }
    }
}

/// What a file that came is proven with.
#[derive(Debug)]
pub struct FileProof {
    asked: Option<Asked>,
    proof: Option<Vec<u8>>,
}

/// A node to ask.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    http: reqwest::Client,
    credentials: Arc<Credentials>,
}

impl Client {
    /// The node whose cluster port is at `address`, asked with this proof.
    pub fn new(address: &str, sources: &Sources) -> Result<Self, OperateError> {
        check_address("node", address).map_err(|_| OperateError::Address(address.to_owned()))?;
        let credentials = Credentials::load(sources, None)?;
        // Somebody may have installed one already; then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // An answer comes from the node that was asked, or it is none.
        let nowhere = reqwest::redirect::Policy::none();
        let mut http = reqwest::Client::builder().no_proxy().redirect(nowhere).timeout(PATIENCE);
        if let Some(tls) = &credentials.tls {
            http = http.tls_backend_preconfigured((*tls.client()).clone());
        }
        let http = http.build().map_err(|error| OperateError::Unreachable {
            address: address.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self { address: address.to_owned(), http, credentials: Arc::new(credentials) })
    }

    /// Another node, asked with the same proof.
    pub fn at(&self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self.clone() }
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> OperateError {
        self.asked(AskError::from_error(error))
    }

    fn asked(&self, error: AskError) -> OperateError {
        let address = self.address.clone();
        match error {
            AskError::Unreachable(problem) => OperateError::Unreachable { address, problem },
            AskError::Unproven(problem) => OperateError::Unproven { address, problem },
            AskError::Denied(problem) => OperateError::Refused(problem),
        }
    }

    /// A request, with proof for the process `to` if there is a secret, and what its answer must be
    /// an answer to.
    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Vec<u8>,
        to: Option<Uuid>,
    ) -> Result<(RequestBuilder, Option<Asked>), OperateError> {
        let scheme = if self.credentials.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}{path}", self.address);
        let mut request = self.http.request(method.clone(), url);
        let mut asked = None;
        if let Some(secret) = &self.credentials.secret {
            let nonce = proof::nonce().map_err(|error| self.failed(&error))?;
            request = request.header(NONCE, hex::encode(&nonce));
            let signed = Signed { method: method.as_str(), path, body: &body, nonce: &nonce };
            asked = Some(signed.asked(to));
            if let Some(to) = to {
                request = request.header(AUTHORIZATION, signed.authorization(secret, to, now_ms()));
            }
        }
        Ok((request.header(CONTENT_TYPE, "application/json").body(body), asked))
    }

    /// The process that a proof is for, if there is a secret.
    async fn instance(&self) -> Result<Option<Uuid>, OperateError> {
        match &self.credentials.secret {
            Some(_) => Ok(self.status().await?.instance),
            None => Ok(None),
        }
    }

    /// Sends a request and checks the proof of its answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        to: Option<Uuid>,
    ) -> Result<(StatusCode, Vec<u8>), OperateError> {
        let (request, asked) = self.request(&method, path, body, to)?;
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        self.checked(answer, asked.as_ref()).await
    }

    /// An answer, once its proof is checked.
    async fn checked(
        &self,
        mut answer: Response,
        asked: Option<&Asked>,
    ) -> Result<(StatusCode, Vec<u8>), OperateError> {
        let status = answer.status();
        let proof = answer.headers().get(PROOF).cloned();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(&error))? {
            // Whoever answers has proven nothing yet.
            if body.len() + chunk.len() > STATUS_BYTES_MAX {
                return Err(OperateError::Unproven {
                    address: self.address.clone(),
                    problem: format!("its answer is longer than {STATUS_BYTES_MAX} bytes"),
                });
            }
            body.extend_from_slice(&chunk);
        }
        let proof = proof.as_ref().map(HeaderValue::as_bytes);
        check_answer(&self.credentials, asked, status, &body, proof)
            .map_err(|error| self.asked(error))?;
        Ok((status, body))
    }

    /// What the node says about itself.
    pub async fn status(&self) -> Result<Status, OperateError> {
        let (code, body) = self.send(Method::GET, "/raft/status", Vec::new(), None).await?;
        if !code.is_success() {
            return Err(self.asked(AskError::refused(code, &body)));
        }
        serde_json::from_slice(&body).map_err(|error| self.failed(&error))
    }

    /// What the leader says about itself: only it knows how far the others are.
    pub async fn leader_status(&self) -> Result<Status, OperateError> {
        let status = self.status().await?;
        let leader = status.leader_id.as_ref().and_then(|leader| status.peer_addrs.get(leader));
        match leader {
            Some(address) if status.leader_id.as_ref() != Some(&status.node_id) => {
                Ok(self.at(address).status().await.unwrap_or(status))
            }
            _ => Ok(status),
        }
    }

    /// Asks for a change.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(), OperateError> {
        let body = body.to_string().into_bytes();
        let to = self.instance().await?;
        let (status, body) = self.send(Method::POST, path, body, to).await?;
        if status.is_success() { Ok(()) } else { Err(OperateError::Refused(said(&body))) }
    }

    /// Writes a backup to a file. Whether it is whole, and proven ([`Client::check_backup`]), is for
    /// the caller to check.
    pub async fn download(&self, path: &str, file: &mut File) -> Result<FileProof, OperateError> {
        let broken =
            |problem: String| OperateError::BrokenOff { address: self.address.clone(), problem };
        let silent = || broken(format!("nothing has come for {SILENCE:?}"));
        let to = self.instance().await?;
        let (request, asked) = self.request(&Method::GET, path, Vec::new(), to)?;
        // The node writes all of it down before it sends the first byte.
        let answer = timeout(SILENCE, request.timeout(DOWNLOAD).send()).await;
        let mut answer = answer.map_err(|_| silent())?.map_err(|error| self.failed(&error))?;
        if !answer.status().is_success() {
            let (_, body) = self.checked(answer, asked.as_ref()).await?;
            return Err(OperateError::Refused(said(&body)));
        }
        let proof = answer.headers().get(PROOF).map(|proof| proof.as_bytes().to_vec());
        let expected = answer.content_length();
        let expected =
            expected.ok_or_else(|| broken("it does not say how long it is".to_owned()))?;
        self.check_room(file, expected)?;
        let file = file.try_clone().map_err(|error| broken(error.to_string()))?;
        let mut file = tokio::fs::File::from_std(file);
        loop {
            let chunk = timeout(SILENCE, answer.chunk()).await.map_err(|_| silent())?;
            let chunk = chunk.map_err(|error| broken(said(reasons(&error).as_bytes())))?;
            let Some(chunk) = chunk else { break };
            file.write_all(&chunk).await.map_err(|error| broken(error.to_string()))?;
        }
        file.flush().await.map_err(|error| broken(error.to_string()))?;
        Ok(FileProof { asked, proof })
    }

    /// Whether so many bytes find room where this file is: nobody has proven yet that they are wanted.
    fn check_room(&self, file: &File, bytes: u64) -> Result<(), OperateError> {
        let room = rustix::fs::fstatvfs(file);
        match room.map(|room| room.f_bavail.saturating_mul(room.f_frsize)) {
            Ok(free) if free < bytes => Err(OperateError::Refused(format!(
                "the backup has {bytes} bytes, and {free} are free where it is to be written"
            ))),
            // Writing will say what is wrong.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether a backup that came is what the node sent, if there is a secret.
    pub fn check_backup(&self, proof: &FileProof, backup: &Summary) -> Result<(), OperateError> {
        let FileProof { asked, proof } = proof;
        check_file(&self.credentials, asked.as_ref(), &backup.sha256, proof.as_deref())
            .map_err(|error| self.asked(error))
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
