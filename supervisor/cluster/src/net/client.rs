//! Calls to another node over one connection that is kept.
//!
//! # Contract
//! * Connects when first used and again after a failure; a call does not outlive its deadline, though
//!   what it began to connect may, for the next one.
//! * Calls go out in the order they are made; answers come in any order.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::frame::{Frame, FrameReader};
use super::message::{Request, Response};
use crate::auth::session::{Seal, Seals};
use crate::codec::{decode_body, encode_into};
use crate::limits::{CONNECT_MS_MAX, FRAME_BYTES_MAX, FRAMES_QUEUED_MAX};

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// There is no connection, so nothing was asked.
    #[error("{address} is not reached: {problem}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        problem: String,
    },
    /// It was asked, and there was no answer.
    #[error("{address} did not answer: {problem}")]
    NoAnswer {
        /// Who.
        address: String,
        /// Why.
        problem: String,
    },
}

/// A stream to another node after the handshake.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A stream, and the MACs of its frames if they have any.
pub type Connected = (Box<dyn Stream>, Option<Seals>);

/// Makes connections: the handshake is the node's matter.
pub trait Connector: Clone + Send + Sync + 'static {
    /// Connects.
    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Connected>> + Send;

    /// A connection has failed while it was read.
    fn failed(&self, address: &str, error: &io::Error);
}

/// Another node, as somebody to call. Cheap to clone.
#[derive(Debug)]
pub struct Peer<C> {
    shared: Arc<Shared<C>>,
}

impl<C> Clone for Peer<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<C> {
    address: String,
    connector: C,
    connection: Arc<tokio::sync::Mutex<Option<Connection>>>,
}

#[derive(Debug, Clone)]
struct Connection {
    frames: mpsc::Sender<Frame>,
    calls: Arc<Calls>,
    /// Ends with the last user of the connection.
    _tasks: Arc<[AbortOnDropHandle<()>; 2]>,
}

#[derive(Debug, Default)]
struct Calls {
    next: AtomicU64,
    /// Answers that came.
    answers: AtomicU64,
    /// `None` once the connection has failed.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Vec<u8>>>>>,
}

impl Calls {
    fn end(&self) {
        // Those who wait see their sender go.
        *self.waiting.lock() = None;
    }
}

impl<C: Connector> Peer<C> {
    /// The node at `address`. Does not connect yet.
    pub fn new(address: &str, connector: C) -> Self {
        let connection = Arc::default();
        Self { shared: Arc::new(Shared { address: address.to_owned(), connector, connection }) }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Asks, and waits for the answer at most `patience`.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::NoAnswer`] the other node may have done what was asked.
    pub async fn call(&self, request: &Request, patience: Duration) -> Result<Response, CallError> {
        let deadline = Instant::now() + patience;
        let connection = self.connection(deadline).await?;
        let mut body = Vec::with_capacity(256);
        encode_into(&mut body, request);
        if body.len() > FRAME_BYTES_MAX {
            let problem = format!("a message of {} bytes; accepted: {FRAME_BYTES_MAX}", body.len());
            return Err(CallError::Unreachable { address: self.shared.address.clone(), problem });
        }
        let (answer, answered) = oneshot::channel();
        let call = connection.calls.next.fetch_add(1, Ordering::Relaxed);
        match &mut *connection.calls.waiting.lock() {
            Some(waiting) => waiting.insert(call, answer),
            None => return Err(self.no_answer("the connection has ended")),
        };
        let answers = connection.calls.answers.load(Ordering::Relaxed);
        let forget = Forget { calls: &connection.calls, call };
        match timeout_at(deadline, connection.frames.send(Frame { call, body })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.no_answer("the connection has ended")),
            Err(_) => return Err(self.no_answer("it does not take what is sent")),
        }
        let body = match timeout_at(deadline, answered).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(self.no_answer("the connection has ended")),
            Err(_) => {
                if connection.calls.answers.load(Ordering::Relaxed) == answers {
                    // Nothing has come at all: what is queued would only come too late.
                    connection.calls.end();
                    // Somebody may have connected anew by now, or be about to.
                    if let Ok(mut present) = self.shared.connection.try_lock() {
                        present.take_if(|present| Arc::ptr_eq(&present.calls, &connection.calls));
                    }
                }
                return Err(self.no_answer(&format!("not within {patience:?}")));
            }
        };
        drop(forget);
        decode_body(&body).map_err(|error| self.no_answer(&error.to_string()))
    }

    fn no_answer(&self, problem: &str) -> CallError {
        CallError::NoAnswer { address: self.shared.address.clone(), problem: problem.to_owned() }
    }

    async fn connection(&self, deadline: Instant) -> Result<Connection, CallError> {
        timeout_at(deadline, self.connected())
            .await
            .unwrap_or_else(|_| Err(self.shared.unreachable("no connection in time")))
    }

    async fn connected(&self) -> Result<Connection, CallError> {
        // One connects, and others wait for it. The lock is fair: whoever has it must do what there is to do,
        // because those who wait get it one after the other, and nobody who only tries.
        let mut present = Arc::clone(&self.shared.connection).lock_owned().await;
        if let Some(connection) = live(&present) {
            return Ok(connection);
        }
        *present = None;
        let shared = Arc::clone(&self.shared);
        // It goes on when this call has no more time: the next one finds what has come of it.
        let connecting = tokio::spawn(async move {
            let connection = shared.connect().await?;
            Ok(present.insert(connection).clone())
        });
        connecting.await.unwrap_or_else(|_| Err(self.shared.unreachable("this node is stopping")))
    }
}

/// A connection that has not failed.
fn live(connection: &Option<Connection>) -> Option<Connection> {
    connection.as_ref().filter(|connection| connection.calls.waiting.lock().is_some()).cloned()
}

impl<C: Connector> Shared<C> {
    fn unreachable(&self, problem: impl Into<String>) -> CallError {
        CallError::Unreachable { address: self.address.clone(), problem: problem.into() }
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let Self { address, connector, .. } = self;
        let patience = Duration::from_millis(CONNECT_MS_MAX);
        let stream = timeout(patience, connector.connect(address))
            .await
            .map_err(|_| self.unreachable(format!("no connection within {patience:?}")))?
            .map_err(|error| self.unreachable(error.to_string()))?;
        Ok(Connection::start(stream, address.clone(), connector.clone()))
    }
}

/// Forgets a call that nobody waits for any more.
struct Forget<'a> {
    calls: &'a Calls,
    call: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.calls.waiting.lock() {
            waiting.remove(&self.call);
        }
    }
}

impl Connection {
    fn start((stream, seals): Connected, address: String, connector: impl Connector) -> Self {
        let (reading, writing) = split(stream);
        let (sends, receives) = seals.map(|seals| (seals.sends, seals.receives)).unzip();
        let (frames, queue) = mpsc::channel(FRAMES_QUEUED_MAX);
        let calls = Arc::new(Calls {
            next: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let (writer_calls, reader_calls) = (Arc::clone(&calls), Arc::clone(&calls));
        let writer = tokio::spawn(async move {
            // The reader sees a broken stream as well.
            let _ = write_frames(writing, queue, sends).await;
            writer_calls.end();
        });
        let reader = tokio::spawn(async move {
            if let Err(error) = read_answers(reading, receives, &reader_calls).await {
                connector.failed(&address, &error);
            }
            reader_calls.end();
        });
        let tasks = [AbortOnDropHandle::new(writer), AbortOnDropHandle::new(reader)];
        Self { frames, calls, _tasks: Arc::new(tasks) }
    }
}

/// Sends what is queued, all that is there in one write.
pub(super) async fn write_frames(
    mut stream: WriteHalf<Box<dyn Stream>>,
    mut queue: mpsc::Receiver<Frame>,
    mut seal: Option<Seal>,
) -> io::Result<()> {
    const TOGETHER_BYTES: usize = 256 * 1024;
    let mut bytes = Vec::new();
    while let Some(frame) = queue.recv().await {
        frame.write_to(&mut bytes, seal.as_mut());
        while bytes.len() < TOGETHER_BYTES
            && let Ok(frame) = queue.try_recv()
        {
            frame.write_to(&mut bytes, seal.as_mut());
        }
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        bytes.clear();
        bytes.shrink_to(TOGETHER_BYTES);
    }
    Ok(())
}

async fn read_answers(
    stream: ReadHalf<Box<dyn Stream>>,
    seal: Option<Seal>,
    calls: &Calls,
) -> io::Result<()> {
    let mut frames = FrameReader::new(stream, seal);
    while let Some(frame) = frames.next().await? {
        calls.answers.fetch_add(1, Ordering::Relaxed);
        let waiting = calls.waiting.lock().as_mut().and_then(|calls| calls.remove(&frame.call));
        if let Some(waiting) = waiting {
            // It may have given up just now.
            let _ = waiting.send(frame.body);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Connects to nobody, after as many failures as it was told.
    #[derive(Clone, Default)]
    struct Dials {
        fail: usize,
        /// The other ends.
        open: Arc<Mutex<Vec<DuplexStream>>>,
        tried: Arc<AtomicU64>,
    }

    impl Connector for Dials {
        async fn connect(&self, _: &str) -> io::Result<Connected> {
            let before = self.tried.fetch_add(1, Ordering::Relaxed);
            // By then all others wait.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if before < self.fail as u64 {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, other) = duplex(64);
            self.open.lock().push(other);
            Ok((Box::new(ours), None))
        }

        fn failed(&self, _: &str, _: &io::Error) {}
    }

    // Where time does not pass by itself, those who only pass the lock on would do so for ever.
    #[tokio::test]
    async fn whoever_waits_while_a_connection_fails_tries_the_next_one_at_once() {
        let dials = Dials { fail: 2, ..Dials::default() };
        let peer = Peer::new("node2:4000", dials.clone());
        let deadline = Instant::now() + Duration::from_secs(5);
        let connections = join_all((0..8).map(|_| peer.connection(deadline))).await;
        let failed: Vec<_> = connections.iter().filter_map(|call| call.as_ref().err()).collect();
        assert!(
            matches!(failed[..], [CallError::Unreachable { .. }, CallError::Unreachable { .. }]),
            "one for each connection that failed: {failed:?}"
        );
        assert_eq!(dials.tried.load(Ordering::Relaxed), 3);
        assert!(Instant::now() < deadline);
    }
}
