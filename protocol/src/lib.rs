//! The wire between the supervisor and one worker process.
//!
//! # Contract
//! * This crate alone knows the bytes. Both sides see only [`ToWorker`] and [`FromWorker`].
//! * A frame is an 8-byte header and a bincode payload; see [`codec`]. The header's length is
//!   checked against the direction's limit before anything is allocated for it.
//! * Every frame carries [`VERSION`]. The two binaries are installed together; a frame of another
//!   version is an error that names both numbers, never a guess.
//! * Decoding arbitrary bytes returns an error or a message and never panics: the supervisor reads
//!   what hostile code may have written.
//!
//! Changing any type in [`message`] changes the bytes: raise [`VERSION`] and renew the golden
//! frames in `tests/golden/` in the same commit.

pub mod artifacts;
pub mod codec;
pub mod limits;
pub mod memory;
pub mod message;

pub use artifacts::{ArtifactError, Artifacts, check_artifact_key};
pub use codec::{DecodeError, Decoder, EncodeError, Wire, encode, encode_into};
pub use memory::MemoryBounds;
pub use message::{
    ArtifactHead, Done, Failure, FailureKind, Fatal, FatalKind, Forked, FromWorker, HeapEngine,
    Hello, Job, JobHeap, JobLimits, Layer, LayerReport, Outcome, Ready, ToWorker, Usage,
    WrittenHeap,
};

/// Version of the frames. Carried in every header; the other side must have the same.
pub const VERSION: u16 = 4;
