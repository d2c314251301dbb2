//! A heap as it is stored and sent: a header, then the heap's bytes as V8 wrote them.
//!
//! ```text
//! 0       8        10      12     16        24           56       88         120   152
//! │ magic │ format │ zero  │ zero │ length  │ V8 version │ engine │ SHA-256  │ MAC │ heap
//!   8       u16 LE   u16     u32    u64 LE    32, text     32       32         32
//! ```
//!
//! The MAC is HMAC-SHA256 under the cluster's key over everything before it, and so over the hash of
//! the heap. Nothing in a header is believed before its MAC is right but what says how to read it, and
//! no byte of a heap reaches V8 before its hash is.

use std::sync::Arc;

use mcp_v8_protocol::HeapEngine;

use super::{Engine, Engines, Heap, HeapFile, HeapId, HeapKey};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 152;

/// The version of this layout.
pub const FORMAT: u16 = 1;

const MAGIC: &[u8; 8] = b"mcp8heap";

/// A header.
pub type Header = [u8; HEADER_BYTES];

/// Bytes of the text that names V8's version; the rest is zero.
const V8_VERSION_BYTES: usize = 32;

const FORMAT_AT: usize = 8;
const LENGTH_AT: usize = 16;
const V8_VERSION_AT: usize = 24;
const ENGINE_AT: usize = 56;
const HASH_AT: usize = 88;
const MAC_AT: usize = 120;

/// Why bytes are no heap for this server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It ends within the header.
    #[error("{bytes} bytes are too few for a heap: its header alone has {HEADER_BYTES}")]
    NoHeader {
        /// How many there are.
        bytes: usize,
    },
    /// It is something else.
    #[error("this is not a heap of mcp-v8: it does not begin with its mark")]
    Magic,
    /// It was written by another release.
    #[error("the heap has format {theirs}, this server reads format {FORMAT}")]
    Format {
        /// The format of the heap.
        theirs: u16,
    },
    /// Its header was damaged, or made by somebody who does not have the key.
    #[error("the heap was not written by this cluster, or its header is damaged (wrong MAC)")]
    Mac,
    /// It was cut off, or something was added.
    #[error("the heap has {bytes} bytes, its header says {expected}")]
    Length {
        /// How many there are.
        bytes: u64,
        /// How many there should be.
        expected: u64,
    },
    /// Another V8 wrote it.
    #[error("the heap was written by V8 {theirs}, the workers of this server run V8 {ours}")]
    V8Version {
        /// The version that wrote it.
        theirs: String,
        /// The workers' version.
        ours: String,
    },
    /// The same V8 wrote it, but with other flags or other native functions.
    #[error(
        "the heap was written by another build of the worker, which this one cannot go on from"
    )]
    Engine,
    /// It cannot be mapped into memory; it may be whole.
    #[error("the heap cannot be mapped into memory")]
    Unmapped,
    /// Its bytes were damaged.
    #[error("the heap is damaged: its bytes do not have the hash that its header says")]
    Hash,
}

impl BlobError {
    /// Whether another copy of the heap may be better.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NoHeader { .. } | Self::Magic | Self::Mac | Self::Length { .. } | Self::Hash => {
                true
            }
            Self::Format { .. } | Self::V8Version { .. } | Self::Engine | Self::Unmapped => false,
        }
    }
}

/// What a header says. Its MAC was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The heap's name.
    pub id: HeapId,
    /// Its length in bytes.
    pub bytes: u64,
    /// What wrote it.
    pub engine: Engine,
}

/// The header of a heap.
pub(super) fn seal(key: &HeapKey, heap: &Heap) -> Header {
    let mut header = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        header.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    };
    put(0, MAGIC);
    put(FORMAT_AT, &FORMAT.to_le_bytes());
    put(LENGTH_AT, &heap.bytes().to_le_bytes());
    let version = heap.engine.v8_version.as_bytes();
    put(V8_VERSION_AT, version.get(..V8_VERSION_BYTES).unwrap_or(version));
    put(ENGINE_AT, &heap.engine.hash.0);
    put(HASH_AT, &heap.id.0);
    let mac = key.sign(&header[..MAC_AT]);
    header[MAC_AT..].copy_from_slice(&mac);
    header
}

/// Reads the header of a heap that workers of this server can restore.
///
/// # Errors
/// [`BlobError`], of those that concern the header and what wrote the heap.
pub fn describe(key: &HeapKey, engines: &Engines, header: &[u8]) -> Result<Described, BlobError> {
    let described = authenticate(key, header)?;
    let Engine { v8_version: theirs, hash } = &described.engine;
    if !engines.accepted.contains(hash) {
        let ours: &str = &engines.v8_version;
        if **theirs != *ours.get(..V8_VERSION_BYTES).unwrap_or(ours) {
            return Err(BlobError::V8Version { theirs: theirs.to_string(), ours: ours.to_owned() });
        }
        return Err(BlobError::Engine);
    }
    Ok(described)
}

/// Reads the header of a heap of this cluster, whatever wrote it: for those who only keep it.
///
/// # Errors
/// [`BlobError`], of those that concern the header.
pub fn authenticate(key: &HeapKey, header: &[u8]) -> Result<Described, BlobError> {
    let Some(header) = header.first_chunk::<HEADER_BYTES>() else {
        return Err(BlobError::NoHeader { bytes: header.len() });
    };
    if !header.starts_with(MAGIC) {
        return Err(BlobError::Magic);
    }
    let theirs = u16::from_le_bytes(field(header, FORMAT_AT));
    if theirs != FORMAT {
        return Err(BlobError::Format { theirs });
    }
    if !key.verify(&header[..MAC_AT], &header[MAC_AT..]) {
        return Err(BlobError::Mac);
    }
    let version: [u8; V8_VERSION_BYTES] = field(header, V8_VERSION_AT);
    let version = String::from_utf8_lossy(&version).trim_end_matches('\0').to_owned();
    let hash = HeapEngine(field(header, ENGINE_AT));
    Ok(Described {
        id: HeapId(field(header, HASH_AT)),
        bytes: u64::from_le_bytes(field(header, LENGTH_AT)),
        engine: Engine { v8_version: version.into(), hash },
    })
}

/// Makes sure that a file holds the heap that its header describes, and gives that. Hashes the file,
/// on the thread that calls: not for one that serves others.
///
/// # Errors
/// [`BlobError`].
pub fn open(
    key: &HeapKey,
    engines: &Engines,
    header: &[u8],
    file: HeapFile,
) -> Result<Heap, BlobError> {
    prove(describe(key, engines, header)?, file)
}

/// Makes sure that a file holds the heap that was described; see [`open`].
///
/// # Errors
/// As [`open`], of those that concern the file.
pub fn prove(described: Described, file: HeapFile) -> Result<Heap, BlobError> {
    let Described { id, bytes, engine } = described;
    if file.bytes() != bytes {
        return Err(BlobError::Length { bytes: file.bytes(), expected: bytes });
    }
    let found = HeapId::of(&file.map().map_err(|_| BlobError::Unmapped)?);
    if found != id {
        return Err(BlobError::Hash);
    }
    Ok(Heap { id, engine, file: Arc::new(file) })
}

/// The bytes of a header from `at` on.
fn field<const N: usize>(header: &Header, at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(&header[at..]).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> HeapKey {
        HeapKey::new([3; 32])
    }

    fn engine() -> Engine {
        Engine { v8_version: "15.2.124.1-rusty".into(), hash: HeapEngine([5; 32]) }
    }

    fn engines() -> Engines {
        let Engine { v8_version, hash } = engine();
        Engines { v8_version, accepted: [HeapEngine([4; 32]), hash].into() }
    }

    fn heap(bytes: &[u8]) -> (Header, Heap) {
        let heap = Heap::written(HeapFile::copy_of(bytes).unwrap(), engine()).unwrap();
        (heap.header(&key()), heap)
    }

    fn try_open(header: &[u8], bytes: &[u8]) -> Result<Heap, BlobError> {
        open(&key(), &engines(), header, HeapFile::copy_of(bytes).unwrap())
    }

    /// A header that somebody with the key has made, with one field changed.
    fn resigned(change: impl FnOnce(&mut Header)) -> Header {
        let (mut header, _) = heap(b"heap");
        change(&mut header);
        let mac = key().sign(&header[..MAC_AT]);
        header[MAC_AT..].copy_from_slice(&mac);
        header
    }

    #[test]
    fn what_was_sealed_opens() {
        let (header, heap) = heap(b"heap");
        let opened = try_open(&header, b"heap").unwrap();
        assert_eq!(opened.id(), heap.id());
        assert_eq!(opened.engine(), &engine());
        assert_eq!(&*opened.map().unwrap(), b"heap");
        // As sha256sum has it.
        assert!(heap.id().to_string().starts_with("103a360f"), "{}", heap.id());
    }

    #[test]
    fn each_mismatch_has_its_error() {
        let (header, _) = heap(b"heap");
        let error = |header: &[u8], bytes: &[u8]| try_open(header, bytes).unwrap_err();
        assert_eq!(error(b"", b"heap"), BlobError::NoHeader { bytes: 0 });
        let mut changed = header;
        changed[0] ^= 1;
        assert_eq!(error(&changed, b"heap"), BlobError::Magic);
        let mut changed = header;
        changed[FORMAT_AT] = 2;
        assert_eq!(error(&changed, b"heap"), BlobError::Format { theirs: 2 });
        let mut changed = header;
        changed[HASH_AT] ^= 1;
        assert_eq!(error(&changed, b"heap"), BlobError::Mac);
        let (bytes, expected) = (5, 4);
        assert_eq!(error(&header, b"heaps"), BlobError::Length { bytes, expected });
        assert_eq!(error(&header, b"heaq"), BlobError::Hash);
        let other_v8 = resigned(|header| {
            header[V8_VERSION_AT] = b'9';
            header[ENGINE_AT] ^= 1;
        });
        let (theirs, ours) = ("95.2.124.1-rusty".to_owned(), "15.2.124.1-rusty".to_owned());
        assert_eq!(error(&other_v8, b"heap"), BlobError::V8Version { theirs, ours });
        let other_build = resigned(|header| header[ENGINE_AT] ^= 1);
        assert_eq!(error(&other_build, b"heap"), BlobError::Engine);
        let another_cluster =
            open(&HeapKey::new([4; 32]), &engines(), &header, HeapFile::copy_of(b"heap").unwrap());
        assert_eq!(another_cluster.unwrap_err(), BlobError::Mac);
        // What an earlier release wrote, which this one still restores.
        let earlier = resigned(|header| header[ENGINE_AT..HASH_AT].fill(4));
        assert!(try_open(&earlier, b"heap").is_ok());
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = [7; 1000];
        let (header, _) = heap(&bytes);
        for len in 0..HEADER_BYTES {
            let error = BlobError::NoHeader { bytes: len };
            assert_eq!(try_open(&header[..len], &bytes).unwrap_err(), error);
        }
        for len in 1..bytes.len() {
            let error = BlobError::Length { bytes: len as u64, expected: 1000 };
            assert_eq!(try_open(&header, &bytes[..len]).unwrap_err(), error);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_refused() {
        let (header, _) = heap(b"heap");
        for bit in 0..HEADER_BYTES * 8 {
            let mut changed = header;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(try_open(&changed, b"heap").is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_version_longer_than_its_field_is_cut_on_both_sides() {
        let long: Arc<str> = "15.2.124.1-with-a-suffix-that-is-longer-than-that".into();
        let engine = Engine { v8_version: Arc::clone(&long), hash: HeapEngine([5; 32]) };
        let heap = Heap::written(HeapFile::copy_of(b"heap").unwrap(), engine).unwrap();
        let engines = Engines { v8_version: long, accepted: [HeapEngine([6; 32])].into() };
        let described = describe(&key(), &engines, &heap.header(&key()));
        assert_eq!(described.unwrap_err(), BlobError::Engine);
    }

    proptest! {
        #[test]
        fn any_heap_survives_and_any_flipped_bit_of_it_does_not(
            bytes in proptest::collection::vec(any::<u8>(), 1..2000),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let (header, heap) = heap(&bytes);
            prop_assert_eq!(try_open(&header, &bytes).unwrap().id(), heap.id());
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] ^= 1 << bit;
            prop_assert_eq!(try_open(&header, &changed).unwrap_err(), BlobError::Hash);
        }

        #[test]
        fn no_bytes_whatsoever_are_taken_for_a_heap(
            header in proptest::collection::vec(any::<u8>(), 0..400),
            with_magic in any::<bool>(),
        ) {
            let mut header = header;
            if with_magic && header.len() >= 10 {
                header[..8].copy_from_slice(MAGIC);
                header[8..10].copy_from_slice(&FORMAT.to_le_bytes());
            }
            prop_assert!(try_open(&header, b"heap").is_err());
        }
    }
}
