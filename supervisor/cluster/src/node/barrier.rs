//! Reads that see everything acknowledged before them (ReadIndex, Raft dissertation 6.4).
//!
//! # Contract
//! * All who wait share one question to the leader; the next ones share the next: an answer to a
//!   question asked before somebody came is of no use to them.

use std::time::Duration;

use openraft::ReadPolicy;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::Node;
use crate::limits::{BARRIER_MS_MAX, PROPOSALS_QUEUED_MAX};
use crate::net::message::{Request, Response};

/// Why a read cannot be answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the cluster cannot be asked: {0}")]
pub struct Unavailable(pub String);

type Waiter = oneshot::Sender<Result<(), Unavailable>>;

/// Takes those who wait.
#[derive(Debug)]
pub struct Barrier {
    queue: mpsc::Sender<Waiter>,
}

/// The other end of a [`Barrier`].
pub struct Barriers(mpsc::Receiver<Waiter>);

impl Barrier {
    /// The two ends of the queue.
    pub fn new() -> (Self, Barriers) {
        let (queue, waiters) = mpsc::channel(PROPOSALS_QUEUED_MAX);
        (Self { queue }, Barriers(waiters))
    }
}

impl Node {
    /// Returns once the rows here reflect everything that was acknowledged before.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no leader with a majority in time.
    pub async fn barrier(&self) -> Result<(), Unavailable> {
        let stopping = || Unavailable("this node is stopping".to_owned());
        let (done, wait) = oneshot::channel();
        self.inner.barrier.queue.try_send(done).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unavailable("too many reads wait".to_owned()),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        wait.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// The index up to which a read must see, if this node leads.
    pub(super) async fn barrier_here(&self, deadline: Instant) -> Response {
        let Some(raft) = self.raft() else { return Response::NotLeader(None) };
        if !self.is_leader() {
            return Response::NotLeader(self.leader());
        }
        match timeout_at(deadline, raft.get_read_log_id(ReadPolicy::ReadIndex)).await {
            Ok(Ok((read, _))) => Response::Barrier(read.index()),
            Ok(Err(error)) => Response::Unknown(error.to_string()),
            Err(_) => Response::Unknown("a majority does not answer".to_owned()),
        }
    }

    async fn pass_barrier(&self) -> Result<(), Unavailable> {
        let deadline = Instant::now() + Duration::from_millis(BARRIER_MS_MAX);
        let mut problem = "there is no leader".to_owned();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unavailable(problem));
            }
            let response = match self.leader() {
                None => {
                    self.leader_change(left.min(Duration::from_millis(250))).await;
                    continue;
                }
                Some(leader) if Some(&leader) == self.id().as_ref() => {
                    self.barrier_here(deadline).await
                }
                Some(leader) => match self.peer(&leader) {
                    Some(peer) => {
                        self.while_leader(&leader, peer.call(&Request::Barrier, left)).await
                    }
                    None => Response::NotLeader(None),
                },
            };
            match response {
                Response::Barrier(index) => return self.applied_to(index).await,
                Response::Unknown(text) | Response::Refused(text) => problem = text,
                _ => "the leader has changed".clone_into(&mut problem),
            }
            sleep(Duration::from_millis(10).min(left)).await;
        }
    }
}

/// Answers those who wait.
pub async fn run(node: Node, barriers: Barriers) {
    let Barriers(mut queue) = barriers;
    loop {
        let mut waiters = Vec::new();
        if queue.recv_many(&mut waiters, PROPOSALS_QUEUED_MAX).await == 0 {
            return;
        }
        let passed = node.pass_barrier().await;
        for waiter in waiters {
            // Whoever asked may have gone.
            let _ = waiter.send(passed.clone());
        }
    }
}
