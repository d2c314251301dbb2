//! Harness of the black-box tests and benchmarks: real binaries, real sockets, loopback only.
//!
//! # Contract
//! * A [`Server`] is the built `mcp-v8` on a port the kernel chose; it is ended when dropped.
//! * Nothing here sleeps and hopes: [`until`] polls a condition to a deadline and says what it
//!   waited for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod bucket;
pub mod cluster;
pub mod collector;
pub mod frozen;
pub mod history;
pub mod issuer;
pub mod metrics;
pub mod nginx;
pub mod steps;
pub mod strangers;
pub mod writes;

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// The newest revision of MCP, which has no sessions.
pub const MCP_REVISION: &str = "2026-07-28";

/// How long clients of tests keep an idle connection. Servers close those: one must not be taken for a
/// request in that moment.
pub const IDLE_KEPT: Duration = Duration::from_secs(2);

/// What to put before a server so that the disk of its `--session-db-path` is full.
pub const ON_A_FULL_DISK: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "for word; do case $word in --session-db-path=*) dir=${word#*=};; esac; done
     mount -t tmpfs -o size=64m tmpfs \"$dir\" && head -c 63M /dev/zero >\"$dir/full\" && exec \"$0\" \"$@\"",
];

/// How long a condition may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The folder with the built binaries: `MCP_V8_BIN_DIR`, or the one this test was built into.
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("MCP_V8_BIN_DIR") {
        return std::path::absolute(PathBuf::from(dir)).unwrap();
    }
    let mut dir = std::env::current_exe().unwrap();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir
}

/// A built binary.
pub fn binary(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace` first", path.display());
    path
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Polls `condition` until it gives a value; fails after [`DEADLINE`] naming `what`.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    condition: impl FnMut() -> F,
) -> T {
    until_within(DEADLINE, what, condition).await
}

/// Polls `condition` until it gives a value; fails after `limit` naming `what`.
pub async fn until_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    condition: impl FnMut() -> F,
) -> T {
    until_or(limit, condition).await.unwrap_or_else(|| panic!("waited {limit:?} for: {what}"))
}

/// Polls `condition` until it gives a value, for at most `limit`.
pub async fn until_or<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return Some(value);
        }
        if begun.elapsed() >= limit {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client that knows nothing of proxies.
pub fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .timeout(Duration::from_secs(120))
        .pool_idle_timeout(IDLE_KEPT)
        .build()
        .unwrap()
}

/// A running `mcp-v8`.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub url: String,
    /// How it was started.
    command: Command,
    /// For requests to it.
    pub client: Client,
    _state: tempfile::TempDir,
}

impl Server {
    /// Starts it with further flags and waits until it is ready.
    pub async fn start(flags: &[&str]) -> Self {
        let server = Self::launch(flags).await;
        until("the server to be ready", || async {
            (server.status("/readyz").await == Some(StatusCode::OK)).then_some(())
        })
        .await;
        server
    }

    /// Starts it with further flags and waits until it answers at all.
    pub async fn launch(flags: &[&str]) -> Self {
        Self::launch_by(&[], flags).await
    }

    /// Starts it through another program and waits until it answers at all.
    pub async fn launch_by(launcher: &[&str], flags: &[&str]) -> Self {
        Self::launch_in(launcher, &[], flags).await
    }

    /// The same, with more in its environment.
    pub async fn launch_in(
        launcher: &[&str],
        environment: &[(&str, String)],
        flags: &[&str],
    ) -> Self {
        let state = tempfile::tempdir().unwrap();
        let port = free_port();
        let program = binary("mcp-v8");
        let mut words: Vec<&str> = launcher.to_vec();
        words.push(program.to_str().unwrap());
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["--bind-host=127.0.0.1", &format!("--http-port={port}")])
            .arg(format!("--session-db-path={}", state.path().display()))
            .args(flags)
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned()))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let server = Self { child, command, url, client: client(), _state: state };
        until("the server to answer", || async { server.status("/livez").await.map(drop) }).await;
        server
    }

    /// Kills it, starts it again as it was started, and waits until it is ready.
    pub async fn crash_and_restart(&mut self) {
        self.crash();
        self.restart().await;
    }

    /// Kills it.
    pub fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again as it was started, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.child = self.command.spawn().unwrap();
        until("the server to be ready again", || async {
            (self.status("/readyz").await == Some(StatusCode::OK)).then_some(())
        })
        .await;
    }

    async fn status(&self, path: &str) -> Option<StatusCode> {
        self.get(path).send().await.ok().map(|response| response.status())
    }

    /// A GET request.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    /// A POST request.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// GET, as JSON.
    pub async fn json(&self, path: &str) -> Value {
        self.get(path).send().await.unwrap().json().await.unwrap()
    }

    /// Runs a script to its end.
    pub async fn run(&self, code: &str) -> Value {
        self.run_with(json!({ "code": code })).await
    }

    /// Runs a request for `/api/exec` to its end.
    pub async fn run_with(&self, request: Value) -> Value {
        let response = self.post("/api/exec?wait=60").json(&request).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{request}");
        response.json().await.unwrap()
    }

    /// A call of the tool `run_js`.
    pub fn run_js(&self, id: usize, arguments: Value) -> RequestBuilder {
        run_js(self.post("/mcp"), id, arguments)
    }

    /// Submits a script without waiting and returns its id.
    pub async fn submit(&self, code: &str) -> String {
        let response = self.post("/api/exec").json(&json!({ "code": code })).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let body: Value = response.json().await.unwrap();
        body["execution_id"].as_str().unwrap().to_owned()
    }

    /// Asserts that the server still serves.
    pub async fn assert_serves(&self) {
        let after = self.run("'still ' + 'here'").await;
        assert_eq!(after["result"], "still here", "{after}");
    }

    /// The supervisor's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Process ids of its children, zombies included.
    pub fn children(&self) -> Vec<u32> {
        children_of(self.pid())
    }

    /// Those of its children that run a script or wait for one, as opposed to templates and to what
    /// holds their namespaces. With a sandbox only.
    pub fn workers(&self) -> Vec<u32> {
        self.children().into_iter().filter(|pid| is_worker(*pid)).collect()
    }

    /// Waits until nothing runs, and nothing is there but `workers` that are ready, and both templates,
    /// each with what holds its namespaces. With a sandbox only.
    pub async fn at_rest(&self, workers: usize) {
        until("all workers to be ready, and nothing else", || async {
            let active = self.metric("mcp_v8_executions_active").await;
            let idle = self.metric("mcp_v8_workers_idle").await;
            let children = self.children();
            // A process that has just ended is a zombie for a moment; one that stays is waited for in
            // vain.
            let waited_for = !children.iter().any(|pid| is_zombie(*pid));
            let ready = idle as usize == workers && self.workers().len() == workers;
            let rests = active == 0.0 && ready && waited_for;
            (rests && children.len() == workers + 4).then_some(())
        })
        .await;
    }

    /// The worker that runs a script which never rests, once it is the only one on a processor.
    pub async fn busy_worker(&self) -> u32 {
        until("one busy worker", || async {
            let busy: Vec<u32> =
                self.workers().into_iter().filter(|pid| is_running(*pid)).collect();
            (busy.len() == 1).then(|| busy[0])
        })
        .await
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: rustix::process::Signal) {
        signal_process(self.pid(), signal);
    }

    /// Sends SIGTERM and returns how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.exited().await
    }

    /// Waits for the end of the process.
    pub async fn exited(&mut self) -> ExitStatus {
        let child = std::sync::Mutex::new(&mut self.child);
        until("the server to exit", || async { child.lock().unwrap().try_wait().unwrap() }).await
    }

    /// One value of the metrics, 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").send().await.unwrap().text().await.unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap_or_default()
    }
}

/// A call of the tool `run_js`, by a POST to `/mcp`.
pub fn run_js(post: RequestBuilder, id: usize, arguments: Value) -> RequestBuilder {
    call_tool(post, id, "run_js", arguments)
}

/// A call of a tool, by a POST to `/mcp`.
pub fn call_tool(post: RequestBuilder, id: usize, name: &str, arguments: Value) -> RequestBuilder {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MCP_REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": name, "arguments": arguments, "_meta": meta});
    post.header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", MCP_REVISION)
        .header("mcp-method", "tools/call")
        .header("mcp-name", name)
        .json(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
}

/// A server whose workers misbehave in the given way, and the directory that says which.
pub async fn hostile(mode: &str, flags: &[&str]) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join(format!("hostile-{mode}"));
    symlink(binary("mcp-v8-hostile-worker"), &program).unwrap();
    let worker = format!("--worker-path={}", program.display());
    // What it claims of a sandbox is another test's matter.
    let server = Server::launch(&[&[worker.as_str(), "--sandbox=off"], flags].concat()).await;
    (server, dir)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process this test started, or a child of one.
pub fn signal_process(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// Process ids of the children of `pid`, zombies included, from `/proc`.
pub fn children_of(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let listed = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    children
}

/// Resident memory of a process in bytes, without file pages.
pub fn anonymous_memory_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = field.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Whether a child of a server is a worker: a single process, or one in a namespace that another
/// holds.
fn is_worker(pid: u32) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let status = read("status").unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    match numbers.split_whitespace().nth(1) {
        Some(inner) => inner != "1",
        None => !read("cmdline").unwrap_or_default().contains("--process=template"),
    }
}

/// Whether a process has ended and was not waited for.
pub fn is_zombie(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tZ"))
}

/// Whether a process is on a processor or waits for one.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|fields| fields.starts_with('R'))
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// User and system time of a process and its reaped children, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    std::iter::once(pid).chain(children_of(pid)).map(own_cpu_seconds).sum()
}

fn own_cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields after the command's closing parenthesis: state is the first.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields
        .get(11..15)
        .unwrap_or_default()
        .iter()
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}
