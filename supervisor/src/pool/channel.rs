//! The socket to a template: frames, and the descriptors that come with them.
//!
//! # Contract
//! * Never blocks, never trusts: a frame is bounded by the codec, and descriptors that no message
//!   has asked for end the conversation.
//! * Descriptors arrive no later than the first byte of the frame they belong to, in the order they
//!   were sent, and are close-on-exec.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use mcp_v8_protocol::limits::FRAME_DESCRIPTORS_MAX;
use mcp_v8_protocol::{Decoder, FromWorker, ToWorker, encode};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use super::error::Violation;
use crate::limits::TEMPLATE_DESCRIPTORS_MAX;

/// Bytes read at a time: room for many small frames.
const READ_BYTES: usize = 1024;

/// Both directions of the socket.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    decoder: Decoder<FromWorker>,
    descriptors: VecDeque<OwnedFd>,
}

impl Channel {
    /// Takes over our end of the socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, decoder: Decoder::default(), descriptors: VecDeque::new() }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the other end is closed.
    pub async fn send(&mut self, message: &ToWorker) -> io::Result<()> {
        let frame = encode(message).map_err(io::Error::other)?;
        self.socket.write_all(&frame).await
    }

    /// Sends a message, and a descriptor with its first byte.
    ///
    /// # Errors
    /// When the other end is closed.
    pub async fn send_with(
        &mut self,
        message: &ToWorker,
        descriptor: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let frame = encode(message).map_err(io::Error::other)?;
        let sent = send_with(&self.socket, &frame, &[descriptor]).await?;
        self.socket.write_all(frame.get(sent..).unwrap_or_default()).await
    }

    /// Sends no more. The other end sees the end of its stream.
    pub async fn close(&mut self) {
        // One that is closed already is fine.
        let _ = self.socket.shutdown().await;
    }

    /// The next message; none at the end of the stream.
    ///
    /// # Errors
    /// A [`Violation`].
    pub async fn next(&mut self) -> Result<Option<FromWorker>, Violation> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(Some(message));
            }
            let Self { socket, decoder, descriptors } = self;
            let read =
                socket.async_io(Interest::READABLE, || receive(socket, decoder, descriptors));
            if read.await.unwrap_or(0) == 0 {
                return Ok(None);
            }
            if self.descriptors.len() > TEMPLATE_DESCRIPTORS_MAX {
                self.descriptors.clear();
                return Err(Violation::Descriptors);
            }
        }
    }

    /// The descriptor that came first of those not taken yet.
    ///
    /// # Errors
    /// [`Violation::Descriptors`] when none came.
    pub fn descriptor(&mut self) -> Result<OwnedFd, Violation> {
        self.descriptors.pop_front().ok_or(Violation::Descriptors)
    }
}

/// Sends the beginning of a frame, and descriptors with its first byte; says how much of it has left.
pub(super) async fn send_with(
    socket: &UnixStream,
    frame: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let sent = socket.async_io(Interest::WRITABLE, || {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FRAME_DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(sendmsg(socket, &[IoSlice::new(frame)], &mut control, flags)?)
    });
    sent.await
}

fn receive(
    socket: &UnixStream,
    decoder: &mut Decoder<FromWorker>,
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut bytes = [0_u8; READ_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FRAME_DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let read = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?.bytes;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    decoder.buffer_mut().extend_from_slice(&bytes[..read]);
    Ok(read)
}
