//! What the server is made of, started by the command line: its node, its executions and their workers.
//!
//! # Contract
//! * What cannot be started is an error that names the flag and what to do.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_v8_cluster::command::MoveTo;
use mcp_v8_cluster::node::{Node, StartError};
use mcp_v8_cluster::store::{LockError, OpenError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ServeError;
use crate::access::Principal;
use crate::app::App;
use crate::cli::Args;
use crate::executions::{Executions, Settings};
use crate::heaps::Heaps;
use crate::heaps::bucket::Place;
use crate::limits::IDLE_WORKERS_MAX;
use crate::metrics;
use crate::pool::sandbox::Mode;
use crate::pool::{Pool, PoolError, PoolSettings};
use crate::sessions::SessionError;

/// The bucket of the heaps, if they are in one. One that does not answer may do so later.
pub(super) async fn bucket(args: &Args) -> Result<Option<Place>, ServeError> {
    let Some(bucket) = &args.s3_bucket else { return Ok(None) };
    let failed = |problem| ServeError::Bucket { bucket: bucket.clone(), problem };
    let place = Place::from_env(bucket).map_err(failed)?;
    if let Some(problem) = place.check().await.map_err(failed)? {
        tracing::warn!(bucket, problem, "the bucket of the heaps does not answer");
    }
    Ok(Some(place))
}

/// Starts this node of the cluster, unless nothing is to be kept and there is no cluster.
pub(super) async fn start_node(args: &Args) -> Result<Option<Node>, ServeError> {
    let config = args.node();
    if !config.alone() {
        if config.timing.is_tight() {
            tracing::warn!(
                heartbeat_ms = config.timing.heartbeat,
                election_timeout_min_ms = config.timing.election_min,
                "--heartbeat-interval is more than a fifth of --election-timeout-min: a few lost \
                 heartbeats will cost an election"
            );
        }
        if config.auth.is_none() {
            tracing::warn!(
                "THE CLUSTER PORT ASKS NOBODY FOR PROOF: whoever reaches it can join and remove \
                 nodes, and who calls from the address of one is taken for it. Give all nodes the \
                 same --cluster-secret-file, or certificates (--cluster-tls-cert, -key, -ca); or \
                 keep the port in a network of its own"
            );
        }
    }
    // Opening a store reads it.
    let started = tokio::task::spawn_blocking(move || Node::start(config)).await;
    match started {
        // Clients that start servers start one each, all with the same settings: the second must not
        // be refused for that. Whoever asks for a port or names a place gets what was asked for or
        // nothing.
        Ok(Err(StartError::Store(OpenError::Lock(held @ LockError::Held { .. }))))
            if args.is_plain_stdio() =>
        {
            tracing::warn!("{held}. This server keeps nothing on disk, as with --stateless");
            Ok(None)
        }
        Ok(node) => Ok(Some(node?)),
        Err(error) => Err(ServeError::Raft(error.to_string())),
    }
}

/// Begins the session as a copy of another, unless it is there.
pub(super) async fn fork_session(app: &App, session: &str, from: &str) -> Result<(), ServeError> {
    let failed = |error: SessionError| ServeError::Fork(error.to_string());
    match app
        .sessions(Principal::EVERYBODY)
        .map_err(failed)?
        .fork(session, MoveTo::Session(from.to_owned()))
        .await
    {
        // A client that starts its server again goes on where it was.
        Ok(()) | Err(SessionError::Exists(_)) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn start_executions(
    args: &Args,
    worker_path: PathBuf,
    replicated: Option<(Node, Heaps)>,
) -> Result<(Executions, Pool), PoolError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let concurrent_max = args.max_concurrent_executions.map_or(cores, |n| n as usize);
    let pool = Pool::start(PoolSettings {
        worker_path,
        sandbox: args.sandbox,
        processes: args.worker_processes,
        warm: true,
        // A node that runs no scripts has no use for their processes.
        idle_workers: if args.metadata_only { 0 } else { concurrent_max.min(IDLE_WORKERS_MAX) },
        heap_bytes: args.heap_memory_max * 1024 * 1024,
    })?;
    let settings = Settings {
        concurrent_max,
        heap_mb: args.heap_memory_max,
        timeout_secs: args.execution_timeout,
        console_bytes: args.console_bytes_max,
        drain: Duration::from_secs(args.drain_timeout),
        keep_heaps: args.keep_heaps(),
        principals: args.access.limits(),
    };
    Ok((Executions::start(settings, pool.clone(), replicated), pool))
}

/// Allows as many open files as the hard limit does: each worker takes up to six, each client one, and the usual
/// soft limit of 1024 is for programs that cannot count further.
pub(super) fn allow_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "no more open files than before");
    }
}

/// Says what keeps scripts in, once the first worker has started.
pub(super) async fn check_sandbox(pool: &Pool, mode: Mode) -> Result<(), ServeError> {
    if mode == Mode::Off {
        tracing::warn!(
            "THE SANDBOX IS OFF: a script that breaks out of V8 has the rights of this server"
        );
        return Ok(());
    }
    let sandbox = pool.first_sandbox().await.map_err(ServeError::Sandbox)?;
    metrics::sandbox(&sandbox);
    for missing in &sandbox.missing {
        tracing::warn!(%missing, "the sandbox is incomplete");
    }
    let on: Vec<_> =
        sandbox.layers.iter().filter(|(_, why)| why.is_none()).map(|(layer, _)| *layer).collect();
    tracing::info!(layers = on.join(","), "sandbox");
    Ok(())
}

/// The worker program: the one named, or the one beside this program.
///
/// # Errors
/// [`ServeError::Worker`] when it cannot be run.
pub fn worker_path(named: Option<&Path>) -> Result<PathBuf, ServeError> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().unwrap_or_default().with_file_name("mcp-v8-worker"),
    };
    let executable = std::fs::metadata(&path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
    // Workers start in `/`, so a relative path would not be found.
    match std::path::absolute(&path) {
        Ok(absolute) if executable => Ok(absolute),
        _ => Err(ServeError::Worker(path)),
    }
}

/// Makes a directory of what is kept and tries to write there.
pub(super) fn prepare_state(path: &Path, flag: &'static str) -> Result<(), ServeError> {
    let failed = |source| ServeError::State { flag, path: path.to_owned(), source };
    // What will be kept here is for this user alone.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let probe = path.join(format!(".probe-{}", std::process::id()));
    match std::fs::write(&probe, b"") {
        // That is waited for.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(()) => std::fs::remove_file(&probe).map_err(failed),
    }
}

/// A text, or the contents of the file behind a leading `@`; `@@` stands for one `@`.
pub(super) fn text(flag: &'static str, given: Option<&str>) -> Result<Option<String>, ServeError> {
    let Some(given) = given else { return Ok(None) };
    Ok(Some(match given.strip_prefix('@') {
        None => given.to_owned(),
        Some(rest) if rest.starts_with('@') => rest.to_owned(),
        Some(path) => std::fs::read_to_string(path).map_err(|source| ServeError::Text {
            flag,
            path: path.to_owned(),
            source,
        })?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_from_a_file_behind_one_at_sign() {
        let mut path = std::env::temp_dir();
        path.push(format!("mcp-v8-text-{}", std::process::id()));
        std::fs::write(&path, "from a file").unwrap();
        let given = format!("@{}", path.display());
        assert_eq!(text("instructions", Some(&given)).unwrap().as_deref(), Some("from a file"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text("instructions", Some("@@me")).unwrap().as_deref(), Some("@me"));
        assert_eq!(text("instructions", Some("plain")).unwrap().as_deref(), Some("plain"));
        let error = text("instructions", Some(&given)).unwrap_err().to_string();
        assert!(error.starts_with("--instructions @"), "{error}");
    }

    #[test]
    fn a_state_path_that_cannot_be_written_is_named() {
        let error =
            prepare_state(Path::new("/proc/nowhere"), "session-db-path").unwrap_err().to_string();
        assert!(error.starts_with("--session-db-path /proc/nowhere:"), "{error}");
    }

    #[test]
    fn a_missing_worker_program_is_named() {
        let error = worker_path(Some(Path::new("/nonexistent/worker"))).unwrap_err().to_string();
        assert!(
            error.contains("/nonexistent/worker") && error.contains("--worker-path"),
            "{error}"
        );
    }
}
