//! Who calls, and whether they may.
//!
//! # Contract
//! * Caller and called each say: name, node id, disk, cluster id, fingerprint of the list of
//!   founders. The caller also says whom it wants to reach.
//! * A connection comes about only if both belong to the same cluster — by its id once both have
//!   one, else by the fingerprint — and the called is whom the caller wants.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::types::NodeId;

/// How a node introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its name.
    pub name: String,
    /// Its id in the membership, once it has one.
    pub node: Option<NodeId>,
    /// Its disk.
    pub storage: Uuid,
    /// Its cluster, once it knows.
    pub cluster: Option<Uuid>,
    /// Fingerprint of its list of founders.
    pub fingerprint: Option<u64>,
    /// Whom the caller wants to reach; of no meaning in an answer.
    pub to: Option<NodeId>,
}

/// Why two nodes do not talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refused {
    /// They belong to different clusters.
    #[error("this node belongs to cluster {here}, the caller to cluster {there}")]
    Cluster {
        /// Of the called.
        here: Uuid,
        /// Of the caller.
        there: Uuid,
    },
    /// They were started with different lists of founders.
    #[error(
        "--peers does not match: this node was started with {here}, the caller with another list"
    )]
    Founders {
        /// The list of the called.
        here: String,
    },
    /// Somebody else is at this address.
    #[error("this is node {here}, not {wanted}")]
    OtherNode {
        /// Who is.
        here: String,
        /// Who was wanted.
        wanted: NodeId,
    },
    /// The disk behind a name is another one than the cluster knows.
    #[error(
        "node {node} was known with another disk: it lost its data and has to join again under a \
         new id"
    )]
    OtherDisk {
        /// The node.
        node: NodeId,
    },
    /// The node has not found its cluster yet.
    #[error("this node is still looking for its cluster")]
    NotReady,
    /// There is no proof that the caller may.
    #[error("{0}")]
    Proof(String),
}
