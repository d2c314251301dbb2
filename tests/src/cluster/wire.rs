//! A wire between nodes that is as bad as it is told to be.
//!
//! # Contract
//! * Nodes reach each other through the hub, by a port there for each node: a proxy of TCP, so that
//!   bytes come late, in order and whole, or the connection breaks.
//! * Each chunk of bytes takes the delay, some take a pause more, as when a packet is lost and sent
//!   again; some break their connection. Which ones, a seed decides.
//! * It ends with the cluster.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Cluster, address, name};

/// Where the hub is.
const HUB: &str = "10.77.0.254";

/// The port of the hub for node `n` is this and `n`.
const PORT: u16 = 4100;

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// What every chunk takes.
    pub delay: Duration,
    /// Up to so much more, at random.
    pub jitter: Duration,
    /// Of a thousand chunks so many take [`Weather::pause`] more.
    pub pauses_per_mille: u64,
    /// See [`Weather::pauses_per_mille`].
    pub pause: Duration,
    /// Of a thousand chunks so many break their connection.
    pub breaks_per_mille: u64,
}

/// The wire of a cluster.
#[derive(Debug, Clone)]
pub struct Wire {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    random: u64,
    pauses: usize,
    breaks: usize,
}

/// What becomes of a chunk.
enum Fate {
    Comes(Duration),
    Breaks,
}

impl Wire {
    /// Lays a wire between the founders of a cluster that is not started yet, in fair weather, and
    /// tells the nodes of it.
    pub async fn lay(cluster: &Cluster, seed: u64) -> Self {
        // Xorshift, which zero would stop.
        let state = State { weather: Weather::default(), random: seed | 1, pauses: 0, breaks: 0 };
        let wire = Self { state: Arc::new(Mutex::new(state)) };
        for node in cluster.all() {
            let laid = wire.clone();
            cluster
                .in_hub(async move {
                    let listener = TcpListener::bind((HUB, port(node))).await.unwrap();
                    // Ends with the threads of the hub.
                    tokio::spawn(async move {
                        while let Ok((caller, _)) = listener.accept().await {
                            tokio::spawn(laid.clone().carry(caller, address(node)));
                        }
                    });
                })
                .await;
            let at = |node| format!("{HUB}:{}", port(node));
            let peers: Vec<String> = cluster
                .all_but(&[node])
                .into_iter()
                .map(|peer| format!("{}@{}", name(peer), at(peer)))
                .collect();
            let own = format!("--advertise-addr={}", at(node));
            cluster.set_flags(node, &[&own, &format!("--peers={}", peers.join(","))]);
        }
        wire
    }

    /// Changes the weather, also for what is on its way.
    pub fn set(&self, weather: Weather) {
        self.state.lock().unwrap().weather = weather;
    }

    /// Chunks that had a pause, and connections that broke.
    pub fn harm(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.pauses, state.breaks)
    }

    fn fate(&self) -> Fate {
        let mut state = self.state.lock().unwrap();
        let mut random = |below: u64| {
            state.random ^= state.random << 13;
            state.random ^= state.random >> 7;
            state.random ^= state.random << 17;
            state.random.checked_rem(below).unwrap_or_default()
        };
        let (breaks, pauses, jitter) = (random(1000), random(1000), random(1_000_000));
        let weather = state.weather;
        if breaks < weather.breaks_per_mille {
            state.breaks += 1;
            return Fate::Breaks;
        }
        let mut takes = weather.delay + weather.jitter.mul_f64(jitter as f64 / 1e6);
        if pauses < weather.pauses_per_mille {
            state.pauses += 1;
            takes += weather.pause;
        }
        Fate::Comes(takes)
    }

    async fn carry(self, caller: TcpStream, to: String) {
        let Ok(called) = TcpStream::connect(to).await else { return };
        caller.set_nodelay(true).unwrap();
        called.set_nodelay(true).unwrap();
        let (from_caller, to_caller) = caller.into_split();
        let (from_called, to_called) = called.into_split();
        // Either way's end is that of both.
        tokio::select! {
            () = self.pass(from_caller, to_called) => {}
            () = self.pass(from_called, to_caller) => {}
        }
    }

    async fn pass(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let reading = async move {
            let mut bytes = vec![0; 64 * 1024];
            let mut last = Instant::now();
            while let Ok(read @ 1..) = from.read(&mut bytes).await {
                let Fate::Comes(takes) = self.fate() else { return };
                // In order: a chunk that is late makes those behind it late.
                last = last.max(Instant::now() + takes);
                if late.send((last, bytes[..read].to_vec())).is_err() {
                    return;
                }
            }
            // What was read before the end still comes.
            drop(late);
            std::future::pending::<()>().await;
        };
        let writing = async move {
            while let Some((at, bytes)) = due.recv().await {
                sleep_until(at).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    }
}

fn port(node: usize) -> u16 {
    PORT + u16::try_from(node).unwrap()
}
