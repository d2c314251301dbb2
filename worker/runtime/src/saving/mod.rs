//! Heaps that outlive their process: restored before a script, written after it.
//!
//! # Contract
//! * A heap is a snapshot of V8's: the [base](base) that [`bake_heap_base`] makes at build time, or
//!   what [`Runtime::save`](crate::Runtime::save) wrote. V8 takes such bytes for its own and checks
//!   nothing: whoever hands them in has made sure of where they come from.
//! * Writing runs no code of the script: no getter, no trap, no `toJSON`.
//! * What V8 cannot write ends the process unless it is found before. What is known to be of that
//!   kind is found, and refused with its place where that can be told; objects of `Intl` and
//!   `Temporal` are emptied of their native parts and filled again ([`natives`]).
//! * What belongs to one run is not in the heap: timers, the console, random numbers, clocks, limits.
//!
//! V8's own interface for snapshots is made for build time. What is missing in it for this use is
//! in [`serializer`], [`raw`] and [`checksum`], each of which says what it relies on; that holds for
//! exactly the version that is linked in, and baking fails where it does not.

pub(crate) mod base;
mod blame;
mod checksum;
mod facts;
mod internals;
mod natives;
mod raw;
mod serializer;

pub use base::{BakeHeapError, BakedHeap, HeapBase, bake_heap_base, heap_engines};
pub(crate) use facts::Facts;
pub(crate) use internals::Internals;
pub(crate) use natives::{prepare as prepare_natives, revive};
pub(crate) use serializer::Serializer;

/// Names the interface between this code and what is ours in a heap. Raise it when that changes so
/// that an older heap does not serve any more.
const INTERFACE: &str = "mcp-v8 heap 1";

/// Why a heap was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// Something in it cannot be written.
    #[error("state cannot be saved: {0}")]
    Unsavable(String),
    /// It is larger than it may be.
    #[error("the heap takes more than the {bytes_max} bytes that may be kept")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
}

/// Why a heap cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state cannot be restored: {0}")]
pub struct RestoreError(pub(crate) String);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
