//! A bucket of turns that fills again with time.

use std::time::{Duration, Instant};

/// How often something may be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// So often at once.
    pub burst: u32,
    /// After which time it is once more.
    pub every: Duration,
}

/// Turns that are left.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { left: f64::from(rate.burst), at: now }
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// After which time there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.fill(rate, now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(rate.every.mul_f64(1.0 - self.left))
    }

    /// When it was last looked at.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether all turns are left by now.
    pub fn is_full(mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.left >= f64::from(rate.burst)
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        // Rounding must not cost the turn that somebody was told of.
        let left = self.left + passed / rate.every.as_secs_f64() + 1e-9;
        self.left = left.min(f64::from(rate.burst));
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_turns_as_may_be_and_one_more_when_it_was_said() {
        let rate = Rate { burst: 3, every: Duration::from_secs(20) };
        let mut now = Instant::now();
        let mut bucket = Bucket::full(rate, now);
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, now), Ok(()));
        }
        let wait = bucket.take(rate, now).unwrap_err();
        assert!(wait <= rate.every && wait >= rate.every - Duration::from_millis(1), "{wait:?}");
        now += wait - Duration::from_millis(1);
        assert!(bucket.take(rate, now).is_err());
        now += Duration::from_millis(1);
        assert_eq!(bucket.take(rate, now), Ok(()));
        assert!(bucket.take(rate, now).is_err());
        assert!(!bucket.is_full(rate, now + 2 * rate.every));
        assert!(bucket.is_full(rate, now + 3 * rate.every));
        // No more than there may be.
        now += 100 * rate.every;
        assert_eq!((0..9).filter(|_| bucket.take(rate, now).is_ok()).count(), 3);
    }
}
