//! Why there is no worker, and what no worker may send.

use std::io;

use mcp_v8_protocol::{ArtifactError, DecodeError, Fatal};

use super::sandbox::Missing;
use crate::limits::START_DEADLINE;

/// Why a worker did not get ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Fork or exec failed.
    #[error("cannot start the worker program: {0}")]
    Spawn(#[source] io::Error),
    /// It did not say that it is ready in time.
    #[error("the worker was not ready within {} s", START_DEADLINE.as_secs())]
    Deadline,
    /// It ended first.
    #[error("the worker ended while starting ({exit}){}", last_words(.fatal))]
    Died {
        /// How.
        exit: String,
        /// Its last words.
        fatal: Option<Fatal>,
    },
    /// It is of another release.
    #[error(
        "the worker is version {theirs}, this server is {}: install both of one release",
        env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// Its version.
        theirs: String,
    },
    /// It lacks a property that the operator demands.
    #[error("the sandbox is incomplete: {}", list(.0))]
    Sandbox(Vec<Missing>),
    /// A template made no child.
    #[error("the template made no process: {0}")]
    Fork(String),
    /// It sent something else than a greeting.
    #[error("the worker broke the protocol while starting: {0}")]
    Protocol(Violation),
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(Missing::to_string).collect::<Vec<_>>().join("; ")
}

fn last_words(fatal: &Option<Fatal>) -> String {
    fatal.as_ref().map(|fatal| format!(": {}", fatal.message)).unwrap_or_default()
}

/// A message that the worker may not send, or not now.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// The bytes are not a frame.
    #[error(transparent)]
    Frame(#[from] DecodeError),
    /// The message does not belong here.
    #[error("unexpected message {0}")]
    Unexpected(&'static str),
    /// Descriptors came that belong to no message, or none where some were due.
    #[error("descriptors that do not match the message")]
    Descriptors,
    /// More console text than the job allows, a chunk past the bound, an empty one, or far more
    /// chunks than the time it ran allows.
    #[error("console text past its limit")]
    Console,
    /// An artifact that no script may leave.
    #[error("an artifact past its limits: {0}")]
    Artifact(#[from] ArtifactError),
    /// More bytes of an artifact than were announced, or fewer, or a piece past its bound.
    #[error("bytes of an artifact that do not match what was announced")]
    ArtifactBytes,
    /// The end of a job that has a heap where none is due, or none where one is, or one that is too
    /// long.
    #[error("an end that does not match the heap of the job")]
    Heap,
}
