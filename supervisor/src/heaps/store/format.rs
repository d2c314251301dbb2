//! A heap as a file: compressed, by itself or against another heap.
//!
//! ```text
//! 0       8        10      11     12      16         48       200
//! │ magic │ format │ depth │ zero │ CRC-32 │ parent │ header │ zstd frame
//!   8       u16 LE   u8      u8     u32 LE   32       152 (see `blob`)
//! ```
//!
//! # Contract
//! * The frame is that of the heap's bytes; where `parent` is not zero, with the bytes of that heap as
//!   the text before it (`ZSTD_CCtx_refPrefix`), so that a step which changes little takes little.
//! * `depth` is how many heaps must be read before this one: 0 for one by itself, at most
//!   [`HEAP_DEPTH_MAX`].
//! * The CRC-32 is over all other bytes before the frame. It tells a damaged disk from a foreign file;
//!   whether the heap is ours and whole is for its header to prove, after it is read.

use std::io::{self, Read, Write};

use zstd::stream::raw::CParameter;

use crate::heaps::blob::{HEADER_BYTES, Header};
use crate::heaps::{HeapFile, HeapId, HeapSink};
use crate::limits::HEAP_DEPTH_MAX;

/// Bytes before the frame.
pub const HEAD_BYTES: usize = PARENT_AT + 32 + HEADER_BYTES;

const MAGIC: &[u8; 8] = b"mcp8stor";
const FORMAT: u16 = 1;

const FORMAT_AT: usize = 8;
const DEPTH_AT: usize = 10;
const CRC_AT: usize = 12;
const PARENT_AT: usize = 16;
const HEADER_AT: usize = PARENT_AT + 32;

/// Level of zstd: its own default. Higher ones take several times as long for a few percent.
const LEVEL: i32 = 3;

/// Bytes that are read from a frame at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// How far back a frame may look, as a power of two: what decoders take without being told.
const WINDOW_LOG_MIN: u32 = 17;
/// See [`WINDOW_LOG_MIN`].
const WINDOW_LOG_MAX: u32 = 27;

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It ends within the head.
    #[error("it has {0} bytes; its head alone has {HEAD_BYTES}")]
    Short(usize),
    /// It is something else.
    #[error("it is no stored heap: it does not begin with its mark")]
    Magic,
    /// Another release wrote it.
    #[error("it has format {0}; this server reads format {FORMAT}")]
    Format(u16),
    /// Its head was damaged.
    #[error("its head is damaged (wrong CRC-32)")]
    Head,
    /// Its depth is none that is written.
    #[error("its depth is {0}; accepted: at most {HEAP_DEPTH_MAX}, and 0 without a parent")]
    Depth(u8),
    /// It cannot be read now; it may be whole.
    #[error("it cannot be read: {0}")]
    Io(String),
    /// Its frame does not decompress to what it should.
    #[error("it does not decompress: {0}")]
    Frame(String),
}

/// What stands before the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Heaps to read before this one.
    pub depth: u8,
    /// The heap that this one is stored against.
    pub parent: Option<HeapId>,
    /// The header of the heap.
    pub header: Header,
}

impl Head {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..FORMAT_AT].copy_from_slice(MAGIC);
        head[FORMAT_AT..DEPTH_AT].copy_from_slice(&FORMAT.to_le_bytes());
        head[DEPTH_AT] = self.depth;
        if let Some(parent) = &self.parent {
            head[PARENT_AT..HEADER_AT].copy_from_slice(&parent.0);
        }
        head[HEADER_AT..].copy_from_slice(&self.header);
        let sum = checksum(&head);
        head[CRC_AT..PARENT_AT].copy_from_slice(&sum.to_le_bytes());
        head
    }

    /// Reads it from the beginning of a file.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let head = bytes.first_chunk::<HEAD_BYTES>().ok_or(FormatError::Short(bytes.len()))?;
        if !head.starts_with(MAGIC) {
            return Err(FormatError::Magic);
        }
        let format = u16::from_le_bytes([head[FORMAT_AT], head[FORMAT_AT + 1]]);
        if format != FORMAT {
            return Err(FormatError::Format(format));
        }
        let mut sum = [0; 4];
        sum.copy_from_slice(&head[CRC_AT..PARENT_AT]);
        if u32::from_le_bytes(sum) != checksum(head) {
            return Err(FormatError::Head);
        }
        let mut parent = [0; 32];
        parent.copy_from_slice(&head[PARENT_AT..HEADER_AT]);
        let parent = Some(HeapId(parent)).filter(|parent| parent.0 != [0; 32]);
        let depth = head[DEPTH_AT];
        if depth > HEAP_DEPTH_MAX || (depth == 0) != parent.is_none() {
            return Err(FormatError::Depth(depth));
        }
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&head[HEADER_AT..]);
        Ok(Self { depth, parent, header })
    }
}

fn checksum(head: &[u8; HEAD_BYTES]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&head[..CRC_AT]);
    hash.update(&head[PARENT_AT..]);
    hash.finalize()
}

/// Writes the frame of `bytes`, against those of a parent if there is one. Takes milliseconds per
/// megabyte, on the thread that calls.
///
/// # Errors
/// What writing says.
pub fn compress(bytes: &[u8], parent: Option<&[u8]>, out: impl Write) -> io::Result<()> {
    let before = parent.unwrap_or_default();
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(out, LEVEL, before)?;
    if parent.is_some() {
        // What is far back must be in reach: the window is at least as large as both together.
        let both = before.len().saturating_add(bytes.len()).max(1);
        let log = (usize::BITS - both.leading_zeros()).clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX);
        encoder.set_parameter(CParameter::WindowLog(log))?;
        encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
    }
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    encoder.write_all(bytes)?;
    encoder.finish().map(drop)
}

/// Reads a frame of which the heap's header says how many bytes it holds: no more are written,
/// whatever the frame says.
///
/// # Errors
/// [`FormatError::Frame`]; [`FormatError::Io`] when that is not known.
pub fn decompress(
    frame: impl Read,
    parent: Option<&[u8]>,
    bytes: u64,
) -> Result<HeapFile, FormatError> {
    let failed = |error: &dyn std::fmt::Display| FormatError::Frame(error.to_string());
    let unreadable = |error: &dyn std::fmt::Display| FormatError::Io(error.to_string());
    let mut sink = HeapSink::new(bytes).map_err(|error| unreadable(&error))?;
    let frame = io::BufReader::with_capacity(CHUNK_BYTES, frame);
    let before = parent.unwrap_or_default();
    let decoder = zstd::stream::read::Decoder::with_ref_prefix(frame, before);
    // One byte more than there may be shows that there are more.
    let mut decoder = decoder.map_err(|error| unreadable(&error))?.take(bytes.saturating_add(1));
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut written = 0;
    loop {
        // What the system says of reading is no damage; what zstd says is.
        let read = decoder.read(&mut chunk).map_err(|error| match error.raw_os_error() {
            Some(_) => unreadable(&error),
            None => failed(&error),
        })?;
        if read == 0 {
            break;
        }
        written += read as u64;
        if written > bytes {
            return Err(failed(&format!("it holds more than {bytes} bytes")));
        }
        sink.write_all(&chunk[..read]).map_err(|error| unreadable(&error))?;
    }
    if written != bytes {
        return Err(failed(&format!("it holds {written} bytes and not {bytes}")));
    }
    sink.seal(bytes).map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(bytes: &[u8], parent: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        compress(bytes, parent, &mut out).unwrap();
        out
    }

    #[test]
    fn a_head_is_read_as_it_was_written_and_every_flipped_bit_is_refused() {
        for parent in [None, Some(HeapId([7; 32]))] {
            let depth = u8::from(parent.is_some());
            let head = Head { depth, parent, header: [9; HEADER_BYTES] };
            let bytes = head.encode();
            assert_eq!(Head::decode(&bytes), Ok(head));
            for bit in 0..HEAD_BYTES * 8 {
                let mut changed = bytes;
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(Head::decode(&changed).is_err(), "bit {bit}");
            }
            for len in 0..HEAD_BYTES {
                assert_eq!(Head::decode(&bytes[..len]), Err(FormatError::Short(len)));
            }
        }
    }

    #[test]
    fn a_depth_at_the_bound_is_read_and_one_past_it_is_not() {
        let at = |depth, parent| Head { depth, parent, header: [0; HEADER_BYTES] }.encode();
        let parent = Some(HeapId([1; 32]));
        assert!(Head::decode(&at(HEAP_DEPTH_MAX, parent)).is_ok());
        let past = HEAP_DEPTH_MAX + 1;
        assert_eq!(Head::decode(&at(past, parent)), Err(FormatError::Depth(past)));
        assert_eq!(Head::decode(&at(0, parent)), Err(FormatError::Depth(0)));
        assert_eq!(Head::decode(&at(1, None)), Err(FormatError::Depth(1)));
    }

    #[test]
    fn a_step_that_changes_little_takes_little() {
        let mut state = 1_u64;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        let parent: Vec<u8> = (0..400_000).map(|_| noise()).collect();
        let mut heap = parent.clone();
        heap.splice(200_000..200_000, *b"one variable more");
        let (alone, against) = (stored(&heap, None), stored(&heap, Some(&parent)));
        assert!(alone.len() > 400_000 && against.len() < 1_000, "{} bytes", against.len());
        let read = decompress(&against[..], Some(&parent), heap.len() as u64).unwrap();
        assert_eq!(&*read.map().unwrap(), heap);
        // Against anything else it is not this heap.
        if let Ok(other) = decompress(&against[..], Some(&heap), heap.len() as u64) {
            assert_ne!(&*other.map().unwrap(), heap);
        }
    }

    #[test]
    fn a_frame_that_holds_more_or_less_than_it_should_is_refused() {
        let frame = stored(&[0; 1_000_000], None);
        assert!(decompress(&frame[..], None, 1_000_000).is_ok());
        for bytes in [1, 999_999, 1_000_001] {
            assert!(matches!(decompress(&frame[..], None, bytes), Err(FormatError::Frame(_))));
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_decompressed_and_what_is_cut_off_is_not(
            bytes in prop::collection::vec(any::<u8>(), 1..4000),
            parent in prop::option::of(prop::collection::vec(any::<u8>(), 0..4000)),
            cut in any::<prop::sample::Index>(),
        ) {
            let frame = stored(&bytes, parent.as_deref());
            let read = decompress(&frame[..], parent.as_deref(), bytes.len() as u64).unwrap();
            prop_assert_eq!(&*read.map().unwrap(), &bytes[..]);
            let cut = &frame[..cut.index(frame.len())];
            prop_assert!(decompress(cut, parent.as_deref(), bytes.len() as u64).is_err());
        }

        #[test]
        fn no_bytes_whatsoever_are_a_frame_that_panics(
            frame in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decompress(&frame[..], None, 1000);
        }
    }
}
