//! The server from start to stop.
//!
//! # Contract
//! * Whatever can be wrong with the command line, the ports, the paths or the worker program is
//!   said before the first request is taken, in one sentence that names the flag.
//! * SIGTERM or SIGINT: what was asked is answered ([`crate::stop`]), every child is reaped, exit code
//!   0. A second signal ends it at once.

mod ports;
mod start;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mcp_v8_cluster::auth::tls::TlsError;
use mcp_v8_cluster::node::{Node, StartError};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::app::{App, Texts, VERSION};
use crate::cli::Args;
use crate::heaps::{Heaps, Places};
use crate::http::cluster_entrance::ClusterEntrance;
use crate::http::serve::{BindError, serve};
use crate::http::tls::Tls;
use crate::http::{self, Guard};
use crate::limits::{ANSWERS_MAX, CONNECTION_DRAIN_MAX, STOP_LATE_MAX};
use crate::mcp;
use crate::metrics;
use crate::observe::otlp::{self, OtlpError};
use crate::overview::{self, Overviews};
use crate::pool::{Health, Pool, PoolError};
use crate::service::Service;
use crate::stop::Stop;
use crate::waiting::{self, WaitError};

use self::ports::{listen, port_from_environment, say_listening, spawn_serving};
pub use self::start::worker_path;
use self::start::{
    allow_open_files, bucket, check_sandbox, fork_session, prepare_state, start_executions,
    start_node, text,
};

/// How often histograms are folded so that they stay small.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Why the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no worker program.
    #[error(
        "the worker program {0} is missing or not executable: install mcp-v8-worker beside mcp-v8, \
         or name it with --worker-path"
    )]
    Worker(PathBuf),
    /// The host does not allow the sandbox that is demanded.
    #[error("{0}. To run with what this host allows: --sandbox=best-effort")]
    Sandbox(String),
    /// The state directory cannot be used.
    #[error("--{flag} {path}: {source}; choose a directory this user can write")]
    State {
        /// The flag.
        flag: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A text cannot be read.
    #[error("--{flag} @{path}: {source}")]
    Text {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// `PORT` is no port.
    #[error("the PORT environment variable is '{0}'; accepted: 1 to 65535")]
    Port(String),
    /// Access cannot be as it was asked for.
    #[error("{0}")]
    Access(String),
    /// A certificate of the clients' ports cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener cannot start.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The pool cannot start.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The node of the cluster cannot start.
    #[error(transparent)]
    Node(#[from] StartError),
    /// Raft has stopped.
    #[error("Raft has stopped: {0}")]
    Raft(String),
    /// The session cannot be begun.
    #[error("--session-fork-from: {0}")]
    Fork(String),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    /// The disk is too full to begin.
    #[error(transparent)]
    Full(#[from] WaitError),
    /// The bucket of the heaps cannot be used.
    #[error("--s3-bucket {bucket}: {problem}")]
    Bucket {
        /// As it was given.
        bucket: String,
        /// Why not.
        problem: String,
    },
    /// Traces cannot be exported.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The metrics cannot be set up.
    #[error("cannot set up metrics: {0}")]
    Metrics(String),
    /// The conversation over stdin and stdout failed.
    #[error("stdio: {0}")]
    Stdio(String),
}

/// Runs the server until a signal, or until stdin ends where that is the transport.
///
/// # Errors
/// [`ServeError`].
pub async fn run(args: Args) -> Result<(), ServeError> {
    allow_open_files();
    otlp::start(&otlp::Settings {
        endpoint: args.observe.otlp_endpoint.as_deref(),
        sample: args.observe.otlp_sample,
        node: &args.node_id,
    })?;
    let worker_path = worker_path(args.worker_path.as_deref())?;
    prepare_state(&args.session_db_path, "session-db-path")?;
    let texts = Texts {
        instructions: text("instructions", args.instructions.as_deref())?,
        run_js_description: text("run-js-description", args.run_js_description.as_deref())?,
    };
    let settings = args.access.settings().map_err(ServeError::Access)?;
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    let (http_port, sse_port) = match (args.http_port, args.sse_port) {
        ports if args.metadata_only => {
            if ports != (None, None) {
                tracing::warn!(
                    "--metadata-only opens no MCP port: --http-port and --sse-port are for nothing"
                );
            }
            (None, None)
        }
        (None, None) => (port_from_environment()?, None),
        ports => ports,
    };
    if (http_port, sse_port) == (None, None)
        && !args.metadata_only
        && let Some((flag, _)) = args.access.for_ports().into_iter().find(|(_, given)| *given)
    {
        return Err(ServeError::Access(format!(
            "{flag} is for a server with a port: give --http-port or --sse-port as well, or leave it out"
        )));
    }
    let http_listener = listen(&args.bind_host, http_port, "--http-port").await?;
    let sse_listener = listen(&args.bind_host, sse_port, "--sse-port").await?;

    let tls = match (&args.access.tls_cert, &args.access.tls_key) {
        (Some(cert), Some(key)) => Some(Tls::start(cert.clone(), key.clone()).await?),
        _ => None,
    };
    let cluster_listener = listen(&args.bind_host, args.cluster_port, "--cluster-port").await?;
    let mut keeps = args.keeps_state();
    let ports = [http_listener.as_ref(), sse_listener.as_ref()];
    let clients = ports.into_iter().flatten().collect::<Vec<_>>();
    let served = !clients.is_empty() || cluster_listener.is_some();
    let service = if served { Service::from_env() } else { Service::default() };
    if keeps {
        service.waits_for("room on the disk of its store");
        let store = args.node().path;
        tokio::select! {
            room = waiting::for_room(&store, &clients, tls.as_ref(), served) => match room {
                // As for a database that another server has.
                Err(WaitError::Full(reason)) if args.is_plain_stdio() => {
                    tracing::warn!("{reason}. This server keeps nothing on disk, as with --stateless");
                    keeps = false;
                }
                room => room?,
            },
            name = signals.next() => {
                tracing::info!(signal = name, "stopped before there was room");
                return Ok(());
            }
        }
    }
    service.waits_for("its store and its first worker process");
    let access = match settings {
        Some(settings) => Access::start(settings).await.map_err(ServeError::Access)?,
        None => Access::everybody(),
    };
    let (heaps_path, heaps_flag) = args.heaps_path();
    if keeps {
        prepare_state(&heaps_path, heaps_flag)?;
    }
    let bucket = if keeps { bucket(&args).await? } else { None };
    let node = if keeps { start_node(&args).await? } else { None };
    let cache_bytes = args.cache_max_mb * 1024 * 1024;
    let places = Places { directory: heaps_path, bucket, cache_bytes };
    let heaps = node.clone().map(|node| Heaps::new(node, places));

    let drain = Duration::from_secs(args.drain_timeout);
    let metrics = metrics::install().map_err(|error| ServeError::Metrics(error.to_string()))?;
    // Who votes has the others' heaps; who keeps no executions has none of its own.
    let replicated = node.clone().zip(heaps.clone()).filter(|_| !args.stateless);
    let (executions, pool) = start_executions(&args, worker_path, replicated)?;
    if let Some(heaps) = heaps {
        if args.stateless {
            heaps.answer_alone();
        }
        tokio::spawn(heaps.upkeep());
    }
    if !args.metadata_only {
        check_sandbox(&pool, args.sandbox).await?;
    }
    let app = Arc::new(App {
        executions,
        access,
        pool,
        node: node.clone(),
        texts,
        allow_file: args.allow_run_js_file,
        session: args.session_id.clone(),
        overviews: Overviews::default(),
        metrics: Some(metrics.clone()),
    });
    overview::tell(&app);
    tokio::spawn(async move {
        let mut every = tokio::time::interval(METRICS_UPKEEP);
        loop {
            every.tick().await;
            metrics.run_upkeep();
        }
    });
    tokio::spawn(say_when_ready(app.pool.clone()));

    let guard = Guard::new(&args.allowed_hosts, &args.allowed_origins);
    // Ends what has no end of its own: streams, conversations. `closing` only ends the accepting.
    let (stop, closing) = (CancellationToken::new(), CancellationToken::new());
    let (listeners, in_flight) = (TaskTracker::new(), TaskTracker::new());
    let stdio = http_listener.is_none() && sse_listener.is_none() && cluster_listener.is_none();
    if let (Some(listener), Some(node)) = (cluster_listener, &node) {
        if let Ok(address) = listener.local_addr() {
            let peer_auth = node.auth().credentials.method();
            tracing::info!(node = node.name(), %address, peer_auth, "cluster port open");
        }
        let router = http::cluster_router(Arc::clone(&app), node.clone(), Handle::current());
        // Until the node itself has stopped.
        let entrance = ClusterEntrance::new(node.clone(), Handle::current());
        node.handle().spawn(serve(listener, entrance, router, node.stopping()));
    }
    if let Some(listener) = http_listener {
        let router = mcp::http::router(Arc::clone(&app), stop.clone(), in_flight.clone());
        say_listening(&listener, tls.is_some(), "/mcp");
        let router = http::router(Arc::clone(&app), guard.clone(), in_flight.clone(), router);
        spawn_serving(&listeners, listener, tls.clone(), router, closing.clone());
    }
    if let Some(listener) = sse_listener {
        let router = mcp::sse::router(Arc::clone(&app), stop.clone(), in_flight.clone());
        say_listening(&listener, tls.is_some(), "/sse");
        let router = http::router(Arc::clone(&app), guard, in_flight.clone(), router);
        spawn_serving(&listeners, listener, tls, router, closing.clone());
    }
    listeners.close();
    service.serves(Arc::clone(&app));

    if let (Some(session), Some(from)) = (&args.session_id, &args.session_fork_from) {
        fork_session(&app, session, from).await?;
    }
    let (talked, mut conversation) = oneshot::channel();
    if stdio {
        tracing::info!(version = VERSION, "serving MCP on stdin and stdout");
        let serving = mcp::stdio::serve(Arc::clone(&app), stop.clone());
        // Nobody asks any more when a second signal has ended the wait.
        tokio::spawn(async move { talked.send(serving.await) });
    }
    let mut ended = None;
    tokio::select! {
        name = signals.next() => tracing::info!(signal = name, "stopping"),
        end = &mut conversation, if stdio => ended = Some(end),
        reason = failed(node.as_ref()) => {
            // What it would say from now on would be out of date.
            app.pool.stop().await;
            otlp::stop().await;
            return Err(ServeError::Raft(reason));
        }
    }

    // From here on a signal means: now.
    let saying = service.stops(Arc::clone(&app), drain + ANSWERS_MAX + STOP_LATE_MAX);
    let stopping = Stop { app, drain, in_flight, listeners, closing, streams: stop };
    let shutting_down = async {
        tokio::join!(stopping.answer(), saying);
        if stdio && ended.is_none() {
            ended = tokio::time::timeout(CONNECTION_DRAIN_MAX, &mut conversation).await.ok();
        }
        stopping.end().await;
        otlp::stop().await;
    };
    tokio::select! {
        name = signals.next() => tracing::warn!(signal = name, "stopping at once"),
        () = shutting_down => tracing::info!("stopped"),
    }
    match ended {
        Some(Ok(Err(error))) => Err(ServeError::Stdio(error)),
        _ => Ok(()),
    }
}

/// Returns when Raft has failed.
async fn failed(node: Option<&Node>) -> String {
    match node {
        Some(node) => node.failed().await,
        None => std::future::pending().await,
    }
}

async fn say_when_ready(pool: Pool) {
    let mut health = pool.watch_health();
    // Ends with the pool.
    if health.wait_for(|health| *health == Health::Ready).await.is_ok() {
        tracing::info!("workers are ready");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
