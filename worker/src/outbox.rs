//! Messages to the supervisor: one queue for both threads, written without ever blocking on it.
//!
//! The main thread appends; whoever holds the lock writes what the socket takes. A supervisor that
//! does not read therefore stops neither the script nor the control thread, and frames never mix.
//! What can pile up is bounded by the job's console budget.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use mcp_v8_protocol::limits::CONSOLE_CHUNK_BYTES_MAX;
use mcp_v8_protocol::{EncodeError, Fatal, FatalKind, FromWorker, encode};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::stdio::stdin;

use crate::limits::LAST_WORDS_MS;
use crate::{faults, sandbox};

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    /// Standard input is something else.
    #[error("standard input is not a Unix socket ({0})")]
    NotASocket(Errno),
    /// The kernel gave no event descriptor.
    #[error("no event descriptor: {0}")]
    Event(Errno),
    /// The message is larger than a frame may be.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The socket failed.
    #[error("writing failed: {0}")]
    Write(Errno),
}

/// The way to the supervisor.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Wakes the control thread.
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Queue {
    /// Frames, the first partly sent.
    frames: Vec<u8>,
    sent: usize,
    /// Console text that is not a frame yet.
    console: String,
    /// The control thread has been told that something waits.
    announced: bool,
}

/// What is left to do, for the control thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pending {
    /// Nothing.
    Nothing,
    /// Console text that may wait a little for more.
    Console,
    /// Frames the socket did not take.
    Frames,
}

impl Outbox {
    /// The outbox of this process, whose standard input must be a socket.
    pub(crate) fn new() -> Result<Self, OutboxError> {
        rustix::net::sockopt::socket_type(stdin()).map_err(OutboxError::NotASocket)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(OutboxError::Event)?;
        Ok(Self { queue: Mutex::default(), wake })
    }

    /// Readable when something has been put in since it was last [`settled`](Self::settle).
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Appends console text. It leaves when there is a frame of it, or when the control thread
    /// finds it has waited long enough.
    pub(crate) fn push_console(&self, text: &str) {
        let mut queue = self.lock();
        queue.console.push_str(text);
        if queue.console.len() >= CONSOLE_CHUNK_BYTES_MAX {
            queue.frame_console();
            // An error shows again, and is reported, when the outcome is sent.
            let _ = queue.write();
        }
        if !queue.announced {
            queue.announced = true;
            self.notify();
        }
    }

    /// Says, behind all text so far, that no more comes.
    pub(crate) fn push_console_truncated(&self) {
        let mut queue = self.lock();
        queue.frame_console();
        let _ = queue.frame(&FromWorker::ConsoleTruncated);
        let _ = queue.write();
        if !queue.announced {
            queue.announced = true;
            self.notify();
        }
    }

    /// Sends what is queued and then `message`, waiting until the socket has taken all of it.
    pub(crate) fn send(&self, message: &FromWorker) -> Result<(), OutboxError> {
        let mut queue = self.lock();
        queue.frame_console();
        queue.frame(message)?;
        while !queue.write()? {
            drop(queue);
            wait_writable(None);
            queue = self.lock();
        }
        Ok(())
    }

    /// Writes what is queued as far as the socket takes it, and says what is left.
    pub(crate) fn flush(&self, with_console: bool) -> Result<Pending, OutboxError> {
        let mut queue = self.lock();
        if with_console {
            queue.frame_console();
        }
        let pending = if !queue.write()? {
            Pending::Frames
        } else if !queue.console.is_empty() {
            Pending::Console
        } else {
            Pending::Nothing
        };
        queue.announced = pending != Pending::Nothing;
        Ok(pending)
    }

    /// Forgets past wake-ups.
    pub(crate) fn settle(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    /// Sends `message` on a process that is about to end: in bounded time, ignoring failure. Works
    /// where V8 has given up.
    pub(crate) fn last_words(&self, message: &FromWorker) {
        let deadline = Instant::now() + Duration::from_millis(LAST_WORDS_MS);
        loop {
            match self.queue.try_lock() {
                Ok(mut queue) => return queue.write_last(message, deadline),
                Err(TryLockError::Poisoned(queue)) => {
                    return queue.into_inner().write_last(message, deadline);
                }
                // The other thread never blocks while it holds the lock.
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                Err(TryLockError::WouldBlock) => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Queue {
    fn frame(&mut self, message: &FromWorker) -> Result<(), OutboxError> {
        let frame = encode(message)?;
        self.frames.extend_from_slice(&frame);
        Ok(())
    }

    /// Turns all console text into frames.
    fn frame_console(&mut self) {
        let mut text = std::mem::take(&mut self.console);
        while !text.is_empty() {
            let rest = text.split_off(text.floor_char_boundary(CONSOLE_CHUNK_BYTES_MAX));
            // Cannot be too large: the chunk is far below the frame's bound.
            let _ = self.frame(&FromWorker::Console(text));
            text = rest;
        }
    }

    /// Writes what the socket takes; says whether that was all.
    fn write(&mut self) -> Result<bool, OutboxError> {
        while self.sent < self.frames.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(stdin(), &self.frames[self.sent..], flags) {
                Ok(sent) => self.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(OutboxError::Write(error)),
            }
        }
        self.frames.clear();
        self.sent = 0;
        Ok(true)
    }

    fn write_last(&mut self, message: &FromWorker, deadline: Instant) {
        self.frame_console();
        let _ = self.frame(message);
        while let Ok(false) = self.write() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            wait_writable(Some(left));
        }
    }
}

fn wait_writable(timeout: Option<Duration>) {
    let socket = stdin();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let _ = poll(&mut [PollFd::new(&socket, PollFlags::OUT)], timeout.as_ref());
}

static LAST_OUTBOX: OnceLock<Arc<Outbox>> = OnceLock::new();

/// Lets V8's last words, and those of a panic, leave through `outbox`. What a panic says is for the
/// log: it names places in our own source.
pub(crate) fn install_last_words(outbox: &Arc<Outbox>) {
    let _ = LAST_OUTBOX.set(Arc::clone(outbox));
    mcp_v8_runtime::set_last_words(speak_and_exit);
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("mcp-v8-worker: {panic}");
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        // The parser's arena has no other way to say it.
        if text.is_some_and(|text| ARENA_FULL.contains(&text)) {
            faults::source_too_large();
        }
        speak_and_exit(FatalKind::Worker, "internal error");
    }));
}

/// What the parser panics with when its arena, or a vector in it, cannot grow.
const ARENA_FULL: &[&str] = &["out of memory", "capacity overflow"];

/// Says why the process ends and ends it.
pub(crate) fn speak_and_exit(kind: FatalKind, message: &str) -> ! {
    sandbox::release_reserve();
    if let Some(outbox) = LAST_OUTBOX.get() {
        outbox.last_words(&FromWorker::Fatal(Fatal { kind, message: message.to_owned() }));
    }
    exit(1)
}

/// Ends the process now: no destructors, no exit handlers, whatever other threads are doing.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}
