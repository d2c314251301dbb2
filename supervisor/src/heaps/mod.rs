//! Heaps that outlive their script: what they are stored as, and what may be handed to a worker.
//!
//! # Contract
//! * To V8 a heap is code: it believes every byte. So a [`Heap`] is a heap of which every byte is known
//!   to have been written by a worker of this cluster, and only a `Heap` is ever given to a worker.
//!   There are two ways to one: a worker of ours has just written it, or a [`blob`] has been opened
//!   with the cluster's key.
//! * A heap in memory is a sealed file ([`file`]): nobody can change it after it was verified, and
//!   workers map it instead of copying it.
//! * A heap is named by the SHA-256 of its bytes.

pub mod blob;
pub mod bucket;
mod cached;
pub mod exchange;
mod file;
mod keeper;
mod key;
pub mod store;

use std::fmt;
use std::io;
use std::sync::Arc;

use mcp_v8_protocol::HeapEngine;

pub use self::blob::{BlobError, HEADER_BYTES, Header};
pub use self::file::{FileError, HeapFile, HeapSink, Mapped};
pub use self::keeper::{Heaps, HeapsError, Places};
pub use self::key::HeapKey;

/// The name of a heap: the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeapId(pub [u8; 32]);

impl HeapId {
    fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut id = [0; 32];
        // The digest is as long as the id.
        id.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

impl fmt::Display for HeapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HeapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The engine of blobs that are kept beside heaps and are none: no worker restores them. Workers' are
/// hashes.
pub const NO_ENGINE: HeapEngine = HeapEngine([0; 32]);

/// What writes heaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// V8's version, for people.
    pub v8_version: Arc<str>,
    /// What must be the same for a heap to be restored.
    pub hash: HeapEngine,
}

/// What the workers of this server can restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engines {
    /// Their own V8's version, for people.
    pub v8_version: Arc<str>,
    /// What the heaps they restore are written by.
    pub accepted: Arc<[HeapEngine]>,
}

/// A heap of which every byte is known to come from a worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Heap {
    id: HeapId,
    engine: Engine,
    file: Arc<HeapFile>,
}

impl Heap {
    /// What a worker has just written. Hashes it, on the thread that calls: not for one that serves
    /// others.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn written(file: HeapFile, engine: Engine) -> io::Result<Self> {
        let id = HeapId::of(&file.map()?);
        Ok(Self { id, engine, file: Arc::new(file) })
    }

    /// Its name.
    pub fn id(&self) -> HeapId {
        self.id
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// What has written it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The header under which it is stored.
    pub fn header(&self, key: &HeapKey) -> Header {
        blob::seal(key, self)
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn map(&self) -> io::Result<Mapped<'_>> {
        self.file.map()
    }

    /// The file, for a worker.
    pub fn file(&self) -> &HeapFile {
        &self.file
    }
}
