//! Requests to the cluster port of a node.

use std::sync::Arc;
use std::time::Duration;

use mcp_v8_cluster::auth::proof::{self, NONCE, PROOF, Signed};
use mcp_v8_cluster::auth::{AuthError, Credentials, Sources, now_ms};
use mcp_v8_cluster::hex;
use mcp_v8_cluster::net::ask::{AskError, check_answer, said};
use mcp_v8_cluster::node::config::check_address;
use mcp_v8_cluster::node::status::Status;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

/// How long an answer may take: the leader commits before it answers.
const PATIENCE: Duration = Duration::from_secs(15);

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
}

impl OperateError {
    /// 1 when the cluster said no, 2 when nobody was asked.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Address(_) | Self::Auth(_) | Self::Unreachable { .. } | Self::Unproven { .. } => {
                2
            }
        }
    }
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
        let mut http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
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

    /// Sends a request, with proof for the process `to` if there is a secret, and checks that of its
    /// answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        to: Option<Uuid>,
    ) -> Result<(StatusCode, Vec<u8>), OperateError> {
        let scheme = if self.credentials.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}{path}", self.address);
        let mut request = self.http.request(method.clone(), url);
        let mut nonce = None;
        if let Some(secret) = &self.credentials.secret {
            let fresh = *nonce.insert(proof::nonce().map_err(|error| self.failed(&error))?);
            request = request.header(NONCE, hex::encode(&fresh));
            if let Some(to) = to {
                let signed = Signed { method: method.as_str(), path, body: &body, nonce: &fresh };
                request = request.header(AUTHORIZATION, signed.authorization(secret, to, now_ms()));
            }
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        let status = answer.status();
        let proof = answer.headers().get(PROOF).cloned();
        let body = answer.bytes().await.map_err(|error| self.failed(&error))?;
        let proof = proof.as_ref().map(HeaderValue::as_bytes);
        check_answer(&self.credentials, nonce.as_ref(), status, &body, proof)
            .map_err(|error| self.asked(error))?;
        Ok((status, body.to_vec()))
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
        // A proof names the process that it is for.
        let to = match &self.credentials.secret {
            Some(_) => self.status().await?.instance,
            None => None,
        };
        let body = body.to_string().into_bytes();
        let (status, body) = self.send(Method::POST, path, body, to).await?;
        if status.is_success() { Ok(()) } else { Err(OperateError::Refused(said(&body))) }
    }
}
