//! Proofs that were taken, so that none is taken twice.
//!
//! # Contract
//! * A proof counts when its time is at most [`CLOCK_SKEW_MS_MAX`] from the clock here, and once.
//! * At most [`PROOFS_REMEMBERED_MAX`] are remembered; while all of them still count, another one
//!   is refused rather than one forgotten. Only proofs that are right get here, so nobody without
//!   the secret can fill it.
//! * A clock that is set back brings nothing back that was forgotten.

use std::collections::BTreeSet;

use super::proof::Nonce;
use crate::limits::{CLOCK_SKEW_MS_MAX, PROOFS_REMEMBERED_MAX};

/// Why a proof that is right does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It was made at another time than it is now.
    #[error(
        "the clock of the caller is {}.{:03} s {} the clock of this node; accepted: \
         {} s. Set the clocks (NTP)",
        .skew_ms.unsigned_abs() / 1000, .skew_ms.unsigned_abs() % 1000,
        if *.skew_ms < 0 { "behind" } else { "ahead of" }, CLOCK_SKEW_MS_MAX / 1000
    )]
    Clock {
        /// How far the caller's clock is ahead, in milliseconds.
        skew_ms: i64,
    },
    /// It was taken already.
    #[error("this request was taken already; each one needs a proof of its own")]
    Replayed,
    /// Too many count at the moment.
    #[error(
        "{PROOFS_REMEMBERED_MAX} requests were taken within {} s, and no more are remembered; try \
         again later", 2 * CLOCK_SKEW_MS_MAX / 1000
    )]
    Full,
}

/// What was taken.
#[derive(Debug, Default)]
pub struct Window {
    /// By time, so that the oldest come first.
    taken: BTreeSet<(u64, Nonce)>,
    /// The latest time of what was forgotten, in milliseconds: nothing up to it counts any more,
    /// whatever the clock says.
    forgotten_ms: Option<u64>,
}

impl Window {
    /// Takes a proof made at `time_ms`, with this nonce, when the clock here is at `now_ms`.
    ///
    /// # Errors
    /// [`WindowError`].
    pub fn take(&mut self, now_ms: u64, time_ms: u64, nonce: Nonce) -> Result<(), WindowError> {
        while let Some((time, _)) = self.taken.first()
            && time.saturating_add(CLOCK_SKEW_MS_MAX) < now_ms
        {
            self.forgotten_ms = self.forgotten_ms.max(Some(*time));
            self.taken.pop_first();
        }
        let old = self.forgotten_ms.is_some_and(|forgotten| time_ms <= forgotten);
        if old || now_ms.abs_diff(time_ms) > CLOCK_SKEW_MS_MAX {
            let skew = i128::from(time_ms) - i128::from(now_ms);
            let skew_ms = skew.clamp(i64::MIN.into(), i64::MAX.into());
            return Err(WindowError::Clock { skew_ms: i64::try_from(skew_ms).unwrap_or_default() });
        }
        if self.taken.contains(&(time_ms, nonce)) {
            return Err(WindowError::Replayed);
        }
        if self.taken.len() >= PROOFS_REMEMBERED_MAX {
            return Err(WindowError::Full);
        }
        self.taken.insert((time_ms, nonce));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn nonce(number: usize) -> Nonce {
        let mut nonce = Nonce::default();
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        nonce
    }

    #[test]
    fn a_time_at_the_bound_counts_and_one_past_it_does_not() {
        let mut window = Window::default();
        let (past, future) = (NOW - CLOCK_SKEW_MS_MAX, NOW + CLOCK_SKEW_MS_MAX);
        assert_eq!(window.take(NOW, past, nonce(1)), Ok(()));
        assert_eq!(window.take(NOW, future, nonce(2)), Ok(()));
        let behind = window.take(NOW, past - 1, nonce(3)).unwrap_err();
        assert_eq!(behind, WindowError::Clock { skew_ms: -60_001 });
        assert!(behind.to_string().contains("60.001 s behind"), "{behind}");
        let ahead = window.take(NOW, future + 1, nonce(4)).unwrap_err();
        assert!(ahead.to_string().contains("60.001 s ahead of"), "{ahead}");
        for absurd in [0, u64::MAX] {
            assert!(window.take(NOW, absurd, nonce(5)).is_err());
        }
    }

    #[test]
    fn a_proof_counts_once_as_long_as_its_time_is_accepted_and_never_again() {
        let mut window = Window::default();
        assert_eq!(window.take(NOW, NOW, nonce(1)), Ok(()));
        for later in [0, 1, CLOCK_SKEW_MS_MAX] {
            assert_eq!(window.take(NOW + later, NOW, nonce(1)), Err(WindowError::Replayed));
        }
        assert_eq!(window.take(NOW, NOW, nonce(2)), Ok(()), "another at the same time");
        assert_eq!(window.take(NOW, NOW + 1, nonce(1)), Ok(()), "the same nonce at another time");
        let later = NOW + CLOCK_SKEW_MS_MAX + 1;
        assert!(matches!(window.take(later, NOW, nonce(1)), Err(WindowError::Clock { .. })));
        // Forgotten by now; a clock that is set back does not bring it back.
        assert!(matches!(window.take(NOW, NOW, nonce(1)), Err(WindowError::Clock { .. })));
        assert_eq!(window.take(later, later, nonce(3)), Ok(()));
    }

    #[test]
    fn as_many_as_the_bound_are_taken_and_one_past_it_only_when_others_count_no_more() {
        let mut window = Window::default();
        for number in 0..PROOFS_REMEMBERED_MAX {
            assert_eq!(window.take(NOW, NOW, nonce(number)), Ok(()));
        }
        let past = nonce(PROOFS_REMEMBERED_MAX);
        assert_eq!(window.take(NOW, NOW, past), Err(WindowError::Full));
        assert_eq!(window.take(NOW, NOW, nonce(7)), Err(WindowError::Replayed), "also when full");
        let later = NOW + CLOCK_SKEW_MS_MAX + 1;
        assert_eq!(window.take(later, later, past), Ok(()));
        assert_eq!(window.taken.len(), 1);
    }
}
