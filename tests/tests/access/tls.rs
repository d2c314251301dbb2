//! TLS on the ports of the clients, by a real client.

use std::path::Path;

use mcp_v8_supervisor::limits::{TLS_HANDSHAKE_MAX, TLS_HANDSHAKES_PER_ADDRESS_MAX};
use mcp_v8_tests::ON_A_FULL_DISK;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

/// An authority, and a place for what it signs.
struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// Puts a certificate for this host, and its key, in the place of what was there.
    fn sign(&self, host: &str) {
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        self.put("key.pem", &key.serialize_pem());
        self.put("cert.pem", &cert);
    }

    fn put(&self, name: &str, contents: &str) {
        use std::os::unix::fs::PermissionsExt;
        let new = self.path("new");
        std::fs::write(&new, contents).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn flags(&self) -> [String; 2] {
        let flag = |flag, name| format!("--{flag}={}", self.path(name).display());
        [flag("tls-cert", "cert.pem"), flag("tls-key", "key.pem")]
    }
}

/// curl, which trusts this authority, at a host name that is this machine.
fn curl(ca: &Path, host: &str, port: u16, more: &[&str]) -> std::process::Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert"])
        .arg(ca)
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .args(more)
        .arg(format!("https://{host}:{port}/api/exec?wait=30"))
        .output()
        .expect("these tests need curl")
}

/// A server over TLS; the harness, which speaks HTTP, only waits for its port.
struct Started {
    child: std::process::Child,
    ports: [u16; 2],
    _state: tempfile::TempDir,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn started(authority: &Authority) -> Started {
    started_by(&[], authority, &["--stateless"]).await
}

/// The same, by a program that becomes the server.
async fn started_by(launcher: &[&str], authority: &Authority, flags: &[&str]) -> Started {
    let state = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let program = mcp_v8_tests::binary("mcp-v8");
    let words = [launcher, &[program.to_str().unwrap()]].concat();
    let child = Command::new(words[0])
        .args(&words[1..])
        .arg("--bind-host=127.0.0.1")
        .args(flags)
        .args([format!("--http-port={}", ports[0]), format!("--sse-port={}", ports[1])])
        .arg(format!("--session-db-path={}", state.path().display()))
        .args(authority.flags())
        .env("RUST_LOG", "error")
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = Started { child, ports, _state: state };
    until("the ports", || async { TcpStream::connect(("127.0.0.1", ports[1])).await.ok() }).await;
    started
}

async fn says_nothing_without_tls(port: u16) {
    let mut plain = silent(port).await;
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_runs_a_script_over_tls_and_a_certificate_that_is_replaced_is_taken_up() {
    let authority = Authority::new();
    authority.sign("v8.example");
    let server = started(&authority).await;
    let ca = authority.path("ca.pem");
    for port in server.ports {
        for version in ["--tlsv1.3", "--tls-max=1.2"] {
            let version = version.split('=').collect::<Vec<_>>();
            let ran = curl(&ca, "v8.example", port, &[&["--data", "6 * 7"][..], &version].concat());
            let text = String::from_utf8_lossy(&ran.stdout).into_owned();
            let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(text.contains("\"result\":\"42\""), "{port} {version:?}: {text} {complaint}");
        }
    }
    says_nothing_without_tls(server.ports[0]).await;
    // HTTP/2 is not spoken; who would like it gets HTTP/1.1.
    let write = ["--data", "1", "--output", "/dev/null", "--write-out", "%{http_version}"];
    let asked = [&["--http2"][..], &write].concat();
    let version = curl(&ca, "v8.example", server.ports[0], &asked).stdout;
    assert_eq!(String::from_utf8_lossy(&version), "1.1");
    // Another name than the certificate's, until it is replaced. A broken one changes nothing.
    let other = || curl(&ca, "other.example", server.ports[0], &["--data", "1"]);
    assert!(!other().status.success());
    authority.put("cert.pem", "nonsense");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(curl(&ca, "v8.example", server.ports[0], &["--data", "1"]).status.success());
    authority.sign("other.example");
    until("the other certificate", || async { other().status.success().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_for_room_on_its_disk_says_so_over_tls_only() {
    let authority = Authority::new();
    authority.sign("v8.example");
    let server = started_by(&ON_A_FULL_DISK, &authority, &[]).await;
    let waits = curl(&authority.path("ca.pem"), "v8.example", server.ports[0], &["--data", "1"]);
    let (text, complaint) =
        (String::from_utf8_lossy(&waits.stdout), String::from_utf8_lossy(&waits.stderr));
    assert!(text.contains("until there is room"), "{text} {complaint}");
    says_nothing_without_tls(server.ports[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_begins_no_handshake_is_closed_and_leaves_places_for_others() {
    let authority = Authority::new();
    authority.sign("v8.example");
    let server = started(&authority).await;
    let port = server.ports[0];
    let begun = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..TLS_HANDSHAKES_PER_ADDRESS_MAX {
        streams.push(silent(port).await);
    }
    assert!(!is_closed(&mut streams[TLS_HANDSHAKES_PER_ADDRESS_MAX - 1]).await, "there is a place");
    let mut one_more = silent(port).await;
    assert!(is_closed(&mut one_more).await, "there is none for this address");
    let mut byte = [0];
    let closing = tokio::time::timeout(TLS_HANDSHAKE_MAX * 2, streams[0].read(&mut byte)).await;
    assert!(matches!(closing, Ok(Ok(0) | Err(_))), "{closing:?}");
    assert!(begun.elapsed() >= TLS_HANDSHAKE_MAX);
    let ran = curl(&authority.path("ca.pem"), "v8.example", port, &["--data", "6 * 7"]);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("\"42\""), "{ran:?}");
}
