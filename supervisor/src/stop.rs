//! The stop of the server: what was asked of it is answered, and then it ends.
//!
//! # Contract
//! * From the first moment `/readyz` and `/raft/status` say 503, and leadership goes to another node.
//! * What is asked in the meantime is answered: by a node of a cluster as always, the scripts among it
//!   run by other nodes; by a server that is alone with a refusal to run more scripts.
//! * Scripts that run have the drain time to end. What is left goes to other nodes (see
//!   [`crate::executions`]), and whoever waits here hears its end, or after [`ANSWERS_MAX`] that it
//!   still runs.
//! * It takes at most the drain time, [`ANSWERS_MAX`] and, if whatever can be late is late, fifteen
//!   seconds more.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::SharedApp;
use crate::limits::{
    ANSWERS_MAX, CANCELS_MAX, CONNECTION_DRAIN_MAX, HANDSHAKE_MAX, LAST_REQUEST_MAX, NOT_READY_MIN,
    STOP_LATE_MAX, STOP_MAX,
};

/// What of a stop has a bound of its own leaves room for the end of the node.
const _: () = {
    let stops = 2 * STOP_MAX.as_millis();
    let requests = HANDSHAKE_MAX.as_millis() + LAST_REQUEST_MAX.as_millis();
    let connections = 2 * CONNECTION_DRAIN_MAX.as_millis();
    assert!(stops + requests + connections + CANCELS_MAX.as_millis() < STOP_LATE_MAX.as_millis());
};

/// What a stop has to do with.
#[derive(Debug)]
pub struct Stop {
    /// The server.
    pub app: SharedApp,
    /// What running scripts may take to end.
    pub drain: Duration,
    /// Requests that have no answer yet.
    pub in_flight: TaskTracker,
    /// The loops that accept connections.
    pub listeners: TaskTracker,
    /// Ends the accepting.
    pub closing: CancellationToken,
    /// Ends what has no end of its own: streams, conversations.
    pub streams: CancellationToken,
}

impl Stop {
    /// Whether there are other nodes.
    fn has_others(&self) -> bool {
        self.app.node.as_ref().is_some_and(|node| !node.others().is_empty())
    }

    /// Answers what was asked, and takes nothing any more.
    pub async fn answer(&self) {
        let begun = Instant::now();
        let executions = &self.app.executions;
        executions.close();
        let others = self.has_others();
        if let Some(node) = self.app.node.as_ref().filter(|_| others) {
            tokio::join!(node.step_down(), node.takes_no_more());
        }
        let seen = async {
            if others {
                sleep_until(begun + NOT_READY_MIN).await;
            }
        };
        if executions.are_replicated() {
            tokio::join!(executions.drain(self.drain), seen);
        } else {
            // Nobody else can run what still comes.
            seen.await;
            executions.drain(self.drain).await;
        }
        self.closing.cancel();
        if !self.listeners.is_empty() {
            // Whoever has connected by now is still taken, and still heard: what they ask is among what
            // is waited for.
            sleep(HANDSHAKE_MAX + LAST_REQUEST_MAX).await;
        }
        self.in_flight.close();
        // Alone there is nothing left to wait for but the sending.
        let patience = if others { ANSWERS_MAX } else { CONNECTION_DRAIN_MAX };
        if timeout(patience, self.in_flight.wait()).await.is_err() {
            executions.end_waits();
            // Whoever does not take its answer by then does not get it.
            let _ = timeout(CONNECTION_DRAIN_MAX, self.in_flight.wait()).await;
        }
        self.streams.cancel();
        // The last calls to end are those that were cancelled, and nobody else knows of that yet.
        executions.cancelled().await;
    }

    /// Ends the rest: connections, processes, the node.
    pub async fn end(&self) {
        self.listeners.wait().await;
        self.app.pool.stop().await;
        if let Some(node) = &self.app.node {
            if self.has_others() {
                // It may have come back here meanwhile.
                node.step_down().await;
            }
            node.retire().await;
            node.stop().await;
        }
    }
}
