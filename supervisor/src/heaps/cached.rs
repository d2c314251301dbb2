//! Looking after heaps that are in a bucket: nothing is lost there, nothing stays for ever, and this
//! node's directory stays within its bound.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use mcp_v8_cluster::node::Node;
use mcp_v8_cluster::state::named;

use super::bucket::{Bucket, BucketError};
use super::store::HeapStore;
use super::{HeapId, HeapsError};
use crate::limits::{HEAP_GRACE, HEAPS_AT_BUCKET_MAX};
use crate::metrics;

/// One round. What was stored before `old` may go, if it `sweeps`.
pub(super) async fn look_after(
    node: &Node,
    store: &HeapStore,
    bucket: &Bucket,
    cache_bytes: u64,
    old: SystemTime,
    sweeps: bool,
) -> Result<(), HeapsError> {
    let cluster = |error: &dyn std::fmt::Display| HeapsError::Cluster(error.to_string());
    // What is there first, and then what is named: a heap that comes in between is one too many, and
    // too young to go.
    let mut here = store.list().await?;
    let there = bucket.list().await?;
    node.barrier().await.map_err(|error| cluster(&error))?;
    let rows = node.rows();
    let named = tokio::task::spawn_blocking(move || named::all(&rows)).await;
    let named = named.map_err(|error| cluster(&error))??;
    let named: HashSet<HeapId> = named.into_iter().map(HeapId).collect();

    // From before there was a bucket, or somebody has removed it there.
    let (mut uploaded, mut problem) = (0_usize, None);
    let is_here: HashSet<HeapId> = here.iter().map(|file| file.id).collect();
    for heap in named.iter().filter(|heap| is_here.contains(heap) && !there.contains_key(heap)) {
        match bucket.upload(store, *heap).await {
            Ok(()) => uploaded += 1,
            Err(error) => problem = Some(error),
        }
    }
    let missing =
        named.iter().filter(|heap| !is_here.contains(heap) && !there.contains_key(heap)).count();
    metrics::heaps_stored(&here, missing);

    let mut removed = 0;
    if sweeps {
        // Those that came last stay, and what is nowhere else.
        here.sort_by_key(|file| std::cmp::Reverse(file.modified));
        let mut bytes = 0_u64;
        let stays = here.iter().filter(|file| {
            bytes = bytes.saturating_add(file.bytes);
            let nowhere_else = named.contains(&file.id) && !there.contains_key(&file.id);
            nowhere_else || (bytes <= cache_bytes && named.contains(&file.id))
        });
        let stays = stays.map(|file| file.id).collect();
        removed += store.sweep(here, stays, old, HEAP_GRACE).await?;
        if node.leader_name().as_deref() == Some(node.name()) {
            removed += forget(bucket, &there, &named, old).await?;
        }
    }
    if uploaded + removed > 0 {
        tracing::info!(uploaded, removed, "heaps that the bucket lacked, and that nothing needs");
    }
    problem.map_or(Ok(()), |error| Err(error.into()))
}

/// Removes from the bucket what nothing names, so many at once.
async fn forget(
    bucket: &Bucket,
    there: &HashMap<HeapId, SystemTime>,
    named: &HashSet<HeapId>,
    old: SystemTime,
) -> Result<usize, BucketError> {
    let nameless = there.iter().filter(|(heap, since)| !named.contains(heap) && **since < old);
    let mut removed = 0;
    for (heap, since) in nameless.take(HEAPS_AT_BUCKET_MAX) {
        removed += usize::from(bucket.remove(*heap, *since).await?);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mcp_v8_cluster::node::config::Config;

    use super::super::bucket::tests::{bucket, store};
    use super::super::store::tests::step;
    use super::*;

    /// What nothing names goes, here and there; what is young stays.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_nothing_names_goes_when_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(Config::single("n", dir.path().join("cluster-n"))).unwrap();
        node.owner_within(Duration::from_secs(20)).await.expect("it leads itself");
        let (store, (bucket, _)) = (store(&dir.path().join("heaps")), bucket());
        let (first, second) = (step(1), step(2));
        store.put(first.clone(), None).await.unwrap();
        store.put(second.clone(), Some(first.clone())).await.unwrap();
        bucket.upload(&store, second.id()).await.unwrap();
        let (past, future) = (SystemTime::UNIX_EPOCH, SystemTime::now() + HEAP_GRACE);
        look_after(&node, &store, &bucket, 0, past, true).await.unwrap();
        look_after(&node, &store, &bucket, 0, future, false).await.unwrap();
        assert_eq!(bucket.list().await.unwrap().len(), 2);
        look_after(&node, &store, &bucket, 0, future, true).await.unwrap();
        assert_eq!(bucket.list().await.unwrap().len(), 0);
        // This process stored it a moment ago, whatever the clock says.
        assert_eq!(store.list().await.unwrap().len(), 2);
        node.stop().await;
    }
}
