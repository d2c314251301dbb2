//! Who a caller is, and what that makes of the names it says.

use std::fmt;

use mcp_v8_cluster::principal::{self, PrincipalId};
use sha2::{Digest as _, Sha256};

/// A caller: one of those that tokens tell apart, or everybody where there are no tokens.
///
/// Whoever looks something up, lists, changes or begins it has to say for whom. What was begun for one
/// principal is not there for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Principal(Option<PrincipalId>);

impl Principal {
    /// Everybody: callers are not told apart.
    pub const EVERYBODY: Self = Self(None);

    /// Whom an issuer calls by this name.
    pub fn of(issuer: &str, subject: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"mcp-v8 principal");
        // With its length, so that no other two texts are the same bytes.
        hasher.update((issuer.len() as u64).to_le_bytes());
        hasher.update(issuer);
        hasher.update(subject);
        let digest: [u8; 32] = hasher.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(Some(PrincipalId(id)))
    }

    /// The same, of a row.
    pub fn from_id(id: Option<PrincipalId>) -> Self {
        Self(id)
    }

    /// As rows and commands have it.
    pub fn id(self) -> Option<PrincipalId> {
        self.0
    }

    /// What a name that this caller says is kept as.
    pub fn kept(self, name: &str) -> String {
        principal::kept(self.0, name)
    }

    /// The name that this caller says, of what it is kept as.
    pub fn said(self, kept: &str) -> String {
        principal::said(self.0, kept)
    }

    /// What all names of this caller are kept with at their beginning.
    pub fn prefix(self) -> String {
        principal::prefix(self.0)
    }

    /// Behind what a list of this caller's names goes on, whatever `cursor` says.
    pub fn list_after(self, cursor: Option<&str>) -> String {
        principal::list_after(self.0, cursor)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => id.fmt(f),
            None => f.write_str("everybody"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_and_subject_make_a_principal_and_their_border_matters() {
        let one = Principal::of("https://a.example", "alice");
        assert_eq!(one, Principal::of("https://a.example", "alice"));
        // Stored, so it may not change.
        assert_eq!(one.to_string(), "643c7bf7a7aedebb4d2cb42a85cfb0a4");
        for (issuer, subject) in [
            ("https://a.example", "bob"),
            ("https://b.example", "alice"),
            ("https://a.examplea", "lice"),
            ("", "https://a.examplealice"),
            ("https://a.example\0", "alice"),
        ] {
            assert_ne!(one, Principal::of(issuer, subject), "{issuer} {subject}");
        }
        assert_ne!(one, Principal::EVERYBODY);
    }
}
