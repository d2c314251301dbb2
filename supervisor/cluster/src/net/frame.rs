//! Frames: a length, the number of a call, a body.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

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
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        // Bodies are bounded far below 4 GiB by whoever makes them.
        bytes.extend_from_slice(&u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.call.to_le_bytes());
        bytes.extend_from_slice(&self.body);
    }
}

/// Takes frames off a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(64 * 1024) }
    }

    /// The next frame; `None` when the other side has closed between two.
    ///
    /// # Errors
    /// When the stream fails, ends inside a frame, or announces one that is too long.
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
        if self.buffer.len() < HEAD_BYTES + length {
            self.buffer.reserve(HEAD_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEAD_BYTES);
        let body = self.buffer.split_to(length).to_vec();
        Ok(Some(Frame { call, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Vec<Frame>> {
        let mut reader = FrameReader::new(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next().await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_and_a_cut_one_is_an_error() {
        let frames =
            vec![Frame { call: 1, body: vec![7; 100_000] }, Frame { call: u64::MAX, body: vec![] }];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write_to(&mut bytes));
        assert_eq!(read(&bytes).await.unwrap(), frames);
        assert!(read(&bytes[..bytes.len() - 1]).await.is_err());
    }

    #[tokio::test]
    async fn a_frame_at_the_bound_passes_and_one_past_it_is_refused_by_its_head() {
        let mut bytes = Vec::new();
        Frame { call: 1, body: vec![0; FRAME_BYTES_MAX] }.write_to(&mut bytes);
        assert_eq!(read(&bytes).await.unwrap().len(), 1);
        let mut head = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes().to_vec();
        head.extend([0; 8]);
        assert_eq!(read(&head).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
