//! Starts worker processes on a thread of its own.
//!
//! # Contract
//! * Spawning blocks for about a millisecond, so it never happens on the threads that serve
//!   requests.
//! * The thread lives as long as the pool: the children's parent-death signal fires when the
//!   *thread* that spawned them ends.
//! * A child inherits its socket as stdin, the log pipe as stdout and stderr, an empty environment
//!   and nothing else; every other descriptor of ours is close-on-exec.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::oneshot;

use super::group::{Group, Leaf};

/// A child that has just been started.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: u32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Our end of its socket, non-blocking.
    pub socket: UnixStream,
    /// The control group that it alone is in.
    pub group: Option<Leaf>,
}

/// The control groups that processes enter when they are started.
#[derive(Debug)]
pub struct Entrance {
    /// That of all workers.
    pub group: Arc<Group>,
    /// Each enters one of its own in it, where there are such.
    pub own: bool,
}

type Reply = oneshot::Sender<io::Result<Spawned>>;

/// Handle of the spawner thread; the thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::Sender<Reply>,
}

impl Spawner {
    /// Starts the thread. Each child runs `program` with `arguments` and finds `greeting` in its socket.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        program: PathBuf,
        arguments: Vec<&'static str>,
        log: OwnedFd,
        greeting: Vec<u8>,
        entrance: Option<Entrance>,
    ) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Reply>();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            while let Ok(reply) = inbox.recv() {
                // Nobody waits any more when the pool is shutting down; the child sees the end of
                // its socket and exits.
                let entrance = entrance.as_ref();
                let _ = reply.send(spawn(&program, &arguments, &log, &greeting, entrance));
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts one process.
    ///
    /// # Errors
    /// Whatever fork or exec say.
    pub async fn spawn(&self) -> io::Result<Spawned> {
        let (reply, spawned) = oneshot::channel();
        let gone = || io::Error::other("the spawner thread is gone");
        self.requests.send(reply).map_err(|_| gone())?;
        spawned.await.map_err(|_| gone())?
    }
}

fn spawn(
    program: &PathBuf,
    arguments: &[&str],
    log: &OwnedFd,
    greeting: &[u8],
    entrance: Option<&Entrance>,
) -> io::Result<Spawned> {
    let (mut ours, theirs) = UnixStream::pair()?;
    // A few bytes into an empty socket: this does not block.
    ours.write_all(greeting)?;
    ours.set_nonblocking(true)?;
    let child = Command::new(program)
        .args(arguments)
        .arg(format!("--supervisor={}", std::process::id()))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log.try_clone()?))
        .env_clear()
        .current_dir("/")
        // Ctrl-C at a terminal goes to the whole foreground group; workers end when the supervisor
        // says so, after their script has.
        .process_group(0)
        .spawn()?;
    let pid = child.id();
    let group = entrance.and_then(|entrance| {
        let entered = match entrance.own {
            true => entrance.group.enter_own(pid),
            false => entrance.group.enter(pid).map(|()| None),
        };
        entered.unwrap_or_else(|error| {
            tracing::warn!(%error, "a worker runs outside of its control group");
            None
        })
    });
    // The child is ours and not reaped, so the number cannot have been taken over. `Child` neither
    // waits nor kills when dropped.
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or_else(|| io::Error::other("the child has no usable process id"))?;
    let pidfd = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
    Ok(Spawned { pid, pidfd, socket: ours, group })
}
