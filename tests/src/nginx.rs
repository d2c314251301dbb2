//! nginx with a configuration of deploy/ in front of servers.
//!
//! # Contract
//! * The configuration is the file that is shipped; only the addresses in it are others: of the servers
//!   behind it, and the one it listens on.
//! * It has a process of its own, which ends when this is dropped, and writes to a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::free_port;

/// Around what is shipped, as a distribution has it.
const AROUND: &str = "
daemon off;
worker_processes 1;
pid DIR/pid;
error_log DIR/error.log warn;
USER
events { worker_connections 4096; }
http {
    log_format landed '$upstream_addr|$upstream_status|$status|$request_method $uri|$request_time';
    access_log DIR/access.log landed;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    include DIR/shipped.conf;
}
";

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    dir: tempfile::TempDir,
    /// Where it listens.
    pub url: String,
}

/// The top of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// nginx of the system, or the one that scripts/test-env has fetched.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), repository().join(".test-env/bin")]);
    let found = folders.into_iter().map(|folder| folder.join("nginx")).find(|path| path.exists());
    found.expect("there is no nginx: run scripts/test-env")
}

/// One thing of a configuration by another; it must be there.
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the configuration has no {from:?}");
    text.replace(from, to)
}

impl Nginx {
    /// deploy/nginx-cluster.conf in front of these nodes, HOST:PORT each.
    pub async fn cluster(nodes: &[String; 3]) -> Self {
        Self::cluster_with(nodes, |text| text).await
    }

    /// The same with a change.
    pub async fn cluster_with(nodes: &[String; 3], change: impl FnOnce(String) -> String) -> Self {
        let text = |text: String| {
            let names = ["node1", "node2", "node3"];
            let text = names.iter().zip(nodes).fold(text, |text, (name, address)| {
                replaced(&text, &format!("server {name}:3000 "), &format!("server {address} "))
            });
            // Nobody listens there.
            let text = names.iter().fold(text, |text, name| {
                replaced(&text, &format!("server {name}:3001 "), "server 127.0.0.1:1 ")
            });
            change(text)
        };
        Self::start("nginx-cluster.conf", text).await
    }

    /// deploy/nginx-single.conf in front of a server, HOST:PORT, with a change.
    pub async fn single_with(server: &str, change: impl FnOnce(String) -> String) -> Self {
        let text = |text: String| change(replaced(&text, "127.0.0.1:3000", server));
        Self::start("nginx-single.conf", text).await
    }

    async fn start(name: &str, change: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let shipped = std::fs::read_to_string(repository().join("deploy").join(name)).unwrap();
        let shipped = replaced(&change(shipped), "listen 8080;", &format!("listen {listen};"));
        std::fs::write(dir.path().join("shipped.conf"), shipped).unwrap();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let around = AROUND.replace("DIR", dir.path().to_str().unwrap()).replace("USER", user);
        let around_at = dir.path().join("nginx.conf");
        std::fs::write(&around_at, around).unwrap();
        let child = Command::new(program())
            .arg("-c")
            .arg(&around_at)
            .arg("-p")
            .arg(dir.path())
            .arg("-e")
            .arg(dir.path().join("error.log"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut nginx = Self { child, dir, url: format!("http://{listen}") };
        nginx.listens(&listen).await;
        nginx
    }

    async fn listens(&mut self, address: &str) {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "nginx has ended: {}", self.errors());
            assert!(begun.elapsed() < crate::DEADLINE, "nginx does not listen: {}", self.errors());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it has logged as errors.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }

    /// Lines about requests: servers asked, their statuses, its own, the request, seconds.
    pub fn requests(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Its process that serves.
    pub fn worker(&self) -> u32 {
        crate::children_of(self.child.id())[0]
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The one that looks after the other passes this on; SIGKILL would leave that one behind.
        crate::signal_process(self.child.id(), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
