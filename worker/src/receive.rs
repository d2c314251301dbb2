//! Messages from the supervisor, from the socket that is standard input.

use mcp_v8_protocol::{DecodeError, Decoder, ToWorker};
use rustix::net::{RecvFlags, recv};
use rustix::stdio::stdin;

use crate::limits::READ_BYTES;

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The socket failed.
    #[error("reading failed: {0}")]
    Read(#[from] rustix::io::Errno),
    /// What came is no frame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Cut,
}

/// Reads frames.
#[derive(Default)]
pub(crate) struct Receiver {
    decoder: Decoder<ToWorker>,
}

impl Receiver {
    /// Waits for the next message; none at the end of the stream.
    ///
    /// # Errors
    /// [`ReceiveError`]; the stream is of no use after it.
    pub(crate) fn next(&mut self) -> Result<Option<ToWorker>, ReceiveError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(Some(message));
            }
            // Straight into the decoder's buffer: most jobs are small, and every page of stack that
            // a child touches is one more that the kernel copies for it.
            let buffer = self.decoder.buffer_mut();
            let held = buffer.len();
            buffer.resize(held + READ_BYTES, 0);
            let received = recv(stdin(), &mut buffer[held..], RecvFlags::empty());
            buffer.truncate(held + received.as_ref().map_or(0, |(read, _)| *read));
            let read = match received {
                Ok((read, _)) => read,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => 0,
                Err(error) => return Err(error.into()),
            };
            if read == 0 {
                return if self.decoder.is_empty() { Ok(None) } else { Err(ReceiveError::Cut) };
            }
        }
    }
}
