//! What worker processes print: V8's last words, the dynamic linker's complaints.
//!
//! All workers share one pipe. Lines are cut, rate-limited and logged; nothing is kept.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::limits::{
    WORKER_LOG_BYTES_PER_SEC_MAX, WORKER_LOG_LINE_BYTES_MAX, WORKER_LOG_LINES_PER_SEC_MAX,
};

/// Makes the pipe and starts reading it. Returns the end that children inherit.
///
/// # Errors
/// When the system has no descriptors left.
pub fn start() -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let reader = pipe::Receiver::from_owned_fd(reader)?;
    tokio::spawn(read(reader));
    Ok(writer)
}

async fn read(mut reader: pipe::Receiver) {
    let mut line = Vec::with_capacity(WORKER_LOG_LINE_BYTES_MAX);
    let mut chunk = [0_u8; 4096];
    let mut rate = Rate::new();
    loop {
        // Whoever floods the pipe waits, and not the server.
        if let Some(pause) = rate.pause() {
            tokio::time::sleep(pause).await;
        }
        let read = match reader.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        rate.bytes += read;
        for &byte in &chunk[..read] {
            if byte == b'\n' {
                rate.log(&line);
                line.clear();
            } else if line.len() < WORKER_LOG_LINE_BYTES_MAX {
                line.push(byte);
            }
        }
    }
}

struct Rate {
    second: Instant,
    lines: u32,
    bytes: usize,
    dropped: u64,
}

impl Rate {
    fn new() -> Self {
        Self { second: Instant::now(), lines: 0, bytes: 0, dropped: 0 }
    }

    /// How long to read nothing, when more has been read than a second's lines can be.
    fn pause(&mut self) -> Option<Duration> {
        if self.bytes < WORKER_LOG_BYTES_PER_SEC_MAX {
            return None;
        }
        self.bytes = 0;
        Some(Duration::from_secs(1).saturating_sub(self.second.elapsed()))
    }

    fn log(&mut self, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.dropped > 0 {
                tracing::warn!(lines = self.dropped, "worker log lines dropped");
            }
            *self = Self::new();
        }
        self.lines += 1;
        if self.lines > WORKER_LOG_LINES_PER_SEC_MAX {
            self.dropped += 1;
        } else {
            tracing::warn!(target: "worker", "{}", String::from_utf8_lossy(line));
        }
    }
}
