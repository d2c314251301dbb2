//! `notifications/cancelled` that come to another node than the request they are about.
//!
//! Behind a balancer each message of a session may come to another node. Whoever gets such a
//! notification tells all others, until they have heard it; the one that has the request cancels it, as
//! if it had come there.

use std::sync::Arc;

use axum::http::request::Parts;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification,
    Extensions,
};
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::sessions::id_of;
use crate::app::SharedApp;
use crate::executions::{CancelledElsewhere, RequestCancelled};
use crate::limits::CANCELLED_REASON_BYTES_MAX;

/// Has a server that stops wait until a message of HTTP is dealt with, also one that is not answered.
/// Lives in the extensions of its request, and so as long as the context of the message.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    _held: TaskTrackerToken,
}

impl Unfinished {
    /// Counted among these.
    pub(super) fn among(requests: &TaskTracker) -> Self {
        Self { _held: requests.token() }
    }
}

/// Leaves it to the answer of a request how long a server that stops waits for it.
pub(super) fn answered(extensions: &mut Extensions) {
    if let Some(parts) = extensions.get_mut::<Parts>() {
        parts.extensions.remove::<Unfinished>();
    }
}

/// Tells the other nodes of a notification that a client has sent to this one. Returns at once.
pub(super) fn tell_others(
    app: &SharedApp,
    cancelled: CancelledNotificationParam,
    extensions: Extensions,
) {
    // What another node has told comes without a request of HTTP, and goes no further.
    let Some(parts) = extensions.get::<Parts>() else { return };
    let (Some(session), Some(request)) = (id_of(&parts.headers), cancelled.request_id) else {
        return;
    };
    let Ok(request) = serde_json::to_value(request) else { return };
    let reason = shortened(cancelled.reason.unwrap_or_default());
    let cancelled = RequestCancelled { session: session.to_owned(), request, reason };
    let executions = app.executions.clone();
    tokio::spawn(async move {
        executions.tell_cancelled(cancelled).await;
        // With it, whatever waits for its end.
        drop(extensions);
    });
}

fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(CANCELLED_REASON_BYTES_MAX));
    reason
}

/// Gives what other nodes tell to the sessions here, until `stop`.
pub(super) async fn take(
    manager: Arc<LocalSessionManager>,
    mut told: mpsc::Receiver<CancelledElsewhere>,
    stop: CancellationToken,
) {
    while let Some(Some(CancelledElsewhere { cancelled, heeded })) =
        stop.run_until_cancelled(told.recv()).await
    {
        let id = cancelled.session.into();
        let Ok(request) = serde_json::from_value(cancelled.request) else { continue };
        if !manager.has_session(&id).await.unwrap_or_default() {
            continue;
        }
        let params = CancelledNotificationParam::new(Some(request), Some(cancelled.reason));
        let notification = CancelledNotification::new(params);
        let message = ClientJsonRpcMessage::notification(
            ClientNotification::CancelledNotification(notification),
        );
        if let Err(error) = manager.accept_message(&id, message).await {
            tracing::debug!(%error, "a session has ended before a request of it was cancelled");
        }
        drop(heeded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_up_to_the_bound_and_cut_one_past_it() {
        let reason = |bytes: usize| shortened("r".repeat(bytes)).len();
        assert_eq!(reason(CANCELLED_REASON_BYTES_MAX), CANCELLED_REASON_BYTES_MAX);
        assert_eq!(reason(CANCELLED_REASON_BYTES_MAX + 1), CANCELLED_REASON_BYTES_MAX);
        // Not within a character.
        assert_eq!(
            shortened("é".repeat(CANCELLED_REASON_BYTES_MAX)).len(),
            CANCELLED_REASON_BYTES_MAX
        );
    }
}
