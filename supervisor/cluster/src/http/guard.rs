//! Asks callers of the cluster port for proof, before anything is done for them.
//!
//! # Contract
//! * A route that is not named here needs what a connection between nodes needs: a new one is closed
//!   until somebody opens it.
//! * Without a secret and without certificates, connections between nodes are taken from the
//!   addresses of members only, and the operator's routes from everybody.
//! * A body is read only when what can be checked before it is right, and at most
//!   [`BODY_BYTES_MAX`] of it within [`BODY_READ_MS_MAX`].

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde_json::json;
use tokio::time::timeout;

use super::{BODY_BYTES_MAX, refusal};
use crate::auth::proof::{self, Mac, NONCE, Nonce, PROOF, Signed};
use crate::auth::{Auth, Caller, Reason, Refusal, SCHEME, Secret};
use crate::hex;
use crate::limits::{BODY_READ_MS_MAX, STATUS_BYTES_MAX};
use crate::node::{Neighbours, Node, STREAM_PATH};

/// What a route asks of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing: it tells no secrets and changes nothing.
    Open,
    /// What operators have: the secret, a certificate. Nothing, where there is neither.
    Operator,
    /// What nodes have: the secret, a certificate. The address of one, where there is neither.
    Node,
}

fn class(path: &str) -> Class {
    match path {
        "/raft/status" => Class::Open,
        "/raft/join" | "/raft/leave" | "/raft/transfer-leader" | "/raft/backup" => Class::Operator,
        _ => Class::Node,
    }
}

/// A header as bytes.
pub(super) fn bytes(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&[u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}

/// The nonce of a request.
///
/// # Errors
/// Why there is none.
pub(super) fn nonce(headers: &HeaderMap) -> Result<Nonce, Reason> {
    let digits = bytes(headers, NONCE).ok_or(Reason::Missing)?;
    hex::decode_array(digits).ok_or(Reason::Malformed)
}

/// Counts a refusal and answers it.
pub(super) fn refuse(auth: &Auth, caller: Caller, problem: &Refusal) -> Response {
    auth.refusals.note(problem, &caller.ip);
    let code = StatusCode::from_u16(problem.reason.status()).unwrap_or(StatusCode::FORBIDDEN);
    let body = json!({ "error": problem.problem, "reason": problem.reason.as_str() });
    let mut response = (code, axum::Json(body)).into_response();
    if code == StatusCode::UNAUTHORIZED {
        let asks = format!("{SCHEME} to=\"{}\"", auth.instance);
        if let Ok(asks) = HeaderValue::try_from(asks) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, asks);
        }
    }
    response
}

/// Lets requests through that prove what their route asks for.
pub(super) async fn guard(State(node): State<Node>, request: Request, next: Next) -> Response {
    let auth = node.auth();
    let secret = auth.credentials.secret.as_ref();
    // Without a nonce nobody can check the proof of an answer.
    let nonce = nonce(request.headers()).ok().filter(|_| secret.is_some());
    let response = match check(&node, request).await {
        Ok(request) => next.run(request).await,
        Err(response) => response,
    };
    match (secret, nonce) {
        (Some(secret), Some(nonce)) => proven(secret, &nonce, response).await,
        _ => response,
    }
}

async fn check(node: &Node, request: Request) -> Result<Request, Response> {
    let class = class(request.uri().path());
    if class == Class::Open {
        return Ok(request);
    }
    let auth = node.auth();
    // The listener says who calls; if it did not, that would be nobody we know.
    let caller = request.extensions().get::<Caller>().copied();
    let caller = caller.ok_or_else(|| refusal(StatusCode::FORBIDDEN, "no address"))?;
    let refused = |problem: &Refusal| refuse(auth, caller, problem);
    if auth.credentials.tls.is_some() && !caller.certified {
        return Err(refused(&Refusal::new(
            Reason::NoCertificate,
            "this route needs a client certificate of the cluster's authority; accepted: nodes \
             started with --cluster-tls-cert, --cluster-tls-key and --cluster-tls-ca, `mcp-v8 \
             cluster` with --tls-cert, --tls-key and --tls-ca",
        )));
    }
    if let Some(secret) = &auth.credentials.secret {
        // It begins with a conversation of its own; see `stream`.
        if request.uri().path() == STREAM_PATH {
            return Ok(request);
        }
        return with_proof(auth, secret, caller, request).await;
    }
    // Until Raft runs members are not known, and connections do not begin whoever calls.
    let early = request.uri().path() == STREAM_PATH && node.context().raft.get().is_none();
    let stranger = class == Class::Node
        && auth.credentials.tls.is_none()
        && !early
        && !Neighbours::admit(node.context(), caller.ip).await;
    if stranger {
        let problem = format!(
            "connections between nodes are taken from the addresses of members only ({}), since \
             nothing else says who calls; this one comes from {}. Give all nodes the same \
             --cluster-secret-file, or each the address it calls from as --advertise-addr",
            Neighbours::shown(node.context()),
            caller.ip
        );
        return Err(refused(&Refusal::new(Reason::Stranger, problem)));
    }
    Ok(request)
}

/// Lets a request through that proves the secret.
async fn with_proof(
    auth: &Auth,
    secret: &Secret,
    caller: Caller,
    request: Request,
) -> Result<Request, Response> {
    let refused = |problem: &Refusal| refuse(auth, caller, problem);
    let (parts, body) = request.into_parts();
    let claim = auth.check_claim(bytes(&parts.headers, header::AUTHORIZATION));
    let claim = claim.map_err(|problem| refused(&problem))?;
    let nonce = nonce(&parts.headers).map_err(|reason| refused(&auth.refusal(reason)))?;
    let body = read(body).await?;
    let signed = Signed {
        method: parts.method.as_str(),
        path: path_and_query(&parts),
        body: &body,
        nonce: &nonce,
    };
    let checked = auth.check_request(secret, &claim, &signed, crate::auth::now_ms());
    checked.map_err(|problem| refused(&problem))?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn path_and_query(parts: &Parts) -> &str {
    parts.uri.path_and_query().map_or("/", |path| path.as_str())
}

async fn read(body: Body) -> Result<Bytes, Response> {
    let patience = Duration::from_millis(BODY_READ_MS_MAX);
    match timeout(patience, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("body: {error}; accepted: {BODY_BYTES_MAX} bytes"),
        )),
        Err(_) => Err(refusal(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {patience:?}"),
        )),
    }
}

/// An answer that is proven by its SHA-256, in hexadecimal, and not read for that.
#[derive(Debug, Clone)]
pub(super) struct ProvenBySum(pub String);

/// Adds proof to an answer, if it is a short one or says its sum, and not the begin of a connection.
async fn proven(secret: &Secret, nonce: &Nonce, mut response: Response) -> Response {
    if let Some(ProvenBySum(sum)) = response.extensions().get() {
        let mac = proof::file_mac(secret, nonce, sum);
        add_proof(response.headers_mut(), &mac);
        return response;
    }
    let short = response.body().size_hint().upper();
    let short = short.is_some_and(|bytes| bytes <= STATUS_BYTES_MAX as u64);
    if !short || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be read");
    };
    let body = body.to_bytes();
    let mac = proof::answer_mac(secret, nonce, parts.status.as_u16(), &body);
    add_proof(&mut parts.headers, &mac);
    Response::from_parts(parts, Body::from(body))
}

fn add_proof(headers: &mut HeaderMap, mac: &Mac) {
    // Hexadecimal digits are valid in a header.
    if let Ok(mac) = HeaderValue::try_from(hex::encode(mac)) {
        headers.insert(HeaderName::from_static(PROOF), mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_named_is_closed() {
        assert_eq!(class("/raft/status"), Class::Open);
        assert_eq!(class("/raft/join"), Class::Operator);
        assert_eq!(class("/raft/backup"), Class::Operator);
        for path in [STREAM_PATH, "/raft/new", "/raft/status/", "/RAFT/STATUS", "/raft/%73tatus"] {
            assert_eq!(class(path), Class::Node, "{path}");
        }
    }
}
