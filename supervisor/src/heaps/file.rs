//! Heaps in memory: files that have no name (`memfd_create`), sealed.
//!
//! # Contract
//! * A [`HeapSink`] is what a worker writes to. It cannot grow beyond its bound, whoever has it.
//! * A [`HeapFile`] cannot change any more: not by us, not by a worker that still has its sink.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;

use mcp_v8_protocol::limits::HEAP_BYTES_MAX;
use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Everything that can be forbidden.
const SEALED: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// Why there is no heap in memory.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No heap is so long, or so short.
    #[error("a heap of {bytes} bytes; accepted: 1 to {bytes_max}")]
    Length {
        /// How long it would be.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The kernel refused.
    #[error("{call}: {error}")]
    Kernel {
        /// What was called.
        call: &'static str,
        /// What it said.
        error: io::Error,
    },
}

fn kernel(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> FileError {
    move |error| FileError::Kernel { call, error: error.into() }
}

/// A file that a worker writes a heap to.
#[derive(Debug)]
pub struct HeapSink {
    file: OwnedFd,
    bytes_max: u64,
}

impl HeapSink {
    /// An empty file for at most `bytes_max` bytes. It takes memory as it is written.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn new(bytes_max: u64) -> Result<Self, FileError> {
        if bytes_max == 0 || bytes_max > HEAP_BYTES_MAX {
            return Err(FileError::Length { bytes: bytes_max, bytes_max: HEAP_BYTES_MAX });
        }
        let file = create()?;
        // What may not grow must have its length from the beginning.
        ftruncate(&file, bytes_max).map_err(kernel("ftruncate"))?;
        fcntl_add_seals(&file, SealFlags::GROW).map_err(kernel("fcntl(F_ADD_SEALS)"))?;
        Ok(Self { file, bytes_max })
    }

    /// The most it takes.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Writes behind what was written, by this process itself.
    ///
    /// # Errors
    /// [`FileError::Kernel`], also for more than the most it takes.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), FileError> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.file, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(kernel("write")(error)),
            }
        }
        Ok(())
    }

    /// What was written, of which the writer says that it is so long. Nobody must be writing any more.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn seal(self, bytes: u64) -> Result<HeapFile, FileError> {
        if bytes == 0 || bytes > self.bytes_max {
            return Err(FileError::Length { bytes, bytes_max: self.bytes_max });
        }
        ftruncate(&self.file, bytes).map_err(kernel("ftruncate"))?;
        fcntl_add_seals(&self.file, SEALED).map_err(kernel("fcntl(F_ADD_SEALS)"))?;
        Ok(HeapFile { file: self.file, bytes })
    }
}

impl AsFd for HeapSink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A heap in memory that cannot change.
#[derive(Debug)]
pub struct HeapFile {
    file: OwnedFd,
    bytes: u64,
}

impl HeapFile {
    /// A copy of these bytes.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn copy_of(bytes: &[u8]) -> Result<Self, FileError> {
        Self::of(&[bytes])
    }

    /// A copy of these bytes, one behind the other.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn of(pieces: &[&[u8]]) -> Result<Self, FileError> {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut sink = HeapSink::new(bytes)?;
        pieces.iter().try_for_each(|piece| sink.write_all(piece))?;
        sink.seal(bytes)
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When there is no room for the mapping.
    pub fn map(&self) -> io::Result<Mapped<'_>> {
        let len = usize::try_from(self.bytes).map_err(io::Error::other)?;
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: a new mapping wherever the kernel likes, of a file of that length which neither
        // shrinks nor changes.
        let start = unsafe { mmap(null_mut(), len, ProtFlags::READ, flags, &self.file, 0)? };
        Ok(Mapped { start: start.cast(), len, file: self })
    }

    /// Whether nobody can change it, whatever they have of it.
    pub fn is_sealed(&self) -> bool {
        fcntl_get_seals(&self.file).is_ok_and(|seals| seals.contains(SEALED))
    }
}

impl AsFd for HeapFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The bytes of a heap.
#[derive(Debug)]
pub struct Mapped<'a> {
    start: *const u8,
    len: usize,
    file: &'a HeapFile,
}

// SAFETY: memory that nobody writes to may be read from any thread.
unsafe impl Send for Mapped<'_> {}
// SAFETY: as above.
unsafe impl Sync for Mapped<'_> {}

impl Deref for Mapped<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        debug_assert_eq!(self.len as u64, self.file.bytes);
        // SAFETY: mapped for as long as this lives, and never written to.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Mapped<'_> {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing borrows it any more. It cannot fail for a whole
        // mapping.
        let _ = unsafe { munmap(self.start.cast_mut().cast(), self.len) };
    }
}

fn create() -> Result<OwnedFd, FileError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know that a file may say it holds no program.
    memfd_create("mcp-v8-heap", flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create("mcp-v8-heap", flags))
        .map_err(kernel("memfd_create"))
}

#[cfg(test)]
mod tests {
    use rustix::io::{Errno, pwrite, write};

    use super::*;

    #[test]
    fn a_sink_takes_its_bound_and_not_one_byte_more() {
        let sink = HeapSink::new(4).unwrap();
        assert_eq!(write(&sink, b"abcd"), Ok(4));
        assert_eq!(write(&sink, b"e"), Err(Errno::PERM));
        assert_eq!(ftruncate(&sink, 5), Err(Errno::PERM));
        assert_eq!(&*sink.seal(4).unwrap().map().unwrap(), b"abcd");

        let sink = HeapSink::new(4).unwrap();
        assert!(matches!(sink.seal(5), Err(FileError::Length { bytes: 5, bytes_max: 4 })));
        assert!(matches!(HeapSink::new(4).unwrap().seal(0), Err(FileError::Length { .. })));
        assert!(HeapSink::new(HEAP_BYTES_MAX).is_ok());
        assert!(matches!(HeapSink::new(HEAP_BYTES_MAX + 1), Err(FileError::Length { .. })));
        assert!(matches!(HeapSink::new(0), Err(FileError::Length { .. })));
    }

    #[test]
    fn what_is_sealed_cannot_be_changed_by_who_has_written_it() {
        let sink = HeapSink::new(100).unwrap();
        let writer = sink.file.try_clone().unwrap();
        write(&writer, b"heap and more").unwrap();
        let file = sink.seal(4).unwrap();
        assert!(file.is_sealed());
        assert_eq!(write(&writer, b"x"), Err(Errno::PERM));
        assert_eq!(pwrite(&writer, b"x", 0), Err(Errno::PERM));
        assert_eq!(ftruncate(&writer, 3), Err(Errno::PERM));
        assert_eq!(fcntl_add_seals(&writer, SealFlags::SEAL), Err(Errno::PERM));
        assert_eq!(&*file.map().unwrap(), b"heap");
    }

    #[test]
    fn a_copy_is_what_it_was_made_of() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_001).collect();
        let file = HeapFile::copy_of(&bytes).unwrap();
        assert!(file.is_sealed());
        assert_eq!(file.bytes(), 100_001);
        assert_eq!(&*file.map().unwrap(), bytes);
        assert!(HeapFile::copy_of(&[]).is_err());
    }
}
