//! Messages to the supervisor: one queue, written by the script's own thread and by the signal that
//! lets console text out.
//!
//! Text waits a little for more ([`CONSOLE_FLUSH_MS`](crate::limits::CONSOLE_FLUSH_MS)) or for a
//! frame of it. A script that prints faster than the supervisor reads waits for it; what piles up is
//! bounded by one frame. The signal's handler never waits and never allocates: what it may need is
//! set aside when the first text comes.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use mcp_v8_protocol::limits::{ARTIFACT_CHUNK_BYTES_MAX, CONSOLE_CHUNK_BYTES_MAX};
use mcp_v8_protocol::{ArtifactHead, EncodeError, Fatal, FatalKind, FromWorker, encode_into};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::stdio::stdin;

use crate::limits::{FRAME_ROOM_BYTES, LAST_WORDS_MS};
use crate::{faults, signals};

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    /// Standard input is something else.
    #[error("standard input is not a Unix socket ({0})")]
    NotASocket(Errno),
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
}

#[derive(Debug, Default)]
struct Queue {
    /// Frames, the first partly sent.
    frames: Vec<u8>,
    sent: usize,
    /// Console text that is not a frame yet.
    console: String,
    /// The signal will come and take the text.
    announced: bool,
}

impl Outbox {
    /// The outbox of this process, whose standard input must be a socket.
    pub(crate) fn new() -> Result<Self, OutboxError> {
        rustix::net::sockopt::socket_type(stdin()).map_err(OutboxError::NotASocket)?;
        Ok(Self { queue: Mutex::default() })
    }

    /// Appends console text. It leaves when there is a frame of it, or when it has waited long
    /// enough.
    pub(crate) fn push_console(&self, mut text: &str) {
        let mut queue = self.lock();
        if queue.console.capacity() == 0 {
            queue.console.reserve(CONSOLE_CHUNK_BYTES_MAX);
            queue.frames.reserve(CONSOLE_CHUNK_BYTES_MAX + FRAME_ROOM_BYTES);
        }
        while !text.is_empty() {
            let room = CONSOLE_CHUNK_BYTES_MAX - queue.console.len();
            let (now, rest) = text.split_at(text.floor_char_boundary(room));
            queue.console.push_str(now);
            text = rest;
            let full = !text.is_empty() || queue.console.len() == CONSOLE_CHUNK_BYTES_MAX;
            if full && queue.send_all().is_err() {
                // Nobody is left to hear the outcome.
                exit(0);
            }
        }
        if !queue.announced && !queue.console.is_empty() {
            queue.announced = true;
            drop(queue);
            signals::flush_soon();
        }
    }

    /// Says, behind all text so far, that no more comes.
    pub(crate) fn push_console_truncated(&self) {
        let mut queue = self.lock();
        queue.frame_console();
        let _ = queue.frame(&FromWorker::ConsoleTruncated);
        let _ = queue.send_all();
    }

    /// Sends an artifact behind all text so far, a piece at a time, waiting for the socket.
    pub(crate) fn send_artifact(&self, key: &str, mime_type: &str, bytes: &[u8]) {
        let (key, mime_type) = (key.to_owned(), mime_type.to_owned());
        let head = ArtifactHead { key, mime_type, bytes: bytes.len() as u64 };
        let mut sent = self.send(&FromWorker::Artifact(head));
        for piece in bytes.chunks(ARTIFACT_CHUNK_BYTES_MAX) {
            sent = sent.and_then(|()| self.send(&FromWorker::ArtifactBytes(piece.to_vec())));
        }
        if sent.is_err() {
            // Nobody is left to hear the outcome.
            exit(0);
        }
    }

    /// Sends what is queued and then `message`, waiting until the socket has taken all of it.
    pub(crate) fn send(&self, message: &FromWorker) -> Result<(), OutboxError> {
        let mut queue = self.lock();
        queue.frame_console();
        queue.frame(message)?;
        queue.send_all()
    }

    /// Sends console text as far as the socket takes it. Says whether there is nothing left to come
    /// back for. For the handler of a signal.
    fn flush_from_signal(&self) -> bool {
        // Whoever holds it is writing, or about to append.
        let Ok(mut queue) = self.queue.try_lock() else { return false };
        // There is room for one frame: the next is made when the last has left.
        let mut done = queue.write().unwrap_or(true);
        if done {
            queue.frame_console();
            // With an error there is nobody to write to.
            done = queue.write().unwrap_or(true);
        }
        queue.announced = !done;
        done
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
                // Held by what was interrupted, which is not going on.
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
}

impl Queue {
    fn frame(&mut self, message: &FromWorker) -> Result<(), OutboxError> {
        Ok(encode_into(message, &mut self.frames)?)
    }

    /// Turns the console text into a frame. Allocates nothing: there is room for one.
    fn frame_console(&mut self) {
        if self.console.is_empty() {
            return;
        }
        let message = FromWorker::Console(std::mem::take(&mut self.console));
        // Cannot be too large: the chunk is far below the frame's bound.
        let _ = self.frame(&message);
        if let FromWorker::Console(mut text) = message {
            text.clear();
            self.console = text;
        }
    }

    /// Writes everything, waiting for the socket.
    fn send_all(&mut self) -> Result<(), OutboxError> {
        self.frame_console();
        while !self.write()? {
            wait_writable(None);
        }
        Ok(())
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

/// Sends console text of this process. Says whether there is nothing left to come back for.
pub(crate) fn flush_from_signal() -> bool {
    LAST_OUTBOX.get().is_none_or(|outbox| outbox.flush_from_signal())
}

/// Writes the frames that are queued, so that one more may follow, and leaves console text behind. Says
/// whether it could. For the handler of a fault: allocates nothing.
pub(crate) fn write_from_signal() -> bool {
    let Some(outbox) = LAST_OUTBOX.get() else { return false };
    let Ok(mut queue) = outbox.queue.try_lock() else { return false };
    let deadline = Instant::now() + Duration::from_millis(LAST_WORDS_MS);
    loop {
        match queue.write() {
            Ok(true) => return true,
            Ok(false) if Instant::now() < deadline => {
                wait_writable(deadline.checked_duration_since(Instant::now()));
            }
            _ => return false,
        }
    }
}

/// Says why the process ends and ends it.
pub(crate) fn speak_and_exit(kind: FatalKind, message: &str) -> ! {
    speak(kind, message);
    exit(1)
}

/// Says why the process ends.
pub(crate) fn speak(kind: FatalKind, message: &str) {
    mcp_v8_sandbox::release_reserve();
    if let Some(outbox) = LAST_OUTBOX.get() {
        outbox.last_words(&FromWorker::Fatal(Fatal { kind, message: message.to_owned() }));
    }
}

/// Ends the process now: no destructors, no exit handlers, whatever other threads are doing.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}
