//! What a worker may print: bytes, and frames, each of which costs the server time however small it
//! is. A worker of ours keeps both by itself; one that does not is no longer ours.

use mcp_v8_protocol::limits::CONSOLE_CHUNK_BYTES_MAX;
use tokio::time::Instant;

use super::error::Violation;
use crate::limits::{CONSOLE_FRAMES_MIN, CONSOLE_FRAMES_PER_SEC};

/// What a worker may still print: bytes, and frames, each of which costs time however small it is.
pub(super) struct ConsoleBudget {
    left: u64,
    /// No more text may come.
    pub(super) truncated: bool,
    begun: Instant,
    frames: u64,
    full_frames: u64,
}

impl ConsoleBudget {
    /// The budget of a job that begins now.
    pub(super) fn new(bytes: u64) -> Self {
        let begun = Instant::now();
        Self { left: bytes, truncated: false, begun, frames: 0, full_frames: 0 }
    }

    /// Takes one frame's worth.
    ///
    /// # Errors
    /// [`Violation::Console`].
    pub(super) fn take(&mut self, text: &str) -> Result<(), Violation> {
        let bytes = text.len();
        self.frames += 1;
        // A character may not fit where a frame ends.
        if bytes + 4 > CONSOLE_CHUNK_BYTES_MAX {
            self.full_frames += 1;
        }
        let seconds = self.begun.elapsed().as_secs() + 1;
        let frames_max = CONSOLE_FRAMES_MIN + CONSOLE_FRAMES_PER_SEC * seconds + self.full_frames;
        let broken = self.truncated
            || bytes == 0
            || bytes > CONSOLE_CHUNK_BYTES_MAX
            || bytes as u64 > self.left
            || self.frames > frames_max;
        if broken {
            return Err(Violation::Console);
        }
        self.left -= bytes as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_frames_are_bounded_by_bytes_and_by_number() {
        let mut budget = ConsoleBudget::new(3);
        assert!(budget.take("").is_err(), "an empty frame costs nothing and never ends");
        assert!(budget.take("abc").is_ok());
        assert!(budget.take("d").is_err());

        let mut budget = ConsoleBudget::new(u64::MAX);
        let at_once = CONSOLE_FRAMES_MIN + CONSOLE_FRAMES_PER_SEC;
        for _ in 0..at_once {
            assert!(budget.take("x").is_ok());
        }
        // As if no time had passed, however slow the test is.
        budget.begun = Instant::now();
        assert!(budget.take("x").is_err());
        let mut budget = ConsoleBudget::new(u64::MAX);
        let full = "x".repeat(CONSOLE_CHUNK_BYTES_MAX);
        for _ in 0..2 * at_once {
            assert!(budget.take(&full).is_ok(), "full frames are bounded by their bytes");
        }
    }
}
