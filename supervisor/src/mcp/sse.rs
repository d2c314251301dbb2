//! MCP over the HTTP+SSE transport of revision 2024-11-05.
//!
//! # Contract
//! * `GET /sse` opens a session: the first event is `endpoint` with the URL to post to, each later
//!   `message` event is one JSON-RPC message. The session ends with its stream.
//! * `POST /message?sessionId=…` takes one message: 202, or 404 for a session that is not there.
//! * At most [`SSE_SESSIONS_MAX`] sessions, and [`SSE_QUEUE_DEPTH_MAX`] messages waiting in each
//!   direction of one; a client that does not read is not buffered for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use rmcp::ServiceExt;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions, JsonRpcMessage, ServerJsonRpcMessage};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};
use uuid::Uuid;

use super::Mcp;
use crate::app::SharedApp;
use crate::http::ApiError;
use crate::limits::{BODY_BYTES_MAX, SSE_KEEP_ALIVE, SSE_QUEUE_DEPTH_MAX, SSE_SESSIONS_MAX};

type Inbox = mpsc::Sender<ClientJsonRpcMessage>;

#[derive(Debug, Clone)]
struct Sessions {
    app: SharedApp,
    stop: CancellationToken,
    inboxes: Arc<Mutex<HashMap<Uuid, Inbox>>>,
}

/// The routes. `stop` ends open streams.
pub fn router(app: SharedApp, stop: CancellationToken) -> Router {
    let sessions = Sessions { app, stop, inboxes: Arc::default() };
    Router::new().route("/sse", get(open)).route("/message", post(message)).with_state(sessions)
}

/// Takes a session out of the table when its stream is dropped, and ends its service.
struct Registered {
    id: Uuid,
    inboxes: Arc<Mutex<HashMap<Uuid, Inbox>>>,
    _service: DropGuard,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.inboxes.lock().remove(&self.id);
    }
}

async fn open(State(sessions): State<Sessions>) -> Result<Response, ApiError> {
    let (inbox, from_client) = mpsc::channel(SSE_QUEUE_DEPTH_MAX);
    let (to_client, outbox) = mpsc::channel::<ServerJsonRpcMessage>(SSE_QUEUE_DEPTH_MAX);
    let id = Uuid::new_v4();
    {
        let mut inboxes = sessions.inboxes.lock();
        if inboxes.len() >= SSE_SESSIONS_MAX {
            let message = format!("{SSE_SESSIONS_MAX} SSE sessions are open; close one first");
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        inboxes.insert(id, inbox);
    }
    let cancel = sessions.stop.child_token();
    let registered = Registered {
        id,
        inboxes: Arc::clone(&sessions.inboxes),
        _service: cancel.clone().drop_guard(),
    };
    let transport = (PollSender::new(to_client), ReceiverStream::new(from_client));
    let handler = Mcp::new(Arc::clone(&sessions.app));
    tokio::spawn(async move {
        match handler.serve_with_ct(transport, cancel).await {
            Ok(running) => drop(running.waiting().await),
            Err(error) => tracing::debug!(%error, "SSE session ended before it was initialised"),
        }
    });
    Ok(Sse::new(events(id, outbox, registered))
        .keep_alive(KeepAlive::new().interval(SSE_KEEP_ALIVE))
        .into_response())
}

/// The event stream. It owns `registered`, so dropping it ends the session.
fn events(
    id: Uuid,
    outbox: mpsc::Receiver<ServerJsonRpcMessage>,
    registered: Registered,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let endpoint = Event::default().event("endpoint").data(format!("/message?sessionId={id}"));
    let messages = ReceiverStream::new(outbox).filter_map(move |message| {
        let _held = &registered;
        let event = Event::default().event("message").json_data(&message);
        async move { event.ok().map(Ok) }
    });
    stream::once(async { Ok(endpoint) }).chain(messages)
}

#[derive(Debug, Deserialize)]
struct MessageQuery {
    #[serde(rename = "sessionId")]
    session_id: String,
}

async fn message(
    State(sessions): State<Sessions>,
    query: Result<Query<MessageQuery>, axum::extract::rejection::QueryRejection>,
    request: Request<Body>,
) -> Result<StatusCode, ApiError> {
    let Query(MessageQuery { session_id }) = query?;
    let inbox = Uuid::try_parse(&session_id)
        .ok()
        .and_then(|id| sessions.inboxes.lock().get(&id).cloned())
        .ok_or_else(|| {
            let message = format!("no SSE session '{session_id}'; open one with GET /sse");
            ApiError::new(StatusCode::NOT_FOUND, message)
        })?;
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        ApiError::bad_request(format!("body: {error}; accepted: up to {BODY_BYTES_MAX} bytes"))
    })?;
    let mut message: ClientJsonRpcMessage = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("Malformed JSON-RPC message: {error}")))?;
    // Tools read the caller's headers from here, as they do over Streamable HTTP.
    match &mut message {
        JsonRpcMessage::Request(request) => {
            request.request.extensions_mut().insert(parts);
        }
        JsonRpcMessage::Notification(notification) => {
            notification.notification.extensions_mut().insert(parts);
        }
        JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
    }
    inbox.send(message).await.map_err(|_| {
        ApiError::new(StatusCode::NOT_FOUND, format!("SSE session '{session_id}' has ended"))
    })?;
    Ok(StatusCode::ACCEPTED)
}
