//! Begins connections to other nodes: who this node is, whom it wants, and proof of both.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_util::task::AbortOnDropHandle;

use super::context::{Context, HELLO, PROTOCOL, STREAM_PATH, hello_header, read_hello};
use super::troubles::Way;
use crate::auth::proof::{self, NONCE, Nonce, PROOF};
use crate::auth::session::{self, Greeting, Seals, Tampered};
use crate::auth::{Reason, Refusal, Secret};
use crate::hex;
use crate::net::ask::AskError;
use crate::net::client::{Connected, Connector};
use crate::net::transport::Transport;
use crate::types::NodeId;

/// Connects to one node.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// This node.
    pub context: Arc<Context>,
    /// The other one; `None` for whoever is at the address.
    pub to: Option<NodeId>,
}

impl Connector for Dialer {
    async fn connect(&self, address: &str) -> io::Result<Connected> {
        // The membership may know a newer address than whoever made this.
        let members = self.context.members();
        let address = match self.to.as_ref().and_then(|to| members.get(to)) {
            Some(member) if !member.address.is_empty() => &member.address,
            _ => address,
        };
        let connected = self.begin(address).await;
        self.context.heed(address, Way::Connection, connected.as_ref().err());
        connected.map_err(io::Error::other)
    }

    fn failed(&self, address: &str, error: &io::Error) {
        if Tampered::is(error) {
            let refusal = Refusal::new(Reason::Frame, error.to_string());
            self.context.auth.refusals.note(&refusal, &address);
        }
    }
}

/// What was said to begin a connection with proof.
struct Opening<'a> {
    secret: &'a Secret,
    nonce: Nonce,
    hello: HeaderValue,
}

impl Opening<'_> {
    /// Checks the answer; the proof to send, and the MACs of what follows.
    fn check(&self, response: &Response<Incoming>) -> Result<(proof::Mac, Seals), AskError> {
        let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
        let said = || {
            let proof = hex::decode_array(header(PROOF)?)?;
            Some((hex::decode_array(header(NONCE)?)?, header(HELLO)?, proof))
        };
        let Some((called_nonce, called_hello, proof)) = said() else {
            return Err(AskError::Unproven(
                "it proves no secret: start it with our --cluster-secret-file, or this one without"
                    .to_owned(),
            ));
        };
        let greeting = Greeting {
            caller_nonce: &self.nonce,
            caller_hello: self.hello.as_bytes(),
            called_nonce: &called_nonce,
            called_hello,
        };
        if !greeting.is_called_proof(self.secret, &proof) {
            let problem = "it has another secret: give all nodes the same --cluster-secret-file";
            return Err(AskError::Unproven(problem.to_owned()));
        }
        let seals = greeting.caller_seals(self.secret).map_err(|error| failed(&error))?;
        Ok((greeting.caller_proof(self.secret), seals))
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> AskError {
    AskError::from_error(error)
}

impl Dialer {
    async fn begin(&self, address: &str) -> Result<Connected, AskError> {
        let credentials = &self.context.auth.credentials;
        let stream =
            Transport::connect(credentials, address).await.map_err(|error| failed(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // Until the connection is ours.
        let driving = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
        let hello = hello_header(&self.context.hello(self.to.as_ref()));
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(STREAM_PATH)
            .header(HOST, address)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, PROTOCOL)
            .header(HELLO, &hello);
        let mut opening = None;
        if let Some(secret) = &credentials.secret {
            let nonce = proof::nonce().map_err(|error| failed(&error))?;
            let proof = session::opening(secret, &nonce, hello.as_bytes());
            request = request.header(NONCE, hex::encode(&nonce)).header(AUTHORIZATION, proof);
            opening = Some(Opening { secret, nonce, hello });
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        let proven = opening.map(|opening| opening.check(&response)).transpose()?;
        self.check(&response).await?;
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| failed(&error))?;
        // It has ended by now.
        driving.detach();
        let mut stream = TokioIo::new(upgraded);
        let mut seals = None;
        if let Some((proof, agreed)) = proven {
            // Nobody waits for it: frames follow at once.
            stream.write_all(&proof).await.map_err(|error| failed(&error))?;
            seals = Some(agreed);
        }
        Ok((Box::new(stream), seals))
    }

    /// Whether this is who we want. What it says is proven by now, if it has to be.
    async fn check(&self, response: &Response<Incoming>) -> Result<(), AskError> {
        let hello = read_hello(response.headers()).map_err(AskError::Unreachable)?;
        if let Some(to) = &self.to
            && hello.node.as_ref() != Some(to)
        {
            return Err(AskError::Unreachable(format!("it is {}, not {to}", hello.name)));
        }
        let refused = |error: crate::net::Refused| AskError::Unreachable(error.to_string());
        match self.context.check(&hello).map_err(refused)? {
            Some(meeting) => self.context.meet(meeting).await.map_err(refused),
            None => Ok(()),
        }
    }
}

/// Why somebody did not take our call.
async fn refusal(response: Response<Incoming>) -> AskError {
    const PATIENCE: Duration = Duration::from_millis(500);
    let status = response.status();
    let body = Limited::new(response.into_body(), 4096).collect();
    let body = match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Bytes::new(),
    };
    AskError::refused(status, &body)
}
