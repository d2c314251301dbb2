//! Raft's calls to other nodes.
//!
//! Each of openraft's three clients per target (entries, heartbeats, snapshots) has a connection of
//! its own, so that a long transfer never delays a sign of life.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft::{AnyError, OptionalSend};
use tokio::io::AsyncReadExt;

use super::context::Context;
use super::dialer::Dialer;
use crate::limits::SNAPSHOT_CHUNK_BYTES;
use crate::net::message::{Request, Response};
use crate::net::{CallError, Peer};
use crate::store::snapshot::SnapshotFile;
use crate::types::{Member, NodeId, Types, Vote};

/// How long a follower may take to keep entries.
const APPEND_PATIENCE: Duration = Duration::from_millis(1500);

/// Makes clients.
#[derive(Debug, Clone)]
pub struct Network {
    /// This node.
    pub context: Arc<Context>,
}

/// Talks to one node.
#[derive(Debug)]
pub struct Link {
    target: NodeId,
    peer: Peer<Dialer>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link {
        let dialer = Dialer { context: Arc::clone(&self.context), to: Some(target.clone()) };
        Link { target, peer: Peer::new(&node.address, dialer) }
    }
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> Unreachable<Types> {
    Unreachable::new(error)
}

fn unexpected(response: &Response) -> RPCError<Types> {
    let text = match response {
        Response::Refused(problem) | Response::Unknown(problem) => problem.clone(),
        other => format!("an answer to another question: {other:?}"),
    };
    RPCError::Unreachable(Unreachable::new(&AnyError::error(text)))
}

impl Link {
    async fn call(
        &self,
        request: &Request,
        action: RPCTypes,
        patience: Duration,
    ) -> Result<Response, RPCError<Types>> {
        match self.peer.call(request, patience).await {
            Ok(response) => Ok(response),
            Err(error @ CallError::Unreachable { .. }) => {
                Err(RPCError::Unreachable(unreachable(&error)))
            }
            Err(error @ CallError::NoAnswer { .. }) => {
                tracing::debug!(target = %self.target, %error, "no answer");
                Err(RPCError::Timeout(Timeout {
                    action,
                    id: NodeId::default(),
                    target: self.target.clone(),
                    timeout: patience,
                }))
            }
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot<
            openraft::type_config::alias::CommittedLeaderIdOf<Types>,
            NodeId,
            Member,
            SnapshotFile,
        >,
        patience: Duration,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let failed = |error: io::Error| StreamingError::Unreachable(unreachable(&error));
        let mut file = tokio::fs::File::open(&snapshot.snapshot.path).await.map_err(failed)?;
        let bytes = snapshot.snapshot.bytes;
        let begin = Request::SnapshotBegin { vote, meta: snapshot.meta, bytes };
        let mut response = self.snapshot_call(&begin, patience).await?;
        loop {
            match response {
                Response::Continue => {}
                Response::Snapshot(response) => return Ok(response),
                other => return Err(into_streaming(unexpected(&other))),
            }
            let mut bytes = Vec::with_capacity(SNAPSHOT_CHUNK_BYTES);
            let mut chunk = (&mut file).take(SNAPSHOT_CHUNK_BYTES as u64);
            chunk.read_to_end(&mut bytes).await.map_err(failed)?;
            // No bytes are the end: then the other side installs it.
            response = self.snapshot_call(&Request::SnapshotBytes(bytes), patience).await?;
        }
    }

    async fn snapshot_call(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<Response, StreamingError<Types>> {
        self.call(request, RPCTypes::InstallSnapshot, patience).await.map_err(into_streaming)
    }
}

fn into_streaming(error: RPCError<Types>) -> StreamingError<Types> {
    match error {
        RPCError::Timeout(error) => StreamingError::Timeout(error),
        RPCError::Unreachable(error) => StreamingError::Unreachable(error),
        RPCError::Network(error) => StreamingError::Network(error),
        RPCError::RemoteError(error) => StreamingError::Unreachable(unreachable(&error)),
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        // openraft allows a heartbeat interval, which entries on a slow line or disk do not keep. It
        // sends no more until these are answered, and heartbeats have a connection of their own.
        let patience = if rpc.entries.is_empty() { option.soft_ttl() } else { APPEND_PATIENCE };
        match self.call(&Request::Append(rpc), RPCTypes::AppendEntries, patience).await? {
            Response::Append(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(&Request::Vote(rpc), RPCTypes::Vote, option.soft_ttl()).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(&Request::PreVote(rpc), RPCTypes::Vote, option.soft_ttl()).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = self.send_snapshot(vote, snapshot, option.soft_ttl()).boxed();
        tokio::select! {
            sent = sending => sent,
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let patience = option.soft_ttl();
        match self.call(&Request::Transfer(req), RPCTypes::TransferLeader, patience).await? {
            Response::Transfer(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let steps = [20, 50, 100, 200].map(Duration::from_millis);
        let rest = std::iter::repeat(Duration::from_millis(250));
        Some(Backoff::new(steps.into_iter().chain(rest)))
    }
}
