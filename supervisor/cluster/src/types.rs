//! The types that openraft works with: who a node is, what an entry holds.

use std::fmt;
use std::sync::Arc;

use openraft::impls::leader_id_std::LeaderId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command::{Batch, Reply};
use crate::limits::NODE_NAME_BYTES_MAX;

openraft::declare_raft_types!(
    /// The types of this cluster.
    pub Types:
        D = Batch,
        R = Vec<Reply>,
        NodeId = NodeId,
        Node = Member,
        LeaderId = LeaderId<u64, NodeId>,
);

/// A position in the log.
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
/// A log entry.
pub type Entry = openraft::type_config::alias::EntryOf<Types>;
/// A vote of a node, or a leader's claim.
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
/// A membership and where in the log it stands.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
/// What a snapshot says about itself.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// Identifies one disk's worth of Raft state for the lifetime of a cluster.
///
/// A founder's is its name. A node that joined later, or that lost its disk, is its name and the
/// storage id of its disk (`node4~0f3c…`): a disk that was lost can never vote again under the
/// name of what was on it (openraft: "node ids must not be reused").
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The id of a founder.
    pub fn founder(name: &str) -> Self {
        Self(name.into())
    }

    /// The id of a node that joins a cluster with this disk.
    pub fn joined(name: &str, storage: Uuid) -> Self {
        Self(format!("{name}~{}", storage.simple()).into())
    }

    /// The name that the operator gave.
    pub fn name(&self) -> &str {
        self.0.split_once('~').map_or(&self.0, |(name, _)| name)
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<u64> for NodeId {
    /// For openraft's own suite of storage tests, which counts its nodes.
    fn from(n: u64) -> Self {
        Self(format!("n{n:04}").into())
    }
}

impl Default for NodeId {
    fn default() -> Self {
        Self::founder("")
    }
}

/// What the cluster knows of a member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Where its cluster port is reached, `host:port`. Empty for a node without one.
    pub address: String,
    /// The disk it was seen with; `None` for a founder that has not been met yet.
    pub storage: Option<Uuid>,
    /// Whether it becomes a voter once it has caught up.
    pub votes: bool,
    /// Whether it runs scripts.
    pub runs_scripts: bool,
}

impl Member {
    /// A founder that has not been met yet: the same on every founder.
    pub fn founder(address: &str) -> Self {
        Self { address: address.to_owned(), storage: None, votes: true, runs_scripts: true }
    }
}

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a node name; accepted: 1 to {NODE_NAME_BYTES_MAX} letters, digits, '.', '_' and '-'"
)]
pub struct NameError(String);

/// Checks the name of a node.
///
/// # Errors
/// [`NameError`] with what is accepted.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let fits = (1..=NODE_NAME_BYTES_MAX).contains(&name.len());
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if fits && plain && !name.starts_with('.') {
        Ok(())
    } else {
        Err(NameError(name.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_at_the_bound_passes_and_one_past_it_or_with_other_characters_does_not() {
        assert!(check_name(&"n".repeat(NODE_NAME_BYTES_MAX)).is_ok());
        for bad in ["", ".hidden", "a~b", "a/b", "a b", &"n".repeat(NODE_NAME_BYTES_MAX + 1)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_disk_is_part_of_the_id_of_whoever_did_not_found_the_cluster() {
        let storage = Uuid::from_u128(7);
        let joined = NodeId::joined("node4", storage);
        assert_eq!(joined.name(), "node4");
        assert_ne!(joined, NodeId::founder("node4"));
        assert_ne!(joined, NodeId::joined("node4", Uuid::from_u128(8)));
    }
}
