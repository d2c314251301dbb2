//! Executions that keep their heap or leave artifacts: what they begin with, and what becomes of what
//! they leave.
//!
//! # Contract
//! * A step begins where its session stands when it has its turn, or at the heap its caller named; that
//!   heap is here, or fetched.
//! * What it leaves is durable on this disk when [`keep`] returns, and on a majority before its outcome
//!   is committed (`ledger/complete.rs`).
//! * A script whose heap or artifacts are being stored holds no slot any more; at most
//!   [`STORING_PER_SLOT`](crate::limits::STORING_PER_SLOT) times as many as there are slots do so, until
//!   they are committed.

use mcp_v8_cluster::command::{ArtifactLeft, HeapHash, HeapLeft};
use mcp_v8_cluster::state::sessions;
use mcp_v8_protocol::limits::HEAP_BYTES_MAX;
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::execution::Execution;
use super::model::{ErrorDetail, ErrorKind};
use super::submit::Bounds;
use crate::access::Principal;
use crate::artifacts::{Artifact, Stored};
use crate::failpoints::Point;
use crate::heaps::{Heap, HeapId};
use crate::metrics;
use crate::pool::{HeapTask, KeptHeap};

/// What an execution has left: nothing of it counts yet.
#[derive(Debug)]
pub struct Left {
    /// Held until it is committed.
    _storing: Option<OwnedSemaphorePermit>,
    /// The heap it began with; none when that was empty.
    pub input: Option<HeapHash>,
    /// The heap, of one that keeps it.
    pub heap: Option<HeapLeft>,
    /// The artifacts.
    pub artifacts: Stored,
}

impl Left {
    /// The artifacts that are on the disk.
    pub fn artifacts(&self) -> &[ArtifactLeft] {
        match &self.artifacts {
            Stored::Disk(artifacts) => artifacts,
            Stored::Memory(_) => &[],
        }
    }
}

fn not_restored(problem: &dyn std::fmt::Display) -> ErrorDetail {
    let message = format!("the heap to begin with cannot be used: {problem}");
    ErrorDetail::new(ErrorKind::HeapNotRestored, message)
}

fn not_saved(problem: &dyn std::fmt::Display) -> ErrorDetail {
    ErrorDetail::new(ErrorKind::HeapNotSaved, format!("the heap cannot be stored: {problem}"))
}

/// What a step does with heaps: where it begins, and how much it may leave.
pub(super) async fn task(
    shared: &Shared,
    execution: &Execution,
    bounds: &Bounds,
) -> Result<HeapTask, ErrorDetail> {
    let Some(ledger) = &shared.ledger else {
        return Err(not_restored(&"this server keeps nothing"));
    };
    let rows = ledger.rows();
    let step = sessions::step(&rows, execution.id()).map_err(|error| not_restored(&error))?;
    let base = match step {
        Some(step) => sessions::base(&rows, &step).map_err(|error| not_restored(&error))?,
        None => return Err(not_restored(&"the execution is forgotten")),
    };
    let base = match base {
        None => None,
        Some(hash) => {
            let engines = shared.pool.heap_engines().await;
            let engines = engines
                .map_err(|error| ErrorDetail::new(ErrorKind::Unavailable, error.to_string()))?;
            let heap = ledger.heaps().get(HeapId(hash), engines).await;
            Some(heap.map_err(|error| not_restored(&error))?)
        }
    };
    // Objects and buffers each have their bound.
    let bytes_max = (2 * bounds.heap_bytes).min(HEAP_BYTES_MAX);
    Ok(HeapTask { base, bytes_max })
}

/// Makes what an execution has left durable here.
pub(super) async fn keep(
    shared: &Shared,
    by: Principal,
    step: Option<(Option<Heap>, KeptHeap)>,
    artifacts: Vec<Artifact>,
    storing: Option<OwnedSemaphorePermit>,
) -> Result<Left, ErrorDetail> {
    let kept = |artifact: Artifact| Artifact { key: by.kept(&artifact.key), ..artifact };
    let artifacts = artifacts.into_iter().map(kept).collect();
    let artifacts = shared.artifacts.store(artifacts).await.map_err(|error| {
        let message = format!("the artifacts cannot be stored: {error}");
        ErrorDetail::new(ErrorKind::ArtifactNotSaved, message)
    })?;
    metrics::artifacts_kept(artifacts.count(), artifacts.bytes());
    let (input, heap) = match step {
        None => (None, None),
        Some((base, kept)) => {
            let input = base.as_ref().map(|base| base.id().0);
            (input, Some(keep_heap(shared, base, kept).await?))
        }
    };
    Ok(Left { _storing: storing, input, heap, artifacts })
}

async fn keep_heap(
    shared: &Shared,
    base: Option<Heap>,
    kept: KeptHeap,
) -> Result<HeapLeft, ErrorDetail> {
    let Some(ledger) = &shared.ledger else {
        return Err(not_saved(&"this server keeps nothing"));
    };
    let id = kept.heap.id();
    let stored = ledger.heaps().put(kept.heap, base).await.map_err(|error| not_saved(&error))?;
    Point::Stored.pass();
    metrics::heap_kept(stored.bytes);
    let parent = stored.parent.map(|parent| parent.0);
    Ok(HeapLeft { hash: id.0, stored_bytes: stored.bytes, parent })
}
