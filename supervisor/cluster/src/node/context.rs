//! What connections need to know of this node: who it is, where others are, who may call.
//!
//! # Contract
//! * Nothing is kept of another node before it has proven what is asked for: [`Context::check`] only
//!   looks, [`Context::meet`] writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use hyper::header::{HeaderMap, HeaderValue};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use uuid::Uuid;

use super::config::{Config, Seed};
use super::neighbours::Neighbours;
use super::troubles::{Troubles, Way};
use crate::auth::{Auth, Reason};
use crate::codec::{decode, encode};
use crate::hex;
use crate::limits::STRANGERS_MAX;
use crate::net::ask::AskError;
use crate::net::{Hello, Refused};
use crate::state::nodes;
use crate::store::{Identity, Machine, Store};
use crate::types::{Member, NodeId, Types};

/// The protocol that a connection is upgraded to.
pub const PROTOCOL: &str = "mcp-v8-cluster/1";
/// The header that carries a [`Hello`], in hexadecimal.
pub const HELLO: &str = "x-mcp-v8-hello";
/// Where connections begin.
pub const STREAM_PATH: &str = "/raft/stream";

/// Digits of a [`Hello`].
const HELLO_BYTES_MAX: usize = 4096;

/// This cluster's Raft.
pub type RaftNode = Raft<Types, Machine>;

/// What connections share.
#[derive(Debug)]
pub struct Context {
    /// What it was told.
    pub config: Config,
    /// Its store.
    pub store: Store,
    /// Raft, once the node knows which node it is.
    pub raft: OnceLock<RaftNode>,
    /// Other clusters whose nodes were refused.
    pub strangers: Mutex<BTreeSet<Uuid>>,
    /// How it proves itself, and what it asks of others.
    pub auth: Auth,
    /// Who may call where nothing is proven.
    pub neighbours: Neighbours,
    /// With whom there is no trust, and why.
    pub troubles: Troubles,
}

/// A founder is met for the first time: with this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    node: NodeId,
    storage: Uuid,
}

impl Context {
    /// How this node introduces itself to `to`.
    pub fn hello(&self, to: Option<&NodeId>) -> Hello {
        let identity = self.store.identity();
        Hello {
            name: identity.name,
            node: identity.node,
            storage: identity.storage,
            cluster: self.cluster(),
            fingerprint: identity.fingerprint,
            to: to.cloned(),
        }
    }

    /// The cluster this node belongs to, once it can be told: also by what it has applied, from
    /// which it notes the id a moment later.
    pub fn cluster(&self) -> Option<Uuid> {
        let noted = self.store.identity().cluster;
        noted.or_else(|| nodes::cluster(&self.store.rows()).ok().flatten())
    }

    /// Says, once for each, that somebody of another cluster is about.
    fn stranger(&self, name: &str, cluster: Uuid) {
        let mut strangers = self.strangers.lock();
        if strangers.len() < STRANGERS_MAX && strangers.insert(cluster) {
            tracing::warn!(node = name, %cluster, "refused: a node of another cluster");
        }
    }

    /// All members, with the disk and the address they are known by.
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        let Some(raft) = self.raft.get() else { return BTreeMap::new() };
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.membership().nodes();
        nodes.map(|(id, member)| (id.clone(), member.clone())).collect()
    }

    /// Whether a node is one of them, as far as this node knows.
    pub fn is_member(&self, node: &NodeId) -> bool {
        let Some(raft) = self.raft.get() else { return false };
        // Asked with every command of another node: looked at, not copied.
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(node).is_some()
    }

    /// Whether whoever says this belongs to our cluster; and what is to be kept of it, once it has
    /// proven what is asked for.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, other: &Hello) -> Result<Option<Meeting>, Refused> {
        let identity = self.store.identity();
        match (self.cluster(), other.cluster) {
            (Some(here), Some(there)) if here != there => {
                self.stranger(&other.name, there);
                return Err(Refused::Cluster { here, there });
            }
            (Some(_), Some(_)) => {}
            // Until both know the cluster's id, founders know each other by their list. A node that
            // joins has no list.
            _ => {
                if let (Some(here), Some(there)) = (identity.fingerprint, other.fingerprint)
                    && here != there
                {
                    return Err(Refused::Founders { here: self.founders() });
                }
            }
        }
        other.node.as_ref().map_or(Ok(None), |node| self.check_disk(node, other))
    }

    /// Whether a founder of this id is one of ours.
    fn expects(&self, node: &NodeId) -> bool {
        let named = |peer: &Seed| peer.name.as_deref() == Some(node.name());
        self.members().contains_key(node) || self.config.peers.iter().any(named)
    }

    /// A node keeps the disk it was first met with.
    fn check_disk(&self, node: &NodeId, other: &Hello) -> Result<Option<Meeting>, Refused> {
        if *node == NodeId::joined(&other.name, other.storage) {
            return Ok(None);
        }
        let refused = || Refused::OtherDisk { node: node.clone() };
        if *node != NodeId::founder(&other.name) {
            return Err(refused());
        }
        let known = self.members().get(node).and_then(|member| member.storage);
        match known.or_else(|| self.met(node)) {
            Some(storage) if storage == other.storage => Ok(None),
            Some(_) => Err(refused()),
            None if !self.expects(node) => Ok(None),
            None => Ok(Some(Meeting { node: node.clone(), storage: other.storage })),
        }
    }

    fn met(&self, node: &NodeId) -> Option<Uuid> {
        let met = self.store.identity().met;
        met.into_iter().find(|(id, _)| id == node).map(|(_, storage)| storage)
    }

    /// Keeps the disk of a founder that was met for the first time.
    ///
    /// # Errors
    /// [`Refused`] when it cannot be kept, or another was faster.
    pub async fn meet(&self, meeting: Meeting) -> Result<(), Refused> {
        let Meeting { node, storage } = meeting;
        let note = |identity: &mut Identity| {
            if !identity.met.iter().any(|(id, _)| *id == node) {
                identity.met.push((node.clone(), storage));
            }
        };
        let written = self.store.set_identity(note).await;
        written.map_err(|error| Refused::Proof(format!("cannot keep who was met: {error}")))?;
        if self.met(&node) == Some(storage) { Ok(()) } else { Err(Refused::OtherDisk { node }) }
    }

    /// Whether this node may be called so; and what is to be kept of the caller, once it has proven
    /// what is asked for.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(&self, caller: &Hello) -> Result<Option<Meeting>, Refused> {
        if self.raft.get().is_none() {
            return Err(Refused::NotReady);
        }
        let meeting = self.check(caller)?;
        let identity = self.store.identity();
        match (&caller.to, identity.node) {
            (Some(wanted), here) if here.as_ref() != Some(wanted) => Err(Refused::OtherNode {
                here: here.map_or(identity.name, |node| node.to_string()),
                wanted: wanted.clone(),
            }),
            _ => Ok(meeting),
        }
    }

    /// Keeps for the operator what came of a call to `address`, when that is a matter of trust.
    pub fn heed(&self, address: &str, way: Way, error: Option<&AskError>) {
        match error {
            None => self.troubles.clear(address, way),
            Some(AskError::Unreachable(_)) => {}
            Some(AskError::Unproven(problem)) => {
                self.auth.refusals.add(Reason::Answer);
                self.troubles.note(address, way, problem);
            }
            Some(AskError::Denied(problem)) => self.troubles.note(address, way, problem),
        }
    }

    /// Addresses of other nodes that this one knows: members, founders, the one to join.
    pub fn others(&self) -> Vec<String> {
        let members = self.members();
        let known = members.values().map(|member| &member.address);
        let seeds = self.config.peers.iter().map(|peer| &peer.address);
        let known = known.chain(seeds).chain(&self.config.join);
        let others = known.filter(|address| **address != self.config.advertise);
        others.filter(|address| !address.is_empty()).cloned().collect()
    }

    /// The list of founders, as it is fingerprinted: `id@addr`, sorted, this node included.
    pub fn founders(&self) -> String {
        let config = &self.config;
        let mut list: Vec<String> = config
            .peers
            .iter()
            .map(|peer| format!("{}@{}", peer.name.as_deref().unwrap_or("?"), peer.address))
            .collect();
        list.push(format!("{}@{}", config.name, config.advertise));
        list.sort_unstable();
        list.join(",")
    }
}

/// A [`Hello`] as a header.
pub fn hello_header(hello: &Hello) -> HeaderValue {
    // Hexadecimal digits are valid in a header.
    HeaderValue::try_from(hex::encode(&encode(hello)))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Reads a [`Hello`] from the headers of a request or an answer.
///
/// # Errors
/// What is wrong with it.
pub fn read_hello(headers: &HeaderMap) -> Result<Hello, String> {
    let text = headers.get(HELLO).ok_or_else(|| format!("the header {HELLO} is missing"))?;
    let digits = Some(text.as_bytes()).filter(|digits| digits.len() <= HELLO_BYTES_MAX);
    let bytes = digits.and_then(hex::decode);
    let bytes = bytes.ok_or_else(|| format!("the header {HELLO} is malformed"))?;
    decode(&bytes).map_err(|error| format!("the header {HELLO}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;

    #[test]
    fn strangers_are_told_of_once_each_up_to_the_bound_and_refused_past_it_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::single("node1", dir.path().to_owned());
        let store = Store::open(dir.path(), "node1").unwrap();
        let context = Context {
            config,
            store,
            raft: OnceLock::new(),
            strangers: Mutex::default(),
            auth: Auth::new(Credentials::default()),
            neighbours: Neighbours::default(),
            troubles: Troubles::default(),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let here = Uuid::from_u128(1);
            context.store.set_identity(|identity| identity.cluster = Some(here)).await.unwrap();
            for number in (2..=STRANGERS_MAX as u128 + 2).chain(2..4) {
                let hello = Hello {
                    name: "node2".to_owned(),
                    node: None,
                    storage: Uuid::nil(),
                    cluster: Some(Uuid::from_u128(number)),
                    fingerprint: None,
                    to: None,
                };
                let refused = context.check(&hello);
                assert!(matches!(refused, Err(Refused::Cluster { .. })), "{refused:?}");
            }
        });
        assert_eq!(context.strangers.lock().len(), STRANGERS_MAX);
    }
}
