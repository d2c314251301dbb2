//! `GET /raft/stream`: where connections between nodes begin.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::guard::{bytes, nonce, refuse};
use super::refusal;
use crate::auth::proof::{self, Mac, NONCE, Nonce, PROOF};
use crate::auth::session::{self, Greeting, Seals, Tampered};
use crate::auth::{Auth, Caller, Place, Reason, Refusal, Secret};
use crate::hex;
use crate::limits::PROOF_MS_MAX;
use crate::net::{Hello, Refused, server};
use crate::node::{HELLO, Meeting, Node, PROTOCOL, hello_header, read_hello};

/// What both sides have said, if they prove a secret to each other.
struct Opened {
    secret: Secret,
    caller_nonce: Nonce,
    caller_hello: HeaderValue,
    called_nonce: Nonce,
    called_hello: HeaderValue,
    /// Until the caller has proven it.
    _unproven: Place,
}

impl Opened {
    /// Whether the caller may have the secret; nonces for the real proof.
    fn new(
        auth: &Auth,
        secret: &Secret,
        headers: &HeaderMap,
        called_hello: &HeaderValue,
        caller: Caller,
    ) -> Result<Self, Refusal> {
        let authorization = bytes(headers, header::AUTHORIZATION);
        let caller_nonce = nonce(headers).map_err(|reason| auth.refusal(reason))?;
        let hello = headers.get(HELLO).cloned().ok_or_else(|| auth.refusal(Reason::Malformed))?;
        session::check_opening(secret, &caller_nonce, hello.as_bytes(), authorization)
            .map_err(|reason| auth.refusal(reason))?;
        let busy = |problem: String| Refusal::new(Reason::Busy, problem);
        let unproven = auth.unproven.take(caller.ip);
        let unproven = unproven
            .ok_or_else(|| busy("too many connections begin at once; try again".to_owned()))?;
        Ok(Self {
            secret: secret.clone(),
            caller_nonce,
            caller_hello: hello,
            called_nonce: proof::nonce().map_err(|error| busy(error.to_string()))?,
            called_hello: called_hello.clone(),
            _unproven: unproven,
        })
    }

    fn greeting(&self) -> Greeting<'_> {
        Greeting {
            caller_nonce: &self.caller_nonce,
            caller_hello: self.caller_hello.as_bytes(),
            called_nonce: &self.called_nonce,
            called_hello: self.called_hello.as_bytes(),
        }
    }

    /// Waits for the proof of the caller; the MACs of what follows. `None` when the caller goes: it
    /// may not have wanted us after all.
    async fn proven(self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Seals>, Refusal> {
        let patience = Duration::from_millis(PROOF_MS_MAX);
        let mut proof = Mac::default();
        let problem = match timeout(patience, stream.read_exact(&mut proof)).await {
            Ok(Ok(_)) if self.greeting().is_caller_proof(&self.secret, &proof) => {
                let seals = self.greeting().called_seals(&self.secret);
                return seals
                    .map(Some)
                    .map_err(|error| Refusal::new(Reason::Busy, error.to_string()));
            }
            Ok(Ok(_)) => "the caller repeats a call that was made before, and has no secret",
            Ok(Err(_)) => return Ok(None),
            Err(_) => "the caller does not prove the secret in time",
        };
        Err(Refusal::new(Reason::Proof, problem))
    }
}

/// Begins a connection between nodes.
pub(super) async fn stream(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
) -> Response {
    let (auth, headers) = (node.auth(), request.headers());
    let own = hello_header(&node.hello());
    let secret = auth.credentials.secret.as_ref();
    let opened = secret.map(|secret| Opened::new(auth, secret, headers, &own, caller)).transpose();
    let opened = match opened {
        Ok(opened) => opened,
        Err(problem) => return refuse(auth, caller, &problem),
    };
    if headers.get(header::UPGRADE).is_none_or(|value| value != PROTOCOL) {
        let problem = format!("connections between nodes: Upgrade: {PROTOCOL}");
        return refusal(StatusCode::UPGRADE_REQUIRED, problem);
    }
    let hello = match read_hello(headers) {
        Ok(hello) => hello,
        Err(problem) => return refusal(StatusCode::BAD_REQUEST, problem),
    };
    let meeting = match node.context().admit(&hello) {
        Ok(meeting) => meeting,
        Err(error) => {
            tracing::debug!(caller = hello.name, %error, "a node was refused");
            let ready = !matches!(error, Refused::NotReady);
            let code = if ready { StatusCode::FORBIDDEN } else { StatusCode::SERVICE_UNAVAILABLE };
            return refusal(code, error);
        }
    };
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .header(HELLO, own);
    if let Some(opened) = &opened {
        let proof = opened.greeting().called_proof(&opened.secret);
        response = response
            .header(NONCE, hex::encode(&opened.called_nonce))
            .header(PROOF, hex::encode(&proof));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    node.spawn_connection(serve(node.clone(), caller, hello, opened, meeting, upgrade));
    response
        .body(Body::empty())
        .unwrap_or_else(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, error))
}

/// Serves a connection from its first byte on.
async fn serve(
    node: Node,
    caller: Caller,
    hello: Hello,
    opened: Option<Opened>,
    meeting: Option<Meeting>,
    upgrade: OnUpgrade,
) {
    let auth = node.auth();
    let mut stream = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return tracing::debug!(%error, "a connection did not come about"),
    };
    let seals = match opened {
        None => None,
        Some(opened) => match opened.proven(&mut stream).await {
            Ok(Some(seals)) => Some(seals),
            Ok(None) => return tracing::debug!(caller = hello.name, "gone without a proof"),
            Err(problem) => return auth.refusals.note(&problem, &caller.ip),
        },
    };
    if let Some(meeting) = meeting
        && let Err(error) = node.context().meet(meeting).await
    {
        return tracing::warn!(caller = hello.name, %error, "a node was refused");
    }
    let answers = Arc::new(node.answers(&hello));
    let served = server::serve((Box::new(stream), seals), answers, node.stopping()).await;
    if let Err(error) = served {
        if Tampered::is(&error) {
            auth.refusals.note(&Refusal::new(Reason::Frame, error.to_string()), &caller.ip);
        }
        tracing::debug!(caller = hello.name, %error, "a connection has ended");
    }
}
