//! What was refused on the cluster port: counted all, logged now and then.
//!
//! # Contract
//! * Every refusal is counted by its reason.
//! * For each reason at most one line is logged in [`REFUSALS_LOG_MS`], with how many were not.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::REFUSALS_LOG_MS;

/// Why somebody was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A proof of the secret is missing.
    Missing,
    /// It cannot be read.
    Malformed,
    /// It is of another secret, or of another request.
    Proof,
    /// It is for another process.
    Instance,
    /// It was made at another time.
    Clock,
    /// It was taken already.
    Replayed,
    /// More proofs count than are remembered.
    Busy,
    /// A certificate is missing.
    NoCertificate,
    /// It is not of our authority, or does not count any more.
    Certificate,
    /// The caller does not speak TLS.
    Plaintext,
    /// TLS failed for another reason.
    Tls,
    /// Nothing is proven here, and the caller is at no member's address.
    Stranger,
    /// A frame was tampered with.
    Frame,
    /// An answer to this node proved nothing.
    Answer,
}

/// All of them.
pub const REASONS: [Reason; 14] = [
    Reason::Missing,
    Reason::Malformed,
    Reason::Proof,
    Reason::Instance,
    Reason::Clock,
    Reason::Replayed,
    Reason::Busy,
    Reason::NoCertificate,
    Reason::Certificate,
    Reason::Plaintext,
    Reason::Tls,
    Reason::Stranger,
    Reason::Frame,
    Reason::Answer,
];

impl Reason {
    /// Its name in metrics and answers. Stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Proof => "proof",
            Self::Instance => "instance",
            Self::Clock => "clock",
            Self::Replayed => "replayed",
            Self::Busy => "busy",
            Self::NoCertificate => "no_certificate",
            Self::Certificate => "certificate",
            Self::Plaintext => "plaintext",
            Self::Tls => "tls",
            Self::Stranger => "stranger",
            Self::Frame => "frame",
            Self::Answer => "answer",
        }
    }

    /// The status that a request is answered with.
    pub fn status(self) -> u16 {
        match self {
            Self::NoCertificate | Self::Certificate | Self::Stranger => 403,
            Self::Plaintext => 400,
            Self::Busy => 503,
            _ => 401,
        }
    }
}

/// Somebody is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Refusal {
    /// Why, in one word.
    pub reason: Reason,
    /// Why, and what would be accepted.
    pub problem: String,
}

impl Refusal {
    /// With what would be accepted.
    pub fn new(reason: Reason, problem: impl Into<String>) -> Self {
        Self { reason, problem: problem.into() }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    all: u64,
    logged: u64,
    last: Option<Instant>,
}

/// Counts refusals.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: Mutex<[Count; REASONS.len()]>,
}

impl Refusals {
    /// Counts one, of somebody at `from`, and logs it if that is due.
    pub fn note(&self, refusal: &Refusal, from: &dyn fmt::Display) {
        if let Some(unsaid) = self.count(refusal.reason, Instant::now()) {
            tracing::warn!(
                %from,
                reason = refusal.reason.as_str(),
                problem = refusal.problem,
                unsaid,
                "refused on the cluster port"
            );
        }
    }

    /// Counts one that is logged elsewhere.
    pub fn add(&self, reason: Reason) {
        let mut counts = self.counts.lock();
        let count = &mut counts[reason as usize];
        (count.all, count.logged) = (count.all + 1, count.logged + 1);
    }

    /// Counts one; how many were not logged since the last that was, if this one is to be.
    fn count(&self, reason: Reason, now: Instant) -> Option<u64> {
        let mut counts = self.counts.lock();
        let count = &mut counts[reason as usize];
        count.all += 1;
        let pause = Duration::from_millis(REFUSALS_LOG_MS);
        if count.last.is_some_and(|last| now.saturating_duration_since(last) < pause) {
            return None;
        }
        let unsaid = count.all - count.logged - 1;
        (count.last, count.logged) = (Some(now), count.all);
        Some(unsaid)
    }

    /// How many there were, by reason.
    pub fn counts(&self) -> [(Reason, u64); REASONS.len()] {
        let counts = self.counts.lock();
        REASONS.map(|reason| (reason, counts[reason as usize].all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_one_in_a_while_is_logged() {
        let refusals = Refusals::default();
        let begun = Instant::now();
        let pause = Duration::from_millis(REFUSALS_LOG_MS);
        assert_eq!(refusals.count(Reason::Proof, begun), Some(0));
        for _ in 0..10 {
            let just_before = begun + pause - Duration::from_millis(1);
            assert_eq!(refusals.count(Reason::Proof, just_before), None);
        }
        assert_eq!(refusals.count(Reason::Stranger, begun), Some(0), "each reason for itself");
        assert_eq!(refusals.count(Reason::Proof, begun + pause), Some(10));
        let counts = refusals.counts();
        let of = |reason| counts.iter().find(|(other, _)| *other == reason).unwrap().1;
        assert_eq!((of(Reason::Proof), of(Reason::Stranger), of(Reason::Tls)), (12, 1, 0));
    }

    #[test]
    fn reasons_have_names_of_their_own_and_stand_in_their_order() {
        for (at, reason) in REASONS.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert!(REASONS[..at].iter().all(|other| other.as_str() != reason.as_str()));
        }
    }
}
