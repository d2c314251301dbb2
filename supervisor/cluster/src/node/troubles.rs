//! Why other nodes and this one do not trust each other.
//!
//! # Contract
//! * Shown for each address and way until a call to it succeeds, or none has failed so for
//!   [`TROUBLE_MS`].
//! * Logged when it is new, and again as often as that at most, however often it comes and goes; in
//!   other words after [`REFUSALS_LOG_MS`], since the words may be those of somebody who has proven
//!   nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::{REFUSALS_LOG_MS, TROUBLE_MS, TROUBLES_MAX};

/// How another node is called: one way may work without the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By single requests.
    Request,
    /// By a connection that is kept.
    Connection,
}

const OTHER_WORDS: Duration = Duration::from_millis(REFUSALS_LOG_MS);
const KEPT: Duration = Duration::from_millis(TROUBLE_MS);

#[derive(Debug)]
struct Trouble {
    problem: String,
    /// When it came up last; `None` when a call has succeeded since.
    seen: Option<Instant>,
    logged: Instant,
}

impl Trouble {
    fn shows(&self, now: Instant) -> bool {
        self.seen.is_some_and(|seen| now.saturating_duration_since(seen) <= KEPT)
    }
}

/// What is wrong, by address.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<BTreeMap<(String, Way), Trouble>>);

impl Troubles {
    /// A call to `address` has failed for want of trust.
    pub fn note(&self, address: &str, way: Way, problem: &str) {
        if self.put(address, way, problem, Instant::now()) {
            tracing::warn!(%address, "this node and another do not get together: {problem}");
        }
    }

    /// Whether it is to be logged.
    fn put(&self, address: &str, way: Way, problem: &str, now: Instant) -> bool {
        let key = (address.to_owned(), way);
        let within = |trouble: &Trouble, time| now.saturating_duration_since(trouble.logged) < time;
        let lately = |trouble: &Trouble| {
            within(trouble, if trouble.problem == problem { KEPT } else { OTHER_WORDS })
        };
        let mut troubles = self.0.lock();
        troubles.retain(|_, trouble| trouble.shows(now) || within(trouble, KEPT));
        if !troubles.contains_key(&key) && troubles.len() >= TROUBLES_MAX {
            return false;
        }
        let logged =
            troubles.get(&key).filter(|trouble| lately(trouble)).map(|trouble| trouble.logged);
        let trouble =
            Trouble { problem: problem.to_owned(), seen: Some(now), logged: logged.unwrap_or(now) };
        troubles.insert(key, trouble);
        logged.is_none()
    }

    /// A call to `address` has succeeded.
    pub fn clear(&self, address: &str, way: Way) {
        let mut troubles = self.0.lock();
        // Nearly always there is none.
        if !troubles.is_empty()
            && let Some(trouble) = troubles.get_mut(&(address.to_owned(), way))
        {
            trouble.seen = None;
        }
    }

    /// All there is, in one text.
    pub fn text(&self) -> Option<String> {
        self.shown(Instant::now())
    }

    fn shown(&self, now: Instant) -> Option<String> {
        let troubles = self.0.lock();
        let shown = troubles
            .iter()
            .filter(|(_, trouble)| trouble.shows(now))
            .map(|((address, _), trouble)| format!("{address}: {}", trouble.problem));
        let mut texts: Vec<String> = shown.collect();
        // Both ways often have the same.
        texts.dedup();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_shown_until_it_ends_and_logged_when_it_is_new() {
        let (troubles, begun) = (Troubles::default(), Instant::now());
        assert!(troubles.put("a:1", Way::Request, "another secret", begun));
        assert!(
            !troubles.put("a:1", Way::Request, "another secret", begun + KEPT / 2),
            "the same again"
        );
        assert!(
            troubles.put("a:1", Way::Request, "another secret", begun + KEPT),
            "for long enough"
        );
        let other = |at| troubles.put("a:1", Way::Request, "no secret", at);
        let soon = Duration::from_millis(1);
        assert!(!other(begun + KEPT + OTHER_WORDS - soon), "in other words, and soon");
        assert!(troubles.put("a:1", Way::Request, "a third", begun + KEPT + OTHER_WORDS));
        troubles.0.lock().clear();
        assert!(other(begun + KEPT));
        assert!(troubles.put("b:1", Way::Request, "no TLS", begun + KEPT));
        assert!(troubles.put("b:1", Way::Connection, "no TLS", begun + KEPT));
        let shown = troubles.shown(begun + KEPT).unwrap();
        assert_eq!(shown, "a:1: no secret; b:1: no TLS");
        troubles.clear("a:1", Way::Request);
        troubles.clear("b:1", Way::Connection);
        assert_eq!(troubles.shown(begun + KEPT * 2).unwrap(), "b:1: no TLS");
        let again = begun + KEPT + KEPT / 2;
        assert!(!troubles.put("a:1", Way::Request, "no secret", again), "it came and went");
        assert!(troubles.put("a:1", Way::Request, "no secret", begun + KEPT * 2));
        troubles.clear("a:1", Way::Request);
        let past = begun + KEPT * 2 + Duration::from_millis(1);
        assert_eq!(troubles.shown(past), None);
    }

    #[test]
    fn as_many_as_the_bound_are_kept_and_one_past_it_is_not() {
        let (troubles, now) = (Troubles::default(), Instant::now());
        for number in 0..TROUBLES_MAX {
            assert!(troubles.put(&format!("a:{number}"), Way::Request, "x", now));
        }
        assert!(!troubles.put("b:1", Way::Request, "x", now));
        troubles.put("a:0", Way::Request, "y", now);
        assert!(troubles.shown(now).unwrap().contains("a:0: y"), "what is known may change");
        assert_eq!(troubles.0.lock().len(), TROUBLES_MAX);
    }
}
