//! Where heaps are kept.
//!
//! # Contract
//! * [`HeapStore::put`] returns once the heap is durable on this disk. A heap is kept once, whoever
//!   puts it; it never changes.
//! * A heap that came of another is stored as what differs from that one, at most
//!   [`HEAP_DEPTH_MAX`] times in a row: so a heap is as safe as those below it, and whoever removes
//!   heaps asks [`HeapStore::parent`] first.
//! * [`HeapStore::get`] gives only what [`blob::open`] has proven to be a heap of this cluster. The
//!   ones used last are in memory.
//! * Compressing, hashing and the disk have threads of their own.

mod cache;
mod copies;
mod disk;
mod format;
mod sweep;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use self::cache::Cache;
pub use self::copies::{Copied, Incoming};
use self::disk::Disk;
pub use self::disk::HeapFileEntry;
pub use self::format::FormatError;
use self::format::{HEAD_BYTES, Head, compress, decompress};
use super::{BlobError, Engines, Heap, HeapFile, HeapId, HeapKey, NO_ENGINE, blob};
use crate::limits::HEAP_DEPTH_MAX;

/// Why a heap is not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none.
    #[error("there is no heap {0}")]
    Unknown(HeapId),
    /// What it is stored against is gone.
    #[error("heap {heap} is stored against heap {parent}, which is not there")]
    Orphan {
        /// The heap.
        heap: HeapId,
        /// What it needs.
        parent: HeapId,
    },
    /// The disk.
    #[error("the disk of the heaps: {0}")]
    Disk(#[from] io::Error),
    /// Its file is damaged.
    #[error("the file of heap {heap}: {error}")]
    Format {
        /// The heap.
        heap: HeapId,
        /// What is wrong.
        error: FormatError,
    },
    /// It is none of ours, or not for our workers.
    #[error("heap {heap}: {error}")]
    Blob {
        /// The heap.
        heap: HeapId,
        /// Why.
        error: BlobError,
    },
}

impl StoreError {
    /// The heap whose file here is damaged, if that is what is wrong: a copy from another node may be
    /// whole.
    pub fn damaged(&self) -> Option<HeapId> {
        match self {
            // Another release may have written it.
            Self::Format { error: FormatError::Io(_) | FormatError::Format(_), .. } => None,
            Self::Format { heap, .. } => Some(*heap),
            Self::Blob { heap, error } if error.is_damage() => Some(*heap),
            _ => None,
        }
    }
}

/// How a heap is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Bytes it takes.
    pub bytes: u64,
    /// The heap it is stored against.
    pub parent: Option<HeapId>,
}

/// The heaps of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HeapStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Disk,
    key: HeapKey,
    cache: Mutex<Cache>,
}

impl HeapStore {
    /// Opens the heaps in a directory, or makes it. `cache_bytes` of them are kept in memory. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path, key: HeapKey, cache_bytes: u64) -> io::Result<Self> {
        let cache = Mutex::new(Cache::new(cache_bytes));
        Ok(Self { inner: Arc::new(Inner { disk: Disk::open(path)?, key, cache }) })
    }

    /// Makes a heap durable, and keeps it in memory for the next step. `parent` is the heap that it
    /// came of. One that is there already stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub async fn put(&self, heap: Heap, parent: Option<Heap>) -> Result<Kept, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.put(heap, parent)).await
    }

    /// Reads a heap that these engines can restore.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, id: HeapId, engines: Engines) -> Result<Heap, StoreError> {
        if let Some(heap) = self.inner.cached(id, Some(&engines)) {
            return Ok(heap);
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.get(id, Some(&engines))).await
    }

    /// The heap that another one is stored against, if it is; that one must stay as long.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn parent(&self, id: HeapId) -> Result<Option<HeapId>, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || Ok(inner.head(id)?.0.parent)).await
    }

    /// Removes a heap; says whether it was there. Those that are stored against it cannot be read any
    /// more.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub async fn remove(&self, id: HeapId) -> Result<bool, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.cache.lock().remove(id);
            Ok(inner.disk.remove(id)?)
        })
        .await
    }

    /// Takes the file of a heap away, if it is there, and leaves it under another name.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub async fn set_aside(&self, id: HeapId) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.cache.lock().remove(id);
            Ok(inner.disk.set_aside(id)?)
        })
        .await
    }

    /// Gives a file that was [taken away](Self::set_aside) its name again, unless there is another.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub async fn put_back(&self, id: HeapId) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || Ok(inner.disk.put_back(id)?)).await
    }

    /// Every heap that is there.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub async fn list(&self) -> Result<Vec<HeapFileEntry>, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || Ok(inner.disk.list()?)).await
    }

    /// Bytes of heaps in memory.
    pub fn cached_bytes(&self) -> u64 {
        self.inner.cache.lock().bytes()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Disk(error.into()))?
}

impl Inner {
    /// A heap in memory, if these engines can restore it, or nobody has to.
    fn cached(&self, id: HeapId, engines: Option<&Engines>) -> Option<Heap> {
        let (heap, _) = self.cache.lock().get(id)?;
        let accepted = |engines: &Engines| engines.accepted.contains(&heap.engine().hash);
        engines.is_none_or(accepted).then_some(heap)
    }

    /// Keeps a heap in memory, for the next step. What is no heap has none, and a descriptor each.
    fn remember(&self, heap: Heap, depth: u8) {
        if heap.engine().hash != NO_ENGINE {
            self.cache.lock().put(heap, depth);
        }
    }

    fn put(&self, heap: Heap, parent: Option<Heap>) -> Result<Kept, StoreError> {
        if let Some((kept, depth)) = self.readable(heap.id())? {
            self.remember(heap, depth);
            return Ok(kept);
        }
        self.disk.check_room(heap.bytes())?;
        let (mut parent, mut depth) = self.usable_parent(parent)?;
        loop {
            let below = parent.as_ref().map(Heap::id);
            let head = Head { depth, parent: below, header: heap.header(&self.key) };
            let written = self.disk.write(heap.id(), below, |out| {
                out.write_all(&head.encode())?;
                let before = parent.as_ref().map(Heap::map).transpose()?;
                compress(&heap.map()?, before.as_deref(), out)
            })?;
            if let Some(bytes) = written {
                self.remember(heap, depth);
                return Ok(Kept { bytes, parent: below });
            }
            // Removed meanwhile: then the heap stands by itself.
            (parent, depth) = (None, 0);
        }
    }

    /// How a heap is stored here, if it is, and what it is stored against is here as well; and its
    /// depth. Saves it from being removed as one that nothing names.
    fn readable(&self, id: HeapId) -> Result<Option<(Kept, u8)>, StoreError> {
        let Some(bytes) = self.disk.known(id)? else { return Ok(None) };
        let Head { parent, depth, .. } = match self.head(id) {
            Ok((head, _)) => head,
            Err(error @ StoreError::Format { .. }) if error.damaged().is_some() => return Ok(None),
            Err(StoreError::Unknown(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stands = match parent {
            None => true,
            Some(parent) => self.disk.known(parent)?.is_some(),
        };
        Ok(stands.then_some((Kept { bytes, parent }, depth)))
    }

    /// The parent, unless too many heaps would stand on one another; and the depth of what is stored
    /// against it.
    fn usable_parent(&self, parent: Option<Heap>) -> Result<(Option<Heap>, u8), StoreError> {
        let Some(parent) = parent else { return Ok((None, 0)) };
        let known = self.cache.lock().get(parent.id()).map(|(_, depth)| depth);
        let depth =
            match known.map_or_else(|| self.head(parent.id()).map(|(head, _)| head.depth), Ok) {
                Ok(depth) => depth,
                // Without it the heap stands by itself.
                Err(StoreError::Unknown(_) | StoreError::Format { .. }) => return Ok((None, 0)),
                Err(error) => return Err(error),
            };
        if depth >= HEAP_DEPTH_MAX { Ok((None, 0)) } else { Ok((Some(parent), depth + 1)) }
    }

    /// The head of a heap's file, and the file behind it.
    fn head(&self, id: HeapId) -> Result<(Head, File), StoreError> {
        let mut file = self.disk.read(id)?.ok_or(StoreError::Unknown(id))?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
        let head = Head::decode(&bytes);
        Ok((head.map_err(|error| StoreError::Format { heap: id, error })?, file))
    }

    fn get(&self, id: HeapId, engines: Option<&Engines>) -> Result<Heap, StoreError> {
        // From the heap that is asked for down to one that stands by itself or is in memory.
        let mut stack: Vec<(HeapId, Head, File)> = Vec::new();
        let mut below = None;
        let mut next = Some(id);
        while let Some(wanted) = next {
            if let Some(known) = self.cached(wanted, engines) {
                below = Some(known);
                break;
            }
            let (head, file) = self.head(wanted).map_err(|error| match (error, stack.last()) {
                (StoreError::Unknown(parent), Some((heap, ..))) => {
                    StoreError::Orphan { heap: *heap, parent }
                }
                (error, _) => error,
            })?;
            // Depths fall by one, so that files which name each other end as well.
            let falls = stack.last().is_none_or(|(_, above, _)| above.depth == head.depth + 1);
            if !falls {
                let error = FormatError::Depth(head.depth);
                return Err(StoreError::Format { heap: wanted, error });
            }
            next = head.parent;
            stack.push((wanted, head, file));
        }
        while let Some((heap, head, file)) = stack.pop() {
            let opened = self.open(heap, &head, file, below.as_ref(), engines)?;
            self.remember(opened.clone(), head.depth);
            below = Some(opened);
        }
        below.ok_or(StoreError::Unknown(id))
    }

    fn open(
        &self,
        id: HeapId,
        head: &Head,
        frame: File,
        parent: Option<&Heap>,
        engines: Option<&Engines>,
    ) -> Result<Heap, StoreError> {
        let format = |error| StoreError::Format { heap: id, error };
        let blob = |error| StoreError::Blob { heap: id, error };
        let described = match engines {
            Some(engines) => blob::describe(&self.key, engines, &head.header),
            None => blob::authenticate(&self.key, &head.header),
        };
        let described = described.map_err(blob)?;
        if described.id != id {
            // A file under another name.
            return Err(blob(BlobError::Hash));
        }
        let before = parent.map(Heap::map).transpose()?;
        let file: HeapFile =
            decompress(frame, before.as_deref(), described.bytes).map_err(format)?;
        blob::prove(described, file).map_err(blob)
    }
}

#[cfg(test)]
pub(super) mod tests;
