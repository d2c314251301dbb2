//! Somebody on the wire between nodes: passes everything on, keeps what was said, and changes it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mcp_v8_tests::cluster::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where the hub is, from where the wire is tapped.
pub const HUB: &str = "10.77.0.254";

/// What a connection was told by its caller.
type Said = Arc<Mutex<Vec<u8>>>;

/// A tap in front of one address.
#[derive(Clone, Default)]
pub struct Wire {
    said: Arc<Mutex<Vec<Said>>>,
    bends: Arc<AtomicBool>,
}

/// Reads of a connection that are left alone before one is changed: the handshake, and some frames.
const LEFT_ALONE: usize = 5;

impl Wire {
    /// Passes on what comes to the port of the hub.
    pub async fn tap(cluster: &Cluster, port: u16, to: String) -> Self {
        let wire = Self::default();
        let tap = wire.clone();
        cluster
            .in_hub(async move {
                let listener = TcpListener::bind((HUB, port)).await.unwrap();
                // Ends with the threads of the hub.
                tokio::spawn(async move {
                    while let Ok((caller, _)) = listener.accept().await {
                        let (tap, to) = (tap.clone(), to.clone());
                        tokio::spawn(async move {
                            if let Ok(called) = TcpStream::connect(to).await {
                                tap.pass(caller, called).await;
                            }
                        });
                    }
                });
            })
            .await;
        wire
    }

    async fn pass(&self, caller: TcpStream, called: TcpStream) {
        let (mut from_caller, mut to_caller) = caller.into_split();
        let (mut from_called, mut to_called) = called.into_split();
        let said = Said::default();
        self.said.lock().unwrap().push(Arc::clone(&said));
        let back = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut from_called, &mut to_caller).await;
        });
        let mut bytes = vec![0; 64 * 1024];
        let mut reads = 0;
        while let Ok(read @ 1..) = from_caller.read(&mut bytes).await {
            let passed = &mut bytes[..read];
            said.lock().unwrap().extend_from_slice(passed);
            reads += 1;
            if self.bends.load(Ordering::Relaxed) && reads > LEFT_ALONE {
                passed[read / 2] ^= 1;
            }
            if to_called.write_all(passed).await.is_err() {
                break;
            }
        }
        drop(to_called);
        let _ = back.await;
    }

    /// Changes one bit of what callers say, now and then, or nothing any more.
    pub fn bend(&self, bends: bool) {
        self.bends.store(bends, Ordering::Relaxed);
    }

    /// What callers have said that begins so.
    pub fn recorded(&self, begin: &str) -> Vec<Vec<u8>> {
        let said = self.said.lock().unwrap();
        let all = said.iter().map(|said| said.lock().unwrap().clone());
        all.filter(|said| said.starts_with(begin.as_bytes())).collect()
    }
}

/// Says something from where a node is, and gives the first line of the answer.
pub fn say_at(cluster: &Cluster, node: usize, address: &str, bytes: &[u8]) -> String {
    cluster.at_node(node, || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    })
}

/// Says something to an address, and gives the answer, until the other side closes or is silent.
pub async fn say(cluster: &Cluster, address: String, bytes: Vec<u8>) -> String {
    cluster
        .in_hub(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let mut answer = Vec::new();
            let mut part = vec![0; 4096];
            let silence = std::time::Duration::from_millis(1500);
            while let Ok(Ok(read @ 1..)) =
                tokio::time::timeout(silence, stream.read(&mut part)).await
            {
                answer.extend_from_slice(&part[..read]);
            }
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
}
