//! How much of this server one caller may have.
//!
//! # Contract
//! * Each caller may submit so many scripts a minute to a node, and no more at once. It is remembered of
//!   at most [`PRINCIPALS_RATED_MAX`] callers; the one that has asked longest ago is forgotten first.
//! * Where executions are in memory, each caller has at most so many that have not ended. Where they
//!   are replicated the cluster counts ([`mcp_v8_cluster::state::principals`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bucket::{Bucket, Rate};
use super::principal::Principal;
use crate::limits::PRINCIPALS_RATED_MAX;

/// What each caller may have; what is absent has no bound of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrincipalLimits {
    /// Executions that have not ended.
    pub running_max: Option<u32>,
    /// Submissions a minute.
    pub rate_max: Option<u32>,
}

impl PrincipalLimits {
    fn rate(&self) -> Option<Rate> {
        let burst = self.rate_max?;
        Some(Rate { burst, every: Duration::from_secs(60) / burst })
    }
}

/// What callers have of this server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    limits: PrincipalLimits,
    rates: Arc<Mutex<HashMap<Principal, Bucket>>>,
    running: Arc<Mutex<HashMap<Principal, u32>>>,
}

impl Shares {
    /// Nobody has anything yet.
    pub fn new(limits: PrincipalLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What each may have.
    pub fn limits(&self) -> PrincipalLimits {
        self.limits
    }

    /// Counts a submission.
    ///
    /// # Errors
    /// After which time there may be another.
    pub fn submits(&self, who: Principal, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.limits.rate() else { return Ok(()) };
        let mut rates = self.rates.lock();
        if rates.len() >= PRINCIPALS_RATED_MAX && !rates.contains_key(&who) {
            // Whoever has all turns again is as one who was never here.
            rates.retain(|_, bucket| !bucket.is_full(rate, now));
            if rates.len() >= PRINCIPALS_RATED_MAX {
                let oldest =
                    rates.iter().min_by_key(|(_, bucket)| bucket.at()).map(|(who, _)| *who);
                oldest.map(|oldest| rates.remove(&oldest));
            }
        }
        rates.entry(who).or_insert_with(|| Bucket::full(rate, now)).take(rate, now)
    }

    /// A place for an execution of this caller in memory, until it is dropped.
    ///
    /// # Errors
    /// How many it may have.
    pub fn place(&self, who: Principal) -> Result<Option<RunningPlace>, u32> {
        let Some(max) = self.limits.running_max else { return Ok(None) };
        let mut running = self.running.lock();
        let own = running.entry(who).or_default();
        if *own >= max {
            return Err(max);
        }
        *own += 1;
        Ok(Some(RunningPlace { who, running: Arc::clone(&self.running) }))
    }
}

/// That a caller has an execution which has not ended.
#[derive(Debug)]
pub struct RunningPlace {
    who: Principal,
    running: Arc<Mutex<HashMap<Principal, u32>>>,
}

impl Drop for RunningPlace {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(own) = running.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                running.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(n: usize) -> Principal {
        Principal::of("i", &n.to_string())
    }

    fn shares(limits: PrincipalLimits) -> Shares {
        Shares::new(limits)
    }

    #[test]
    fn each_caller_has_its_own_turns() {
        let shares = shares(PrincipalLimits { rate_max: Some(2), running_max: None });
        let now = Instant::now();
        for who in [named(1), named(2), Principal::EVERYBODY] {
            assert!(shares.submits(who, now).is_ok() && shares.submits(who, now).is_ok());
            let wait = shares.submits(who, now).unwrap_err();
            assert!(wait <= Duration::from_secs(30), "{wait:?}");
            assert!(shares.submits(who, now + wait).is_ok());
        }
        let free = Shares::default();
        assert!((0..10_000).all(|_| free.submits(named(1), now).is_ok()));
    }

    #[test]
    fn as_many_callers_as_may_be_are_remembered_and_the_oldest_is_forgotten_for_one_more() {
        let shares = shares(PrincipalLimits { rate_max: Some(1), running_max: None });
        let begun = Instant::now();
        for n in 0..PRINCIPALS_RATED_MAX {
            let at = begun + Duration::from_micros(n as u64);
            assert!(shares.submits(named(n), at).is_ok());
        }
        let now = begun + Duration::from_secs(1);
        assert!(shares.submits(named(0), now).is_err(), "it is remembered");
        assert!(shares.submits(named(PRINCIPALS_RATED_MAX), now).is_ok());
        assert_eq!(shares.rates.lock().len(), PRINCIPALS_RATED_MAX);
        assert!(shares.submits(named(1), now).is_ok(), "it was forgotten");
        // Who has waited long enough is forgotten without loss.
        let now = now + Duration::from_secs(120);
        assert!(shares.submits(named(PRINCIPALS_RATED_MAX + 1), now).is_ok());
        assert_eq!(shares.rates.lock().len(), 1);
    }

    #[test]
    fn places_are_as_many_as_may_be_and_come_back() {
        let shares = shares(PrincipalLimits { running_max: Some(2), rate_max: None });
        let first = shares.place(named(1)).unwrap();
        let _second = shares.place(named(1)).unwrap();
        assert_eq!(shares.place(named(1)).map(drop), Err(2));
        let other = shares.place(named(2)).unwrap();
        drop(first);
        assert!(shares.place(named(1)).is_ok());
        drop(other);
        assert_eq!(shares.running.lock().len(), 1);
    }
}
