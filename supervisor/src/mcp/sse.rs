//! MCP over the HTTP+SSE transport of revision 2024-11-05.
//!
//! # Contract
//! * `GET /sse` opens a session: the first event is `endpoint` with the URL to post to, each later
//!   `message` event is one JSON-RPC message. The session ends with its stream.
//! * `POST /message?sessionId=…` takes one message: 202, or 404 for a session that is not there.
//! * A session takes messages of the caller that has opened it; for others it is not there.
//! * At most [`SSE_SESSIONS_MAX`] sessions, and [`SSE_QUEUE_DEPTH_MAX`] messages waiting in each
//!   direction of one. As many requests may be without an answer; the next one is refused, so that
//!   a client that does not read is not buffered for.

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
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, GetExtensions, JsonRpcMessage, RequestId,
    ServerJsonRpcMessage,
};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::Handler;
use super::sessions::forget_session;
use crate::access::{Caller, Principal};
use crate::app::SharedApp;
use crate::http::{ApiError, body};
use crate::limits::{SSE_KEEP_ALIVE, SSE_QUEUE_DEPTH_MAX, SSE_SESSIONS_MAX};

/// The way into one session.
#[derive(Debug, Clone)]
struct Session {
    by: Principal,
    inbox: mpsc::Sender<ClientJsonRpcMessage>,
    unanswered: Arc<Mutex<HashMap<RequestId, TaskTrackerToken>>>,
}

#[derive(Debug, Clone)]
struct Sessions {
    app: SharedApp,
    stop: CancellationToken,
    in_flight: TaskTracker,
    open: Arc<Mutex<HashMap<Uuid, Session>>>,
}

/// The routes. `stop` ends open streams; `in_flight` counts requests until their answers are sent.
pub fn router(app: SharedApp, stop: CancellationToken, in_flight: TaskTracker) -> Router {
    let sessions = Sessions { app, stop, in_flight, open: Arc::default() };
    Router::new().route("/sse", get(open)).route("/message", post(message)).with_state(sessions)
}

impl Session {
    /// Notes a request that needs an answer.
    fn asked(&self, id: &RequestId, token: TaskTrackerToken) -> Result<(), ApiError> {
        let mut unanswered = self.unanswered.lock();
        // It would count once, however often it came.
        if unanswered.contains_key(id) {
            let message = format!("a request with the id {id} has no answer yet; use another id");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, message));
        }
        if unanswered.len() >= SSE_QUEUE_DEPTH_MAX {
            let message = format!(
                "overloaded: {SSE_QUEUE_DEPTH_MAX} requests of this session have no answer yet; \
                 read its stream"
            );
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        unanswered.insert(id.clone(), token);
        Ok(())
    }

    fn answered(&self, id: &RequestId) {
        self.unanswered.lock().remove(id);
    }
}

/// Takes a session out of the table when its stream is dropped, and ends its service.
struct Registered {
    id: Uuid,
    open: Arc<Mutex<HashMap<Uuid, Session>>>,
    _service: DropGuard,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
    }
}

async fn open(State(sessions): State<Sessions>, Caller(by): Caller) -> Result<Response, ApiError> {
    let (inbox, from_client) = mpsc::channel(SSE_QUEUE_DEPTH_MAX);
    let (to_client, outbox) = mpsc::channel::<ServerJsonRpcMessage>(SSE_QUEUE_DEPTH_MAX);
    let id = Uuid::new_v4();
    let session = Session { by, inbox, unanswered: Arc::default() };
    {
        let mut open = sessions.open.lock();
        if open.len() >= SSE_SESSIONS_MAX {
            let message = format!("{SSE_SESSIONS_MAX} SSE sessions are open; close one first");
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        open.insert(id, session.clone());
    }
    let cancel = sessions.stop.child_token();
    let registered =
        Registered { id, open: Arc::clone(&sessions.open), _service: cancel.clone().drop_guard() };
    let transport = (PollSender::new(to_client), ReceiverStream::new(from_client));
    let handler = Handler::new(Arc::clone(&sessions.app));
    tokio::spawn(async move {
        match handler.serve_with_ct(transport, cancel).await {
            Ok(running) => drop(running.waiting().await),
            Err(error) => tracing::debug!(%error, "SSE session ended before it was initialised"),
        }
    });
    Ok(Sse::new(events(id, outbox, session, registered))
        .keep_alive(KeepAlive::new().interval(SSE_KEEP_ALIVE))
        .into_response())
}

/// The event stream. It owns `registered`, so dropping it ends the session.
fn events(
    id: Uuid,
    outbox: mpsc::Receiver<ServerJsonRpcMessage>,
    session: Session,
    registered: Registered,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let endpoint = Event::default().event("endpoint").data(format!("/message?sessionId={id}"));
    let messages = ReceiverStream::new(outbox).filter_map(move |message| {
        let _held = &registered;
        match &message {
            JsonRpcMessage::Response(response) => session.answered(&response.id),
            JsonRpcMessage::Error(error) => {
                if let Some(id) = &error.id {
                    session.answered(id);
                }
            }
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => {}
        }
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
    Caller(by): Caller,
    query: Result<Query<MessageQuery>, axum::extract::rejection::QueryRejection>,
    request: Request<Body>,
) -> Result<StatusCode, ApiError> {
    let Query(MessageQuery { session_id }) = query?;
    let session = Uuid::try_parse(&session_id)
        .ok()
        .and_then(|id| sessions.open.lock().get(&id).cloned())
        .filter(|session| session.by == by)
        .ok_or_else(|| {
            let message = format!("no SSE session '{session_id}'; open one with GET /sse");
            ApiError::new(StatusCode::NOT_FOUND, message)
        })?;
    let (mut parts, body) = request.into_parts();
    // Whose session of the other transport that is nobody has looked at.
    forget_session(&mut parts.headers);
    let body = body::read(body).await?;
    let mut message: ClientJsonRpcMessage = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("Malformed JSON-RPC message: {error}")))?;
    // Tools read the caller's headers from here, as they do over Streamable HTTP.
    match &mut message {
        JsonRpcMessage::Request(request) => {
            request.request.extensions_mut().insert(parts);
            session.asked(&request.id, sessions.in_flight.token())?;
        }
        JsonRpcMessage::Notification(notification) => {
            notification.notification.extensions_mut().insert(parts);
            // A cancelled request gets no answer.
            if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                && let Some(id) = &cancelled.params.request_id
            {
                session.answered(id);
            }
        }
        JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
    }
    session.inbox.send(message).await.map_err(|_| {
        ApiError::new(StatusCode::NOT_FOUND, format!("SSE session '{session_id}' has ended"))
    })?;
    Ok(StatusCode::ACCEPTED)
}
