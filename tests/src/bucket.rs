//! An S3 server (moto's, of `.test-env`), for heaps in a bucket.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::RequestBuilder;

use crate::cluster::{Cluster, HUB_IP};
use crate::until_within;

/// The bucket that there is.
pub const BUCKET: &str = "heaps";

/// A running server. What is in it is gone with it.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    url: String,
}

impl S3 {
    /// Starts it there, through another program where that is needed to get there.
    pub async fn start(launcher: &[&str], host: &str, port: u16) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap()
            .join(".test-env/bin/moto_server");
        assert!(program.exists(), "there is no {}: run scripts/test-env", program.display());
        let mut words: Vec<&str> = launcher.to_vec();
        words.extend([program.to_str().unwrap(), "-H", host]);
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, url: format!("http://{host}:{port}") }
    }

    /// The same, on loopback, with a bucket.
    pub async fn on_loopback() -> Self {
        let port = crate::free_port();
        let server = Self::start(&[], "127.0.0.1", port).await;
        let address = ("127.0.0.1", port).to_socket_addrs().unwrap().next().unwrap();
        until_within(Duration::from_secs(60), "the S3 server to listen", || async {
            TcpStream::connect(address).ok()
        })
        .await;
        make_bucket(&server.url).await;
        server
    }

    /// The same, where the nodes of a cluster reach it; they have it in their environment.
    pub async fn beside(cluster: &Cluster) -> Self {
        const PORT: u16 = 9000;
        let words = cluster.in_hub_by();
        let launcher = words.each_ref().map(String::as_str);
        let server = Self::start(&launcher, HUB_IP, PORT).await;
        let url = server.url.clone();
        let made = async move {
            until_within(Duration::from_secs(60), "the S3 server to listen", || async {
                tokio::net::TcpStream::connect((HUB_IP, PORT)).await.ok()
            })
            .await;
            make_bucket(&url).await;
        };
        cluster.in_hub(made).await;
        for node in cluster.all() {
            for (name, value) in server.environment() {
                cluster.set_env(node, name, &value);
            }
        }
        server
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a server must have in its environment to get there.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(&self.url)
    }

    /// The names of all objects.
    pub async fn objects(&self) -> Vec<String> {
        let list = format!("{}/{BUCKET}?list-type=2", self.url);
        let text = reqwest::get(list).await.unwrap().text().await.unwrap();
        let pieces = text.split("<Key>").skip(1);
        pieces.map(|piece| piece.split("</Key>").next().unwrap().to_owned()).collect()
    }

    /// An object.
    pub async fn object(&self, name: &str) -> Vec<u8> {
        let url = format!("{}/{BUCKET}/{name}", self.url);
        let answer = signed(crate::client().get(url)).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer.bytes().await.unwrap().to_vec()
    }

    /// Puts something in the place of an object.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) {
        let url = format!("{}/{BUCKET}/{name}", self.url);
        let answer = signed(crate::client().put(url)).body(bytes).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

/// As somebody: who that is the server does not check.
fn signed(request: RequestBuilder) -> RequestBuilder {
    let scope = "test/20260101/us-east-1/s3/aws4_request";
    let text = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    request.header("authorization", text)
}

/// Makes the bucket.
pub async fn make_bucket(url: &str) {
    let answer = crate::client().put(format!("{url}/{BUCKET}")).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

/// What a server must have in its environment to get to an S3 server.
pub fn environment(url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", url.to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
