//! Stored heaps on their way from node to node: the files as they are, proven before they count.
//!
//! # Contract
//! * A copy is the same file, byte for byte: it takes as little to send as to store, and stands on the
//!   same parent.
//! * What arrives gets its name only when it has been read through, down to the heap's hash, under
//!   the cluster's key; whether our workers could restore it does not matter for keeping it.

use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use super::disk::Unfinished;
use super::{
    BlobError, FormatError, HEAD_BYTES, Head, HeapId, HeapStore, Inner, StoreError, blob, blocking,
};

/// A heap's file, for another node.
#[derive(Debug)]
pub struct Copied {
    /// Its bytes from where they were asked for.
    pub bytes: Vec<u8>,
    /// How many the whole file has.
    pub of: u64,
    /// The heap it stands on.
    pub parent: Option<HeapId>,
}

/// A heap's file that is arriving. Nothing of it stays unless it is [kept](HeapStore::keep).
#[derive(Debug)]
pub struct Incoming {
    inner: Arc<Inner>,
    id: HeapId,
    unfinished: Unfinished,
    bytes: u64,
}

impl Incoming {
    /// The heap that it is to be.
    pub fn id(&self) -> HeapId {
        self.id
    }

    /// Bytes that have arrived.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes. The first ones must hold the head of a heap of this cluster, of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take(mut self, bytes: Vec<u8>) -> Result<Self, StoreError> {
        blocking(move || {
            if self.bytes == 0 {
                let format = |error| StoreError::Format { heap: self.id, error };
                let head = Head::decode(&bytes).map_err(format)?;
                let described = blob::authenticate(&self.inner.key, &head.header);
                let described =
                    described.map_err(|error| StoreError::Blob { heap: self.id, error })?;
                if described.id != self.id {
                    return Err(StoreError::Blob { heap: self.id, error: BlobError::Hash });
                }
            }
            self.inner.disk.check_room(bytes.len() as u64)?;
            self.unfinished.file.write_all(&bytes)?;
            self.bytes += bytes.len() as u64;
            Ok(self)
        })
        .await
    }
}

impl HeapStore {
    /// Whether a heap is durable here, with what it is stored against.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub async fn has(&self, id: HeapId) -> Result<bool, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || Ok(inner.readable(id)?.is_some())).await
    }

    /// At most `bytes_max` bytes of a heap's file, from byte `from` on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn copy(
        &self,
        id: HeapId,
        from: u64,
        bytes_max: usize,
    ) -> Result<Copied, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let (head, mut file) = inner.head(id)?;
            let of = file.seek(io::SeekFrom::End(0))?;
            file.seek(io::SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(bytes_max as u64).read_to_end(&mut bytes)?;
            Ok(Copied { bytes, of, parent: head.parent })
        })
        .await
    }

    /// What a heap stands on, by the beginning of its file; nothing of it is proven.
    ///
    /// # Errors
    /// [`StoreError::Format`].
    pub fn parent_in(&self, id: HeapId, begin: &[u8]) -> Result<Option<HeapId>, StoreError> {
        let head = Head::decode(begin).map_err(|error| StoreError::Format { heap: id, error })?;
        Ok(head.parent)
    }

    /// Begins to take a heap's file from another node.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub async fn incoming(&self, id: HeapId) -> Result<Incoming, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let unfinished = inner.disk.begin(id)?;
            Ok(Incoming { inner, id, unfinished, bytes: 0 })
        })
        .await
    }

    /// Proves what has arrived and makes it durable. Says how many bytes it takes.
    ///
    /// # Errors
    /// [`StoreError::Orphan`] when the heap it stands on is not here: bring that first.
    /// [`StoreError`] else for what is no heap of this cluster, or another.
    pub async fn keep(&self, incoming: Incoming) -> Result<u64, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.keep(incoming)).await
    }
}

impl Inner {
    fn keep(&self, mut incoming: Incoming) -> Result<u64, StoreError> {
        let id = incoming.id;
        if let Some((kept, _)) = self.readable(id)? {
            return Ok(kept.bytes);
        }
        let mut file = incoming.unfinished.file.try_clone()?;
        file.rewind()?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let format = |error| StoreError::Format { heap: id, error };
        let head = Head::decode(&head).map_err(format)?;
        let parent = match head.parent {
            None => None,
            Some(parent) => Some(self.get(parent, None).map_err(|error| match error {
                StoreError::Unknown(_) => StoreError::Orphan { heap: id, parent },
                other => other,
            })?),
        };
        if let Some(parent) = &parent {
            // Depths count what has to be read first, on every node alike.
            let (below, _) = self.head(parent.id())?;
            if below.depth + 1 != head.depth {
                return Err(format(FormatError::Depth(head.depth)));
            }
        }
        let heap = self.open(id, &head, file, parent.as_ref(), None)?;
        incoming.unfinished.file.flush()?;
        let finished = self.disk.finish(id, head.parent, incoming.unfinished)?;
        let gone = || StoreError::Orphan { heap: id, parent: head.parent.unwrap_or(id) };
        let bytes = finished.ok_or_else(gone)?;
        self.remember(heap, head.depth);
        Ok(bytes)
    }
}
