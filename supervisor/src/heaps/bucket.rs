//! Heaps in an S3 bucket, which then is what makes them durable; this node's directory holds those that
//! were stored or fetched last.
//!
//! # Contract
//! * [`Bucket::upload`] returns once a heap, with all it stands on, is in the bucket. [`Bucket::download`]
//!   brings one here. What comes is proven as if a node had sent it: the bucket is not believed.
//! * Each cluster has objects of its own, `PREFIX/CLUSTER_ID/ab/abcd…`, and touches no others.
//! * No more than [`HEAP_PIECE_BYTES`] times a few of a file are in memory at once.
//!
//! The interface is Amazon's, by any server that speaks it; credentials, region and endpoint come from
//! the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …) as its own tools have it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::TryStreamExt;
use mcp_v8_cluster::hex;
use mcp_v8_cluster::net::ask::whole;
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::HeapId;
use super::store::{HeapStore, StoreError};
use crate::limits::{
    BUCKET_KNOWN_MAX, BUCKET_REQUEST_MAX, BUCKET_RETRY_MAX, HEAP_COPY_BYTES_MAX, HEAP_DEPTH_MAX,
    HEAP_FILE_BYTES_MAX, HEAP_PIECE_BYTES,
};

/// Why the bucket is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The bucket, or what leads there.
    #[error("the bucket: {0}")]
    Bucket(String),
    /// It is not in the bucket.
    #[error("the bucket does not have it")]
    Unknown,
    /// The store of this node.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<object_store::Error> for BucketError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Unknown,
            error => Self::Bucket(in_short(&error)),
        }
    }
}

/// An error and what it came of, without the body of an answer.
fn in_short(error: &(dyn std::error::Error + 'static)) -> String {
    let text = whole(error);
    let line = text.lines().next().unwrap_or_default().trim_end();
    line[..line.floor_char_boundary(crate::limits::PROBLEM_BYTES_MAX)].to_owned()
}

/// Whether nobody has answered.
fn is_silence(error: &object_store::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<object_store::client::HttpError>() {
            return true;
        }
        source = inner.source();
    }
    false
}

/// Where a bucket is.
#[derive(Debug, Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Place {
    /// `BUCKET` or `BUCKET/PREFIX`, as far as the environment says how to get there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_env(text: &str) -> Result<Self, String> {
        // Somebody may have installed one already; then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| error.to_string())?;
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
        let endpoint = endpoint.iter().find_map(|name| std::env::var(name).ok());
        let retry = RetryConfig { retry_timeout: BUCKET_RETRY_MAX, ..RetryConfig::default() };
        let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let client = ClientOptions::new().with_timeout(BUCKET_REQUEST_MAX).with_allow_http(plain);
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retry)
            .build()
            .map_err(|error| in_short(&error))?;
        Ok(Self { store: Arc::new(store), prefix })
    }

    /// Makes sure that there is such a bucket and that it can be read. `Ok` with a problem when it does
    /// not answer, which may be better in a moment.
    ///
    /// # Errors
    /// What is wrong with it, and will not be better by itself.
    pub async fn check(&self) -> Result<Option<String>, String> {
        match self.store.list(Some(&self.prefix)).try_next().await {
            Ok(_) => Ok(None),
            Err(error) if is_silence(&error) => Ok(Some(in_short(&error))),
            Err(error) => Err(in_short(&error)),
        }
    }
}

/// The heaps of a cluster in a bucket.
#[derive(Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Heaps that were seen there: what stands on them needs no look.
    known: Mutex<HashSet<HeapId>>,
}

impl Bucket {
    /// Those of this cluster.
    pub fn new(place: &Place, cluster: Uuid) -> Self {
        let prefix = place.prefix.clone().join(cluster.to_string());
        Self { store: Arc::clone(&place.store), prefix, known: Mutex::default() }
    }

    fn path(&self, heap: HeapId) -> Path {
        let name = heap.to_string();
        self.prefix.clone().join(&name[..2]).join(name.as_str())
    }

    /// Puts a heap there and what it stands on, unless that is there.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn upload(&self, store: &HeapStore, heap: HeapId) -> Result<(), BucketError> {
        // From the heap down to one that is there, and then from there up again.
        let mut missing = vec![heap];
        let mut below = store.parent(heap).await?;
        while let Some(parent) = below {
            if missing.len() > usize::from(HEAP_DEPTH_MAX) || self.has(parent).await? {
                break;
            }
            missing.push(parent);
            below = store.parent(parent).await?;
        }
        while let Some(next) = missing.pop() {
            self.put(store, next).await?;
        }
        Ok(())
    }

    /// Whether a heap is there.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn has(&self, heap: HeapId) -> Result<bool, BucketError> {
        if self.known.lock().contains(&heap) {
            return Ok(true);
        }
        match self.store.head(&self.path(heap)).await {
            Ok(_) => {
                self.note(heap);
                Ok(true)
            }
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn note(&self, heap: HeapId) {
        let mut known = self.known.lock();
        if known.len() >= BUCKET_KNOWN_MAX {
            known.clear();
        }
        known.insert(heap);
    }

    /// Puts one there, also where there is one: then nobody takes it for an old one that nothing names.
    async fn put(&self, store: &HeapStore, heap: HeapId) -> Result<(), BucketError> {
        let failed = |error: std::io::Error| BucketError::Bucket(in_short(&error));
        let target = Arc::clone(&self.store);
        let mut writer = BufWriter::with_capacity(target, self.path(heap), HEAP_PIECE_BYTES)
            .with_max_concurrency(1);
        let mut from = 0;
        loop {
            let piece = store.copy(heap, from, HEAP_COPY_BYTES_MAX).await?;
            from += piece.bytes.len() as u64;
            writer.put(Bytes::from(piece.bytes)).await?;
            if from >= piece.of {
                break;
            }
        }
        writer.shutdown().await.map_err(failed)?;
        self.note(heap);
        Ok(())
    }

    /// Brings a heap here, unless what it stands on is not here: gives that.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn download(
        &self,
        store: &HeapStore,
        heap: HeapId,
        proving: &Semaphore,
    ) -> Result<Option<HeapId>, BucketError> {
        let found = self.store.get(&self.path(heap)).await?;
        if found.meta.size > HEAP_FILE_BYTES_MAX {
            let problem = format!("{} bytes; accepted: {HEAP_FILE_BYTES_MAX}", found.meta.size);
            return Err(BucketError::Bucket(problem));
        }
        let mut stream = found.into_stream();
        let mut incoming = store.incoming(heap).await?;
        let mut piece = Vec::new();
        loop {
            let more = stream.try_next().await?;
            let over = more.is_none();
            piece.extend_from_slice(&more.unwrap_or_default());
            if piece.len() < HEAP_COPY_BYTES_MAX && !over {
                continue;
            }
            if incoming.bytes() == 0
                && let Some(parent) = store.parent_in(heap, &piece)?
                && !store.has(parent).await?
            {
                return Ok(Some(parent));
            }
            if incoming.bytes() + piece.len() as u64 > HEAP_FILE_BYTES_MAX {
                let problem = format!("more than {HEAP_FILE_BYTES_MAX} bytes");
                return Err(BucketError::Bucket(problem));
            }
            if !piece.is_empty() {
                incoming = incoming.take(std::mem::take(&mut piece)).await?;
            }
            if over {
                // Two whole heaps are in memory for each.
                let _proving = proving.acquire().await;
                store.keep(incoming).await?;
                self.note(heap);
                return Ok(None);
            }
        }
    }

    /// The heaps that are there, and since when by the bucket's clock.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn list(&self) -> Result<HashMap<HeapId, SystemTime>, BucketError> {
        let listed: Vec<_> = self.store.list(Some(&self.prefix)).try_collect().await?;
        let heap = |object: object_store::ObjectMeta| {
            let name = object.location.filename()?;
            let id = HeapId(hex::decode_array(name.as_bytes())?);
            Some((id, SystemTime::from(object.last_modified)))
        };
        let found: HashMap<_, _> = listed.into_iter().filter_map(heap).collect();
        let mut known = self.known.lock();
        known.clear();
        known.extend(found.keys().take(BUCKET_KNOWN_MAX));
        Ok(found)
    }

    /// Removes a heap, unless somebody has put it there again since.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn remove(&self, heap: HeapId, since: SystemTime) -> Result<bool, BucketError> {
        self.known.lock().remove(&heap);
        let path = self.path(heap);
        match self.store.head(&path).await {
            Ok(meta) if SystemTime::from(meta.last_modified) <= since => {}
            Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.store.delete(&path).await?;
        Ok(true)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use object_store::PutPayload;
    use object_store::memory::InMemory;

    use super::super::HeapKey;
    use super::super::store::tests::step;
    use super::*;

    /// The store of a node of a cluster.
    pub(in super::super) fn store(path: &std::path::Path) -> HeapStore {
        HeapStore::open(path, HeapKey::new([1; 32]), 0).unwrap()
    }

    /// A bucket in memory, and its other end.
    pub(in super::super) fn bucket() -> (Bucket, Arc<InMemory>) {
        let memory = Arc::new(InMemory::new());
        let place = Place { store: Arc::<InMemory>::clone(&memory), prefix: Path::from("pre/fix") };
        (Bucket::new(&place, Uuid::nil()), memory)
    }

    #[tokio::test]
    async fn a_heap_goes_there_with_what_it_stands_on_and_comes_back() {
        let (dir, proving) = (tempfile::tempdir().unwrap(), Semaphore::new(1));
        let (ours, theirs) = (store(&dir.path().join("a")), store(&dir.path().join("b")));
        let (bucket, memory) = bucket();
        let (first, second) = (step(1), step(2));
        ours.put(first.clone(), None).await.unwrap();
        ours.put(second.clone(), Some(first.clone())).await.unwrap();
        bucket.upload(&ours, second.id()).await.unwrap();
        let there = bucket.list().await.unwrap();
        assert!(there.len() == 2 && there.contains_key(&first.id()), "{there:?}");
        // What it stands on is said first.
        let missing = bucket.download(&theirs, second.id(), &proving).await.unwrap();
        assert_eq!(missing, Some(first.id()));
        assert_eq!(bucket.download(&theirs, first.id(), &proving).await.unwrap(), None);
        assert_eq!(bucket.download(&theirs, second.id(), &proving).await.unwrap(), None);
        assert!(theirs.has(second.id()).await.unwrap());
        // Nothing under a name but what belongs there.
        let other = store(&dir.path().join("c"));
        let object = memory.get(&bucket.path(first.id())).await.unwrap().bytes().await.unwrap();
        let mut changed = object.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        for bad in [changed, object[..object.len() - 1].to_vec(), Vec::new(), vec![0; 5000]] {
            memory.put(&bucket.path(first.id()), PutPayload::from(bad)).await.unwrap();
            bucket.download(&other, first.id(), &proving).await.unwrap_err();
            assert!(!other.has(first.id()).await.unwrap());
        }
        memory.put(&bucket.path(second.id()), PutPayload::from(object)).await.unwrap();
        bucket.download(&other, second.id(), &proving).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_was_put_there_again_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, (bucket, _)) = (store(dir.path()), bucket());
        let heap = step(1);
        store.put(heap.clone(), None).await.unwrap();
        bucket.upload(&store, heap.id()).await.unwrap();
        let since = bucket.list().await.unwrap()[&heap.id()];
        bucket.upload(&store, heap.id()).await.unwrap();
        assert!(!bucket.remove(heap.id(), since - Duration::from_secs(1)).await.unwrap());
        assert!(bucket.has(heap.id()).await.unwrap());
        let since = bucket.list().await.unwrap()[&heap.id()];
        assert!(bucket.remove(heap.id(), since).await.unwrap());
        assert!(!bucket.has(heap.id()).await.unwrap());
        assert!(!bucket.remove(heap.id(), since).await.unwrap(), "it is gone");
    }
}
