//! Heaps between nodes: brought to a majority before a step counts, fetched where they are missing.
//!
//! # Contract
//! * [`Exchange::spread`] returns once a heap, with all it stands on, is durable on a majority of the
//!   voters, of both memberships while one takes the place of the other. The nodes that are not waited
//!   for go on taking it.
//! * [`Exchange::fetch`] brings a heap and all it stands on from whoever has it, once however many ask.
//! * Where there is a [bucket](super::bucket), that takes the place of the majority, and is asked before
//!   other nodes are.
//! * What comes from another node is proven before it is kept ([`super::store`]); no more than
//!   [`HEAP_COPY_BYTES_MAX`] bytes of it are in memory at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mcp_v8_cluster::codec::{decode, encode};
use mcp_v8_cluster::net::CallError;
use mcp_v8_cluster::node::Node;
use mcp_v8_cluster::types::NodeId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::HeapId;
use super::bucket::{Bucket, BucketError};
use super::store::{Copied, HeapStore, StoreError};
use crate::limits::{
    HEAP_CALL_MS_MAX, HEAP_COPY_BYTES_MAX, HEAP_DEPTH_MAX, HEAP_FILE_BYTES_MAX,
    HEAPS_PROVEN_AT_ONCE, HEAPS_SPREAD_AT_ONCE, PROBLEM_BYTES_MAX,
};
use crate::metrics;

/// What nodes ask each other about heaps.
#[derive(Debug, Serialize, Deserialize)]
enum Call {
    /// Make this heap durable.
    Take {
        /// The heap.
        heap: [u8; 32],
        /// Who has it.
        holder: String,
        /// Its file, if that is short.
        file: Option<Vec<u8>>,
    },
    /// A part of the file of a heap.
    Copy {
        /// The heap.
        heap: [u8; 32],
        /// The first byte.
        from: u64,
    },
}

/// What they answer.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// It is durable here.
    Taken,
    /// Bytes of the file, of so many, which stands on that heap.
    Bytes { bytes: Vec<u8>, of: u64, parent: Option<[u8; 32]> },
    /// It is not here.
    Unknown,
    /// It did not work, and why.
    Failed(String),
}

/// Why a heap is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Too few nodes have it.
    #[error("the heap is not on a majority of the nodes: {0}")]
    NoMajority(String),
    /// Nobody has it.
    #[error("heap {heap} is on no node that answers: {problems}")]
    Nowhere {
        /// The heap.
        heap: HeapId,
        /// What each of them said.
        problems: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// The heaps of this node and of the others. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Exchange {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: Node,
    store: HeapStore,
    bucket: Option<Bucket>,
    /// Held by who fetches a heap; who comes later waits, and finds it.
    fetching: Mutex<HashMap<HeapId, Weak<tokio::sync::Mutex<()>>>>,
    /// Held by who proves what has arrived.
    proving: Semaphore,
    /// Held by who has other nodes fetch a heap: each takes a call there, and calls back.
    spreading: Semaphore,
}

impl Exchange {
    /// Between this node of the cluster and the others.
    pub fn new(node: Node, store: HeapStore, bucket: Option<Bucket>) -> Self {
        let proving = Semaphore::new(HEAPS_PROVEN_AT_ONCE);
        let spreading = Semaphore::new(HEAPS_SPREAD_AT_ONCE);
        Self {
            inner: Arc::new(Inner {
                node,
                store,
                bucket,
                fetching: Mutex::default(),
                proving,
                spreading,
            }),
        }
    }

    /// The heaps of this node.
    pub fn store(&self) -> &HeapStore {
        &self.inner.store
    }

    /// The bucket.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.inner.bucket.as_ref()
    }

    /// Brings a heap that is durable here to a majority, or to the bucket.
    ///
    /// # Errors
    /// [`ExchangeError::NoMajority`]: it may be on some of them.
    pub async fn spread(&self, heap: HeapId) -> Result<(), ExchangeError> {
        if let Some(bucket) = &self.inner.bucket {
            let _spreading = self.inner.spreading.acquire().await;
            return Ok(bucket.upload(&self.inner.store, heap).await?);
        }
        let node = &self.inner.node;
        let mut holders: BTreeSet<NodeId> = node.id().into_iter().collect();
        if node.is_majority(&holders) {
            return Ok(());
        }
        let copied = self.inner.store.copy(heap, 0, HEAP_COPY_BYTES_MAX).await?;
        let whole = copied.bytes.len() as u64 == copied.of;
        let _spreading = self.inner.spreading.acquire().await;
        let call = Call::Take {
            heap: heap.0,
            holder: node.name().to_owned(),
            file: whole.then_some(copied.bytes),
        };
        let body: Arc<[u8]> = encode(&call).into();
        let mut asked = JoinSet::new();
        for peer in node.peers() {
            let (exchange, body) = (self.clone(), Arc::clone(&body));
            asked.spawn(async move {
                let answer = exchange.inner.call(peer.name(), &body).await;
                (peer, answer)
            });
        }
        let mut problems = Vec::new();
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok((peer, Ok(Answer::Taken))) => {
                    holders.insert(peer);
                    if node.is_majority(&holders) {
                        // The others take it as well, without being waited for.
                        asked.detach_all();
                        return Ok(());
                    }
                }
                Ok((peer, other)) => problems.push(problem(&peer, &other)),
                Err(error) => problems.push(error.to_string()),
            }
        }
        Err(ExchangeError::NoMajority(problems.join("; ")))
    }

    /// Makes sure that a heap and all it stands on are durable here. `first` is asked before others.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn fetch(&self, heap: HeapId, first: Option<&str>) -> Result<(), ExchangeError> {
        let mut wanted = vec![heap];
        while let Some(next) = wanted.last().copied() {
            match self.inner.fetch_one(next, first).await? {
                None => {
                    wanted.pop();
                }
                // Depths fall from heap to heap, so that this ends.
                Some(parent) if wanted.len() <= usize::from(HEAP_DEPTH_MAX) => wanted.push(parent),
                Some(parent) => {
                    return Err(StoreError::Orphan { heap: next, parent }.into());
                }
            }
        }
        Ok(())
    }

    /// Answers a call of another node; nothing to what is none about heaps.
    pub async fn answer(&self, body: &[u8]) -> Option<Vec<u8>> {
        let answer = match decode(body).ok()? {
            Call::Take { heap, holder, file } => {
                match self.take(HeapId(heap), &holder, file).await {
                    Ok(()) => Answer::Taken,
                    Err(error) => Answer::Failed(error.to_string()),
                }
            }
            Call::Copy { heap, from } => {
                match self.inner.store.copy(HeapId(heap), from, HEAP_COPY_BYTES_MAX).await {
                    Ok(Copied { bytes, of, parent }) => {
                        Answer::Bytes { bytes, of, parent: parent.map(|parent| parent.0) }
                    }
                    Err(StoreError::Unknown(_)) => Answer::Unknown,
                    Err(error) => Answer::Failed(error.to_string()),
                }
            }
        };
        Some(encode(&answer))
    }

    /// The answer of a node that cannot do what it is asked.
    pub fn cannot(problem: &str) -> Vec<u8> {
        encode(&Answer::Failed(problem.to_owned()))
    }

    async fn take(
        &self,
        heap: HeapId,
        holder: &str,
        file: Option<Vec<u8>>,
    ) -> Result<(), ExchangeError> {
        let store = &self.inner.store;
        if let Some(file) = file {
            let incoming = store.incoming(heap).await?.take(file).await?;
            let _proving = self.inner.proving.acquire().await;
            match store.keep(incoming).await {
                // What it stands on is fetched first, and then this again.
                Err(StoreError::Orphan { .. }) => {}
                kept => return Ok(kept.map(drop)?),
            }
        }
        self.fetch(heap, Some(holder)).await
    }
}

fn problem(peer: &NodeId, answer: &Result<Answer, CallError>) -> String {
    let name = peer.name();
    match answer {
        // In the words of another node.
        Ok(Answer::Failed(problem)) => {
            format!("{name}: {}", &problem[..problem.floor_char_boundary(PROBLEM_BYTES_MAX)])
        }
        Ok(Answer::Unknown) => format!("{name} does not have it"),
        Ok(Answer::Taken | Answer::Bytes { .. }) => {
            format!("{name} answers another question")
        }
        Err(error) => format!("{name}: {error}"),
    }
}

impl Inner {
    async fn call(&self, name: &str, body: &[u8]) -> Result<Answer, CallError> {
        let patience = Duration::from_millis(HEAP_CALL_MS_MAX);
        let answer = self.node.call(name, body.to_vec(), patience).await?;
        let foreign =
            |error: &dyn std::fmt::Display| Answer::Failed(format!("its answer: {error}"));
        Ok(decode(&answer).unwrap_or_else(|error| foreign(&error)))
    }

    /// Fetches one heap, unless it is here; gives what it stands on when that is not here.
    async fn fetch_one(
        &self,
        heap: HeapId,
        first: Option<&str>,
    ) -> Result<Option<HeapId>, ExchangeError> {
        let turn = self.turn(heap);
        let _turn = turn.lock().await;
        if self.store.has(heap).await? {
            return Ok(None);
        }
        let mut problems = Vec::new();
        if let Some(bucket) = &self.bucket {
            match bucket.download(&self.store, heap, &self.proving).await {
                Ok(None) => {
                    metrics::heap_fetched("bucket");
                    return Ok(None);
                }
                Ok(parent) => return Ok(parent),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        let mut names = self.node.others();
        // Stable: the others in their order.
        names.sort_by_key(|name| Some(name.as_str()) != first);
        for name in names {
            match self.fetch_from(heap, &name).await {
                Ok(None) => {
                    metrics::heap_fetched("node");
                    return Ok(None);
                }
                Ok(parent) => return Ok(parent),
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
        Err(ExchangeError::Nowhere { heap, problems: problems.join("; ") })
    }

    fn turn(&self, heap: HeapId) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock();
        fetching.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = fetching.get(&heap).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        fetching.insert(heap, Arc::downgrade(&turn));
        turn
    }

    async fn fetch_from(&self, heap: HeapId, name: &str) -> Result<Option<HeapId>, String> {
        let mut incoming = self.store.incoming(heap).await.map_err(|error| error.to_string())?;
        loop {
            let call = Call::Copy { heap: heap.0, from: incoming.bytes() };
            let answer =
                self.call(name, &encode(&call)).await.map_err(|error| error.to_string())?;
            let (bytes, of, parent) = match answer {
                Answer::Bytes { bytes, of, parent } => (bytes, of, parent.map(HeapId)),
                Answer::Unknown => return Err("does not have it".to_owned()),
                Answer::Failed(mut problem) => {
                    problem.truncate(problem.floor_char_boundary(PROBLEM_BYTES_MAX));
                    return Err(problem);
                }
                Answer::Taken => return Err("answers another question".to_owned()),
            };
            if let Some(parent) = parent
                && incoming.bytes() == 0
                && !self.store.has(parent).await.map_err(|error| error.to_string())?
            {
                return Ok(Some(parent));
            }
            if of > HEAP_FILE_BYTES_MAX {
                return Err(format!("its file has {of} bytes; accepted: {HEAP_FILE_BYTES_MAX}"));
            }
            let left = of.saturating_sub(incoming.bytes());
            let got = bytes.len() as u64;
            // All that was asked for, or it would take for ever.
            if got != left.min(HEAP_COPY_BYTES_MAX as u64) {
                return Err(format!("{got} bytes came where {left} were left"));
            }
            if got > 0 {
                incoming = incoming.take(bytes).await.map_err(|error| error.to_string())?;
            }
            if got == left {
                // Two whole heaps are in memory for each.
                let _proving = self.proving.acquire().await;
                let kept = self.store.keep(incoming).await;
                return kept.map(|_| None).map_err(|error| error.to_string());
            }
        }
    }
}
