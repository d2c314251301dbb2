//! Callers that are told apart, and the names that are theirs.
//!
//! # Contract
//! * What callers name by texts of their own (sessions, artifacts, idempotency keys) is kept under a
//!   name that begins with a mark and the caller's id. No caller's text begins with the mark, so that
//!   whatever a caller says names something of that caller, or nothing.
//! * Where callers are not told apart there is no id, and names are kept as they are said.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hex;

/// Before and behind the id in a name. A control character: names of sessions and artifacts have none.
pub const MARK: char = '\u{1}';

/// Behind all names with ids and before all others, in the order of bytes.
const NAMES_WITHOUT_IDS: &str = "\u{2}";

/// A caller, by the first half of a SHA-256 of who it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrincipalId(pub [u8; 16]);

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrincipalId({self})")
    }
}

/// What all names of a caller begin with: nothing where callers are not told apart.
pub fn prefix(whose: Option<PrincipalId>) -> String {
    whose.map_or_else(String::new, |id| format!("{MARK}{id}{MARK}"))
}

/// What a caller's name is kept as.
pub fn kept(whose: Option<PrincipalId>, name: &str) -> String {
    prefix(whose) + name
}

/// The name behind what it is kept as.
pub fn said(whose: Option<PrincipalId>, kept: &str) -> String {
    kept.strip_prefix(&prefix(whose)).unwrap_or(kept).to_owned()
}

/// Behind what a list of a caller's names goes on, whatever `cursor` says.
pub fn list_after(whose: Option<PrincipalId>, cursor: Option<&str>) -> String {
    let after = kept(whose, cursor.unwrap_or_default());
    if whose.is_none() { after.max(NAMES_WITHOUT_IDS.to_owned()) } else { after }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<PrincipalId> = Some(PrincipalId([0xa1; 16]));
    const OTHER: Option<PrincipalId> = Some(PrincipalId([0xa2; 16]));

    #[test]
    fn names_come_back_and_are_nobody_elses() {
        for whose in [None, ONE, OTHER] {
            for name in ["s", "", "ä/b c"] {
                assert_eq!(said(whose, &kept(whose, name)), name);
            }
        }
        assert_ne!(kept(ONE, "s"), kept(OTHER, "s"));
        assert_eq!(kept(None, "s"), "s");
        assert_eq!(kept(ONE, "s"), format!("\u{1}{}\u{1}s", "a1".repeat(16)));
    }

    #[test]
    fn a_list_stays_within_its_caller_whatever_its_cursor() {
        let names = [kept(ONE, "s"), kept(OTHER, "s"), kept(None, "s")];
        for cursor in [None, Some(""), Some("\u{1}"), Some("\0")] {
            let after = list_after(None, cursor);
            assert!(names[0] < after && names[1] < after && names[2] > after, "{cursor:?}");
            assert!(list_after(ONE, cursor).starts_with(&prefix(ONE)));
        }
        assert_eq!(list_after(None, Some("t")), "t");
    }
}
