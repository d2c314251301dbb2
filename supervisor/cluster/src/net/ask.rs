//! One request to the cluster port of another node, outside of the connections that are kept.
//!
//! # Contract
//! * With a shared secret the request carries a nonce, and proof where the caller gives one; an
//!   answer without proof of the same secret is none ([`AskError::Unproven`]).
//! * An answer is at most [`STATUS_BYTES_MAX`] long. The caller sets how long it waits.

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use uuid::Uuid;

use super::transport::Transport;
use crate::auth::proof::{self, Asked, NONCE, PROOF, Signed};
use crate::auth::{Credentials, now_ms, tls};
use crate::hex;
use crate::limits::STATUS_BYTES_MAX;

/// Why a request has no answer that counts.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody does, and does not show that they belong to our cluster.
    #[error("{0}")]
    Unproven(String),
    /// Somebody does, and says that we do not.
    #[error("{0}")]
    Denied(String),
}

impl AskError {
    /// Of an error on the way, which may be one of TLS.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        match tls::cause(error) {
            Some(cause @ rustls::Error::AlertReceived(_)) => {
                Self::Denied(format!("{} ({cause})", tls::advice(cause)))
            }
            Some(cause) => Self::Unproven(format!("{} ({cause})", tls::advice(cause))),
            None => Self::Unreachable(whole(error)),
        }
    }

    /// Of an answer that is a refusal: for want of proof, which says so by its `reason`, or for
    /// something else.
    pub fn refused(status: StatusCode, body: &[u8]) -> Self {
        let json = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
        let problem = format!("{} ({status})", said(body));
        if json["reason"].is_string() { Self::Denied(problem) } else { Self::Unreachable(problem) }
    }
}

/// An error with what it wraps, each once.
pub fn whole(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// A request.
#[derive(Debug)]
pub struct Ask<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: &'a str,
    /// Its body, JSON.
    pub body: Vec<u8>,
    /// Which process it proves the secret to, if it does.
    pub to: Option<Uuid>,
}

impl<'a> Ask<'a> {
    /// A GET of an open route.
    pub fn get(address: &'a str, path: &'a str) -> Self {
        Self { address, method: Method::GET, path, body: Vec::new(), to: None }
    }

    /// Sends it.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn send(self, credentials: &Credentials) -> Result<(StatusCode, Bytes), AskError> {
        let failed = |error: &(dyn Error + 'static)| AskError::from_error(error);
        let stream = Transport::connect(credentials, self.address).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| failed(&e))?;
        let _driving = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = hyper::Request::builder()
            .method(&self.method)
            .uri(self.path)
            .header(HOST, self.address)
            .header(CONTENT_TYPE, "application/json");
        let mut asked = None;
        if let Some(secret) = &credentials.secret {
            let nonce = proof::nonce().map_err(|e| failed(&e))?;
            request = request.header(NONCE, hex::encode(&nonce));
            let (method, path) = (self.method.as_str(), self.path);
            let signed = Signed { method, path, body: &self.body, nonce: &nonce };
            asked = Some(signed.asked(self.to));
            if let Some(to) = self.to {
                let proof = signed.authorization(secret, to, now_ms());
                request = request.header(AUTHORIZATION, proof);
            }
        }
        let request = request.body(Full::new(Bytes::from(self.body))).map_err(|e| failed(&e))?;
        let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
        let status = response.status();
        let proof = response.headers().get(PROOF).cloned();
        let body = Limited::new(response.into_body(), STATUS_BYTES_MAX).collect().await;
        let body = body.map_err(|error| failed(&*error))?.to_bytes();
        let proof = proof.as_ref().map(hyper::header::HeaderValue::as_bytes);
        check_answer(credentials, asked.as_ref(), status, &body, proof)?;
        Ok((status, body))
    }
}

/// Whether an answer to this request counts.
///
/// # Errors
/// [`AskError::Unproven`], with what the answer says if it is a refusal: that may be anybody's.
pub fn check_answer(
    credentials: &Credentials,
    asked: Option<&Asked>,
    status: StatusCode,
    body: &[u8],
    proof: Option<&[u8]>,
) -> Result<(), AskError> {
    let (Some(secret), Some(asked)) = (&credentials.secret, asked) else { return Ok(()) };
    if proof::answer_proven(secret, asked, status.as_u16(), body, proof) {
        return Ok(());
    }
    if !status.is_success() {
        let said = said(body);
        return Err(AskError::Unproven(format!("without proof it says: {said} ({status})")));
    }
    Err(unproven(proof))
}

/// Whether a file that came as the answer to this request is the one that was sent, by the SHA-256, in hexadecimal, that it was found to have.
///
/// # Errors
/// [`AskError::Unproven`].
pub fn check_file(
    credentials: &Credentials,
    asked: Option<&Asked>,
    sha256: &str,
    proof: Option<&[u8]>,
) -> Result<(), AskError> {
    let (Some(secret), Some(asked)) = (&credentials.secret, asked) else { return Ok(()) };
    if proof::file_proven(secret, asked, sha256, proof) { Ok(()) } else { Err(unproven(proof)) }
}

fn unproven(proof: Option<&[u8]>) -> AskError {
    let problem = match proof {
        None => {
            "its answer proves no secret: start it with our --cluster-secret-file, or this one \
             without"
        }
        Some(_) => "it has another secret: give all nodes and operators the same",
    };
    AskError::Unproven(problem.to_owned())
}

/// What a refusal says: `error` of its JSON, or as much of its text as fits a line.
pub fn said(body: &[u8]) -> String {
    const SHOWN_CHARS: usize = 500;
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let error = json.and_then(|json| Some(json.get("error")?.as_str()?.to_owned()));
    let text = error.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_on_one_line() {
        assert_eq!(said(br#"{"error":"no\nway"}"#), "noway");
        assert_eq!(said(b"<html>\x1b[31m"), "<html>[31m");
        assert_eq!(said(&[b'x'; 1000]).len(), 500);
    }
}
