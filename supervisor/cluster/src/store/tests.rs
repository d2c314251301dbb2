//! The store under openraft's suite, under damage, and against a model.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::testing::{blank_ent, log_id};
use openraft::type_config::TypeConfigExt;
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::command::{Batch, Command, Found, SetHeapTags};
use crate::state::Change;
use crate::types::{Entry, LogId, NodeId, Types};

struct Deaf;

impl Observer for Deaf {
    fn applied(&self, _: u64, _: &[Change]) {}
    fn replaced(&self, _: u64) {}
}

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), openraft::StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let (log, machine) = tokio::task::spawn_blocking(move || {
            let store = Store::open(&path, "node1").unwrap();
            (store.log().unwrap(), store.machine(Arc::new(Deaf)).unwrap())
        })
        .await
        .unwrap();
        Ok((dir, log, machine))
    }
}

#[test]
fn the_suite_of_openraft_passes() {
    Types::run(async { Suite::test_all(Builder).await.unwrap() });
}

fn id(index: u64) -> LogId {
    log_id::<Types>(1, NodeId::founder("node1"), index)
}

/// An entry whose content tells which it is.
fn entry(index: u64, bytes: usize) -> Entry {
    let tags = [("key".to_owned(), "v".repeat(bytes))].into();
    let set = SetHeapTags { id: Uuid::from_u128(index.into()), heap: [index as u8; 32], tags };
    let batch = Batch::new(vec![Command::SetHeapTags(set)]);
    Entry::new(id(index), openraft::EntryPayload::Normal(batch))
}

/// Appends entries and waits until they are durable.
async fn append(log: &mut LogStore, entries: Vec<Entry>) {
    let (done, wait) = Types::oneshot();
    log.append(entries, IOFlushed::signal(done)).await.unwrap();
    wait.await.unwrap().unwrap();
}

async fn all(log: &mut LogStore) -> Vec<Entry> {
    log.try_get_log_entries(..).await.unwrap()
}

/// A store with `count` durable entries in a directory: in the database, not in the journal.
async fn filled(path: &Path, count: u64) {
    {
        let store = Store::open(path, "node1").unwrap();
        let mut log = store.log().unwrap();
        append(&mut log, (0..count).map(|index| entry(index, 100)).collect()).await;
    }
    drop(Store::open(path, "node1").unwrap());
}

/// What a crash leaves of a store with `count` durable entries: in the journal, not in the
/// database.
async fn crashed(count: u64, bytes: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "node1").unwrap();
    let mut log = store.log().unwrap();
    for index in 0..count {
        append(&mut log, vec![entry(index, bytes)]).await;
    }
    copy(dir.path())
}

/// A copy of a store as a crash would leave it, whose lock nobody has.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
        }
    }
    to
}

/// Opens the log of a store, and says why not.
fn reopened(path: &Path) -> Result<LogStore, OpenError> {
    Store::open(path, "node1")?.log()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

#[test]
fn a_long_entry_is_kept_in_pieces_that_are_small_enough() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let long = entry(0, 100_000);
        {
            let store = Store::open(dir.path(), "node1").unwrap();
            append(&mut store.log().unwrap(), vec![long.clone()]).await;
            let values: Vec<usize> =
                store.inner.log.iter().map(|row| row.unwrap().1.len()).collect();
            assert!(
                values.len() > 6 && values.iter().all(|n| *n <= crate::limits::VALUE_BYTES_MAX)
            );
        }
        assert_eq!(all(&mut reopened(dir.path()).unwrap()).await, [long]);
    });
}

#[test]
fn the_largest_values_leave_nothing_in_files_that_are_not_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "node1").unwrap();
    let value = vec![7; crate::limits::VALUE_BYTES_MAX];
    for tree in [store.inner.log.clone(), store.rows()] {
        for key in 0..500_u32 {
            // Sorted, and so that pages are split in their middle.
            tree.insert(key.to_be_bytes(), &value[..]).unwrap();
            tree.insert(key.to_le_bytes(), &value[..]).unwrap();
        }
    }
    store.inner.db.flush().unwrap();
    store.inner.state_db.flush().unwrap();
    for blobs in ["blobs", "state/blobs"] {
        assert_eq!(std::fs::read_dir(dir.path().join(blobs)).unwrap().count(), 0, "{blobs}");
    }
}

#[test]
fn a_database_with_segments_of_another_size_opens() {
    let dir = tempfile::tempdir().unwrap();
    let other = SLED_SEGMENT_BYTES / 4;
    drop(sled::Config::new().path(dir.path()).segment_size(other).open().unwrap());
    drop(Store::open(dir.path(), "node1").unwrap());
    assert_eq!(segment_bytes(dir.path()), other);
}

#[test]
fn a_second_process_is_told_who_has_the_store_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Store::open(dir.path(), "node1").unwrap();
    let error = Store::open(dir.path(), "node1").unwrap_err().to_string();
    let pid = std::process::id().to_string();
    assert!(error.contains(&pid) && error.contains("--session-db-path"), "{error}");
}

#[test]
fn a_store_of_another_node_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), "node1").unwrap());
    let error = Store::open(dir.path(), "node2").unwrap_err().to_string();
    assert!(error.contains("--node-id=node1"), "{error}");
}

#[test]
fn an_unfinished_page_table_of_sled_does_not_keep_the_store_from_opening() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 3).await;
        std::fs::write(dir.path().join("snap.0000000000000FFF.generating"), b"half").unwrap();
        assert_eq!(all(&mut reopened(dir.path()).unwrap()).await.len(), 3);
    });
}

/// What was acknowledged is there in full, or opening refuses; never something else.
fn check_damaged(path: &Path, count: u64) -> bool {
    match reopened(path) {
        Ok(mut log) => {
            let entries = runtime().block_on(all(&mut log));
            let expected: Vec<Entry> = (0..count).map(|index| entry(index, 100)).collect();
            assert_eq!(entries, expected, "entries were lost or changed in silence");
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("damaged"), "{text}");
            false
        }
    }
}

#[test]
fn p1_a_log_that_was_cut_off_anywhere_is_refused_or_whole() {
    const COUNT: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(filled(dir.path(), COUNT));
    let file = "db";
    let whole = std::fs::read(dir.path().join(file)).unwrap();
    let used = whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
    let (mut opened, mut refused) = (0, 0);
    // Each truncation point of the last records, and some before.
    let points = (used.saturating_sub(400)..=used).step_by(5).chain((0..used).step_by(used / 20));
    for point in points {
        let damaged = copy(dir.path());
        std::fs::write(damaged.path().join(file), &whole[..point]).unwrap();
        if check_damaged(damaged.path(), COUNT) { opened += 1 } else { refused += 1 }
    }
    assert!(refused > 20 && opened > 0, "{refused} refused, {opened} opened");
}

#[test]
fn p1_a_flipped_bit_anywhere_is_found_or_does_not_matter() {
    const COUNT: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(filled(dir.path(), COUNT));
    let whole = std::fs::read(dir.path().join("db")).unwrap();
    let used = whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
    let mut refused = 0;
    for point in (used.saturating_sub(600)..used).step_by(7).chain((0..used).step_by(used / 20)) {
        let damaged = copy(dir.path());
        let mut bytes = whole.clone();
        bytes[point] ^= 0x10;
        std::fs::write(damaged.path().join("db"), &bytes).unwrap();
        refused += u32::from(!check_damaged(damaged.path(), COUNT));
    }
    assert!(refused > 20, "{refused} refused");
}

/// The journal that was written, and how far.
fn written_journal(path: &Path) -> (&'static str, Vec<u8>, usize) {
    let read = |name: &'static str| {
        let bytes = std::fs::read(path.join(name)).unwrap();
        let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
        (name, bytes, used)
    };
    [read("journal-0"), read("journal-1")].into_iter().max_by_key(|(_, _, used)| *used).unwrap()
}

#[test]
fn p1_a_journal_that_was_cut_off_anywhere_is_refused_or_whole() {
    const COUNT: u64 = 20;
    let dir = runtime().block_on(crashed(COUNT, 100));
    let (file, whole, used) = written_journal(dir.path());
    assert!(check_damaged(copy(dir.path()).path(), COUNT), "what a crash left is not damaged");
    let mut refused = 0;
    for point in (0..used).rev().step_by(61) {
        let damaged = copy(dir.path());
        std::fs::write(damaged.path().join(file), &whole[..point]).unwrap();
        refused += u32::from(!check_damaged(damaged.path(), COUNT));
        let damaged = copy(dir.path());
        let mut bytes = whole.clone();
        bytes[point] ^= 0x10;
        std::fs::write(damaged.path().join(file), &bytes).unwrap();
        refused += u32::from(!check_damaged(damaged.path(), COUNT));
    }
    assert!(refused > 40, "{refused} refused");
}

#[test]
fn p1_what_a_crash_leaves_in_both_segments_comes_back() {
    use crate::limits::JOURNAL_SEGMENT_BYTES;
    const BYTES: usize = 100_000;
    let count = (3 * JOURNAL_SEGMENT_BYTES / BYTES) as u64 + 5;
    let dir = runtime().block_on(crashed(count, BYTES));
    let expected: Vec<Entry> = (0..count).map(|index| entry(index, BYTES)).collect();
    assert!(runtime().block_on(all(&mut reopened(dir.path()).unwrap())) == expected);
}

#[test]
fn p1_entries_that_do_not_fit_a_segment_are_kept() {
    use crate::limits::JOURNAL_SEGMENT_BYTES;
    let dir = runtime().block_on(crashed(2, JOURNAL_SEGMENT_BYTES));
    let mut log = reopened(dir.path()).unwrap();
    assert!(runtime().block_on(all(&mut log)) == [0, 1].map(|n| entry(n, JOURNAL_SEGMENT_BYTES)));
}

#[test]
fn the_state_machine_is_made_again_from_a_snapshot_when_a_row_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let entries = |machine: &mut Machine, range: std::ops::Range<u64>| {
        let entries: Vec<_> = range.map(|index| Ok((entry(index, 50), None))).collect();
        runtime().block_on(machine.apply(futures_util::stream::iter(entries))).unwrap();
    };
    let hash = {
        let store = Store::open(dir.path(), "node1").unwrap();
        let mut machine = store.machine(Arc::new(Deaf)).unwrap();
        entries(&mut machine, 0..50);
        runtime().block_on(async {
            use openraft::storage::RaftSnapshotBuilder;
            machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
        });
        let hash = store.state_hash().unwrap();
        entries(&mut machine, 50..60);
        assert_ne!(store.state_hash().unwrap(), hash);
        store.inner.rows().insert(b"h\x01", b"").unwrap();
        hash
    };
    let store = Store::open(dir.path(), "node1").unwrap();
    let mut machine = store.machine(Arc::new(Deaf)).unwrap();
    let (position, _) = runtime().block_on(machine.applied_state()).unwrap();
    assert_eq!((position, store.state_hash().unwrap()), (Some(id(49)), hash));
    entries(&mut machine, 50..60);
}

/// A crash leaves the rows at some earlier position; with the rest of the log they are the same.
#[test]
fn rows_that_a_crash_left_are_those_of_one_position() {
    const ENTRIES: u64 = 5000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "node1").unwrap();
    let mut machine = store.machine(Arc::new(Deaf)).unwrap();
    // Few heaps, so that what an entry finds depends on those before; several rows each.
    let entries = |range: std::ops::Range<u64>| {
        let entries: Vec<_> = range
            .map(|index| {
                let tags = [((index % 90).to_string(), "v".repeat(index as usize % 400))].into();
                let heap = [(index % 7) as u8; 32];
                let set = SetHeapTags { id: Uuid::from_u128(index.into()), heap, tags };
                let batch = Batch::new(vec![Command::SetHeapTags(set)]);
                Ok((Entry::new(id(index), openraft::EntryPayload::Normal(batch)), None))
            })
            .collect();
        futures_util::stream::iter(entries)
    };
    let mut left = Vec::new();
    let mut next = 0;
    while next < ENTRIES {
        let end = (next + 1 + next % 5).min(ENTRIES);
        runtime().block_on(machine.apply(entries(next..end))).unwrap();
        if next / 500 < end / 500 {
            let copied = copy(dir.path());
            std::fs::create_dir(copied.path().join(STATE)).unwrap();
            for file in std::fs::read_dir(dir.path().join(STATE)).unwrap().flatten() {
                if file.file_type().unwrap().is_file() {
                    let to = copied.path().join(STATE).join(file.file_name());
                    std::fs::copy(file.path(), to).unwrap();
                }
            }
            left.push(copied);
        }
        next = end;
    }
    let hash = store.state_hash().unwrap();
    let mut cut = 0;
    for left in left {
        let store = Store::open(left.path(), "node1").unwrap();
        let mut machine = store.machine(Arc::new(Deaf)).unwrap();
        let (position, _) = runtime().block_on(machine.applied_state()).unwrap();
        let next = position.map_or(0, |position| position.index() + 1);
        cut += u32::from(next > 0 && next < ENTRIES);
        runtime().block_on(machine.apply(entries(next..ENTRIES))).unwrap();
        assert_eq!(store.state_hash().unwrap(), hash, "left at {next}");
    }
    assert!(cut > 3, "{cut} were cut off behind their beginning");
}

#[test]
fn a_snapshot_shows_one_position_while_entries_are_applied() {
    use openraft::storage::RaftSnapshotBuilder;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "node1").unwrap();
    let mut machine = store.machine(Arc::new(Deaf)).unwrap();
    let apply = |machine: &mut Machine, range: std::ops::Range<u64>, round: u8| {
        let entries: Vec<_> = range
            .map(|index| {
                let tags = [("round".to_owned(), round.to_string())].into();
                let mut heap = [0; 32];
                heap[..8].copy_from_slice(&(index % 3000).to_be_bytes());
                let set = SetHeapTags { id: Uuid::from_u128(index.into()), heap, tags };
                let batch = Batch::new(vec![Command::SetHeapTags(set)]);
                Ok((Entry::new(id(index), openraft::EntryPayload::Normal(batch)), None))
            })
            .collect();
        runtime().block_on(machine.apply(futures_util::stream::iter(entries))).unwrap();
    };
    apply(&mut machine, 0..3000, 1);
    let hash = store.state_hash().unwrap();
    let mut builder = runtime().block_on(machine.get_snapshot_builder());
    let mut changing = machine.clone();
    // Rows change before, while and after they are read.
    apply(&mut changing, 3000..4000, 2);
    let writing =
        std::thread::spawn(move || runtime().block_on(builder.build_snapshot()).unwrap().snapshot);
    apply(&mut changing, 4000..9000, 3);
    let file = writing.join().unwrap();
    assert_ne!(store.state_hash().unwrap(), hash);
    let meta = snapshot::check(&file.path).unwrap();
    assert_eq!(meta.last_log_id, Some(id(2999)));
    runtime().block_on(machine.install_snapshot(&meta, file)).unwrap();
    assert_eq!(store.state_hash().unwrap(), hash);
}

#[test]
fn a_snapshot_with_any_byte_changed_is_refused() {
    use openraft::storage::RaftSnapshotBuilder;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "node1").unwrap();
    let mut machine = store.machine(Arc::new(Deaf)).unwrap();
    let entries: Vec<_> = (0..10).map(|index| Ok((entry(index, 10), None))).collect();
    let file = runtime().block_on(async {
        machine.apply(futures_util::stream::iter(entries)).await.unwrap();
        machine.get_snapshot_builder().await.build_snapshot().await.unwrap().snapshot
    });
    let whole = std::fs::read(&file.path).unwrap();
    assert_eq!(whole.len() as u64, file.bytes);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&file.path, &bytes).unwrap();
        assert!(snapshot::check(&file.path).is_err(), "byte {at}");
        std::fs::write(&file.path, &whole[..at]).unwrap();
        assert!(snapshot::check(&file.path).is_err(), "cut at {at}");
    }
}

/// What can happen to a log.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Truncate(u8),
    Purge(u8),
    /// Purged beyond the end, as when a snapshot comes in.
    Skip(u8),
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..20).prop_map(Step::Append),
        1 => (0_u8..10).prop_map(Step::Truncate),
        1 => (0_u8..10).prop_map(Step::Purge),
        1 => (1_u8..10).prop_map(Step::Skip),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_log_holds_what_a_list_would(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = runtime();
        let mut dir = tempfile::tempdir().unwrap();
        let mut log = Some(reopened(dir.path()).unwrap());
        // First index and contents.
        let (mut first, mut model) = (0_u64, Vec::<Entry>::new());
        for step in steps {
            let store = log.as_mut().unwrap();
            let next = first + model.len() as u64;
            match step {
                Step::Append(count) => {
                    let new: Vec<Entry> = (next..next + u64::from(count))
                        .map(|index| entry(index, usize::from(count) * 1000))
                        .collect();
                    model.extend(new.clone());
                    runtime.block_on(append(store, new));
                }
                Step::Truncate(count) => {
                    let keep = model.len().saturating_sub(count.into());
                    model.truncate(keep);
                    let last = (first + keep as u64).checked_sub(1).map(id);
                    runtime.block_on(store.truncate_after(last)).unwrap();
                }
                Step::Purge(count) => {
                    let count = usize::from(count).min(model.len());
                    if count > 0 {
                        first += count as u64;
                        model.drain(..count);
                        runtime.block_on(store.purge(id(first - 1))).unwrap();
                    }
                }
                Step::Skip(count) => {
                    first = next + u64::from(count);
                    model.clear();
                    runtime.block_on(store.purge(id(first - 1))).unwrap();
                }
                Step::Reopen => {
                    drop(log.take());
                    log = Some(reopened(dir.path()).unwrap());
                }
                Step::Crash => {
                    let left = copy(dir.path());
                    drop(log.take());
                    dir = left;
                    let store = log.insert(reopened(dir.path()).unwrap());
                    // What was purged may be there again, in front.
                    let entries = runtime.block_on(all(store));
                    let again = entries.len() - model.len();
                    prop_assert_eq!(&entries[again..], &model);
                    first -= again as u64;
                    model = entries;
                }
            }
            let store = log.as_mut().unwrap();
            prop_assert_eq!(&runtime.block_on(all(store)), &model);
            let state = runtime.block_on(store.get_log_state()).unwrap();
            let last = (first + model.len() as u64).checked_sub(1).map(id);
            prop_assert_eq!((state.last_log_id, state.last_purged_log_id),
                (last, first.checked_sub(1).map(id)));
        }
    }
}

/// Threads of sled's end a moment after the database was closed, and have its lock until then.
#[test]
fn a_database_that_is_just_being_closed_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    drop(reopened(dir.path()).unwrap());
    let held = std::fs::File::open(dir.path().join("db")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let (opening, opened) = std::sync::mpsc::channel();
    let path = dir.path().to_owned();
    std::thread::spawn(move || opening.send(reopened(&path).map(drop)));
    // Long enough for one that does not wait.
    let early = opened.recv_timeout(Duration::from_millis(100));
    assert!(early.is_err(), "it does not wait: {early:?}");
    drop(held);
    opened.recv_timeout(Duration::from_millis(DATABASE_LOCK_MS_MAX)).unwrap().unwrap();
}

#[test]
fn a_node_is_said_to_vote_once_the_change_to_its_voters_is_whole() {
    let voters = |names: &[&str]| names.iter().map(|name| NodeId::founder(name)).collect();
    let (old, new): (BTreeSet<NodeId>, _) = (voters(&["node1"]), voters(&["node1", "node2"]));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "node1").unwrap();
    let mut machine = store.machine(Arc::new(Deaf)).unwrap();
    let mut said = vec![machine.settled_voters()];
    let configs = [vec![old.clone()], vec![old.clone(), new.clone()], vec![new.clone()]];
    for (index, config) in (0..).zip(configs) {
        let membership = openraft::Membership::new_with_defaults(config, []);
        let entry = Entry::new(id(index), openraft::EntryPayload::Membership(membership));
        let entries = futures_util::stream::iter([Ok((entry, None))]);
        runtime().block_on(machine.apply(entries)).unwrap();
        said.push(machine.settled_voters());
    }
    assert_eq!(said, [BTreeSet::new(), old.clone(), old, new.clone()]);
    drop((machine, store));
    let store = Store::open(dir.path(), "node1").unwrap();
    assert_eq!(store.machine(Arc::new(Deaf)).unwrap().settled_voters(), new);
}

#[test]
fn a_vote_and_a_membership_survive() {
    let dir = tempfile::tempdir().unwrap();
    let vote = openraft::Vote::new(7, NodeId::founder("node2"));
    let members: BTreeSet<NodeId> = [NodeId::founder("node1")].into();
    {
        let store = Store::open(dir.path(), "node1").unwrap();
        let mut machine = store.machine(Arc::new(Deaf)).unwrap();
        let membership = openraft::Membership::new_with_defaults(vec![members], []);
        let entry = Entry::new(id(0), openraft::EntryPayload::Membership(membership));
        runtime().block_on(async {
            store.log().unwrap().save_vote(&vote).await.unwrap();
            let entries = vec![
                Ok((entry, None)),
                Ok((blank_ent::<Types>(1, NodeId::founder("node1"), 1), None)),
            ];
            machine.apply(futures_util::stream::iter(entries)).await.unwrap();
            store
                .set_identity(|identity| identity.cluster = Some(Uuid::from_u128(9)))
                .await
                .unwrap();
        });
    }
    let store = Store::open(dir.path(), "node1").unwrap();
    assert_eq!(runtime().block_on(store.log().unwrap().read_vote()).unwrap(), Some(vote));
    assert_eq!(store.identity().cluster, Some(Uuid::from_u128(9)));
    let mut machine = store.machine(Arc::new(Deaf)).unwrap();
    let (position, membership) = runtime().block_on(machine.applied_state()).unwrap();
    assert_eq!((position, *membership.log_id()), (Some(id(1)), Some(id(0))));
    let _ = Command::Found(Found { cluster: Uuid::nil() });
}
