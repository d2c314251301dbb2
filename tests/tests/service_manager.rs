//! What systemd hears of a server: a socket of the test's own takes its place.
//!
//! # Contract
//! * The socket is a real one, of either kind; each message has the time at which it came.
//! * A server that stands still is one of which some threads are stopped, by a debugger's means, while
//!   all others go on: had one of those the task to ping, it would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcp_v8_tests::frozen::Frozen;
use mcp_v8_tests::{ON_A_FULL_DISK, Server, binary, free_port, until};
use reqwest::StatusCode;
use rustix::process::Signal;

/// What the manager grants between two signs of life.
const GRANTED: Duration = Duration::from_millis(1500);

/// How long a node may wait for others until it counts as started.
const READY_WITHIN: Duration = Duration::from_secs(10);

type Messages = Arc<Mutex<Vec<(Instant, String)>>>;

/// A service manager.
struct Manager {
    /// As it is named in the environment.
    name: String,
    messages: Messages,
    _dir: tempfile::TempDir,
}

impl Manager {
    fn at_path() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::listening(path.to_str().unwrap().to_owned(), socket, dir)
    }

    fn abstract_one() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("mcp-v8-tests-{}-{:?}", std::process::id(), dir.path());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self::listening(format!("@{name}"), UnixDatagram::bind_addr(&address).unwrap(), dir)
    }

    fn listening(name: String, socket: UnixDatagram, dir: tempfile::TempDir) -> Self {
        let messages = Messages::default();
        let heard = Arc::clone(&messages);
        // Ends with the test's process.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(bytes) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
                heard.lock().unwrap().push((Instant::now(), text));
            }
        });
        Self { name, messages, _dir: dir }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("NOTIFY_SOCKET", self.name.clone()),
            ("WATCHDOG_USEC", GRANTED.as_micros().to_string()),
        ]
    }

    /// Every line that was heard, with its time.
    fn lines(&self) -> Vec<(Instant, String)> {
        let messages = self.messages.lock().unwrap();
        let lines = |(at, text): &(Instant, String)| {
            text.lines().map(|line| (*at, line.to_owned())).collect::<Vec<_>>()
        };
        messages.iter().flat_map(lines).collect()
    }

    /// When lines came that begin so.
    fn times(&self, prefix: &str) -> Vec<Instant> {
        let lines = self.lines().into_iter().filter(|(_, line)| line.starts_with(prefix));
        lines.map(|(at, _)| at).collect()
    }

    /// Waits for a line that begins so.
    async fn hears(&self, prefix: &str) -> (Instant, String) {
        until(&format!("the manager to hear {prefix}; it has heard {:?}", self.lines()), || async {
            self.lines().into_iter().find(|(_, line)| line.starts_with(prefix))
        })
        .await
    }

    /// Waits for so many more signs of life; the longest time between two of them.
    async fn pings(&self, more: usize) -> Duration {
        let from = self.times("WATCHDOG=1").len();
        let times = until("more signs of life", || async {
            let times = self.times("WATCHDOG=1");
            (times.len() > from + more).then_some(times)
        })
        .await;
        times[from..].windows(2).map(|two| two[1] - two[0]).max().unwrap()
    }
}

async fn is_ready(server: &Server) -> bool {
    server.get("/readyz").send().await.unwrap().status() == StatusCode::OK
}

#[tokio::test]
async fn systemd_hears_when_a_server_is_ready_that_it_lives_and_that_it_stops() {
    let manager = Manager::at_path();
    let flags = ["--drain-timeout=7"];
    let mut server = Server::launch_in(&[], &manager.environment(), &flags).await;
    let (ready, _) = manager.hears("READY=1").await;
    assert!(is_ready(&server).await);
    manager.hears("STATUS=ready").await;
    let pause = manager.pings(6).await;
    assert!(pause < GRANTED, "{pause:?} without a sign of life");
    assert!(pause > GRANTED / 6, "more often than it is asked for: {pause:?}");

    server.submit("await new Promise(done => setTimeout(done, 1500))").await;
    server.signal(Signal::TERM);
    let (stopping, _) = manager.hears("STOPPING=1").await;
    // The drain time and 45 s, as the manual says.
    manager.hears("EXTEND_TIMEOUT_USEC=52000000").await;
    manager.hears("STATUS=stopping: 1 executions").await;
    assert_eq!(server.exited().await.code(), Some(0));
    assert!(stopping > ready);
    assert_eq!(manager.times("READY=1").len(), 1);
    assert!(manager.times("WATCHDOG=1").iter().any(|at| *at > stopping), "it lives until the end");
}

/// A node whose others are not there is not ready, and not started again for it.
#[tokio::test]
async fn a_node_without_a_majority_counts_as_started_and_says_what_it_waits_for() {
    let manager = Manager::at_path();
    let [own, one, two] = [free_port(), free_port(), free_port()];
    let flags = [
        format!("--cluster-port={own}"),
        format!("--advertise-addr=127.0.0.1:{own}"),
        format!("--peers=node2@127.0.0.1:{one},node3@127.0.0.1:{two}"),
    ];
    let begun = Instant::now();
    let flags = flags.each_ref().map(String::as_str);
    let server = Server::launch_in(&[], &manager.environment(), &flags).await;
    let (at, status) = manager.hears("STATUS=not ready: ").await;
    println!("{status}");
    assert!(at < begun + READY_WITHIN);
    assert_eq!(manager.times("READY=1").len(), 0);
    let (ready, _) = manager.hears("READY=1").await;
    assert!(ready - begun >= READY_WITHIN, "{:?}", ready - begun);
    assert!(!is_ready(&server).await);
    assert!(manager.pings(2).await < GRANTED);
}

/// What waits for room must not be started again for it, to the same end.
#[tokio::test]
async fn a_server_that_waits_for_room_on_its_disk_counts_as_started() {
    let manager = Manager::at_path();
    let mut server = Server::launch_in(&ON_A_FULL_DISK, &manager.environment(), &[]).await;
    manager.hears("STATUS=starting: waits for room").await;
    manager.hears("READY=1").await;
    assert!(!is_ready(&server).await);
    assert!(manager.pings(2).await < GRANTED);
    server.signal(Signal::TERM);
    assert_eq!(server.exited().await.code(), Some(0));
}

/// Stops threads of this name; the manager must hear nothing of the server until they go on.
async fn is_silent_without(name: &str, check: impl AsyncFnOnce(&Server)) {
    let manager = Manager::abstract_one();
    let server = Server::launch_in(&[], &manager.environment(), &[]).await;
    manager.hears("READY=1").await;
    manager.pings(1).await;
    let frozen = Frozen::threads(server.pid(), name);
    // One may have been on its way.
    tokio::time::sleep(GRANTED / 3).await;
    let before = manager.times("WATCHDOG=1").len();
    check(&server).await;
    tokio::time::sleep(GRANTED * 2).await;
    let after = manager.times("WATCHDOG=1").len();
    assert_eq!(before, after, "it gave signs of life while it stood still");
    drop(frozen);
    manager.pings(2).await;
    assert!(is_ready(&server).await);
}

#[tokio::test]
async fn the_watchdog_is_not_told_while_the_threads_that_serve_stand_still() {
    is_silent_without("tokio-", async |_| {}).await;
}

#[tokio::test]
async fn the_watchdog_is_not_told_while_raft_stands_still_though_requests_are_served() {
    is_silent_without("raft", async |server| {
        let alive = server.get("/livez").send().await.unwrap();
        assert_eq!(alive.status(), StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn a_watchdog_that_waits_for_another_process_is_not_told() {
    let manager = Manager::abstract_one();
    let mut environment = manager.environment();
    environment.push(("WATCHDOG_PID", std::process::id().to_string()));
    let mut server = Server::launch_in(&[], &environment, &[]).await;
    manager.hears("READY=1").await;
    tokio::time::sleep(GRANTED).await;
    server.terminate().await;
    manager.hears("STOPPING=1").await;
    assert_eq!(manager.times("WATCHDOG=1").len(), 0);
}

#[test]
fn a_server_on_stdin_and_stdout_tells_nobody() {
    let manager = Manager::at_path();
    let dir = tempfile::tempdir().unwrap();
    let ended = Command::new(binary("mcp-v8"))
        .arg(format!("--session-db-path={}", dir.path().display()))
        .envs(manager.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(ended.code(), Some(0));
    // What was sent is here: datagrams of this machine do not travel.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(manager.lines(), []);
}
