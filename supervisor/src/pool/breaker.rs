//! Restart discipline: back-off after start-up deaths, and a breaker that says why nothing runs.
//!
//! # Contract
//! * [`BREAKER_DEATHS`] start-up deaths within [`BREAKER_WINDOW`] open the breaker; one successful
//!   start closes it. Deaths that a job caused never count here.
//! * Back-off starts at [`BACKOFF_MIN`], doubles to [`BACKOFF_MAX`], and has jitter so that slots
//!   do not retry in step.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, BREAKER_DEATHS, BREAKER_WINDOW};

/// What the pool can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// No worker has started yet.
    Starting,
    /// Workers start.
    Ready,
    /// Workers die while starting; the reason of the last.
    Broken(String),
}

/// Counts start-up deaths.
#[derive(Debug)]
pub struct Breaker {
    deaths: Mutex<VecDeque<Instant>>,
    health: watch::Sender<Health>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { deaths: Mutex::default(), health: watch::Sender::new(Health::Starting) }
    }
}

impl Breaker {
    /// A worker got ready.
    pub fn started(&self) {
        self.deaths.lock().clear();
        self.health.send_if_modified(|health| {
            let changed = *health != Health::Ready;
            *health = Health::Ready;
            changed
        });
    }

    /// A worker died before it was ready, at `now`.
    pub fn died(&self, reason: String, now: Instant) {
        let mut deaths = self.deaths.lock();
        deaths.push_back(now);
        while deaths.front().is_some_and(|first| now.duration_since(*first) > BREAKER_WINDOW) {
            deaths.pop_front();
        }
        if deaths.len() >= BREAKER_DEATHS {
            deaths.truncate(BREAKER_DEATHS);
            self.health.send_replace(Health::Broken(reason));
        } else {
            // Once open it stays open until a start succeeds, with the newest reason.
            self.health.send_if_modified(|health| match health {
                Health::Broken(old) if *old != reason => {
                    *old = reason;
                    true
                }
                _ => false,
            });
        }
    }

    /// Watches the health.
    pub fn subscribe(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

/// The pause before retry number `failures` (from 1), between half and the whole of the step.
pub fn backoff(failures: u32) -> Duration {
    let step = BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    // `RandomState` is randomly keyed; jitter needs no more than that.
    let random = RandomState::new().build_hasher().finish();
    let half = step / 2;
    half + half.mul_f64((random % 1024) as f64 / 1023.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_at_its_count_within_the_window_and_closes_on_a_start() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for n in 1..BREAKER_DEATHS {
            breaker.died("no".to_owned(), start + Duration::from_millis(n as u64));
        }
        assert_eq!(*breaker.subscribe().borrow(), Health::Starting);
        breaker.died("why".to_owned(), start + BREAKER_WINDOW);
        assert_eq!(*breaker.subscribe().borrow(), Health::Broken("why".to_owned()));
        breaker.died("newer".to_owned(), start + BREAKER_WINDOW * 9);
        assert_eq!(*breaker.subscribe().borrow(), Health::Broken("newer".to_owned()));
        breaker.started();
        assert_eq!(*breaker.subscribe().borrow(), Health::Ready);
    }

    #[test]
    fn deaths_spread_wider_than_the_window_do_not_open_it() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for n in 0..20 {
            breaker
                .died("no".to_owned(), start + (BREAKER_WINDOW / 4 + Duration::from_millis(1)) * n);
        }
        assert_eq!(*breaker.subscribe().borrow(), Health::Starting);
    }

    #[test]
    fn back_off_doubles_to_its_bound() {
        for (failures, step) in
            [(1, 100), (2, 200), (3, 400), (9, 25_600), (10, 30_000), (99, 30_000)]
        {
            let pause = backoff(failures);
            let step = Duration::from_millis(step);
            assert!(pause >= step / 2 && pause <= step, "{failures}: {pause:?}");
        }
    }
}
