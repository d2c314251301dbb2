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

/// What one look at the socket brought.
pub(crate) enum Received {
    /// A message.
    Message(ToWorker),
    /// Nothing whole yet.
    Nothing,
    /// The end of the stream.
    End,
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
            match self.receive(RecvFlags::empty())? {
                Received::Message(message) => return Ok(Some(message)),
                Received::End => return Ok(None),
                Received::Nothing => {}
            }
        }
    }

    /// Takes the next message if it is there, without waiting.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(crate) fn poll(&mut self) -> Result<Received, ReceiveError> {
        self.receive(RecvFlags::DONTWAIT)
    }

    fn receive(&mut self, flags: RecvFlags) -> Result<Received, ReceiveError> {
        if let Some(message) = self.decoder.next_message()? {
            return Ok(Received::Message(message));
        }
        let mut bytes = [0_u8; READ_BYTES];
        let read = match recv(stdin(), &mut bytes[..], flags) {
            Ok((read, _)) => read,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                return Ok(Received::Nothing);
            }
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            return if self.decoder.is_empty() {
                Ok(Received::End)
            } else {
                Err(ReceiveError::Cut)
            };
        }
        self.decoder.buffer_mut().extend_from_slice(&bytes[..read]);
        match self.decoder.next_message()? {
            Some(message) => Ok(Received::Message(message)),
            None => Ok(Received::Nothing),
        }
    }
}
