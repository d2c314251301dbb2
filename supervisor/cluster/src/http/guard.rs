//! Asks callers of the cluster port for proof, before anything is done for them.
//!
//! # Contract
//! * A route that is not named here needs what a connection between nodes needs: a new one is closed
//!   until somebody opens it.
//! * Without a secret and without certificates, connections between nodes are taken from the
//!   addresses of members only, and the operator's routes from everybody.
//! * A body is read only when what can be checked before it is right, and at most
//!   [`BODY_BYTES_MAX`] of it within [`BODY_READ_MS_MAX`].
//! * An answer is proven to be one to its request; that of a route which asks for proof only once the
//!   request has given it, so that nobody collects proofs.
//! * Programs use this port, and browsers only to look: a page that an operator visits could reach it
//!   under a name of its own (DNS rebinding).

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde_json::json;
use tokio::time::timeout;

use super::{BODY_BYTES_MAX, refusal};
use crate::auth::proof::{self, Asked, Mac, NONCE, Nonce, PROOF, Signed};
use crate::auth::{Auth, Caller, Reason, Refusal, SCHEME, Secret};
use crate::hex;
use crate::limits::{BODY_READ_MS_MAX, STATUS_BYTES_MAX};
use crate::node::overview::OVERVIEW_PATH;
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
        "/raft/status" | OVERVIEW_PATH => Class::Open,
        "/raft/join" | "/raft/leave" | "/raft/transfer-leader" | "/raft/drain" | "/raft/backup" => {
            Class::Operator
        }
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
    let (response, asked) = match check(&node, request).await {
        Ok((request, asked)) => (next.run(request).await, asked),
        Err(response) => return response,
    };
    match (&node.auth().credentials.secret, asked) {
        (Some(secret), Some(asked)) => proven(secret, &asked, response).await,
        _ => response,
    }
}

/// Whether a browser sends this, for a page.
fn of_a_page(headers: &HeaderMap) -> bool {
    let agent = bytes(headers, header::USER_AGENT);
    headers.contains_key(header::ORIGIN)
        || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
        || agent.is_some_and(|agent| agent.starts_with(b"Mozilla/"))
}

/// The request, if it may go on; and what its answer must be proven to be an answer to.
async fn check(node: &Node, request: Request) -> Result<(Request, Option<Asked>), Response> {
    let class = class(request.uri().path());
    let auth = node.auth();
    if class == Class::Open {
        let nonce = nonce(request.headers()).ok().filter(|_| auth.credentials.secret.is_some());
        let asked = nonce.map(|nonce| {
            let (method, path) = (request.method().as_str(), path_and_query(request.uri()));
            Signed { method, path, body: b"", nonce: &nonce }.asked(None)
        });
        return Ok((request, asked));
    }
    if of_a_page(request.headers()) {
        let problem = "no browser uses this route; accepted: nodes, and `mcp-v8 cluster`";
        return Err(refusal(StatusCode::FORBIDDEN, problem));
    }
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
            return Ok((request, None));
        }
        let (request, asked) = with_proof(auth, secret, caller, request).await?;
        return Ok((request, Some(asked)));
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
    if request.uri().path() == STREAM_PATH {
        return Ok((request, None));
    }
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    Ok((Request::from_parts(parts, Body::from(body)), None))
}

/// Lets a request through that proves the secret.
async fn with_proof(
    auth: &Auth,
    secret: &Secret,
    caller: Caller,
    request: Request,
) -> Result<(Request, Asked), Response> {
    let refused = |problem: &Refusal| refuse(auth, caller, problem);
    let (parts, body) = request.into_parts();
    let claim = auth.check_claim(bytes(&parts.headers, header::AUTHORIZATION));
    let claim = claim.map_err(|problem| refused(&problem))?;
    let nonce = nonce(&parts.headers).map_err(|reason| refused(&auth.refusal(reason)))?;
    let body = read(body).await?;
    let signed = Signed {
        method: parts.method.as_str(),
        path: path_and_query(&parts.uri),
        body: &body,
        nonce: &nonce,
    };
    let checked = auth.check_request(secret, &claim, &signed, crate::auth::now_ms());
    checked.map_err(|problem| refused(&problem))?;
    let asked = signed.asked(Some(claim.to));
    Ok((Request::from_parts(parts, Body::from(body)), asked))
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |path| path.as_str())
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
async fn proven(secret: &Secret, asked: &Asked, mut response: Response) -> Response {
    if let Some(ProvenBySum(sum)) = response.extensions().get() {
        let mac = proof::file_mac(secret, asked, sum);
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
    let mac = proof::answer_mac(secret, asked, parts.status.as_u16(), &body);
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
        assert_eq!(class(OVERVIEW_PATH), Class::Open);
        assert_eq!(class("/raft/join"), Class::Operator);
        assert_eq!(class("/raft/backup"), Class::Operator);
        for path in [STREAM_PATH, "/raft/new", "/raft/status/", "/RAFT/STATUS", "/raft/%73tatus"] {
            assert_eq!(class(path), Class::Node, "{path}");
        }
    }

    #[test]
    fn what_browsers_send_for_pages_is_known() {
        let page = |name: &'static str, value: &'static str| {
            let headers = [(HeaderName::from_static(name), HeaderValue::from_static(value))];
            of_a_page(&HeaderMap::from_iter(headers))
        };
        assert!(page("origin", "http://evil.example"));
        assert!(page("sec-fetch-site", "same-origin"));
        assert!(page("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"));
        assert!(!page("user-agent", "curl/8.5.0") && !page("host", "node1:4000"));
    }
}
