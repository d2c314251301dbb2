//! The heaps of this node as executions use them, from the first one in the cluster's life.
//!
//! # Contract
//! * Nothing is opened, and the cluster has no key, before somebody keeps a heap or another node asks
//!   for one.
//! * [`Heaps::get`] gives a heap from wherever it is. One whose file was damaged here is put aside and
//!   fetched again.
//! * [`Heaps::upkeep`] sees to it that this node has what the replicated state names, and nothing else
//!   for long: see [`HEAP_GRACE`].

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use mcp_v8_cluster::command::{Command, FoundHeaps};
use mcp_v8_cluster::hex;
use mcp_v8_cluster::node::{Application, Node};
use mcp_v8_cluster::state::{Change, StateError, named, nodes};
use rustix::fs::{FlockOperation, flock};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::bucket::{Bucket, BucketError, Place};
use super::cached;
use super::exchange::{Exchange, ExchangeError};
use super::key::NoEntropy;
use super::store::{HeapStore, Kept, StoreError};
use super::{Engines, Heap, HeapId, HeapKey};
use crate::limits::{
    HEAP_CACHE_BYTES, HEAP_DEPTH_MAX, HEAP_GRACE, HEAP_SPREAD_AGAIN, HEAP_SPREAD_MAX,
    HEAP_SWEEP_AFTER, HEAP_UPKEEP, HEAP_UPKEEP_AGAIN,
};
use crate::metrics;

/// Why a heap is not to be had, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum HeapsError {
    /// The cluster.
    #[error("{0}")]
    Cluster(String),
    /// The rows.
    #[error(transparent)]
    State(#[from] StateError),
    /// No key can be made.
    #[error(transparent)]
    Key(#[from] NoEntropy),
    /// The directory cannot be used.
    #[error("{path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store, or the other nodes.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

impl From<BucketError> for HeapsError {
    fn from(error: BucketError) -> Self {
        Self::Exchange(error.into())
    }
}

impl From<StoreError> for HeapsError {
    fn from(error: StoreError) -> Self {
        Self::Exchange(error.into())
    }
}

/// Where heaps are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The directory of this node, which is made when it is needed.
    pub directory: PathBuf,
    /// The bucket that all nodes share, if the directory only holds what was stored or fetched last.
    pub bucket: Option<Place>,
    /// With a bucket: bytes of heaps that stay in the directory.
    pub cache_bytes: u64,
}

/// The heaps of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Heaps {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: Node,
    places: Places,
    opened: OnceCell<Opened>,
    begun: Instant,
}

#[derive(Debug)]
struct Opened {
    exchange: Exchange,
    /// Locked while the directory is in use.
    _claim: File,
}

impl Heaps {
    /// In these places.
    pub fn new(node: Node, places: Places) -> Self {
        let (opened, begun) = (OnceCell::new(), Instant::now());
        Self { inner: Arc::new(Inner { node, places, opened, begun }) }
    }

    /// The heaps, made if the cluster has none yet.
    async fn opened(&self) -> Result<&Exchange, HeapsError> {
        let Inner { node, opened, .. } = &*self.inner;
        let open = || async {
            if let Some(key) = named::key(&node.rows())? {
                return self.open(key).await;
            }
            let found = Command::FoundHeaps(FoundHeaps { key: HeapKey::generate()? });
            let unavailable =
                |error: &dyn std::fmt::Display| HeapsError::Cluster(error.to_string());
            let proposed = node.propose(found).await.map_err(|error| unavailable(&error))?;
            node.applied_to(proposed.index).await.map_err(|error| unavailable(&error))?;
            // The first that was named, which may be another's.
            let key = named::key(&node.rows())?;
            self.open(key.ok_or_else(|| unavailable(&"the heaps have no key"))?).await
        };
        Ok(&opened.get_or_try_init(open).await?.exchange)
    }

    /// The heaps, if the cluster has any.
    async fn known(&self) -> Result<Option<&Exchange>, HeapsError> {
        let Inner { node, opened, .. } = &*self.inner;
        if opened.get().is_none() && named::key(&node.rows())?.is_none() {
            let barrier = node.barrier().await;
            barrier.map_err(|error| HeapsError::Cluster(error.to_string()))?;
            if named::key(&node.rows())?.is_none() {
                return Ok(None);
            }
        }
        self.opened().await.map(Some)
    }

    async fn open(&self, key: [u8; 32]) -> Result<Opened, HeapsError> {
        let Inner { node, places: Places { directory: path, bucket, .. }, .. } = &*self.inner;
        let bucket = match bucket {
            None => None,
            Some(place) => {
                let cluster = nodes::cluster(&node.rows())?;
                let unknown = || HeapsError::Cluster("the cluster has no id yet".to_owned());
                Some(Bucket::new(place, cluster.ok_or_else(unknown)?))
            }
        };
        let (directory, key) = (path.clone(), HeapKey::new(key));
        let opening = tokio::task::spawn_blocking(move || {
            let claim = claim(&directory, &key)?;
            Ok((claim, HeapStore::open(&directory, key, HEAP_CACHE_BYTES)?))
        });
        let opened = opening.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let (claim, store) =
            opened.map_err(|source| HeapsError::Directory { path: path.clone(), source })?;
        Ok(Opened { exchange: Exchange::new(node.clone(), store, bucket), _claim: claim })
    }

    /// A heap that these engines can restore.
    ///
    /// # Errors
    /// [`HeapsError`].
    pub async fn get(&self, id: HeapId, engines: Engines) -> Result<Heap, HeapsError> {
        let exchange = self.opened().await?;
        let store = exchange.store();
        // Each of those that it is stored against may be missing, or damaged.
        for _ in 0..=HEAP_DEPTH_MAX {
            let error = match store.get(id, engines.clone()).await {
                Ok(heap) => return Ok(heap),
                Err(error) => error,
            };
            let missing = match (&error, error.damaged()) {
                (StoreError::Unknown(missing), _) => *missing,
                (StoreError::Orphan { parent, .. }, _) => *parent,
                (_, Some(damaged)) => {
                    tracing::error!(%error, "put aside; the heap is fetched from another node");
                    store.set_aside(damaged).await?;
                    if let Err(error) = exchange.fetch(damaged, None).await {
                        // Somebody may make something of it.
                        store.put_back(damaged).await?;
                        return Err(error.into());
                    }
                    continue;
                }
                (_, None) => return Err(error.into()),
            };
            exchange.fetch(missing, None).await?;
        }
        Ok(store.get(id, engines).await?)
    }

    /// Makes a heap durable here. `parent` is the one that it came of.
    ///
    /// # Errors
    /// [`HeapsError`].
    pub async fn put(&self, heap: Heap, parent: Option<Heap>) -> Result<Kept, HeapsError> {
        Ok(self.opened().await?.store().put(heap, parent).await?)
    }

    /// Brings a heap that is durable here to a majority, within [`HEAP_SPREAD_MAX`].
    ///
    /// # Errors
    /// [`HeapsError`], when it is not.
    pub async fn spread(&self, heap: HeapId) -> Result<(), HeapsError> {
        let exchange = self.opened().await?;
        // It may have been a while; from here on it is young again.
        if !exchange.store().has(heap).await? {
            return Err(StoreError::Unknown(heap).into());
        }
        self.spread_stored(heap).await
    }

    /// The same for one that was stored a moment ago.
    ///
    /// # Errors
    /// [`HeapsError`], when it is not.
    pub async fn spread_stored(&self, heap: HeapId) -> Result<(), HeapsError> {
        let exchange = self.opened().await?;
        let begun = Instant::now();
        loop {
            match exchange.spread(heap).await {
                Ok(()) => {
                    metrics::heap_spread(begun.elapsed());
                    return Ok(());
                }
                Err(error) if begun.elapsed() >= HEAP_SPREAD_MAX => return Err(error.into()),
                Err(error) => tracing::warn!(%heap, %error, "it is tried again"),
            }
            sleep(HEAP_SPREAD_AGAIN).await;
        }
    }

    /// Answers a call of another node; `None` to what is none about heaps.
    pub async fn answer(&self, body: &[u8]) -> Option<Vec<u8>> {
        match self.known().await {
            Ok(Some(exchange)) => exchange.answer(body).await,
            Ok(None) => None,
            Err(error) => Some(Exchange::cannot(&error.to_string())),
        }
    }

    /// Has this node answer calls about heaps and nothing else: it keeps no executions, but votes.
    pub fn answer_alone(&self) {
        let answering = AnswersAlone { heaps: self.clone(), runtime: Handle::current() };
        self.inner.node.attach(Arc::new(answering));
    }

    /// Fetches what is missing here and removes what nothing names. Never returns.
    pub async fn upkeep(self) {
        let mut again = HEAP_UPKEEP_AGAIN;
        loop {
            let pause = match self.look_after().await {
                Ok(true) => {
                    again = HEAP_UPKEEP_AGAIN;
                    HEAP_UPKEEP
                }
                // A node that has lost its disk is to have its heaps again soon.
                Ok(false) => HEAP_UPKEEP_AGAIN,
                Err(error) => {
                    tracing::warn!(%error, "the heaps are looked after later");
                    // A heap that is on no node at all is not asked for all the time.
                    again = (again * 2).min(HEAP_UPKEEP);
                    again / 2
                }
            };
            sleep(pause).await;
        }
    }

    /// One round of [`Heaps::upkeep`]. False while the cluster has no heaps, as far as this node knows.
    async fn look_after(&self) -> Result<bool, HeapsError> {
        let node = &self.inner.node;
        if self.inner.opened.get().is_none() && named::key(&node.rows())?.is_none() {
            return Ok(false);
        }
        let exchange = self.opened().await?;
        let store = exchange.store();
        let old = SystemTime::now().checked_sub(HEAP_GRACE).unwrap_or(SystemTime::UNIX_EPOCH);
        let sweeps = self.inner.begun.elapsed() >= HEAP_SWEEP_AFTER;
        if let Some(bucket) = exchange.bucket() {
            let cache_bytes = self.inner.places.cache_bytes;
            cached::look_after(node, store, bucket, cache_bytes, old, sweeps).await?;
            return Ok(true);
        }
        // What is here first, and then what is named: a heap that comes in between is one too many
        // here, and too young to go.
        let here = store.list().await?;
        // A node that is behind would take for nameless what the others have named.
        node.barrier().await.map_err(|error| HeapsError::Cluster(error.to_string()))?;
        let rows = node.rows();
        let named = tokio::task::spawn_blocking(move || named::all(&rows));
        let named = named.await.map_err(|error| HeapsError::Cluster(error.to_string()))??;
        let named: HashSet<HeapId> = named.into_iter().map(HeapId).collect();
        let files: HashSet<HeapId> = here.iter().map(|file| file.id).collect();
        let (mut fetched, mut problem) = (0_usize, None);
        for heap in named.difference(&files) {
            match exchange.fetch(*heap, None).await {
                Ok(()) => fetched += 1,
                Err(error) => problem = Some(error),
            }
        }
        let missing = named.difference(&files).count() - fetched;
        metrics::heaps_stored(&here, missing);
        let removed = match sweeps {
            true => store.sweep(here, named, old, HEAP_GRACE).await?,
            false => 0,
        };
        if fetched + removed > 0 {
            tracing::info!(fetched, removed, "heaps that were missing, and that nothing named");
        }
        problem.map_or(Ok(true), |error| Err(error.into()))
    }
}

/// Makes a directory this process's own, and this cluster's: another server would take its heaps for
/// such that nothing names.
fn claim(directory: &Path, key: &HeapKey) -> io::Result<File> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(CLAIM))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        io::Error::other("another server uses this directory; give each its own --heap-dir")
    })?;
    let own = hex::encode(&key.sign(CLAIM.as_bytes()));
    let mut found = String::new();
    lock.read_to_string(&mut found)?;
    if found == own {
        return Ok(lock);
    }
    // New, or a crash came while it was written.
    if own.starts_with(&found) {
        lock.rewind()?;
        lock.write_all(own.as_bytes())?;
        lock.sync_all()?;
        File::open(directory)?.sync_all()?;
        return Ok(lock);
    }
    Err(io::Error::other(
        "it holds the heaps of another cluster; choose another --heap-dir, or move it away",
    ))
}

/// The file that says whose a directory is.
const CLAIM: &str = "cluster";

// What is younger than this may still be on its way to being named.
const _: () = assert!(
    HEAP_GRACE.as_secs()
        > 2 * (HEAP_SPREAD_MAX.as_secs() + mcp_v8_cluster::limits::PROPOSE_MS_MAX / 1000)
);

/// What a node hears of the replicated state that has heaps and no executions.
struct AnswersAlone {
    heaps: Heaps,
    runtime: Handle,
}

impl Application for AnswersAlone {
    fn applied(&self, _: &[Change]) {}

    fn replaced(&self) {}

    fn fenced(&self) {}

    fn drain(&self) {}

    fn call(&self, body: Vec<u8>) -> BoxFuture<'static, Vec<u8>> {
        let heaps = self.heaps.clone();
        let answering =
            self.runtime.spawn(async move { heaps.answer(&body).await.unwrap_or_default() });
        Box::pin(async move { answering.await.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_servers_and_one_clusters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heaps").join("node1");
        let (ours, theirs) = (HeapKey::new([1; 32]), HeapKey::new([2; 32]));
        let held = claim(&path, &ours).unwrap();
        let error = claim(&path, &ours).unwrap_err().to_string();
        assert!(error.contains("another server uses this directory"), "{error}");
        drop(held);
        let error = claim(&path, &theirs).unwrap_err().to_string();
        assert!(error.contains("the heaps of another cluster"), "{error}");
        drop(claim(&path, &ours).unwrap());
        // A crash in the middle of the first claim.
        let whole = std::fs::read(path.join(CLAIM)).unwrap();
        std::fs::write(path.join(CLAIM), &whole[..10]).unwrap();
        drop(claim(&path, &ours).unwrap());
        assert_eq!(std::fs::read(path.join(CLAIM)).unwrap(), whole);
    }
}
