//! Commands about the cluster and its nodes.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Gives the cluster its id; the first one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// A random id.
    pub cluster: Uuid,
}

/// A node has started and will run what it is given.
///
/// Its epoch becomes the index of this entry, so epochs only grow. What the node owned in an
/// earlier epoch has no owner any more. Said again with the same incarnation and without
/// `runs_scripts`: the epoch goes on, and the node takes no more, because it is about to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUp {
    /// The name of the node.
    pub node: String,
    /// A random id of this run of its process.
    pub incarnation: Uuid,
    /// Whether it runs scripts.
    pub runs_scripts: bool,
}

/// A node did not renew its lease, or has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDown {
    /// The name of the node.
    pub node: String,
    /// The epoch that ends; a later one is not touched.
    pub epoch: u64,
}
