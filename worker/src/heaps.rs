//! A job that keeps its heap.
//!
//! # Contract
//! * Heaps come and go in files in memory that the supervisor has made: the one to begin with cannot
//!   change any more and is mapped, the one to leave cannot grow beyond its bound and is written from
//!   its beginning.
//! * The supervisor has made sure of every byte of a heap before it gets here. What is looked at here
//!   is that it is as long as was said.
//! * The heap is written when the script has completed, and only then. `Saving` is said before:
//!   from then on V8 may end the process for something on the heap.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use mcp_v8_protocol::limits::{HEAP_BYTES_MAX, MESSAGE_BYTES_MAX, cut};
use mcp_v8_protocol::{
    Done, Failure, FailureKind, FromWorker, HeapEngine, Job, JobHeap, Outcome, Usage, WrittenHeap,
};
use mcp_v8_runtime::{CreateError, HeapBase, Runtime, SaveError};
use rustix::io::Errno;

use crate::outbox::{self, Outbox};
use crate::{WorkerError, console, signals};

/// The base, made by the build script.
static BASE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/heap.bin"));
static BASE_FACTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/heap-facts.bin"));
static ENGINE: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/heap-engine.bin"));

/// Read in a template, for all of its children.
static HEAP_BASE: LazyLock<Option<HeapBase>> = LazyLock::new(|| HeapBase::new(BASE, BASE_FACTS));

/// Why a job has no heap to begin with, or none to leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeapError {
    /// The program was put together wrongly.
    #[error("the base is damaged")]
    Base,
    /// Other files came with the job than it speaks of.
    #[error("{got} files came where {expected} were due")]
    Files {
        /// How many came.
        got: usize,
        /// How many it speaks of.
        expected: usize,
    },
    /// No heap may be so long, nor so short.
    #[error("a heap of {0} bytes")]
    Length(u64),
    /// A file cannot be used.
    #[error("{call}: {error}")]
    File {
        /// What was called.
        call: &'static str,
        /// What it said.
        error: Errno,
    },
}

/// What the heaps are written by that this program restores.
pub(crate) fn engines() -> Vec<HeapEngine> {
    LazyLock::force(&HEAP_BASE);
    mcp_v8_runtime::heap_engines(ENGINE).into_iter().map(HeapEngine).collect()
}

/// Runs the job and ends the process.
pub(crate) fn execute(
    outbox: &Arc<Outbox>,
    job: &Job,
    heap: JobHeap,
    descriptors: Vec<OwnedFd>,
) -> Result<(), WorkerError> {
    let begun = Instant::now();
    let (begin, leave) = open(heap, descriptors)?;
    let base = HEAP_BASE.as_ref().ok_or(HeapError::Base)?;
    let mut runtime = match Runtime::restore(base, begin, job.limits.heap_bytes) {
        Ok(runtime) => runtime,
        Err(CreateError::Restore(error)) => {
            let outcome = failed(FailureKind::HeapNotRestored, error.to_string());
            let done = Done { outcome, usage: Usage::default(), heap: None };
            outbox.send(&FromWorker::Done(Box::new(done)))?;
            outbox::exit(0)
        }
        Err(error) => return Err(error.into()),
    };
    let restore_us = micros(begun);
    signals::stop_with(runtime.stopper());
    let mut done = runtime.run(job, console(outbox));
    if matches!(done.outcome, Outcome::Completed { .. }) {
        outbox.send(&FromWorker::Saving)?;
        let begun = Instant::now();
        match runtime.save(heap.bytes_max.min(HEAP_BYTES_MAX)) {
            Ok(saved) => {
                write_all(&leave, &saved)?;
                let bytes = saved.len() as u64;
                done.heap = Some(WrittenHeap { bytes, restore_us, save_us: micros(begun) });
            }
            Err(error) => {
                let kind = match error {
                    SaveError::Unsavable(_) => FailureKind::HeapNotSaved,
                    SaveError::TooLarge { .. } => FailureKind::HeapTooLarge,
                };
                done.outcome = failed(kind, error.to_string());
            }
        }
    }
    outbox.send(&FromWorker::Done(Box::new(done)))?;
    outbox::exit(0)
}

/// The heap to begin with, unless that is the base, and the file for the one to leave.
fn open(
    heap: JobHeap,
    mut files: Vec<OwnedFd>,
) -> Result<(Option<&'static [u8]>, OwnedFd), HeapError> {
    let (got, expected) = (files.len(), 1 + usize::from(heap.base_bytes.is_some()));
    match (files.pop(), files.pop(), heap.base_bytes) {
        (Some(leave), Some(begin), Some(bytes)) if got == expected => {
            Ok((Some(map(&begin, bytes)?), leave))
        }
        (Some(leave), None, None) => Ok((None, leave)),
        _ => Err(HeapError::Files { got, expected }),
    }
}

/// Maps a file of that length for as long as the process lives.
fn map(file: &OwnedFd, bytes: u64) -> Result<&'static [u8], HeapError> {
    let len = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes == 0 || bytes > HEAP_BYTES_MAX || length(file)? != bytes {
        return Err(HeapError::Length(bytes));
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_POPULATE;
    // SAFETY: a new mapping wherever the kernel likes, which is never unmapped. The file is sealed: it
    // neither shrinks nor changes.
    unsafe {
        let mapped = libc::mmap(null_mut(), len, libc::PROT_READ, flags, file.as_raw_fd(), 0);
        if mapped == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            let error = Errno::from_io_error(&error).unwrap_or(Errno::NOSYS);
            return Err(HeapError::File { call: "mmap", error });
        }
        Ok(std::slice::from_raw_parts(mapped.cast::<u8>(), len))
    }
}

/// The length of a file, without the call for it, which the sandbox forbids.
fn length(file: &OwnedFd) -> Result<u64, HeapError> {
    let error = |error| HeapError::File { call: "lseek", error };
    rustix::fs::seek(file.as_fd(), rustix::fs::SeekFrom::End(0)).map_err(error)
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), HeapError> {
    while !bytes.is_empty() {
        match rustix::io::write(file.as_fd(), bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(HeapError::File { call: "write", error }),
        }
    }
    Ok(())
}

fn failed(kind: FailureKind, mut message: String) -> Outcome {
    cut(&mut message, MESSAGE_BYTES_MAX);
    Outcome::Failed(Failure { kind, message, stack: None, line: None, column: None })
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
