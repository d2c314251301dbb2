//! Messages from the supervisor, from the socket that is standard input.

use std::os::fd::OwnedFd;

use mcp_v8_protocol::{DecodeError, Decoder, ToWorker};
use mcp_v8_sandbox::{Purpose, receive_with};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::stdio::stdin;

use crate::limits::{FIRST_READ_BYTES, READ_BYTES};

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
pub(crate) struct Receiver {
    decoder: Decoder<ToWorker>,
    takes_descriptors: bool,
    descriptors: Vec<OwnedFd>,
}

impl Receiver {
    /// For jobs. Only a process that keeps heaps takes descriptors, and only that may make the call for
    /// it.
    pub(crate) fn new(purpose: Purpose) -> Self {
        let takes_descriptors = purpose == Purpose::Heaps;
        Self { decoder: Decoder::default(), takes_descriptors, descriptors: Vec::new() }
    }

    /// For a template, which is handed its children's control groups.
    pub(crate) fn of_template() -> Self {
        Self { takes_descriptors: true, ..Self::new(Purpose::Scripts) }
    }

    /// The descriptors that have come so far, in the order they were sent.
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Waits for the next message; none at the end of the stream.
    ///
    /// # Errors
    /// [`ReceiveError`]; the stream is of no use after it.
    pub(crate) fn next(&mut self) -> Result<Option<ToWorker>, ReceiveError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(Some(message));
            }
            // Straight into the decoder's buffer: every page of stack that a child touches is one more
            // that the kernel copies for it.
            let buffer = self.decoder.buffer_mut();
            let held = buffer.len();
            let wanted = if held < FIRST_READ_BYTES { FIRST_READ_BYTES } else { READ_BYTES };
            buffer.resize(held + wanted, 0);
            let received = if self.takes_descriptors {
                receive_with(&mut buffer[held..], &mut self.descriptors)
            } else {
                recv(stdin(), &mut buffer[held..], RecvFlags::empty()).map(|(read, _)| read)
            };
            buffer.truncate(held + received.unwrap_or(0));
            let read = match received {
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => 0,
                Err(error) => return Err(error.into()),
            };
            if read == 0 {
                return if self.decoder.is_empty() { Ok(None) } else { Err(ReceiveError::Cut) };
            }
        }
    }
}
