//! Frames: an 8-byte header, then a bincode payload.
//!
//! ```text
//! 0        4        6      7      8
//! │ length │ version│ kind │ zero │ payload (length bytes)
//!   u32 LE   u16 LE   u8     u8     bincode 2, standard configuration
//! ```
//!
//! `kind` tells the directions apart, so that a frame sent back to its sender is refused. The
//! payload must be consumed to its last byte.

use std::marker::PhantomData;

use bincode::{Decode, Encode};
use bytes::{Buf, BytesMut};

use crate::VERSION;
use crate::limits::{
    FRAME_HEADER_BYTES, FROM_WORKER_PAYLOAD_BYTES_MAX, TO_WORKER_PAYLOAD_BYTES_MAX,
};
use crate::message::{FromWorker, ToWorker};

/// bincode counts a varint at its widest, so its own limit leaves that much more room than the
/// payload's length, which has been checked by then.
const DECODE_SLACK_BYTES: usize = 1024;

/// A message type that travels in frames of its own kind and size.
pub trait Wire: Encode + Decode<()> {
    /// Tag of the direction in the frame header.
    const KIND: u8;
    /// Most payload bytes of a frame.
    const PAYLOAD_BYTES_MAX: usize;
    /// Decodes a payload whose length is within the bound. Claims of inner lengths are held to the
    /// same bound before they allocate.
    ///
    /// # Errors
    /// Whatever bincode finds wrong.
    fn decode_payload(payload: &[u8]) -> Result<(Self, usize), bincode::error::DecodeError>;
}

macro_rules! wire {
    ($message:ty, $kind:literal, $max:ident) => {
        impl Wire for $message {
            const KIND: u8 = $kind;
            const PAYLOAD_BYTES_MAX: usize = $max;
            fn decode_payload(
                payload: &[u8],
            ) -> Result<(Self, usize), bincode::error::DecodeError> {
                bincode::decode_from_slice(
                    payload,
                    bincode::config::standard().with_limit::<{ $max + DECODE_SLACK_BYTES }>(),
                )
            }
        }
    };
}
wire!(ToWorker, 1, TO_WORKER_PAYLOAD_BYTES_MAX);
wire!(FromWorker, 2, FROM_WORKER_PAYLOAD_BYTES_MAX);

/// Why a message could not be put into a frame.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Larger than the direction allows.
    #[error("message of {bytes} bytes exceeds the frame limit of {bytes_max} bytes")]
    TooLarge {
        /// Payload bytes of the message.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The encoder failed.
    #[error("message cannot be encoded: {0}")]
    Encode(#[from] bincode::error::EncodeError),
}

/// Why bytes are not a frame. The stream cannot be used any further.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The header announces more than the direction allows.
    #[error("frame of {bytes} bytes exceeds the limit of {bytes_max} bytes")]
    TooLarge {
        /// Announced payload bytes.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The other side speaks another version.
    #[error("frame version {theirs} where {ours} is spoken: install both binaries of one release")]
    Version {
        /// Version in the header.
        theirs: u16,
        /// [`VERSION`].
        ours: u16,
    },
    /// A frame of the other direction, or the reserved byte is set.
    #[error("frame kind {kind} (reserved byte {reserved}) where kind {expected} was expected")]
    Kind {
        /// Kind in the header.
        kind: u8,
        /// The reserved byte, which must be zero.
        reserved: u8,
        /// Kind of this direction.
        expected: u8,
    },
    /// The payload is not a message.
    #[error("payload cannot be decoded: {0}")]
    Payload(#[from] bincode::error::DecodeError),
    /// Bytes are left over after the message.
    #[error("payload of {payload_bytes} bytes holds a message of {used_bytes} bytes")]
    Trailing {
        /// Bytes the header announced.
        payload_bytes: usize,
        /// Bytes the message took.
        used_bytes: usize,
    },
}

/// Encodes one message as one frame.
///
/// # Errors
/// [`EncodeError::TooLarge`] when the payload exceeds [`Wire::PAYLOAD_BYTES_MAX`].
pub fn encode<M: Wire>(message: &M) -> Result<Vec<u8>, EncodeError> {
    let mut frame = Vec::new();
    encode_into(message, &mut frame)?;
    Ok(frame)
}

/// Appends the frame of one message to `frames`. Allocates only what `frames` lacks in capacity.
///
/// # Errors
/// As [`encode`]; `frames` is as it was then.
pub fn encode_into<M: Wire>(message: &M, frames: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = frames.len();
    let encoded = append(message, frames);
    if encoded.is_err() {
        frames.truncate(start);
    }
    encoded
}

fn append<M: Wire>(message: &M, frames: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = frames.len();
    frames.extend_from_slice(&[0_u8; FRAME_HEADER_BYTES]);
    let bytes = bincode::encode_into_std_write(message, frames, bincode::config::standard())?;
    let length = match u32::try_from(bytes) {
        Ok(length) if bytes <= M::PAYLOAD_BYTES_MAX => length,
        _ => return Err(EncodeError::TooLarge { bytes, bytes_max: M::PAYLOAD_BYTES_MAX }),
    };
    let header = &mut frames[start..start + FRAME_HEADER_BYTES];
    header[0..4].copy_from_slice(&length.to_le_bytes());
    header[4..6].copy_from_slice(&VERSION.to_le_bytes());
    header[6] = M::KIND;
    Ok(())
}

/// Takes bytes as they arrive and gives messages back.
///
/// Holds at most one frame and one read beyond it. After an error it stays in error: a stream that
/// was wrong once is never trusted again.
#[derive(Debug)]
pub struct Decoder<M> {
    buffer: BytesMut,
    failed: bool,
    message: PhantomData<fn() -> M>,
}

impl<M: Wire> Default for Decoder<M> {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), failed: false, message: PhantomData }
    }
}

impl<M: Wire> Decoder<M> {
    /// The buffer that the next bytes of the stream are read into, behind what is there.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether the stream may end here: no part of a frame is waiting.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole message, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a frame; `None` forever after.
    pub fn next_message(&mut self) -> Result<Option<M>, DecodeError> {
        if self.failed {
            return Ok(None);
        }
        let decoded = self.decode();
        if decoded.is_err() {
            self.failed = true;
            self.buffer = BytesMut::new();
        }
        decoded
    }

    fn decode(&mut self) -> Result<Option<M>, DecodeError> {
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, v0, v1, kind, reserved] = *header;
        let bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let theirs = u16::from_le_bytes([v0, v1]);
        if theirs != VERSION {
            return Err(DecodeError::Version { theirs, ours: VERSION });
        }
        if kind != M::KIND || reserved != 0 {
            return Err(DecodeError::Kind { kind, reserved, expected: M::KIND });
        }
        if bytes > M::PAYLOAD_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes, bytes_max: M::PAYLOAD_BYTES_MAX });
        }
        let Some(payload) = self.buffer.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + bytes) else {
            return Ok(None);
        };
        let (message, used) = M::decode_payload(payload)?;
        if used != bytes {
            return Err(DecodeError::Trailing { payload_bytes: bytes, used_bytes: used });
        }
        self.buffer.advance(FRAME_HEADER_BYTES + bytes);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Hello, Job, JobLimits};

    fn job(code_bytes: usize) -> ToWorker {
        ToWorker::Job(Job {
            execution_id: "e".to_owned(),
            attempt: 1,
            code: "x".repeat(code_bytes).into(),
            limits: JobLimits { heap_bytes: 2, buffer_bytes: 3, console_bytes: 4, cpu_secs: 5 },
            heap: None,
        })
    }

    fn decode_all(bytes: &[u8]) -> Result<Option<ToWorker>, DecodeError> {
        let mut decoder = Decoder::default();
        decoder.buffer_mut().extend_from_slice(bytes);
        decoder.next_message()
    }

    #[test]
    fn the_largest_code_fits_a_frame() {
        let message = job(crate::limits::CODE_BYTES_MAX);
        let frame = encode(&message).unwrap();
        assert_eq!(decode_all(&frame).unwrap(), Some(message));
    }

    #[test]
    fn a_payload_at_the_bound_passes_and_one_past_it_does_not() {
        let overhead = encode(&job(70_000)).unwrap().len() - FRAME_HEADER_BYTES - 70_000;
        let at = TO_WORKER_PAYLOAD_BYTES_MAX - overhead;
        let frame = encode(&job(at)).unwrap();
        assert_eq!(frame.len(), FRAME_HEADER_BYTES + TO_WORKER_PAYLOAD_BYTES_MAX);
        assert!(decode_all(&frame).unwrap().is_some());
        assert!(matches!(encode(&job(at + 1)), Err(EncodeError::TooLarge { .. })));
    }

    #[test]
    fn a_length_past_the_bound_is_refused_by_its_header_alone() {
        let mut header = [0_u8; FRAME_HEADER_BYTES];
        header[0..4].copy_from_slice(&(TO_WORKER_PAYLOAD_BYTES_MAX as u32 + 1).to_le_bytes());
        header[4..6].copy_from_slice(&VERSION.to_le_bytes());
        header[6] = ToWorker::KIND;
        assert!(matches!(decode_all(&header), Err(DecodeError::TooLarge { .. })));
        header[0..4].copy_from_slice(&(TO_WORKER_PAYLOAD_BYTES_MAX as u32).to_le_bytes());
        assert!(decode_all(&header).unwrap().is_none(), "at the bound it waits for the payload");
    }

    #[test]
    fn another_version_is_named() {
        let mut frame = encode(&ToWorker::Hello(Hello { heap_bytes: 1, isolate: true })).unwrap();
        frame[4..6].copy_from_slice(&9_u16.to_le_bytes());
        let error = decode_all(&frame).unwrap_err();
        assert!(matches!(error, DecodeError::Version { theirs: 9, ours: VERSION }));
        assert!(error.to_string().contains("install both binaries"));
    }

    #[test]
    fn a_frame_of_the_other_direction_is_refused() {
        let frame = encode(&FromWorker::ConsoleTruncated).unwrap();
        assert!(matches!(decode_all(&frame), Err(DecodeError::Kind { kind: 2, expected: 1, .. })));
    }

    #[test]
    fn trailing_bytes_are_refused_and_the_decoder_stays_in_error() {
        let mut frame = encode(&ToWorker::Hello(Hello { heap_bytes: 1, isolate: true })).unwrap();
        let good = frame.clone();
        frame.push(0);
        let length = (frame.len() - FRAME_HEADER_BYTES) as u32;
        frame[0..4].copy_from_slice(&length.to_le_bytes());
        let mut decoder = Decoder::<ToWorker>::default();
        decoder.buffer_mut().extend_from_slice(&frame);
        assert!(matches!(decoder.next_message(), Err(DecodeError::Trailing { .. })));
        decoder.buffer_mut().extend_from_slice(&good);
        assert!(decoder.next_message().unwrap().is_none());
    }
}
