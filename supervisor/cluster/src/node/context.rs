//! What connections need to know of this node: who it is, where others are, who may call.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::config::{Config, Seed};
use crate::codec::{decode, encode};
use crate::limits::STRANGERS_MAX;
use crate::net::client::{Connector, Stream};
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

    /// Whether whoever says this belongs to our cluster.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn check(&self, other: &Hello) -> Result<(), Refused> {
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
        if let Some(node) = &other.node {
            self.check_disk(node, other).await?;
        }
        Ok(())
    }

    /// Whether a founder of this id is one of ours.
    fn expects(&self, node: &NodeId) -> bool {
        let named = |peer: &Seed| peer.name.as_deref() == Some(node.name());
        self.members().contains_key(node) || self.config.peers.iter().any(named)
    }

    /// A node keeps the disk it was first met with.
    async fn check_disk(&self, node: &NodeId, other: &Hello) -> Result<(), Refused> {
        if *node == NodeId::joined(&other.name, other.storage) {
            return Ok(());
        }
        let refused = || Refused::OtherDisk { node: node.clone() };
        if *node != NodeId::founder(&other.name) {
            return Err(refused());
        }
        let known = self.members().get(node).and_then(|member| member.storage);
        let met = || {
            let met = self.store.identity().met;
            met.into_iter().find(|(id, _)| id == node).map(|(_, storage)| storage)
        };
        match known.or_else(met) {
            Some(storage) if storage == other.storage => Ok(()),
            Some(_) => Err(refused()),
            None if !self.expects(node) => Ok(()),
            None => {
                let met = (node.clone(), other.storage);
                let note = |identity: &mut Identity| {
                    if !identity.met.iter().any(|(id, _)| *id == met.0) {
                        identity.met.push(met.clone());
                    }
                };
                let written = self.store.set_identity(note).await;
                written.map_err(|error| Refused::Proof(format!("cannot keep who was met: {error}")))
            }
        }
    }

    /// Whether this node may be called so.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn admit(&self, caller: &Hello) -> Result<(), Refused> {
        if self.raft.get().is_none() {
            return Err(Refused::NotReady);
        }
        self.check(caller).await?;
        let identity = self.store.identity();
        match (&caller.to, identity.node) {
            (Some(wanted), here) if here.as_ref() != Some(wanted) => Err(Refused::OtherNode {
                here: here.map_or(identity.name, |node| node.to_string()),
                wanted: wanted.clone(),
            }),
            _ => Ok(()),
        }
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

/// Connects to one node.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// This node.
    pub context: Arc<Context>,
    /// The other one; `None` for whoever is at the address.
    pub to: Option<NodeId>,
}

impl Connector for Dialer {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        // The membership may know a newer address than whoever made this.
        let members = self.context.members();
        let address = match self.to.as_ref().and_then(|to| members.get(to)) {
            Some(member) if !member.address.is_empty() => &member.address,
            _ => address,
        };
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
        let driving = tokio::spawn(connection.with_upgrades());
        let request = Request::builder()
            .method(Method::GET)
            .uri(STREAM_PATH)
            .header(HOST, address)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, PROTOCOL)
            .header(HELLO, hello_header(&self.context.hello(self.to.as_ref())))
            .body(Empty::<Bytes>::new())
            .map_err(other)?;
        let response = sender.send_request(request).await.map_err(other)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            driving.abort();
            return Err(io::Error::other(refusal(response).await));
        }
        let hello = read_hello(response.headers()).map_err(other)?;
        if let Some(to) = &self.to
            && hello.node.as_ref() != Some(to)
        {
            return Err(io::Error::other(format!("it is {}, not {to}", hello.name)));
        }
        self.context.check(&hello).await.map_err(other)?;
        let upgraded = hyper::upgrade::on(response).await.map_err(other)?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

async fn refusal(response: hyper::Response<hyper::body::Incoming>) -> String {
    use http_body_util::{BodyExt, Limited};
    let status = response.status();
    let body = Limited::new(response.into_body(), 4096).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    format!("refused with {status}: {}", text.unwrap_or_default())
}

/// A [`Hello`] as a header.
pub fn hello_header(hello: &Hello) -> HeaderValue {
    let hex: String = encode(hello).iter().map(|byte| format!("{byte:02x}")).collect();
    // Hexadecimal digits are valid in a header.
    HeaderValue::try_from(hex).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Reads a [`Hello`] from the headers of a request or an answer.
///
/// # Errors
/// What is wrong with it.
pub fn read_hello(headers: &HeaderMap) -> Result<Hello, String> {
    let text = headers.get(HELLO).ok_or_else(|| format!("the header {HELLO} is missing"))?;
    let text = text.as_bytes();
    if text.len() > 4096 || !text.len().is_multiple_of(2) {
        return Err(format!("the header {HELLO} is malformed"));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes: Option<Vec<u8>> = text
        .chunks(2)
        .map(|pair| Some(u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).unwrap_or_default()))
        .collect();
    let bytes = bytes.ok_or_else(|| format!("the header {HELLO} is malformed"))?;
    decode(&bytes).map_err(|error| format!("the header {HELLO}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::Timing;

    #[test]
    fn strangers_are_told_of_once_each_up_to_the_bound_and_refused_past_it_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            name: "node1".to_owned(),
            path: dir.path().to_owned(),
            advertise: "a:1".to_owned(),
            peers: Vec::new(),
            join: None,
            learner: false,
            runs_scripts: true,
            timing: Timing::default(),
            snapshot_entries: 2000,
        };
        let store = Store::open(dir.path(), "node1").unwrap();
        let strangers = Mutex::default();
        let context = Context { config, store, raft: OnceLock::new(), strangers };
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
                let refused = context.check(&hello).await;
                assert!(matches!(refused, Err(Refused::Cluster { .. })), "{refused:?}");
            }
        });
        assert_eq!(context.strangers.lock().len(), STRANGERS_MAX);
    }
}
