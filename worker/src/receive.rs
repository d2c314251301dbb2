//! Messages from the supervisor, from the socket that is standard input.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use mcp_v8_protocol::{DecodeError, Decoder, ToWorker};
use mcp_v8_sandbox::Purpose;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recv, recvmsg};
use rustix::stdio::stdin;

use crate::limits::{JOB_FILES_MAX, READ_BYTES};

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
    purpose: Purpose,
    descriptors: Vec<OwnedFd>,
}

impl Receiver {
    /// Only a process that keeps heaps takes descriptors, and only that may make the call for it.
    pub(crate) fn new(purpose: Purpose) -> Self {
        Self { decoder: Decoder::default(), purpose, descriptors: Vec::new() }
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
            // Straight into the decoder's buffer: most jobs are small, and every page of stack that
            // a child touches is one more that the kernel copies for it.
            let buffer = self.decoder.buffer_mut();
            let held = buffer.len();
            buffer.resize(held + READ_BYTES, 0);
            let received = match self.purpose {
                Purpose::Scripts => {
                    recv(stdin(), &mut buffer[held..], RecvFlags::empty()).map(|(read, _)| read)
                }
                Purpose::Heaps => receive_with(&mut buffer[held..], &mut self.descriptors),
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

fn receive_with(bytes: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(JOB_FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(bytes)];
    let read = recvmsg(stdin(), &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok(read)
}
