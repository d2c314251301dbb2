//! Answers the calls of other nodes.

use std::io::{self, Write};
use std::time::Duration;

use openraft::storage::Snapshot;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Node;
use crate::limits::{BARRIER_MS_MAX, PROPOSE_MS_MAX};
use crate::net::Hello;
use crate::net::message::{Request, Response};
use crate::net::server::Handler;
use crate::store::room::Room;
use crate::store::snapshot::{self, SnapshotFile, Temporary};
use crate::types::{SnapshotMeta, Vote};

/// Answers on one connection.
#[derive(Debug)]
pub struct Answers {
    node: Node,
    /// Who asks.
    caller: Hello,
    /// The snapshot that comes in on this connection.
    incoming: Mutex<Option<Incoming>>,
}

#[derive(Debug)]
struct Incoming {
    vote: Vote,
    meta: SnapshotMeta,
    path: Temporary,
    file: std::fs::File,
    bytes: u64,
}

impl Answers {
    /// For a new connection.
    pub fn new(node: Node, caller: Hello) -> Self {
        Self { node, caller, incoming: Mutex::new(None) }
    }

    /// Why the caller gets nothing done by this leader: one that was removed does not hear of it, and
    /// would go on as a member for ever. Who is not the leader may know of fewer members than there
    /// are.
    fn removed(&self) -> Option<Response> {
        let caller = self.caller.node.as_ref()?;
        if self.node.inner.context.is_member(caller) || !self.node.is_leader() {
            return None;
        }
        let name = &self.caller.name;
        Some(Response::Refused(format!(
            "'{name}' is no member of the cluster any more: it was removed. Stop it; to bring it in \
             again, move its store away and start it with --join"
        )))
    }

    fn begin(&self, vote: Vote, meta: SnapshotMeta, bytes: u64) -> io::Result<()> {
        if let Some(reason) = self.node.full() {
            return Err(io::Error::other(reason));
        }
        let directory = self.node.store().path().join(snapshot::DIRECTORY);
        // Its rows come to lie beside it and those that they replace.
        let (needed, room) = (bytes.saturating_mul(3), Room::of(&directory)?);
        let (free, reserve) = (room.free, room.reserve());
        if free < needed.saturating_add(reserve) {
            return Err(io::Error::other(format!(
                "a snapshot of {bytes} bytes needs {needed} for a while, and {free} are free, of \
                 which {reserve} stay free"
            )));
        }
        let path = directory.join(format!("{}.incoming", uuid::Uuid::new_v4().simple()));
        let path = Temporary(path);
        let file = std::fs::File::create(&path.0)?;
        *self.incoming.lock() = Some(Incoming { vote, meta, path, file, bytes: 0 });
        Ok(())
    }

    async fn bytes(&self, bytes: Vec<u8>) -> Result<Response, String> {
        let incoming = self.incoming.lock().take();
        let mut incoming = incoming.ok_or("bytes of no snapshot")?;
        if bytes.is_empty() {
            return self.install(incoming).await;
        }
        let written = tokio::task::spawn_blocking(move || {
            incoming.bytes += bytes.len() as u64;
            incoming.file.write_all(&bytes).map(|()| incoming)
        });
        let incoming = written.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        *self.incoming.lock() = Some(incoming);
        Ok(Response::Continue)
    }

    async fn install(&self, incoming: Incoming) -> Result<Response, String> {
        let Incoming { vote, meta, path, file, bytes } = incoming;
        let directory = self.node.store().path().join(snapshot::DIRECTORY);
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index());
        let expected = meta.clone();
        let checked = tokio::task::spawn_blocking(move || {
            file.sync_all()?;
            let meta = snapshot::check(&path.0)?;
            if meta != expected {
                return Err(io::Error::other("it is of another position than announced"));
            }
            let whole = directory.join(format!("{index:020}.snapshot"));
            std::fs::rename(&path.0, &whole)?;
            std::fs::File::open(&directory)?.sync_all()?;
            Ok(SnapshotFile { path: whole, bytes })
        });
        let snapshot = checked.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let raft = self.node.raft().ok_or("this node is starting")?;
        let installed = raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await;
        installed.map(Response::Snapshot).map_err(|error| error.to_string())
    }
}

impl Handler for Answers {
    async fn handle(&self, request: Request) -> Response {
        let Some(raft) = self.node.raft() else {
            return Response::Refused("this node is still looking for its cluster".to_owned());
        };
        if matches!(request, Request::Propose(_) | Request::Barrier)
            && let Some(refusal) = self.removed()
        {
            return refusal;
        }
        let fatal = |error: &dyn std::fmt::Display| Response::Unknown(error.to_string());
        match request {
            // A leader sees that it lags; its signs of life it still takes.
            Request::Append(rpc) if !rpc.entries.is_empty() && self.node.is_full() => {
                Response::Refused(self.node.full().unwrap_or_default())
            }
            Request::Append(rpc) => match raft.append_entries(rpc).await {
                Ok(response) => Response::Append(response),
                Err(error) => fatal(&error),
            },
            Request::Vote(rpc) => match raft.vote(rpc).await {
                Ok(response) => Response::Vote(response),
                Err(error) => fatal(&error),
            },
            Request::PreVote(rpc) => match raft.pre_vote(rpc).await {
                Ok(response) => Response::Vote(response),
                Err(error) => fatal(&error),
            },
            Request::Transfer(rpc) => match raft.handle_transfer_leader(rpc).await {
                Ok(response) => Response::Transfer(response),
                Err(error) => fatal(&error),
            },
            Request::SnapshotBegin { vote, meta, bytes } => match self.begin(vote, meta, bytes) {
                Ok(()) => Response::Continue,
                Err(error) => {
                    tracing::warn!(%error, "a snapshot is not taken");
                    Response::Refused(error.to_string())
                }
            },
            Request::SnapshotBytes(bytes) => match self.bytes(bytes).await {
                Ok(response) => response,
                Err(problem) => Response::Refused(problem),
            },
            Request::Propose(commands) => {
                let patience = Duration::from_millis(PROPOSE_MS_MAX);
                self.node.propose_here(commands, patience).await
            }
            Request::Barrier => {
                let deadline = Instant::now() + Duration::from_millis(BARRIER_MS_MAX);
                self.node.barrier_here(deadline).await
            }
            Request::Renew { node, epoch } => self.node.renewed(&node, epoch),
            Request::Join(join) => self.node.join_here(join).await.into(),
            Request::Leave { node } => self.node.leave_here(&node).await.into(),
            Request::TransferTo { node } => self.node.transfer_here(node.as_deref()).await.into(),
            Request::Drain => self.node.drain_here().await.into(),
            Request::Application(body) => match self.node.inner.application.get() {
                Some(application) => Response::Application(application.call(body).await),
                None => Response::Refused("this node is starting".to_owned()),
            },
        }
    }

    fn in_order(&self, request: &Request) -> bool {
        matches!(
            request,
            Request::Append(_)
                | Request::Vote(_)
                | Request::PreVote(_)
                | Request::SnapshotBegin { .. }
                | Request::SnapshotBytes(_)
                | Request::Renew { .. }
        )
    }
}
