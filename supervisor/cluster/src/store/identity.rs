//! Who a store belongs to. Made with the store, and never given to another.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::io_error;
use crate::codec::{decode, encode};
use crate::types::{Member, NodeId};

const KEY: &[u8] = b"identity";

/// The identity of a node with this disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name that the operator gave.
    pub name: String,
    /// A random id of this disk.
    pub storage: Uuid,
    /// Its id in the membership, once it knows that it is a founder or has joined.
    pub node: Option<NodeId>,
    /// Hash of the list of founders it was started with; until the cluster has an id.
    pub fingerprint: Option<u64>,
    /// The cluster it belongs to.
    pub cluster: Option<Uuid>,
    /// The first membership, if it is a founder: until it is in the log, it can be begun again.
    pub founders: Option<BTreeMap<NodeId, Member>>,
    /// Disks that founders were first met with: another one under the same id is not let in.
    pub met: Vec<(NodeId, Uuid)>,
}

/// Why an identity cannot be used.
pub enum LoadError {
    /// It is this node's.
    OtherNode(String),
    /// It does not decode, or cannot be read.
    Damaged(String),
}

impl Identity {
    /// The identity in a store; a new one in a new store.
    pub fn load(meta: &sled::Tree, name: &str) -> Result<Self, LoadError> {
        let damaged = |error: &dyn std::fmt::Display| LoadError::Damaged(error.to_string());
        if let Some(bytes) = meta.get(KEY).map_err(|error| damaged(&error))? {
            let identity: Self = decode(&bytes).map_err(|error| damaged(&error))?;
            return if identity.name == name {
                Ok(identity)
            } else {
                Err(LoadError::OtherNode(identity.name))
            };
        }
        let identity = Self {
            name: name.to_owned(),
            storage: Uuid::new_v4(),
            node: None,
            fingerprint: None,
            cluster: None,
            founders: None,
            met: Vec::new(),
        };
        identity.save(meta).map_err(|error| damaged(&error))?;
        Ok(identity)
    }

    /// Writes it; not synced.
    pub fn save(&self, meta: &sled::Tree) -> io::Result<()> {
        meta.insert(KEY, encode(self)).map_err(io_error)?;
        Ok(())
    }
}
