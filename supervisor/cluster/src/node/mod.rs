//! One node of the cluster: Raft, and what an operator and the server above ask of it.
//!
//! # Contract
//! * [`Node::propose`] returns after the command is on the disks of a majority and applied on the
//!   leader; on an error that says so, it may or may not have happened, and may be proposed again.
//! * [`Node::barrier`] returns once this node's rows reflect everything that was acknowledged
//!   anywhere before it was called.
//! * Raft has threads of its own: what the server does cannot hold its heartbeats up.

mod asking;
pub mod backup;
mod barrier;
mod bootstrap;
mod compact;
pub mod config;
mod context;
mod depart;
mod dialer;
mod duties;
pub(crate) mod founders;
mod handler;
mod lease;
mod membership;
mod neighbours;
mod network;
pub mod overview;
mod propose;
pub mod room;
pub mod status;
mod troubles;
mod turn;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, RaftMetrics};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::asking::JoinBody;
use self::backup::Backups;
use self::barrier::Barrier;
pub use self::barrier::Unavailable;
use self::config::{Config, ConfigError};
pub use self::context::{
    Context, HELLO, Meeting, PROTOCOL, RaftNode, STREAM_PATH, hello_header, read_hello,
};
use self::dialer::Dialer;
use self::handler::Answers;
use self::lease::Leases;
pub use self::membership::MembershipError;
pub use self::neighbours::Neighbours;
use self::network::Network;
use self::overview::Describe;
use self::propose::Proposer;
pub use self::propose::{COMMIT_FAILURES, COMMIT_REASONS, COMMIT_SECONDS, ProposeError, Proposed};
use self::troubles::Troubles;
use crate::auth::{Auth, AuthError, Credentials};
use crate::command::Owner;
use crate::limits::BARRIER_MS_MAX;
use crate::net::message::{Request, Response};
use crate::net::{CallError, Hello, Peer};
use crate::state::Change;
use crate::store::room::Room;
use crate::store::{LogStore, Machine, Observer, OpenError, Store};
use crate::types::{NodeId, Types};

/// The server above.
pub trait Application: Send + Sync + 'static {
    /// Rows have changed on this node. Must return at once.
    fn applied(&self, changes: &[Change]);

    /// All rows were replaced. Must return at once.
    fn replaced(&self);

    /// This node may have been declared lost: what it runs must end now, and does not count.
    fn fenced(&self);

    /// This node is to run no more scripts, and to give what it has to others. Must return at once.
    fn drain(&self);

    /// Answers a call of the server on another node.
    fn call(&self, body: Vec<u8>) -> BoxFuture<'static, Vec<u8>>;
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it was told makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What it is to prove itself by cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Its store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Its store is that of a cluster of its own, and it was told of others.
    #[error(
        "{flag}: the store of this node, {path}, is that of a cluster of its own, which those others do not \
         belong to. To let them in: start this node without {flag}, and each of them with --join={to}. To \
         be in a cluster of theirs instead: move that folder away, or take another --node-id"
    )]
    Alone {
        /// The flag that names others.
        flag: &'static str,
        /// Its store.
        path: PathBuf,
        /// Where others reach it.
        to: String,
    },
    /// The threads of Raft cannot be started.
    #[error("cannot start the threads of Raft: {0}")]
    Threads(io::Error),
    /// openraft does not accept the settings.
    #[error("the settings of Raft: {0}")]
    Raft(String),
}

/// A node. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    context: Arc<Context>,
    log: LogStore,
    machine: Machine,
    backups: Backups,
    application: Arc<OnceLock<Arc<dyn Application>>>,
    proposer: Proposer,
    barrier: Barrier,
    leases: Leases,
    applied: watch::Receiver<u64>,
    /// Epoch of this node, once it is up, and which run of its process that is.
    epoch: watch::Sender<Option<(u64, Uuid)>>,
    /// How the server above describes itself.
    describe: OnceLock<Describe>,
    /// Whether this node stops soon: it takes no more executions.
    departing: AtomicBool,
    /// Cancelled when this node goes: it takes no further epoch.
    gone: CancellationToken,
    /// Why the node does not find its cluster.
    looking: watch::Sender<Option<String>>,
    /// Why the node takes nothing: its disk is too full.
    full: watch::Sender<Option<String>>,
    room: watch::Sender<Room>,
    calls: Mutex<HashMap<NodeId, Peer<Dialer>>>,
    /// Connections for calls of the server above, which may take long.
    application_calls: Mutex<HashMap<NodeId, Peer<Dialer>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Passes what the state machine does on to the server, once there is one.
struct Passing(Arc<OnceLock<Arc<dyn Application>>>);

impl Observer for Passing {
    fn applied(&self, _: u64, changes: &[Change]) {
        if !changes.is_empty()
            && let Some(application) = self.0.get()
        {
            application.applied(changes);
        }
    }

    fn replaced(&self, _: u64) {
        if let Some(application) = self.0.get() {
            application.replaced();
        }
    }
}

impl Node {
    /// Opens the store and starts; finds, founds or joins the cluster in the background.
    ///
    /// Blocks while the store opens.
    ///
    /// # Errors
    /// [`StartError`], with what to do about it.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let settings =
            config.raft().validate().map_err(|error| StartError::Raft(error.to_string()))?;
        let auth = Auth::new(Credentials::load(&config.auth, config.host())?);
        let store = Store::open(&config.path, &config.name)?;
        let log = store.log()?;
        let application = Arc::new(OnceLock::new());
        let machine = store.machine(Arc::new(Passing(Arc::clone(&application))))?;
        config.check_others(&store, &log, &machine)?;
        let applied = machine.watch_applied();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("raft")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let handle = runtime.handle().clone();
        let context = Arc::new(Context {
            config,
            store,
            raft: OnceLock::new(),
            strangers: Mutex::default(),
            auth,
            neighbours: Neighbours::default(),
            troubles: Troubles::default(),
        });
        let (proposer, proposals) = Proposer::new();
        let (barrier, barriers) = Barrier::new();
        let inner = Arc::new(Inner {
            context,
            log: log.clone(),
            machine: machine.clone(),
            backups: Backups::default(),
            application,
            describe: OnceLock::new(),
            proposer,
            barrier,
            leases: Leases::default(),
            applied,
            epoch: watch::Sender::new(None),
            departing: AtomicBool::new(false),
            gone: CancellationToken::new(),
            looking: watch::Sender::new(None),
            full: watch::Sender::new(None),
            room: watch::Sender::new(Room::default()),
            calls: Mutex::default(),
            application_calls: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: Mutex::new(Some(runtime)),
            handle,
        });
        let node = Self { inner };
        let starting = node.clone();
        node.spawn(async move {
            let Some((id, founders)) = bootstrap::find(&starting).await else { return };
            let network = Network { context: Arc::clone(&starting.inner.context) };
            let raft = Raft::new(id, Arc::new(settings), network, log, machine).await;
            let raft = match raft {
                Ok(raft) => raft,
                Err(error) => {
                    starting.inner.looking.send_replace(Some(error.to_string()));
                    tracing::error!(%error, "Raft does not start");
                    return;
                }
            };
            if let Some(founders) = founders
                && let Err(error) = raft.initialize(founders).await
            {
                // Another founder was faster; the same entry is on its way from there.
                tracing::debug!(%error, "not initialised here");
            }
            // Set once, by this task.
            let _ = starting.inner.context.raft.set(raft);
            starting.inner.looking.send_replace(None);
            starting.spawn(duties::renew(starting.clone()));
            starting.spawn(duties::lead(starting.clone()));
            starting.spawn(compact::run(starting.clone()));
        });
        node.spawn(room::watch(node.clone()));
        if node.auth().credentials.tls.is_some() {
            node.spawn(duties::look_at_certificates(node.clone()));
        }
        node.spawn(propose::run(node.clone(), proposals));
        node.spawn(barrier::run(node.clone(), barriers));
        Ok(node)
    }

    /// Runs something on the threads of Raft, until the node stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn_on(
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = task => {}
                }
            },
            &self.inner.handle,
        );
    }

    /// Connects the server above; once.
    pub fn attach(&self, application: Arc<dyn Application>) {
        // A second one would be a mistake of ours, and changes nothing.
        let _ = self.inner.application.set(application);
    }

    /// The name that the operator gave.
    pub fn name(&self) -> &str {
        &self.inner.context.config.name
    }

    /// What it was told.
    pub fn config(&self) -> &Config {
        &self.inner.context.config
    }

    /// The threads of Raft, for the cluster port.
    pub fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// The replicated rows, as far as they are applied here.
    pub fn rows(&self) -> sled::Tree {
        self.inner.context.store.rows()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.context.store
    }

    /// How often the log was made durable, and the microseconds that took altogether.
    pub fn syncs(&self) -> (u64, u64) {
        self.inner.log.syncs()
    }

    fn raft(&self) -> Option<&RaftNode> {
        self.inner.context.raft.get()
    }

    fn metrics(&self) -> Option<RaftMetrics<Types>> {
        self.raft().map(|raft| raft.metrics().borrow_watched().clone())
    }

    /// The leader, as far as this node knows.
    fn leader(&self) -> Option<NodeId> {
        self.raft().and_then(|raft| raft.metrics().borrow_watched().current_leader.clone())
    }

    /// The id of this node, once it knows which it is.
    pub fn id(&self) -> Option<NodeId> {
        self.raft().map(|raft| raft.node_id().clone())
    }

    fn is_leader(&self) -> bool {
        self.leader().is_some_and(|leader| Some(leader) == self.id())
    }

    /// The name of the leader, when there is one.
    pub fn leader_name(&self) -> Option<String> {
        self.leader().map(|leader| leader.name().to_owned())
    }

    /// This node as an owner of executions: in its present epoch, once it has one.
    pub fn owner(&self) -> Option<Owner> {
        let (epoch, _) = (*self.inner.epoch.borrow())?;
        Some(Owner { node: self.name().to_owned(), epoch })
    }

    /// Returns once this node may own executions, at most after `patience`.
    pub async fn owner_within(&self, patience: Duration) -> Option<Owner> {
        let mut epoch = self.inner.epoch.subscribe();
        let waiting = epoch.wait_for(Option::is_some);
        // The sender lives in `self`.
        tokio::time::timeout(patience, waiting).await.ok()?.ok()?;
        self.owner()
    }

    /// Returns once everything up to `index` is applied here.
    ///
    /// # Errors
    /// [`Unavailable`] when it is not in time.
    pub async fn applied_to(&self, index: u64) -> Result<(), Unavailable> {
        let mut applied = self.inner.applied.clone();
        let waiting = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout(Duration::from_millis(BARRIER_MS_MAX), waiting).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Unavailable("this node is behind the leader".to_owned())),
        }
    }

    /// The index of the last entry applied here.
    pub fn applied(&self) -> u64 {
        *self.inner.applied.borrow()
    }

    /// Another member, for calls.
    fn peer(&self, id: &NodeId) -> Option<Peer<Dialer>> {
        self.peer_in(&self.inner.calls, id)
    }

    fn peer_in(
        &self,
        calls: &Mutex<HashMap<NodeId, Peer<Dialer>>>,
        id: &NodeId,
    ) -> Option<Peer<Dialer>> {
        let mut calls = calls.lock();
        // A dialer looks for the present address by itself.
        if let Some(known) = calls.get(id) {
            return Some(known.clone());
        }
        let members = self.inner.context.members();
        let address = &members.get(id)?.address;
        calls.retain(|id, _| members.contains_key(id));
        let dialer = || Dialer { context: Arc::clone(&self.inner.context), to: Some(id.clone()) };
        let peer = calls.entry(id.clone()).or_insert_with(|| Peer::new(address, dialer()));
        Some(peer.clone())
    }

    /// Calls the server on another node, by its name.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        name: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let unreachable = |problem: &str| CallError::Unreachable {
            address: name.to_owned(),
            problem: problem.to_owned(),
        };
        // While a node takes the place of another of its name there are two; the new one is last.
        let id = self.inner.context.members().into_keys().rfind(|id| id.name() == name);
        let peer = id.and_then(|id| self.peer_in(&self.inner.application_calls, &id));
        let peer = peer.ok_or_else(|| unreachable("no such member"))?;
        // On the threads of Raft, like all connections.
        let calling = async move { peer.call(&Request::Application(body), patience).await };
        match self.inner.handle.spawn(calling).await {
            Ok(Ok(Response::Application(answer))) => Ok(answer),
            Ok(Ok(other)) => Err(unreachable(&format!("{other:?}"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(unreachable("this node is stopping")),
        }
    }

    /// How it proves itself, and what it asks of others.
    pub fn auth(&self) -> &Auth {
        &self.inner.context.auth
    }

    /// What connections need to know of it.
    pub fn context(&self) -> &Arc<Context> {
        &self.inner.context
    }

    /// How this node introduces itself.
    pub fn hello(&self) -> Hello {
        self.inner.context.hello(None)
    }

    /// What answers on a new connection of this caller.
    pub fn answers(&self, caller: &Hello) -> Answers {
        Answers::new(self.clone(), caller.clone())
    }

    /// Ends when the node stops.
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Runs a connection on the threads of Raft.
    pub fn spawn_connection(&self, serving: impl Future<Output = ()> + Send + 'static) {
        self.spawn(serving);
    }

    /// The other members; of two of one name, the one that takes the other's place.
    pub fn peers(&self) -> Vec<NodeId> {
        let mut newest = BTreeMap::new();
        for id in self.inner.context.members().into_keys() {
            newest.insert(id.name().to_owned(), id);
        }
        newest.remove(self.name());
        newest.into_values().collect()
    }

    /// Whether these are a majority of the voters; of the old ones and of the new ones while the
    /// membership changes.
    pub fn is_majority(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let Some(raft) = self.raft() else { return false };
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let configs = metrics.membership_config.membership().get_joint_config();
        let is_majority =
            |config: &BTreeSet<NodeId>| config.intersection(nodes).count() > config.len() / 2;
        !configs.is_empty() && configs.iter().all(is_majority)
    }

    /// Names of the other members.
    pub fn others(&self) -> Vec<String> {
        let members = self.inner.context.members();
        let names = members.keys().map(|id| id.name().to_owned());
        names.filter(|name| name != self.name()).collect()
    }
}
