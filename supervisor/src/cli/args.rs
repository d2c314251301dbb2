//! Every option, once.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum, value_parser};
use mcp_v8_cluster::limits::SNAPSHOT_ENTRIES_DEFAULT;
use mcp_v8_cluster::node::config::{self as node, Seed, Timing, check_address};
use mcp_v8_cluster::types::check_name;

use super::access::AccessArgs;
use super::ask::{ArtifactsArgs, ExecutionsArgs, HeapsArgs, SessionsArgs};
use super::backup::{BackupArgs, RestoreArgs};
use super::proof::{NodeProof, OperatorProof};
use crate::executions::{KeepHeaps, check_session};
use crate::limits::{
    CONCURRENT_EXECUTIONS_MAX, CONSOLE_BYTES_DEFAULT, CONSOLE_BYTES_MAX, CONSOLE_BYTES_MIN,
    DRAIN_SECS_DEFAULT, DRAIN_SECS_MAX, EXECUTION_TIMEOUT_SECS_DEFAULT, EXECUTION_TIMEOUT_SECS_MAX,
    EXECUTION_TIMEOUT_SECS_MIN, HEAP_CACHE_MB_DEFAULT, HEAP_CACHE_MB_MAX, HEAP_CACHE_MB_MIN,
    HEAP_MB_DEFAULT, HEAP_MB_MAX, HEAP_MB_MIN,
};
use crate::pool::Processes;
use crate::pool::sandbox::Mode;

const LISTENERS: &str = "Listeners (none: MCP over stdin and stdout)";
const EXECUTIONS: &str = "Executions";
const STORAGE: &str = "Storage";
/// Heading of the flags of a node in a cluster.
pub const CLUSTER: &str = "Cluster";
const TEXTS: &str = "Texts shown to clients";
const GENERAL: &str = "General";
/// Where everything is kept unless somebody says otherwise.
pub const SESSION_DB_PATH_DEFAULT: &str = "/tmp/mcp-v8-sessions";
/// The name of a node that was given none.
pub const NODE_ID_DEFAULT: &str = "node1";
/// Heading of the flags that [`super::later`] refuses.
pub const LATER: &str = "Not supported yet (refused)";

/// Runs JavaScript and TypeScript for AI agents, each script in a V8 process of its own.
///
/// Without a port it speaks MCP over stdin and stdout, which is how MCP clients start it. With
/// --http-port it serves MCP at /mcp and a REST interface at /api.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mcp-v8",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        mcp-v8 --http-port=3000                 serve on port 3000\n  \
        echo '6 * 7' | mcp-v8 exec -            run one script and exit\n  \
        mcp-v8 exec job.ts --url http://127.0.0.1:3000\n\n\
        Every flag can be set as an environment variable (MCP_V8_HTTP_PORT=3000) or as a key of\n\
        the --config file (http-port = 3000). A flag wins over the environment, the environment\n\
        over the file. What is logged to stderr is set by --log-level, or else by RUST_LOG."
)]
pub struct Args {
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Serve MCP (Streamable HTTP) at /mcp and REST at /api on this port. The PORT environment
    /// variable is used when no port is given
    #[arg(long, value_name = "N", help_heading = LISTENERS, value_parser = value_parser!(u16).range(1..))]
    pub http_port: Option<u16>,

    /// Serve MCP by the older HTTP+SSE transport (GET /sse, POST /message) and REST on this port
    #[arg(long, value_name = "N", help_heading = LISTENERS, value_parser = value_parser!(u16).range(1..))]
    pub sse_port: Option<u16>,

    /// Address that the listeners bind
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0", help_heading = LISTENERS)]
    pub bind_host: String,

    /// Host names that requests may name, separated by commas; `*` for any. Requests made by a
    /// browser must always name one of these or a loopback address; other requests only when this
    /// is given
    #[arg(long, value_name = "HOST", value_delimiter = ',', help_heading = LISTENERS)]
    pub allowed_hosts: Vec<String>,

    /// Web origins whose pages may call this server (http://app.example:8080), separated by
    /// commas; `*` for any. Loopback origins always may
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', help_heading = LISTENERS)]
    pub allowed_origins: Vec<String>,

    /// Who may use the server.
    #[command(flatten)]
    pub access: AccessArgs,

    /// JavaScript heap of one execution in MiB; as much again may be held in ArrayBuffers
    #[arg(
        long, value_name = "MB", default_value_t = HEAP_MB_DEFAULT, help_heading = EXECUTIONS,
        value_parser = value_parser!(u64).range(HEAP_MB_MIN..=HEAP_MB_MAX)
    )]
    pub heap_memory_max: u64,

    /// Wall clock of one execution in seconds
    #[arg(
        long, value_name = "S", default_value_t = EXECUTION_TIMEOUT_SECS_DEFAULT,
        help_heading = EXECUTIONS,
        value_parser = value_parser!(u64).range(EXECUTION_TIMEOUT_SECS_MIN..=EXECUTION_TIMEOUT_SECS_MAX)
    )]
    pub execution_timeout: u64,

    /// Executions that run at once; more wait in a queue [default: number of cores]
    #[arg(
        long, value_name = "N", help_heading = EXECUTIONS,
        value_parser = value_parser!(u64).range(1..=CONCURRENT_EXECUTIONS_MAX)
    )]
    pub max_concurrent_executions: Option<u64>,

    /// Console output of one execution in bytes; what goes past it is dropped with a notice
    #[arg(
        long, value_name = "BYTES", default_value_t = CONSOLE_BYTES_DEFAULT,
        help_heading = EXECUTIONS,
        value_parser = value_parser!(u64).range(CONSOLE_BYTES_MIN..=CONSOLE_BYTES_MAX)
    )]
    pub console_bytes_max: u64,

    /// Seconds that running scripts have to end when the server is told to stop. What runs longer goes
    /// to another node of the cluster, or ends where there is none
    #[arg(
        long, value_name = "S", default_value_t = DRAIN_SECS_DEFAULT, help_heading = EXECUTIONS,
        value_parser = value_parser!(u64).range(..=DRAIN_SECS_MAX)
    )]
    pub drain_timeout: u64,

    /// Let run_js read a script from a path on the server (its `file` argument)
    #[arg(long, help_heading = EXECUTIONS)]
    pub allow_run_js_file: bool,

    /// The worker program [default: mcp-v8-worker beside this program]
    #[arg(long, value_name = "PATH", help_heading = EXECUTIONS)]
    pub worker_path: Option<PathBuf>,

    /// The sandbox around each script's process. `required`: the server does not start unless the
    /// host denies it privileges, files and network and bounds its memory; `best-effort`: what the
    /// host allows; `off`: none
    #[arg(long, value_enum, default_value_t = Mode::Required, help_heading = EXECUTIONS)]
    pub sandbox: Mode,

    /// How the process for a script comes to be. `fork`: from one in which V8 is ready; `exec`: from
    /// the program, with a memory layout and hash seeds of its own, for some milliseconds more
    #[arg(long, value_enum, default_value_t = Processes::Fork, help_heading = EXECUTIONS)]
    pub worker_processes: Processes,

    /// Directory of everything that is kept on disk. Each node has its own database in it, in
    /// cluster-NODE_ID
    #[arg(
        long, value_name = "DIR", default_value = SESSION_DB_PATH_DEFAULT, help_heading = STORAGE
    )]
    pub session_db_path: PathBuf,

    /// Whether scripts leave heaps, for sessions and for going back. `dir`: every script does; `s3`: as
    /// well, and they are in --s3-bucket; `none`: none does, and there are no sessions [default: those
    /// do that name a session, a heap or tags]
    #[arg(long, value_enum, help_heading = STORAGE)]
    pub heap_store: Option<HeapStore>,

    /// Directory of the heaps, in which each node has its own, NODE_ID [default: heaps in
    /// --session-db-path]
    #[arg(long, value_name = "DIR", help_heading = STORAGE)]
    pub heap_dir: Option<PathBuf>,

    /// With --heap-store=s3: the bucket, or BUCKET/PREFIX, the same at every node. Credentials, region
    /// and endpoint are taken from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and
    /// AWS_ENDPOINT_URL
    #[arg(long, value_name = "BUCKET", help_heading = STORAGE)]
    pub s3_bucket: Option<String>,

    /// With --heap-store=s3: directory of the heaps that this node has left or fetched last
    #[arg(long, value_name = "DIR", help_heading = STORAGE, conflicts_with_all = ["heap_dir", "directory_path"])]
    pub cache_dir: Option<PathBuf>,

    /// With --heap-store=s3: MiB of heaps that stay on this node's disk
    #[arg(long, value_name = "MIB", default_value_t = HEAP_CACHE_MB_DEFAULT,
          value_parser = clap::value_parser!(u64).range(HEAP_CACHE_MB_MIN..=HEAP_CACHE_MB_MAX),
          help_heading = STORAGE)]
    pub cache_max_mb: u64,

    /// The same as --heap-store=dir with --heap-dir=DIR
    #[arg(long, value_name = "DIR", help_heading = STORAGE, conflicts_with = "heap_dir")]
    pub directory_path: Option<PathBuf>,

    /// Without a port: the session that scripts go on in, unless they name another
    #[arg(long, value_name = "NAME", help_heading = STORAGE)]
    pub session_id: Option<String>,

    /// With --session-id: if there is no session of that name yet, begin it as a copy of this one
    #[arg(long, value_name = "NAME", help_heading = STORAGE, requires = "session_id")]
    pub session_fork_from: Option<String>,

    /// Keep no executions on disk: they are held in memory and end with the server. A node of a cluster
    /// still keeps its log
    #[arg(long, help_heading = STORAGE)]
    pub stateless: bool,

    /// Be one node of a cluster: serve Raft on this port. Needs --http-port or --sse-port
    #[arg(long, value_name = "N", help_heading = CLUSTER, value_parser = value_parser!(u16).range(1..))]
    pub cluster_port: Option<u16>,

    /// Name of this node, unique in its cluster
    #[arg(long, value_name = "ID", default_value = NODE_ID_DEFAULT, help_heading = CLUSTER)]
    pub node_id: String,

    /// The other founding members, ID@HOST:PORT separated by commas, this node not among them. Give
    /// each node the same members; they form one cluster in whatever order they start
    #[arg(long, value_name = "PEERS", value_delimiter = ',', value_parser = peer, help_heading = CLUSTER)]
    pub peers: Vec<Seed>,

    /// Where other nodes reach this node's cluster port [default: NODE_ID:CLUSTER_PORT]
    #[arg(long, value_name = "HOST:PORT", help_heading = CLUSTER)]
    pub advertise_addr: Option<String>,

    /// Enter a running cluster through any of its members
    #[arg(long, value_name = "HOST:PORT", help_heading = CLUSTER)]
    pub join: Option<String>,

    /// With --join: replicate everything but never vote
    #[arg(long, help_heading = CLUSTER)]
    pub join_as_learner: bool,

    /// Vote and replicate, but run no scripts and open no MCP port
    #[arg(long, help_heading = CLUSTER)]
    pub metadata_only: bool,

    /// Milliseconds between two signs of life of the leader; more than a round trip to the other nodes
    /// takes
    #[arg(long, value_name = "MS", default_value_t = Timing::default().heartbeat, help_heading = CLUSTER)]
    pub heartbeat_interval: u64,

    /// Milliseconds of silence after which a node stands for election, at least
    #[arg(long, value_name = "MS", default_value_t = Timing::default().election_min, help_heading = CLUSTER)]
    pub election_timeout_min: u64,

    /// And at most
    #[arg(long, value_name = "MS", default_value_t = Timing::default().election_max, help_heading = CLUSTER)]
    pub election_timeout_max: u64,

    /// Log entries after which the log is compacted into a snapshot, if it has grown by as much as the
    /// last one is large; after fifty times as many it is in any case
    #[arg(
        long, value_name = "N", default_value_t = SNAPSHOT_ENTRIES_DEFAULT, help_heading = CLUSTER,
        value_parser = value_parser!(u64).range(100..=1_000_000)
    )]
    pub snapshot_entries: u64,

    /// How the cluster port knows who may use it.
    #[command(flatten)]
    pub proof: NodeProof,

    /// Instructions that clients show to their model, or @FILE (`@@` for a leading `@`)
    #[arg(long, value_name = "TEXT", help_heading = TEXTS)]
    pub instructions: Option<String>,

    /// Description of the run_js tool, or @FILE (`@@` for a leading `@`)
    #[arg(long, value_name = "TEXT", help_heading = TEXTS)]
    pub run_js_description: Option<String>,

    /// Log lines and traces.
    #[command(flatten)]
    pub observe: super::observe::ObserveArgs,

    /// Read options from a TOML file, or JSON if its name ends in .json
    #[arg(long, value_name = "FILE", help_heading = GENERAL)]
    pub config: Option<PathBuf>,

    /// Print the OpenAPI description of the REST interface and exit
    #[arg(long, help_heading = GENERAL)]
    pub print_openapi: bool,

    /// Flags of later releases.
    #[command(flatten)]
    pub later: super::later::LaterArgs,
}

/// Whether scripts leave heaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeapStore {
    /// No: every script starts fresh.
    None,
    /// Every script does.
    Dir,
    /// Every script does, in an S3 bucket.
    S3,
}

/// Things to do besides serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run one script, show its console lines as they come and its result, and exit
    Exec(ExecArgs),
    /// Look at the sessions of a running server, go back in them, copy and forget them
    Sessions(SessionsArgs),
    /// Look at stored heaps, tag and find them
    Heaps(HeapsArgs),
    /// Look at executions and cancel them
    Executions(ExecutionsArgs),
    /// Look at what scripts have left with artifact(), fetch and delete it
    Artifacts(ArtifactsArgs),
    /// Look at a running cluster and change it, through any of its nodes
    Cluster(ClusterArgs),
    /// Write the pages of docs/reference
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

/// Options of `mcp-v8 reference`.
#[derive(Debug, Clone, clap::Args)]
pub struct ReferenceArgs {
    /// Directory of the pages
    pub directory: PathBuf,

    /// Write nothing: fail where a page is not what would be written
    #[arg(long)]
    pub check: bool,
}

/// Options of `mcp-v8 cluster`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    mcp-v8 cluster --node=10.0.0.1:4000 status\n  \
    mcp-v8 cluster --node=10.0.0.1:4000 leave node3\n  \
    mcp-v8 cluster --node=10.0.0.1:4000 backup --out=mcp-v8.backup\n\n\
    Nodes that share a secret or speak TLS ask operators for the same; status is shown to all.\n\n\
    Exit code 0: done; 1: refused; 2: the node was not reached or not trusted, or the flags are wrong.")]
pub struct ClusterArgs {
    /// The cluster port of any member
    #[arg(long, value_name = "HOST:PORT", global = true, default_value = "127.0.0.1:4000")]
    pub node: String,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// How nodes know that this is an operator.
    #[command(flatten)]
    pub proof: OperatorProof,

    /// What to do
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What `mcp-v8 cluster` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ClusterCommand {
    /// Show every member: who leads, how far each is
    Status,
    /// Show who belongs to the cluster, who votes, and on which disk each is
    Members,
    /// Let a node in that is running and waits for it
    Join {
        /// Its --node-id
        name: String,
        /// Its cluster port, HOST:PORT
        address: String,
        /// It replicates but never votes
        #[arg(long)]
        learner: bool,
    },
    /// Remove a node, also one that is gone for good
    Leave {
        /// Its --node-id
        name: String,
    },
    /// Have a node run no more scripts and give what it has to others, and wait until it has; it goes
    /// on replicating and voting. Start it again to have it take work again
    Drain {
        /// Its --node-id
        name: String,
    },
    /// Hand leadership to another node, to the one that lacks least unless named
    TransferLeader {
        /// Its --node-id
        to: Option<String>,
    },
    /// Save the state of the cluster in a file, from any node, while it goes on
    Backup(BackupArgs),
    /// Say whether a file is a whole backup, and of what
    CheckBackup {
        /// The file
        file: PathBuf,
    },
    /// Make the store of a node of a new cluster from a backup; asks no node
    Restore(RestoreArgs),
}

/// Options of `mcp-v8 exec`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    mcp-v8 exec hello.ts\n  \
    echo 'console.log(\"hi\"); 6 * 7' | mcp-v8 exec -\n\n\
    Console output goes to stdout as it comes, then the result if there is one; errors go to\n\
    stderr. Exit code 0: completed; 1: the script failed; 2: it could not be run.")]
pub struct ExecArgs {
    /// The script, or `-` for stdin
    pub file: PathBuf,

    /// Run it on this server instead of starting a worker here, such as http://127.0.0.1:3000
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// With --url: a file with the bearer token, where the server wants one
    #[arg(long, value_name = "FILE", requires = "url")]
    pub token_file: Option<PathBuf>,

    /// Wall clock limit in seconds
    #[arg(
        long, value_name = "S",
        value_parser = value_parser!(u64).range(EXECUTION_TIMEOUT_SECS_MIN..=EXECUTION_TIMEOUT_SECS_MAX)
    )]
    pub timeout: Option<u64>,

    /// Heap limit in MiB
    #[arg(long, value_name = "MB", value_parser = value_parser!(u64).range(HEAP_MB_MIN..=HEAP_MB_MAX))]
    pub heap_memory_max: Option<u64>,

    /// The worker program [default: mcp-v8-worker beside this program]
    #[arg(long, value_name = "PATH")]
    pub worker_path: Option<PathBuf>,

    /// The sandbox around the script's process, when it runs here
    #[arg(long, value_enum, default_value_t = Mode::Required)]
    pub sandbox: Mode,
}

/// One of `--peers`: `id@host:port`, or `host:port`.
pub fn peer(text: &str) -> Result<Seed, String> {
    let (name, address) = match text.split_once('@') {
        Some((name, address)) => (Some(name.to_owned()), address),
        None => (None, text),
    };
    if let Some(name) = &name {
        check_name(name).map_err(|error| error.to_string())?;
    }
    match check_address("peers", address) {
        Ok(()) => Ok(Seed { name, address: address.to_owned() }),
        Err(_) => Err("accepted: ID@HOST:PORT or HOST:PORT".to_owned()),
    }
}

impl Args {
    /// Rules that span several options.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn check(&self) -> Result<(), String> {
        if self.command.is_some() {
            // What is in the environment may be for a server.
            return Ok(());
        }
        if self.http_port.is_some() && self.http_port == self.sse_port {
            return Err("--http-port and --sse-port name the same port; give two".to_owned());
        }
        self.check_heaps()?;
        self.access.settings()?;
        let Some(port) = self.cluster_port else {
            let given = [
                ("--peers", !self.peers.is_empty()),
                ("--advertise-addr", self.advertise_addr.is_some()),
                ("--join", self.join.is_some()),
                ("--join-as-learner", self.join_as_learner),
                ("--metadata-only", self.metadata_only),
            ];
            let given = given.into_iter().chain(self.proof.given());
            return match given.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => {
                    Err(format!("{flag} is for a node of a cluster: give --cluster-port as well"))
                }
                None => Ok(()),
            };
        };
        if self.http_port.is_none() && self.sse_port.is_none() && !self.metadata_only {
            return Err(
                "--cluster-port needs --http-port or --sse-port: a node of a cluster does not \
                 serve MCP over stdin and stdout"
                    .to_owned(),
            );
        }
        if [self.http_port, self.sse_port].contains(&Some(port)) {
            return Err("--cluster-port names the port of another listener; give two".to_owned());
        }
        if self.join_as_learner && self.join.is_none() {
            return Err("--join-as-learner goes with --join: founding members vote".to_owned());
        }
        self.node().check().map_err(|error| error.to_string())
    }

    /// Rules about heaps and sessions.
    fn check_heaps(&self) -> Result<(), String> {
        let dir = self.heap_dir.is_some() || self.directory_path.is_some();
        let flag = if self.heap_dir.is_some() { "--heap-dir" } else { "--directory-path" };
        let s3 = self.heap_store == Some(HeapStore::S3);
        if s3 && self.s3_bucket.is_none() {
            return Err("--heap-store=s3 needs --s3-bucket".to_owned());
        }
        if !s3 && (self.s3_bucket.is_some() || self.cache_dir.is_some()) {
            return Err("--s3-bucket and --cache-dir go with --heap-store=s3".to_owned());
        }
        if self.stateless && (dir || s3 || self.heap_store == Some(HeapStore::Dir)) {
            return Err("--stateless keeps nothing, and so no heaps: leave out --heap-store, \
                        --heap-dir and --directory-path, or --stateless"
                .to_owned());
        }
        if dir && self.heap_store == Some(HeapStore::None) {
            return Err(format!(
                "{flag} says where heaps are, --heap-store=none that there are none"
            ));
        }
        let Some(session) = &self.session_id else { return Ok(()) };
        if self.http_port.is_some() || self.sse_port.is_some() || self.cluster_port.is_some() {
            return Err(
                "--session-id is for a server without a port; over HTTP each client names \
                        its session, with the header X-MCP-Session-Id or the argument `session`"
                    .to_owned(),
            );
        }
        if self.keep_heaps() == KeepHeaps::Never {
            return Err(
                "--session-id needs heaps: leave out --stateless and --heap-store=none".to_owned()
            );
        }
        check_session("--session-id", session).map_err(|error| error.to_string())?;
        match &self.session_fork_from {
            Some(from) => {
                let checked = check_session("--session-fork-from", from);
                checked.map_err(|error| error.to_string())
            }
            None => Ok(()),
        }
    }

    /// Which scripts leave a heap.
    pub fn keep_heaps(&self) -> KeepHeaps {
        match self.heap_store {
            _ if self.stateless => KeepHeaps::Never,
            Some(HeapStore::None) => KeepHeaps::Never,
            Some(HeapStore::Dir | HeapStore::S3) => KeepHeaps::Always,
            None if self.directory_path.is_some() => KeepHeaps::Always,
            None => KeepHeaps::WhereAsked,
        }
    }

    /// The directory of this node's heaps, and the flag that names it.
    pub fn heaps_path(&self) -> (PathBuf, &'static str) {
        let given = [
            (&self.heap_dir, "heap-dir"),
            (&self.directory_path, "directory-path"),
            (&self.cache_dir, "cache-dir"),
        ];
        let given = given.into_iter().find_map(|(dir, flag)| dir.clone().map(|dir| (dir, flag)));
        let (parent, flag) =
            given.unwrap_or_else(|| (self.session_db_path.join("heaps"), "session-db-path"));
        (parent.join(&self.node_id), flag)
    }

    /// Whether this is a server as clients start it: over stdin and stdout, and kept where
    /// everything is unless somebody says otherwise.
    pub fn is_plain_stdio(&self) -> bool {
        self.http_port.is_none()
            && self.sse_port.is_none()
            && self.cluster_port.is_none()
            && self.session_db_path == Path::new(SESSION_DB_PATH_DEFAULT)
            && self.node_id == NODE_ID_DEFAULT
    }

    /// Whether anything is kept on disk: a node of a cluster votes, also one that keeps no executions.
    pub fn keeps_state(&self) -> bool {
        !self.stateless || self.cluster_port.is_some()
    }

    /// What the node of the cluster is told. Without --cluster-port it is a cluster of one.
    pub fn node(&self) -> node::Config {
        let advertise = self.cluster_port.map(|port| {
            self.advertise_addr.clone().unwrap_or_else(|| format!("{}:{port}", self.node_id))
        });
        node::Config {
            name: self.node_id.clone(),
            path: self.session_db_path.join(format!("cluster-{}", self.node_id)),
            advertise: advertise.unwrap_or_default(),
            peers: self.peers.clone(),
            join: self.join.clone(),
            learner: self.join_as_learner,
            runs_scripts: !self.metadata_only && !self.stateless,
            timing: Timing {
                heartbeat: self.heartbeat_interval,
                election_min: self.election_timeout_min,
                election_max: self.election_timeout_max,
            },
            snapshot_entries: self.snapshot_entries,
            auth: self.proof.sources(),
            auth_required: self.proof.required(),
        }
    }
}
