//! Heaps that are put, read again, damaged, removed.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mcp_v8_protocol::HeapEngine;
use tempfile::TempDir;

use super::*;
use crate::heaps::Engine;

fn engine() -> Engine {
    Engine { v8_version: "15.2".into(), hash: HeapEngine([5; 32]) }
}

fn engines() -> Engines {
    let Engine { v8_version, hash } = engine();
    Engines { v8_version, accepted: [hash].into() }
}

/// Step `n` of a session: noise that stays, and a number that changes.
pub(in crate::heaps) fn step(n: u32) -> Heap {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes: Vec<u8> = (0..100_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    bytes[50_000..50_004].copy_from_slice(&n.to_le_bytes());
    Heap::written(HeapFile::copy_of(&bytes).unwrap(), engine()).unwrap()
}

fn open(dir: &TempDir, cache: u64) -> HeapStore {
    HeapStore::open(dir.path(), HeapKey::new([1; 32]), cache).unwrap()
}

fn file(dir: &TempDir, heap: &Heap) -> PathBuf {
    let name = heap.id().to_string();
    dir.path().join(&name[..2]).join(name)
}

async fn read(store: &HeapStore, heap: &Heap) -> Result<Vec<u8>, StoreError> {
    let heap = store.get(heap.id(), engines()).await?;
    Ok(heap.map()?.to_vec())
}

#[tokio::test]
async fn steps_take_little_and_are_read_again_with_an_empty_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 1 << 20);
    let steps: Vec<Heap> = (0..2 * u32::from(HEAP_DEPTH_MAX) + 5).map(step).collect();
    let mut parent = None;
    let (mut whole, mut small) = (0, 0);
    for heap in &steps {
        let kept = store.put(heap.clone(), parent.replace(heap.clone())).await.unwrap();
        let bytes = kept.bytes;
        if bytes > 90_000 {
            whole += 1
        } else {
            small += 1
        }
        assert!(!(1_000..=90_000).contains(&bytes), "{bytes}");
    }
    // By itself the first, and each that would stand on too many.
    assert_eq!(whole, steps.len().div_ceil(usize::from(HEAP_DEPTH_MAX) + 1));
    assert!(small > whole);
    assert!(store.cached_bytes() <= 1 << 20);
    // Without a memory each is read through all below it.
    let store = open(&dir, 0);
    for heap in steps.iter().rev() {
        assert_eq!(read(&store, heap).await.unwrap(), &*heap.map().unwrap());
    }
    assert_eq!(store.cached_bytes(), 0);
    assert_eq!(store.list().await.unwrap().len(), steps.len());
    assert_eq!(store.parent(steps[0].id()).await.unwrap(), None);
    assert_eq!(store.parent(steps[1].id()).await.unwrap(), Some(steps[0].id()));
}

#[tokio::test]
async fn a_heap_whose_parent_is_not_here_stands_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 0);
    store.put(step(1), Some(step(0))).await.unwrap();
    assert_eq!(store.parent(step(1).id()).await.unwrap(), None);
    assert_eq!(read(&store, &step(1)).await.unwrap(), &*step(1).map().unwrap());
}

#[tokio::test]
async fn what_is_not_there_is_said_and_what_needed_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 0);
    let (one, two) = (step(1), step(2));
    assert!(matches!(read(&store, &one).await, Err(StoreError::Unknown(id)) if id == one.id()));
    store.put(one.clone(), None).await.unwrap();
    store.put(two.clone(), Some(one.clone())).await.unwrap();
    assert!(store.remove(one.id()).await.unwrap());
    assert!(!store.remove(one.id()).await.unwrap());
    let error = read(&store, &two).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Orphan { heap, parent } if heap == two.id() && parent == one.id()),
        "{error}"
    );
}

#[tokio::test]
async fn no_damaged_file_is_given_as_a_heap() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 0);
    let (one, two) = (step(1), step(2));
    store.put(one.clone(), None).await.unwrap();
    store.put(two.clone(), Some(one.clone())).await.unwrap();
    let path = file(&dir, &two);
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        // What a flipped bit of the frame does not change is the heap still.
        if let Ok(bytes) = read(&store, &two).await {
            assert_eq!(bytes, &*two.map().unwrap(), "byte {at}");
            assert!(at >= HEAD_BYTES, "byte {at}");
        }
        std::fs::write(&path, &good[..at]).unwrap();
        assert!(read(&store, &two).await.is_err(), "{at} bytes");
    }
    // Another heap's file under this name.
    std::fs::copy(file(&dir, &one), &path).unwrap();
    let error = read(&store, &two).await.unwrap_err();
    assert!(matches!(error, StoreError::Blob { error: BlobError::Hash, .. }), "{error}");
    // Another cluster's.
    std::fs::write(&path, &good).unwrap();
    let other = HeapStore::open(dir.path(), HeapKey::new([2; 32]), 0).unwrap();
    let error = read(&other, &two).await.unwrap_err();
    assert!(matches!(error, StoreError::Blob { error: BlobError::Mac, .. }), "{error}");
}

#[tokio::test]
async fn another_build_of_the_worker_is_told_also_of_what_is_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 1 << 20);
    store.put(step(1), None).await.unwrap();
    let others = Engines { accepted: [HeapEngine([6; 32])].into(), ..engines() };
    let error = store.get(step(1).id(), others).await.unwrap_err();
    assert!(matches!(error, StoreError::Blob { error: BlobError::Engine, .. }), "{error}");
}

#[tokio::test]
async fn the_same_heap_put_at_once_by_many_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 0);
    let puts = (0..8).map(|_| store.put(step(3), None));
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert_eq!(read(&store, &step(3)).await.unwrap(), &*step(3).map().unwrap());
}

/// Sends a heap from store to store, `bytes` at a time.
async fn send(
    from: &HeapStore,
    to: &HeapStore,
    heap: &Heap,
    bytes: usize,
    change: impl Fn(&mut Vec<u8>),
) -> Result<u64, StoreError> {
    let mut incoming = to.incoming(heap.id()).await?;
    loop {
        let mut copied = from.copy(heap.id(), incoming.bytes(), bytes).await?;
        if copied.bytes.is_empty() {
            assert_eq!(incoming.bytes(), copied.of);
            return to.keep(incoming).await;
        }
        change(&mut copied.bytes);
        incoming = incoming.take(copied.bytes).await?;
    }
}

#[tokio::test]
async fn a_copy_is_the_same_file_and_needs_what_it_stands_on() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (open(&here, 1 << 20), open(&there, 0));
    let (first, second) = (step(1), step(2));
    from.put(first.clone(), None).await.unwrap();
    from.put(second.clone(), Some(first.clone())).await.unwrap();
    let early = send(&from, &to, &second, 1 << 20, |_| {}).await;
    let Err(StoreError::Orphan { heap, parent }) = early else { panic!("{early:?}") };
    assert_eq!((heap, parent), (second.id(), first.id()));
    assert!(!to.has(second.id()).await.unwrap());
    for (heap, bytes) in [(&first, 1000), (&second, HEAD_BYTES)] {
        send(&from, &to, heap, bytes, |_| {}).await.unwrap();
        assert!(to.has(heap.id()).await.unwrap());
        assert_eq!(
            std::fs::read(file(&here, heap)).unwrap(),
            std::fs::read(file(&there, heap)).unwrap()
        );
        assert_eq!(read(&to, heap).await.unwrap(), heap.map().unwrap().to_vec());
    }
    assert_eq!(to.list().await.unwrap().len(), 2);
    // Again, and under another name.
    send(&from, &to, &second, 1 << 20, |_| {}).await.unwrap();
    let other = to.incoming(step(3).id()).await.unwrap();
    let bytes = from.copy(first.id(), 0, 1 << 20).await.unwrap().bytes;
    assert!(other.take(bytes).await.is_err());
    assert_eq!(to.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn no_damaged_or_foreign_copy_is_kept() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (open(&here, 1 << 20), open(&there, 0));
    let heap = step(1);
    let bytes = from.put(heap.clone(), None).await.unwrap().bytes as usize;
    for at in (0..HEAD_BYTES + 20).chain([bytes / 2, bytes - 1]) {
        let flip = |chunk: &mut Vec<u8>| chunk[at] ^= 1;
        assert!(send(&from, &to, &heap, 1 << 20, flip).await.is_err(), "byte {at}");
    }
    for length in [0, 1, HEAD_BYTES, bytes - 1] {
        let incoming = to.incoming(heap.id()).await.unwrap();
        let copied = from.copy(heap.id(), 0, length).await.unwrap();
        match incoming.take(copied.bytes).await {
            Ok(incoming) => assert!(to.keep(incoming).await.is_err(), "{length} bytes"),
            Err(error) => assert!(length < HEAD_BYTES, "{length} bytes: {error}"),
        }
    }
    let stranger = HeapStore::open(there.path(), HeapKey::new([2; 32]), 0).unwrap();
    let foreign = send(&from, &stranger, &heap, 1 << 20, |_| {}).await;
    assert!(matches!(foreign, Err(StoreError::Blob { error: BlobError::Mac, .. })), "{foreign:?}");
    assert!(to.list().await.unwrap().is_empty());
    // Nor what was begun and given up.
    let left: Vec<_> = std::fs::read_dir(there.path())
        .unwrap()
        .flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Makes the files of these heaps old.
fn age(dir: &TempDir, heaps: &[&Heap]) -> SystemTime {
    let old = SystemTime::now() - Duration::from_secs(3600);
    for heap in heaps {
        std::fs::File::open(file(dir, heap)).unwrap().set_modified(old).unwrap();
    }
    old + Duration::from_secs(1)
}

#[tokio::test]
async fn what_nothing_names_goes_with_what_only_it_stood_on_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 1 << 20);
    let steps: Vec<Heap> = (0..6).map(step).collect();
    store.put(steps[0].clone(), None).await.unwrap();
    for (before, after) in steps.iter().zip(&steps[1..]) {
        store.put(after.clone(), Some(before.clone())).await.unwrap();
    }
    let named = |heaps: &[&Heap]| heaps.iter().map(|heap| heap.id()).collect();
    let here = store.list().await.unwrap();
    let young = SystemTime::now() - Duration::from_secs(60);
    assert_eq!(
        store.sweep(here, named(&[]), young, Duration::ZERO).await.unwrap(),
        0,
        "they are young"
    );
    let old = age(&dir, &steps.iter().collect::<Vec<_>>());
    let here = store.list().await.unwrap();
    // The fourth stands on those before it.
    assert_eq!(store.sweep(here, named(&[&steps[3]]), old, Duration::ZERO).await.unwrap(), 2);
    assert_eq!(store.list().await.unwrap().len(), 4);
    assert_eq!(read(&open(&dir, 0), &steps[3]).await.unwrap(), &*steps[3].map().unwrap());
    // Asked for since it was listed, as by who would store it again.
    let here = store.list().await.unwrap();
    assert!(store.has(steps[1].id()).await.unwrap());
    assert_eq!(store.sweep(here, named(&[]), old, Duration::ZERO).await.unwrap(), 2);
    assert_eq!(read(&open(&dir, 0), &steps[1]).await.unwrap(), &*steps[1].map().unwrap());
    // What comes while it is swept saves what it stands on.
    age(&dir, &[&steps[0], &steps[1]]);
    let here = store.list().await.unwrap();
    store.put(steps[5].clone(), Some(steps[1].clone())).await.unwrap();
    assert_eq!(store.sweep(here, named(&[]), old, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(read(&open(&dir, 0), &steps[5]).await.unwrap(), &*steps[5].map().unwrap());
    age(&dir, &[&steps[0], &steps[1], &steps[5]]);
    let here = store.list().await.unwrap();
    assert_eq!(store.sweep(here, named(&[]), old, Duration::ZERO).await.unwrap(), 3);
    assert!(store.list().await.unwrap().is_empty() && store.cached_bytes() == 0);
    // Whatever the clock on the wall says, what was stored a moment ago stays.
    store.put(steps[0].clone(), None).await.unwrap();
    store.put(steps[1].clone(), Some(steps[0].clone())).await.unwrap();
    age(&dir, &[&steps[0], &steps[1]]);
    let here = store.list().await.unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(store.sweep(here, named(&[]), old, hour).await.unwrap(), 0);
    assert!(!store.inner.disk.stored_within(hour).is_empty());
    // What is remembered for that is bounded in time, also where nothing has to go.
    assert_eq!(store.sweep(Vec::new(), named(&[]), old, Duration::ZERO).await.unwrap(), 0);
    assert!(store.inner.disk.stored_within(hour).is_empty());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, 0);
    let (one, two) = (step(1), step(2));
    store.put(one.clone(), None).await.unwrap();
    store.put(two.clone(), Some(one.clone())).await.unwrap();
    std::fs::write(file(&dir, &two), b"damaged").unwrap();
    assert!(!store.has(two.id()).await.unwrap());
    store.put(two.clone(), Some(one.clone())).await.unwrap();
    assert_eq!(read(&store, &two).await.unwrap(), &*two.map().unwrap());
    // What it stood on is gone: then it stands by itself.
    store.remove(one.id()).await.unwrap();
    assert!(!store.has(two.id()).await.unwrap());
    assert_eq!(store.put(two.clone(), Some(one.clone())).await.unwrap().parent, None);
    assert_eq!(read(&store, &two).await.unwrap(), &*two.map().unwrap());
}
