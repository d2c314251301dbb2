//! Frames: a length, the number of a call, a body; a MAC behind it where the nodes share a secret.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::auth::session::{FRAME_MAC_BYTES, Seal};
use crate::limits::FRAME_BYTES_MAX;

/// Bytes before the body: its length and the number of the call.
pub const HEAD_BYTES: usize = 12;

/// One message of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which call it asks or answers.
    pub call: u64,
    /// The encoded message.
    pub body: Vec<u8>,
}

impl Frame {
    /// Appends it as it goes over the wire.
    pub fn write_to(&self, bytes: &mut Vec<u8>, seal: Option<&mut Seal>) {
        let from = bytes.len();
        // Bodies are bounded far below 4 GiB by whoever makes them.
        bytes.extend_from_slice(&u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.call.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        if let Some(seal) = seal {
            seal.append(bytes, from);
        }
    }
}

/// Takes frames off a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    seal: Option<Seal>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `stream` frames with a MAC, or without.
    pub fn new(stream: R, seal: Option<Seal>) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(64 * 1024), seal }
    }

    /// What checks the frames that were not read yet.
    pub fn into_seal(self) -> Option<Seal> {
        self.seal
    }

    /// The next frame; `None` when the other side has closed between two.
    ///
    /// # Errors
    /// When the stream fails, ends inside a frame, or announces one that is too long; when a frame
    /// was tampered with ([`crate::auth::session::Tampered`]).
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(head) = self.buffer.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let mut head = &head[..];
        let length = head.get_u32_le() as usize;
        let call = head.get_u64_le();
        if length > FRAME_BYTES_MAX {
            let problem = format!("a frame of {length} bytes; accepted: {FRAME_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let end = HEAD_BYTES + length;
        let with_mac = end + if self.seal.is_some() { FRAME_MAC_BYTES } else { 0 };
        if self.buffer.len() < with_mac {
            self.buffer.reserve(with_mac - self.buffer.len());
            return Ok(None);
        }
        if let Some(seal) = &mut self.seal {
            let (frame, mac) = self.buffer[..with_mac].split_at(end);
            let checked = seal.check(frame, mac);
            checked.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        self.buffer.advance(HEAD_BYTES);
        let body = self.buffer.split_to(length).to_vec();
        self.buffer.advance(with_mac - end);
        Ok(Some(Frame { call, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;
    use crate::auth::session::{Greeting, Seals, Tampered};

    async fn read(bytes: &[u8], seal: Option<Seal>) -> io::Result<Vec<Frame>> {
        let mut reader = FrameReader::new(bytes, seal);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next().await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn written(frames: &[Frame], mut seal: Option<Seal>) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write_to(&mut bytes, seal.as_mut()));
        bytes
    }

    fn frames() -> Vec<Frame> {
        vec![Frame { call: 1, body: vec![7; 100_000] }, Frame { call: u64::MAX, body: vec![] }]
    }

    fn caller_and_called() -> (Seals, Seals) {
        let secret = Secret::new(&[1; 32]).unwrap();
        let greeting = Greeting {
            caller_nonce: &[1; 16],
            caller_hello: b"caller",
            called_nonce: &[2; 16],
            called_hello: b"called",
        };
        (greeting.caller_seals(&secret).unwrap(), greeting.called_seals(&secret).unwrap())
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_and_a_cut_one_is_an_error() {
        let (caller, called) = caller_and_called();
        let ways = [(None, None), (Some(caller.sends), Some(called.receives))];
        for (sends, receives) in ways {
            let bytes = written(&frames(), sends);
            assert_eq!(read(&bytes, receives.clone()).await.unwrap(), frames());
            let cut = read(&bytes[..bytes.len() - 1], receives).await.unwrap_err();
            assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn a_frame_at_the_bound_passes_and_one_past_it_is_refused_by_its_head() {
        let (caller, called) = caller_and_called();
        let largest = [Frame { call: 1, body: vec![0; FRAME_BYTES_MAX] }];
        let bytes = written(&largest, None);
        assert_eq!(read(&bytes, None).await.unwrap().len(), 1);
        let bytes = written(&largest, Some(caller.sends));
        assert_eq!(read(&bytes, Some(called.receives)).await.unwrap().len(), 1);
        let mut head = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes().to_vec();
        head.extend([0; 8]);
        assert_eq!(read(&head, None).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_frame_that_was_tampered_with_ends_the_stream_and_what_came_before_it_counts() {
        let (caller, called) = caller_and_called();
        let three: Vec<Frame> =
            (0..3_u8).map(|number| Frame { call: 1, body: vec![number; 9] }).collect();
        let bytes = written(&three, Some(caller.sends));
        let one = bytes.len() / 3;
        let (first, second, third) = (&bytes[..one], &bytes[one..2 * one], &bytes[2 * one..]);
        let altered = {
            let mut altered = second.to_vec();
            altered[HEAD_BYTES] ^= 1;
            altered
        };
        let other_call = {
            let mut altered = second.to_vec();
            altered[4] ^= 1;
            altered
        };
        let injected = written(&[Frame { call: 1, body: vec![9; 9] }], None);
        let injected = [&injected[..], &[0; FRAME_MAC_BYTES]].concat();
        for (what, bytes) in [
            ("altered", [first, &altered, third].concat()),
            ("another call", [first, &other_call, third].concat()),
            ("reordered", [first, third, second].concat()),
            ("repeated", [first, first, second].concat()),
            ("left out", [first, third].concat()),
            ("injected", [first, &injected, second].concat()),
            ("without a MAC", [first, &written(&three[1..2], None), &[0; 99]].concat()),
        ] {
            let mut reader = FrameReader::new(&bytes[..], Some(called.receives.clone()));
            assert_eq!(reader.next().await.unwrap().as_ref(), Some(&three[0]), "{what}");
            let error = reader.next().await.unwrap_err();
            assert!(Tampered::is(&error), "{what}: {error}");
        }
    }
}
