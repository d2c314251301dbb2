//! Log lines that a caller can cause at will.
//!
//! # Contract
//! * Of each kind at most [`LOG_LINES_PER_SEC_MAX`] are said in a second. The next one that is says how
//!   many were not.
//! * Kinds are names in this program, so that what is remembered is bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::LOG_LINES_PER_SEC_MAX;

/// Remembers what was said lately.
#[derive(Debug)]
pub struct Limit {
    kinds: Mutex<BTreeMap<&'static str, Window>>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    said: u32,
    unsaid: u64,
}

impl Limit {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self { kinds: Mutex::new(BTreeMap::new()) }
    }

    /// How many of this kind were not said since the last that was, if this one is to be.
    pub fn pass(&self, kind: &'static str) -> Option<u64> {
        self.pass_at(kind, Instant::now())
    }

    fn pass_at(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock();
        let fresh = Window { begun: now, said: 0, unsaid: 0 };
        let window = kinds.entry(kind).or_insert(fresh);
        if now.saturating_duration_since(window.begun) >= Duration::from_secs(1) {
            (window.begun, window.said) = (now, 0);
        }
        if window.said >= LOG_LINES_PER_SEC_MAX {
            window.unsaid += 1;
            return None;
        }
        window.said += 1;
        Some(std::mem::take(&mut window.unsaid))
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_bound_are_said_in_a_second_and_one_past_it_is_counted() {
        let (limit, now) = (Limit::new(), Instant::now());
        for _ in 0..LOG_LINES_PER_SEC_MAX {
            assert_eq!(limit.pass_at("a", now), Some(0));
        }
        assert_eq!(limit.pass_at("a", now), None);
        assert_eq!(limit.pass_at("a", now + Duration::from_millis(999)), None);
        assert_eq!(limit.pass_at("b", now), Some(0), "kinds do not silence each other");
        assert_eq!(limit.pass_at("a", now + Duration::from_secs(1)), Some(2));
        assert_eq!(limit.pass_at("a", now + Duration::from_secs(1)), Some(0));
    }
}
