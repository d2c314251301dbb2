//! Harness of the cluster tests: real nodes, each in a network namespace of its own.
//!
//! # Contract
//! * A [`Cluster`] has its own namespaces: one for each node and one, the hub, with the bridge
//!   between them. Nothing is added to the namespace that the tests run in. All of it goes when the
//!   cluster is dropped, also after a panic; what a killed test left behind goes with the next start.
//! * Requests come from threads that live in the hub, so that they reach every node whatever is cut:
//!   [`Cluster::isolate`] and its like drop packets between nodes only, silently.
//! * Nodes are numbered from 1; node 1 is `node1` at 10.77.0.1 (`node1` in its hosts file), its
//!   clients' port is [`HTTP_PORT`], its cluster port [`CLUSTER_PORT`].
//! * One cluster at a time in a process: timing is part of what is proved, and the nodes of several
//!   would fight for the processors.
//! * The cluster port is asked over TLS once [`Cluster::ask_by_tls`] was called.
//! * A test that fails shows the end of every node's log.
//!
//! Needs root, for the namespaces.

mod clock;
mod disks;
mod tools;
pub mod wire;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::OwnedMutexGuard;

use crate::{DEADLINE, IDLE_KEPT, binary, signal_process, until, until_or, until_within};

/// Where clients reach a node.
pub const HTTP_PORT: u16 = 3000;

/// Where nodes reach a node.
pub const CLUSTER_PORT: u16 = 4000;

/// What a status request may take.
const STATUS_MAX: Duration = Duration::from_secs(1);

/// What a request may take beyond what it asks the server to wait: more than the server gives a
/// command or a read.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// Lines of each log that a failure shows.
const LOG_LINES: usize = 40;

/// How the names of all namespaces of this harness begin.
const PREFIX: &str = "mv8t-";

/// Where `ip` keeps namespaces.
const NAMESPACES: &str = "/run/netns";

static TURN: LazyLock<Arc<tokio::sync::Mutex<()>>> = LazyLock::new(Arc::default);
static SWEEP: Once = Once::new();
static NEXT: AtomicU64 = AtomicU64::new(0);

/// An answer over HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body, `Null` when that is no JSON.
    pub body: Value,
}

/// No answer.
#[derive(Debug, Clone)]
pub enum Silence {
    /// There was no connection: the request was never sent.
    NotSent(String),
    /// It may have been carried out.
    Unknown(String),
}

/// An answer or none.
pub type Answered = Result<Answer, Silence>;

struct Node {
    namespace: String,
    disk: PathBuf,
    log: PathBuf,
    /// What it is started with.
    flags: Mutex<Vec<String>>,
    /// What its environment has besides.
    environment: Mutex<Vec<(String, String)>>,
    /// The file system that its disk is, if it has one of its own.
    image: Mutex<Option<PathBuf>>,
    child: Mutex<Option<Child>>,
}

/// Some nodes and what is between them.
pub struct Cluster {
    hub: String,
    nodes: Vec<Node>,
    hosts: PathBuf,
    client: Client,
    /// For the cluster ports, if they speak TLS.
    tls: Mutex<Option<Client>>,
    runtime: Option<Runtime>,
    dir: tempfile::TempDir,
    _turn: OwnedMutexGuard<()>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// The name of a node.
pub fn name(node: usize) -> String {
    format!("node{node}")
}

/// The IP address of a node.
pub fn ip(node: usize) -> String {
    format!("10.77.0.{node}")
}

/// The address of a node's cluster port.
pub fn address(node: usize) -> String {
    format!("{}:{CLUSTER_PORT}", ip(node))
}

/// `--peers` of a node among these founders: the others, with their names.
pub fn peers(node: usize, founders: &[usize]) -> String {
    let others = founders.iter().filter(|other| **other != node);
    let named: Vec<_> =
        others.map(|other| format!("{}@{}", name(*other), address(*other))).collect();
    format!("--peers={}", named.join(","))
}

fn mac(node: usize) -> String {
    format!("02:00:00:00:00:{node:02x}")
}

/// Where what runs beside the nodes is reached from them.
pub const HUB_IP: &str = "10.77.0.254";

/// An address that no node has: what is sent there is lost.
const NOBODY: &str = "02:00:00:00:00:ff";

/// Runs `ip` with commands, one a line.
fn ip_batch(namespace: Option<&str>, commands: &str) {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the cluster tests need `ip` (iproute2)");
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "the cluster tests need root, for namespaces: {said}{commands}");
}

fn delete_namespace(name: &str) {
    // It may never have been made.
    let _ = Command::new("ip").args(["netns", "delete", name]).stderr(Stdio::null()).status();
}

/// Removes what tests left behind that were killed.
fn sweep() {
    for entry in std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.filter(|pid| !Path::new("/proc").join(pid).exists()) else {
            continue;
        };
        println!("removing {name}, which process {owner} left behind");
        let inside = Command::new("ip").args(["netns", "pids", &name]).output().unwrap();
        for pid in String::from_utf8_lossy(&inside.stdout).split_whitespace() {
            signal_process(pid.parse().unwrap(), Signal::KILL);
        }
        delete_namespace(&name);
    }
}

impl Cluster {
    /// The network for `nodes` nodes, all of which are told to found one cluster. None is started.
    pub async fn of(nodes: usize) -> Self {
        let founders: Vec<usize> = (1..=nodes).collect();
        Self::with(&founders, nodes).await
    }

    /// The network for `nodes` nodes of which these are told to found one cluster. None is started.
    pub async fn with(founders: &[usize], nodes: usize) -> Self {
        let turn = Arc::clone(&TURN).lock_owned().await;
        SWEEP.call_once(sweep);
        let dir = tempfile::tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", std::process::id());
        let hub = format!("{prefix}-hub");
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        let nodes: Vec<Node> = (1..=nodes)
            .map(|number| {
                hosts += &format!("{} {}\n", ip(number), name(number));
                let node = Node {
                    namespace: format!("{prefix}-{number}"),
                    disk: dir.path().join(name(number)),
                    log: dir.path().join(format!("{}.log", name(number))),
                    flags: Mutex::default(),
                    environment: Mutex::default(),
                    image: Mutex::default(),
                    child: Mutex::default(),
                };
                let mut flags = vec![format!("--advertise-addr={}", address(number))];
                if founders.contains(&number) && founders.len() > 1 {
                    flags.push(peers(number, founders));
                }
                *node.flags.lock().unwrap() = flags;
                node
            })
            .collect();
        let hosts_file = dir.path().join("hosts");
        std::fs::write(&hosts_file, hosts).unwrap();
        // From here on a panic removes what is there.
        let mut cluster = Self {
            hub,
            nodes,
            hosts: hosts_file,
            client: hub_client(),
            tls: Mutex::default(),
            runtime: None,
            dir,
            _turn: turn,
        };
        cluster.make_network();
        cluster.runtime = Some(runtime_in(&cluster.hub));
        cluster
    }

    /// A cluster of so many nodes, started all at once, that has formed.
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[]).await
    }

    /// The same, with further flags for every node.
    pub async fn start_with(nodes: usize, flags: &[&str]) -> Self {
        let cluster = Self::of(nodes).await;
        for flag in flags {
            cluster.add_flag(flag);
        }
        let all = cluster.all();
        for node in &all {
            cluster.launch(*node);
        }
        cluster.agreed(&all).await;
        cluster.ready(&all).await;
        cluster
    }

    fn make_network(&self) {
        let hub = &self.hub;
        let mut commands = format!("netns add {hub}\n");
        for node in &self.nodes {
            commands += &format!("netns add {}\n", node.namespace);
        }
        ip_batch(None, &commands);
        ip_batch(
            Some(hub),
            &format!(
                "link set lo up\nlink add br0 type bridge\naddr add {HUB_IP}/24 dev br0\n\
             link set br0 up\n"
            ),
        );
        let (mut pairs, mut ports) = (String::new(), String::new());
        for (number, node) in (1..).zip(&self.nodes) {
            let (inside, mac) = (&node.namespace, mac(number));
            pairs += &format!(
                "link add eth0 address {mac} netns {inside} type veth peer name n{number} netns {hub}\n"
            );
            ports += &format!("link set n{number} master br0 up\n");
        }
        ip_batch(None, &pairs);
        ip_batch(Some(hub), &ports);
        for (number, node) in (1..).zip(&self.nodes) {
            let own = ip(number);
            let commands = format!(
                "link set lo up\naddr add {own}/24 dev eth0\nlink set eth0 up\n{}",
                self.neighbours(number, |_| true)
            );
            ip_batch(Some(&node.namespace), &commands);
        }
    }

    /// Where a node sends what is for the others: to them, or to nobody.
    fn neighbours(&self, from: usize, reaches: impl Fn(usize) -> bool) -> String {
        let others = self.all().into_iter().filter(|to| *to != from);
        others
            .map(|to| {
                let mac = if reaches(to) { mac(to) } else { NOBODY.to_owned() };
                format!("neigh replace {} lladdr {mac} nud permanent dev eth0\n", ip(to))
            })
            .collect()
    }

    /// The numbers of all nodes.
    pub fn all(&self) -> Vec<usize> {
        (1..=self.nodes.len()).collect()
    }

    /// The numbers of all nodes but these.
    pub fn all_but(&self, without: &[usize]) -> Vec<usize> {
        self.all().into_iter().filter(|node| !without.contains(node)).collect()
    }

    fn node(&self, node: usize) -> &Node {
        &self.nodes[node - 1]
    }

    /// Replaces the flags of a node beyond its name, its ports and its disk; from its next start on.
    pub fn set_flags(&self, node: usize, flags: &[&str]) {
        *self.node(node).flags.lock().unwrap() =
            flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    /// Adds a flag to every node; from its next start on.
    pub fn add_flag(&self, flag: &str) {
        for node in &self.nodes {
            node.flags.lock().unwrap().push(flag.to_owned());
        }
    }

    /// Sets a variable in the environment of a node; from its next start on.
    pub fn set_env(&self, node: usize, name: &str, value: &str) {
        let mut environment = self.node(node).environment.lock().unwrap();
        environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the process of a node.
    pub fn launch(&self, number: usize) {
        let node = self.node(number);
        let log = OpenOptions::new().create(true).append(true).open(&node.log).unwrap();
        let mut child = node.child.lock().unwrap();
        assert!(child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()), "it runs");
        // Each of these programs becomes the next: the child is the server.
        let started = Command::new("nsenter")
            .arg(format!("--net={NAMESPACES}/{}", node.namespace))
            .args(["unshare", "--mount", "--propagation=private", "sh", "-c"])
            .arg(
                "mount --bind \"$0\" /etc/hosts && \
                 { [ -z \"$1\" ] || mount -o loop \"$1\" \"$2\"; } && shift 2 && exec \"$@\"",
            )
            .arg(&self.hosts)
            .arg(node.image.lock().unwrap().clone().unwrap_or_default())
            .arg(&node.disk)
            .arg(binary("mcp-v8"))
            .arg(format!("--node-id={}", name(number)))
            .arg(format!("--http-port={HTTP_PORT}"))
            .arg(format!("--cluster-port={CLUSTER_PORT}"))
            .arg(format!("--session-db-path={}", node.disk.display()))
            .args(&*node.flags.lock().unwrap())
            .env("RUST_LOG", log_level())
            .envs(node.environment.lock().unwrap().iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *child = Some(started);
    }

    /// Starts a node and waits until its cluster port answers.
    pub async fn up(&self, node: usize) {
        self.launch(node);
        until(&format!("node {node} to answer"), || async { self.status(node).await.map(drop) })
            .await;
    }

    /// Starts a node that enters the cluster through the given one, with further flags.
    pub async fn join(&self, node: usize, via: usize, flags: &[&str]) {
        let (own, via) = (address(node), address(via));
        let own = [format!("--advertise-addr={own}"), format!("--join={via}")];
        let flags: Vec<&str> =
            own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        self.set_flags(node, &flags);
        self.up(node).await;
    }

    /// The process of a node.
    pub fn pid(&self, node: usize) -> u32 {
        self.node(node).child.lock().unwrap().as_ref().expect("it was started").id()
    }

    /// Whether a node's process is there.
    pub fn runs(&self, node: usize) -> bool {
        let mut child = self.node(node).child.lock().unwrap();
        child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Ends a node at once, as a power cut does.
    pub fn kill9(&self, node: usize) {
        let mut child = self.node(node).child.lock().unwrap();
        if let Some(child) = child.as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks a node to stop.
    pub fn sigterm(&self, node: usize) {
        signal_process(self.pid(node), Signal::TERM);
    }

    /// Freezes a node.
    pub fn sigstop(&self, node: usize) {
        signal_process(self.pid(node), Signal::STOP);
    }

    /// Lets a frozen node go on.
    pub fn sigcont(&self, node: usize) {
        signal_process(self.pid(node), Signal::CONT);
    }

    /// Waits for the end of a node's process.
    pub async fn exited(&self, node: usize, limit: Duration) -> ExitStatus {
        until_within(limit, &format!("node {node} to exit"), || async {
            self.node(node).child.lock().unwrap().as_mut().unwrap().try_wait().unwrap()
        })
        .await
    }

    /// Removes everything that a node has on disk.
    pub fn wipe(&self, node: usize) {
        assert!(!self.runs(node), "node {node} runs");
        std::fs::remove_dir_all(&self.node(node).disk).unwrap();
    }

    /// What a node has logged since it was first started.
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(&self.node(node).log).unwrap_or_default()
    }

    /// Loses whatever `from` sends to `to`; not the other direction.
    pub fn one_way(&self, from: usize, to: usize) {
        let lost = format!("neigh replace {} lladdr {NOBODY} nud permanent dev eth0\n", ip(to));
        ip_batch(Some(&self.node(from).namespace), &lost);
    }

    /// Loses everything between two groups.
    pub fn partition(&self, some: &[usize], others: &[usize]) {
        for (these, those) in [(some, others), (others, some)] {
            for from in these {
                let commands = self.neighbours(*from, |to| !those.contains(&to));
                ip_batch(Some(&self.node(*from).namespace), &commands);
            }
        }
    }

    /// Loses everything between a node and all others.
    pub fn isolate(&self, node: usize) {
        self.partition(&[node], &self.all_but(&[node]));
    }

    /// Loses nothing any more.
    pub fn heal(&self) {
        self.partition(&self.all(), &[]);
    }

    async fn send(&self, request: RequestBuilder, limit: Duration) -> Answered {
        let sending = async move {
            let response = request.timeout(limit).send().await.map_err(|error| {
                let text = format!("{error:?}");
                if error.is_connect() { Silence::NotSent(text) } else { Silence::Unknown(text) }
            })?;
            let status = response.status().as_u16();
            let text =
                response.text().await.map_err(|error| Silence::Unknown(error.to_string()))?;
            Ok(Answer { status, body: body(&text) })
        };
        self.runtime.as_ref().unwrap().spawn(sending).await.unwrap()
    }

    fn url(node: usize, port: u16, path: &str) -> String {
        format!("http://{}:{port}{path}", ip(node))
    }

    /// GET on a node's port for clients.
    pub async fn get(&self, node: usize, path: &str) -> Answered {
        self.send(self.client.get(Self::url(node, HTTP_PORT, path)), REQUEST_MAX).await
    }

    /// GET on a node's port for clients, in limited time.
    pub async fn get_within(&self, node: usize, path: &str, limit: Duration) -> Answered {
        self.send(self.client.get(Self::url(node, HTTP_PORT, path)), limit).await
    }

    /// DELETE on a node's port for clients.
    pub async fn delete(&self, node: usize, path: &str) -> Answered {
        self.send(self.client.delete(Self::url(node, HTTP_PORT, path)), REQUEST_MAX).await
    }

    /// Asks the cluster ports over TLS from now on, by this client.
    pub fn ask_by_tls(&self, client: Client) {
        *self.tls.lock().unwrap() = Some(client);
    }

    /// A request to a node's cluster port.
    pub fn raft_request(&self, method: Method, node: usize, path: &str) -> RequestBuilder {
        let url = Self::url(node, CLUSTER_PORT, path);
        match &*self.tls.lock().unwrap() {
            Some(client) => client.request(method, url.replacen("http", "https", 1)),
            None => self.client.request(method, url),
        }
    }

    /// GET on a node's cluster port.
    pub async fn raft_get(&self, node: usize, path: &str) -> Answered {
        self.send(self.raft_request(Method::GET, node, path), REQUEST_MAX).await
    }

    /// POST on a node's cluster port.
    pub async fn raft_post(&self, node: usize, path: &str, body: &Value) -> Answered {
        self.send(self.raft_request(Method::POST, node, path).json(body), REQUEST_MAX).await
    }

    /// One value of a node's metrics, asked for on its cluster port; `None` when it is not there.
    pub async fn metric(&self, node: usize, name: &str) -> Option<f64> {
        let request = self.raft_request(Method::GET, node, "/metrics");
        let asking = async { request.send().await.ok()?.text().await.ok() };
        let text = self.in_hub(asking).await?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Runs something on threads from where every node is reached.
    pub async fn in_hub<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.runtime.as_ref().unwrap().spawn(task).await.unwrap()
    }

    /// What to put before a program so that it runs where every node is reached, at [`HUB_IP`].
    pub fn in_hub_by(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net={NAMESPACES}/{}", self.hub)]
    }

    /// Runs something where a node is: what it connects to sees the node's address.
    pub fn at_node<T: Send>(&self, node: usize, task: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(Path::new(NAMESPACES).join(&self.node(node).namespace)).unwrap();
        let inside = || {
            use std::os::fd::AsFd as _;
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).unwrap();
            task()
        };
        // The thread has no other use, so it need not come back.
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// What a node says about itself on its cluster port, when it answers.
    pub async fn status(&self, node: usize) -> Option<Value> {
        let request = self.raft_request(Method::GET, node, "/raft/status");
        let answer = self.send(request, STATUS_MAX).await.ok()?;
        (answer.status == 200).then_some(answer.body)
    }

    /// The node that says it leads, when exactly one of these does and all of these agree.
    pub async fn leader_among(&self, nodes: &[usize]) -> Option<usize> {
        let mut statuses = Vec::new();
        for node in nodes {
            statuses.push(self.status(*node).await?);
        }
        agreed_leader(nodes, &statuses)
    }

    /// Waits until all of these nodes name one leader among them.
    pub async fn leader(&self, nodes: &[usize]) -> usize {
        until(&format!("{nodes:?} to have one leader"), || self.leader_among(nodes)).await
    }

    /// Waits until these nodes have one leader and reflect the same entries; gives the leader.
    pub async fn agreed(&self, nodes: &[usize]) -> usize {
        self.agreed_within(nodes, crate::DEADLINE).await
    }

    /// The same in limited time.
    pub async fn agreed_within(&self, nodes: &[usize], limit: Duration) -> usize {
        let last = RefCell::new(Vec::new());
        let agreed = until_or(limit, || async {
            let mut statuses = Vec::new();
            for node in nodes {
                statuses.push(self.status(*node).await);
            }
            last.replace(statuses.clone());
            let statuses: Vec<_> = statuses.into_iter().collect::<Option<_>>()?;
            let leader = agreed_leader(nodes, &statuses)?;
            let same = statuses.iter().all(|status| {
                let first = &statuses[0];
                status["commit_index"] == first["commit_index"]
                    && status["last_applied"] == first["commit_index"]
                    && status["term"] == first["term"]
                    && status["peer_addrs"] == first["peer_addrs"]
                    && status["member"] == true
                    && each_once(&status["members"])
            });
            same.then_some(leader)
        });
        agreed.await.unwrap_or_else(|| {
            panic!("waited {limit:?} for: {nodes:?} to be one cluster; last: {:?}", last.borrow())
        })
    }

    /// Waits until these nodes want traffic.
    pub async fn ready(&self, nodes: &[usize]) {
        self.ready_within(nodes, crate::DEADLINE).await;
    }

    /// The same in limited time.
    pub async fn ready_within(&self, nodes: &[usize], limit: Duration) {
        for node in nodes {
            until_within(limit, &format!("node {node} to be ready"), || async {
                let answer = self.get_within(*node, "/readyz", STATUS_MAX).await.ok()?;
                (answer.status == 200).then_some(())
            })
            .await;
        }
    }

    /// Waits until what a node says about itself fulfils a condition, and gives it.
    pub async fn until_status(
        &self,
        node: usize,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let last = RefCell::new(None);
        let fulfilled = until_or(DEADLINE, || async {
            let status = self.status(node).await;
            let fulfilled = status.clone().filter(|status| condition(status));
            last.replace(status);
            fulfilled
        });
        fulfilled.await.unwrap_or_else(|| {
            panic!("waited {DEADLINE:?} for: node {node}: {what}; last: {:?}", last.borrow())
        })
    }

    /// Runs a script on a node, waiting so many seconds for its end.
    pub async fn exec(&self, node: usize, code: &str, wait_secs: u64) -> Answered {
        self.exec_with(node, &json!({ "code": code }), wait_secs).await
    }

    /// The same with a whole request.
    pub async fn exec_with(&self, node: usize, request: &Value, wait_secs: u64) -> Answered {
        let url = Self::url(node, HTTP_PORT, &format!("/api/exec?wait={wait_secs}"));
        let limit = REQUEST_MAX + Duration::from_secs(wait_secs);
        self.send(self.client.post(url).json(request), limit).await
    }

    /// The same under an idempotency key, in limited time.
    pub async fn exec_under_key(
        &self,
        node: usize,
        request: &Value,
        key: &str,
        limit: Duration,
    ) -> Answered {
        let wait = limit.as_secs().saturating_sub(1).max(1);
        let url = Self::url(node, HTTP_PORT, &format!("/api/exec?wait={wait}"));
        let post = self.client.post(url).header("idempotency-key", key).json(request);
        self.send(post, limit).await
    }

    /// Runs a script on a node in limited time: without an answer by then it may or may not run.
    pub async fn exec_within(&self, node: usize, code: &str, limit: Duration) -> Answered {
        let url = Self::url(node, HTTP_PORT, "/api/exec?wait=60");
        self.send(self.client.post(url).json(&json!({ "code": code })), limit).await
    }

    /// Runs a script on a node over MCP, waiting so many seconds for its end; the answer is what the
    /// tool gives.
    pub async fn run_js(&self, node: usize, code: &str, wait_secs: u64) -> Answered {
        let post = self.client.post(Self::url(node, HTTP_PORT, "/mcp"));
        let call = crate::run_js(post, 1, json!({ "code": code, "wait_secs": wait_secs }));
        let answer = self.send(call, REQUEST_MAX + Duration::from_secs(wait_secs)).await?;
        Ok(Answer { body: answer.body["result"]["structuredContent"].clone(), ..answer })
    }

    /// Submits a script to a node without waiting, and gives its id.
    pub async fn submit(&self, node: usize, code: &str) -> String {
        let request = self.client.post(Self::url(node, HTTP_PORT, "/api/exec"));
        let answer = self.send(request.json(&json!({ "code": code })), REQUEST_MAX).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["execution_id"].as_str().unwrap().to_owned()
    }

    /// One execution, as a node shows it.
    pub async fn get_execution(&self, node: usize, id: &str) -> Answered {
        self.get(node, &format!("/api/executions/{id}")).await
    }

    /// Waits until a node shows the end of an execution, and gives it.
    pub async fn ended(&self, node: usize, id: &str, limit: Duration) -> Value {
        until_within(limit, &format!("node {node} to show the end of {id}"), || async {
            let answer = self.get_execution(node, id).await.ok()?;
            (answer.status == 200 && answer.body["status"] != "running").then_some(answer.body)
        })
        .await
    }

    /// Sets tags of a heap: keys that are not given stay.
    pub async fn put_tags(
        &self,
        node: usize,
        heap: &str,
        tags: &Value,
        limit: Duration,
    ) -> Answered {
        let url = Self::url(node, HTTP_PORT, &format!("/api/heaps/{heap}/tags"));
        self.send(self.client.put(url).json(&json!({ "tags": tags })), limit).await
    }

    /// The tags of a heap.
    pub async fn get_tags(&self, node: usize, heap: &str, limit: Duration) -> Answered {
        self.get_within(node, &format!("/api/heaps/{heap}/tags"), limit).await
    }
}

/// What nodes log. Tests read it, so that it cannot be off.
fn log_level() -> String {
    let chosen = std::env::var("RUST_LOG").ok().filter(|level| level != "off");
    chosen.unwrap_or_else(|| "info,openraft=error".to_owned())
}

/// The JSON of a body, or of the last event of a stream.
fn body(text: &str) -> Value {
    let event = || text.lines().rev().find_map(|line| line.strip_prefix("data:"));
    let json = |text: &str| serde_json::from_str(text).ok();
    json(text).or_else(|| json(event()?.trim())).unwrap_or_default()
}

/// The one node that says it leads, if all others name it.
fn agreed_leader(nodes: &[usize], statuses: &[Value]) -> Option<usize> {
    let mut leaders = nodes.iter().zip(statuses).filter(|(_, status)| status["role"] == "Leader");
    let (Some((leader, _)), None) = (leaders.next(), leaders.next()) else { return None };
    let named = name(*leader);
    statuses.iter().all(|status| status["leader_id"] == named.as_str()).then_some(*leader)
}

/// Whether no node is there twice: while one that lost its disk takes the place of what it was, it is,
/// and what it was still counts for a majority.
fn each_once(members: &Value) -> bool {
    let mut names = members.as_array().into_iter().flatten().map(|member| member["name"].as_str());
    let mut seen = HashSet::new();
    names.all(|name| seen.insert(name))
}

/// Threads that live in a namespace.
fn runtime_in(namespace: &str) -> Runtime {
    let file = Arc::new(File::open(Path::new(NAMESPACES).join(namespace)).unwrap());
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("hub")
        .enable_all()
        .on_thread_start(move || {
            use std::os::fd::AsFd as _;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        })
        .build()
        .unwrap()
}

/// A client for the nodes.
fn hub_client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().connect_timeout(Duration::from_secs(1));
    client.pool_idle_timeout(IDLE_KEPT).build().unwrap()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in self.all() {
            self.kill9(number);
        }
        if std::thread::panicking() {
            for number in self.all() {
                let log = self.log(number);
                let lines: Vec<&str> = log.lines().collect();
                let from = lines.len().saturating_sub(LOG_LINES);
                println!("--- {}, last of {} lines ---", name(number), lines.len());
                println!("{}", lines[from..].join("\n"));
            }
            if let Some(kept) = std::env::var_os("MCP_V8_KEEP_LOGS") {
                for number in self.all() {
                    let to = PathBuf::from(&kept).join(format!("{}.log", name(number)));
                    let _ = std::fs::copy(&self.node(number).log, to);
                }
            }
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        for node in &self.nodes {
            delete_namespace(&node.namespace);
        }
        delete_namespace(&self.hub);
    }
}
