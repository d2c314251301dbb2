//! The heaps of one job, on their way to a worker and back.

use std::os::fd::AsFd;
use std::time::Duration;

use mcp_v8_protocol::limits::{FRAME_DESCRIPTORS_MAX, HEAP_BYTES_MAX};
use mcp_v8_protocol::{HeapEngine, JobHeap, WrittenHeap};
use tokio::net::UnixStream;

use super::channel::send_with;
use crate::executions::model::{ErrorDetail, ErrorKind};
use crate::heaps::{Engine, Engines, Heap, HeapSink};

/// What a job does with heaps.
#[derive(Debug, Clone)]
pub struct HeapTask {
    /// The heap to begin with; none for one that no script has run on.
    pub base: Option<Heap>,
    /// Bytes that the heap which is left may have, from 1 to
    /// [`HEAP_BYTES_MAX`](mcp_v8_protocol::limits::HEAP_BYTES_MAX). Past it the execution fails.
    pub bytes_max: u64,
}

/// The heap that a job has left.
#[derive(Debug, Clone)]
pub struct KeptHeap {
    /// The heap.
    pub heap: Heap,
    /// What it took the worker to restore the one it began with.
    pub restore: Duration,
    /// What it took the worker to write this one.
    pub save: Duration,
}

impl HeapTask {
    /// What will have written the heap that is left. The worker must be able to restore the one it
    /// begins with: V8 ends the process for a heap of another version, or does not notice.
    pub(super) fn check(&self, engines: Option<&Engines>) -> Result<Engine, ErrorDetail> {
        let not_restored =
            |text: &str| ErrorDetail::new(ErrorKind::HeapNotRestored, text.to_owned());
        let Some((engines, hash)) =
            engines.and_then(|engines| Some((engines, *engines.accepted.last()?)))
        else {
            return Err(not_restored("this worker was not started to keep heaps"));
        };
        let is_accepted = |hash: &HeapEngine| engines.accepted.contains(hash);
        if self.base.as_ref().is_some_and(|heap| !is_accepted(&heap.engine().hash)) {
            return Err(not_restored(
                "the heap was written by another build of the worker, which this one cannot go on \
                 from",
            ));
        }
        Ok(Engine { v8_version: engines.v8_version.clone(), hash })
    }

    /// Makes the file for the heap that is left.
    pub(super) fn open(self) -> Result<HeapFiles, ErrorDetail> {
        let sink = HeapSink::new(self.bytes_max.min(HEAP_BYTES_MAX));
        let sink = sink.map_err(|error| {
            let message = format!("there is no room for the heap: {error}");
            ErrorDetail::new(ErrorKind::HeapNotSaved, message)
        })?;
        Ok(HeapFiles { base: self.base, sink })
    }
}

/// The files of one job.
#[derive(Debug)]
pub(super) struct HeapFiles {
    base: Option<Heap>,
    sink: HeapSink,
}

impl HeapFiles {
    /// What the worker is told of them.
    pub(super) fn announced(&self) -> JobHeap {
        JobHeap {
            base_bytes: self.base.as_ref().map(Heap::bytes),
            bytes_max: self.sink.bytes_max(),
        }
    }

    /// Sends the files with the beginning of `frame`; says how much of it has left. What is wrong with
    /// the socket shows when the worker is heard.
    pub(super) async fn send(&self, socket: &UnixStream, frame: &[u8]) -> usize {
        let mut files = Vec::with_capacity(FRAME_DESCRIPTORS_MAX);
        files.extend(self.base.as_ref().map(|heap| heap.file().as_fd()));
        files.push(self.sink.as_fd());
        send_with(socket, frame, &files).await.unwrap_or(frame.len())
    }

    /// What the worker, which is gone, has written.
    pub(super) async fn keep(
        self,
        written: WrittenHeap,
        engine: Engine,
    ) -> Result<KeptHeap, ErrorDetail> {
        let failed = |error: String| {
            let message = format!("the heap that the worker left cannot be read: {error}");
            ErrorDetail::new(ErrorKind::HeapNotSaved, message)
        };
        let hashed = tokio::task::spawn_blocking(move || {
            let file = self.sink.seal(written.bytes).map_err(|error| error.to_string())?;
            Heap::written(file, engine).map_err(|error| error.to_string())
        });
        let heap = hashed.await.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        Ok(KeptHeap {
            heap,
            restore: Duration::from_micros(written.restore_us),
            save: Duration::from_micros(written.save_us),
        })
    }
}
