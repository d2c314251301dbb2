//! Backups against every damage, and what is made of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::file::{FORMAT, HEAD_BYTES_MAX, Head, Reader, Writer};
use super::restore::{Plan, RestoreError, Restored, cluster_id, restore};
use super::save::{Partial, SaveError};
use super::*;
use crate::codec::encode;
use crate::command::{
    Batch, Command, Found, Key, Limits, NodeUp, Owner, SetHeapTags, Status, Submit, Text,
};
use crate::node::Node;
use crate::node::config::{Config, Seed};
use crate::state::{Change, Row, executions, heaps, nodes};
use crate::store::{Machine, Observer, Store};
use crate::types::{Entry, LogId, NodeId, Types};

struct Deaf;

impl Observer for Deaf {
    fn applied(&self, _: u64, _: &[Change]) {}
    fn replaced(&self, _: u64) {}
}

const OLD: Uuid = Uuid::from_u128(0x0bd);

fn head() -> Head {
    let member = Member { name: "node1".to_owned(), address: "a:1".to_owned(), voter: true };
    Head { cluster: OLD, term: 3, index: 70, taken_ms: 5, members: vec![member] }
}

fn bytes_of(rows: &[Row]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), &head()).unwrap();
    writer.add(rows).unwrap();
    writer.finish().unwrap().out
}

fn rows_of(path: &Path) -> Result<Vec<Row>, FileError> {
    let mut reader = Reader::open(path)?;
    let mut rows = Vec::new();
    while let Some(row) = reader.row()? {
        rows.push(row);
    }
    reader.finish().map(|_| rows)
}

/// A row as the state has them: its value begins with the version of the encoding.
fn row(key: &[u8], value: &[u8]) -> Row {
    (key.to_vec(), [&[crate::codec::VERSION], value].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_rows_come_out_as_they_went_in(
        rows in prop::collection::btree_map(
            prop::collection::vec(1_u8.., 1..40),
            prop::collection::vec(any::<u8>(), 0..2000),
            0..200,
        )
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let rows: Vec<Row> = rows.iter().map(|(key, value)| row(key, value)).collect();
        std::fs::write(&path, bytes_of(&rows)).unwrap();
        let summary = check(&path).unwrap();
        prop_assert_eq!((summary.rows, summary.bytes),
            (rows.len() as u64, std::fs::metadata(&path).unwrap().len()));
        prop_assert_eq!((summary.cluster_id, summary.term, summary.applied_index), (OLD, 3, 70));
        prop_assert_eq!(rows_of(&path).unwrap(), rows);
    }
}

#[test]
fn a_file_that_is_cut_off_lengthened_or_changed_in_any_bit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    let whole = bytes_of(&[row(b"e1", b"one"), row(b"h2", b""), row(b"k3", &[7; 40])]);
    std::fs::write(&path, &whole).unwrap();
    check(&path).unwrap();
    for at in 0..whole.len() {
        std::fs::write(&path, &whole[..at]).unwrap();
        let error = check(&path).unwrap_err();
        let expected = if at < 8 { "is no backup" } else { "is cut off" };
        assert!(error.to_string().contains(expected), "cut at {at}: {error}");
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            assert!(check(&path).is_err(), "bit {bit} of byte {at}");
        }
    }
    std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    let error = check(&path).unwrap_err().to_string();
    assert!(error.contains("follows its checksum"), "{error}");
}

#[test]
fn files_of_others_are_refused_with_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        check(&path).unwrap_err()
    };
    assert!(matches!(refused(b"{\"no\": \"backup\"}"), FileError::Foreign { .. }));
    assert!(matches!(refused(b""), FileError::Foreign { .. }));
    let later = Writer::begin_as(Vec::new(), &head(), FORMAT + 1, "9.9.9").unwrap();
    let error = refused(&later.finish().unwrap().out).to_string();
    assert!(error.contains("format 2, made by mcp-v8 9.9.9"), "{error}");
    let rows = [(b"e".to_vec(), vec![crate::codec::VERSION + 1])];
    assert!(refused(&bytes_of(&rows)).to_string().contains("another encoding"));
    assert!(refused(&bytes_of(&[row(b"\0position", b"")])).to_string().contains("to a store"));
    assert!(matches!(check(dir.path()), Err(FileError::Read { .. })));
    assert!(matches!(check(&dir.path().join("none")), Err(FileError::Read { .. })));
}

#[test]
fn a_head_at_the_bound_passes_and_one_past_it_is_refused_by_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    let with = |bytes: usize| {
        let members =
            vec![Member { name: "n".repeat(bytes), address: String::new(), voter: false }];
        let head = Head { members, ..head() };
        let writer = Writer::begin(Vec::new(), &head).unwrap();
        std::fs::write(&path, writer.finish().unwrap().out).unwrap();
        (encode(&head).len(), check(&path))
    };
    let (around, _) = with(100_000);
    let name = HEAD_BYTES_MAX as usize - (around - 100_000);
    let (length, fits) = with(name);
    assert_eq!((length, fits.is_ok()), (HEAD_BYTES_MAX as usize, true));
    let error = with(name + 1).1.unwrap_err().to_string();
    assert!(error.contains("its head is too long"), "{error}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn entry(index: u64, payload: EntryPayload<Batch, NodeId, crate::types::Member>) -> Entry {
    Entry::new(LogId::new_term_index(3, index), payload)
}

fn running() -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001)
}

/// What a cluster might have committed: its id, a node, an execution that runs there, tags.
fn history() -> Vec<Entry> {
    let incarnation = Uuid::from_u128(1);
    let up = NodeUp { node: "node1".to_owned(), incarnation, runs_scripts: true };
    let submit = Submit {
        execution: running(),
        owner: Owner { node: "node1".to_owned(), epoch: 2 },
        accepted_ms: 1,
        key: Some(Key { text: "key".to_owned(), digest: [9; 32] }),
        limits: Limits { wall_secs: 30, heap_bytes: 1 << 27, console_bytes: 1 << 20 },
        code: Text::Inline("6 * 7".to_owned()),
    };
    let member = crate::types::Member::founder("old:1");
    let founder = NodeId::founder("node1");
    let voters = [founder.clone()].into();
    let members = BTreeMap::from([(founder, member)]);
    let membership = openraft::Membership::new(vec![voters], members).unwrap();
    let mut commands =
        vec![Command::Found(Found { cluster: OLD }), Command::NodeUp(up), Command::Submit(submit)];
    commands.extend((0..60_u8).map(|n| {
        let tags = [("n".to_owned(), n.to_string())].into();
        Command::SetHeapTags(SetHeapTags { id: Uuid::from_u128(n.into()), heap: [n; 32], tags })
    }));
    let mut entries = vec![entry(0, EntryPayload::Membership(membership))];
    for (index, command) in (1..).zip(commands) {
        entries.push(entry(index, EntryPayload::Normal(Batch::new(vec![command]))));
    }
    entries
}

/// The store of node1 with this history, of which the first `applied` entries are applied.
fn stopped_store(dir: &Path, applied: usize) -> std::path::PathBuf {
    let path = dir.join("cluster-node1");
    runtime().block_on(async {
        let store = Store::open(&path, "node1").unwrap();
        let (mut log, mut machine) = (store.log().unwrap(), store.machine(Arc::new(Deaf)).unwrap());
        let (done, wait) = Types::oneshot();
        log.append(history(), IOFlushed::signal(done)).await.unwrap();
        wait.await.unwrap().unwrap();
        let entries = history().into_iter().take(applied).map(|entry| Ok((entry, None)));
        machine.apply(futures_util::stream::iter(entries.collect::<Vec<_>>())).await.unwrap();
    });
    path
}

fn save(store: &Path, out: &Path) -> Summary {
    let mut partial = Partial::create(out).unwrap();
    stopped::take(store, "node1", partial.file()).unwrap();
    partial.keep::<SaveError>(|_| Ok(())).unwrap()
}

#[test]
fn a_stopped_node_gives_what_it_applied_and_what_is_behind_that_in_its_log() {
    let all = history().len();
    let mut seen = Vec::new();
    for applied in [0, 1, 5, 30, all] {
        let dir = tempfile::tempdir().unwrap();
        let store = stopped_store(dir.path(), applied);
        let out = dir.path().join("backup");
        let summary = save(&store, &out);
        assert_eq!((summary.cluster_id, summary.term, summary.applied_index), (OLD, 3, 63));
        seen.push(rows_of(&out).unwrap());
        // The store is as it was.
        let store = Store::open(&store, "node1").unwrap();
        let machine: Machine = store.machine(Arc::new(Deaf)).unwrap();
        assert_eq!(machine.position().0.map_or(0, |id| id.index() + 1), applied as u64);
        let entries = runtime().block_on(store.log().unwrap().try_get_log_entries(..)).unwrap();
        assert_eq!(entries, history());
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(seen[0].len() > 60 * 3, "{} rows", seen[0].len());
}

#[test]
fn a_store_that_is_none_runs_or_is_empty_gives_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("backup");
    let refused = |store: &Path| {
        let mut partial = Partial::create(&out).unwrap();
        stopped::take(store, "node1", partial.file()).unwrap_err().to_string()
    };
    let none = refused(&dir.path().join("cluster-node1"));
    assert!(none.contains("--session-db-path"), "{none}");
    assert!(!dir.path().join("cluster-node1").exists(), "it was made");
    let path = dir.path().join("cluster-node1");
    let running = Store::open(&path, "node1").unwrap();
    let held = refused(&path);
    assert!(held.contains(&format!("in use by process {}", std::process::id())), "{held}");
    drop(running);
    let empty = refused(&path);
    assert!(empty.contains("has not found its cluster"), "{empty}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn an_older_backup_stays_until_the_new_one_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("backup");
    std::fs::write(&out, "the older one").unwrap();
    let mut partial = Partial::create(&out).unwrap();
    let bytes = bytes_of(&[row(b"e", b"1")]);
    std::io::Write::write_all(partial.file(), &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(partial.keep(|_| Ok(())), Err(SaveError::File(FileError::CutOff { .. }))));
    assert_eq!(std::fs::read(&out).unwrap(), b"the older one");
    let mut partial = Partial::create(&out).unwrap();
    std::io::Write::write_all(partial.file(), &bytes).unwrap();
    assert_eq!(partial.keep::<SaveError>(|_| Ok(())).unwrap().rows, 1);
    assert_eq!(std::fs::read(&out).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something was left behind");
    assert!(matches!(Partial::create(dir.path()), Err(SaveError::Name(_))));
    let nowhere = dir.path().join("none").join("backup");
    assert!(matches!(Partial::create(&nowhere), Err(SaveError::Write { .. })));
}

fn backup() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("backup");
    let store = stopped_store(dir.path(), 40);
    save(&store, &out);
    std::fs::remove_dir_all(store).unwrap();
    (dir, out)
}

const THREE: [&str; 3] = ["node1", "node2", "node3"];

fn plan(file: &Path, directory: &Path, name: &str, founders: &[&str]) -> Plan {
    let address = |name: &str| format!("{name}:4000");
    Plan {
        file: file.to_owned(),
        store: directory.join(format!("cluster-{name}")),
        name: name.to_owned(),
        advertise: address(name),
        peers: founders
            .iter()
            .filter(|other| **other != name)
            .map(|other| ((*other).to_owned(), address(other)))
            .collect(),
        token: "token".to_owned(),
    }
}

#[test]
fn founders_of_one_backup_begin_with_one_state() {
    let (dir, file) = backup();
    let made: Vec<Restored> =
        THREE.iter().map(|name| restore(&plan(&file, dir.path(), name, &THREE)).unwrap()).collect();
    let mut seen = Vec::new();
    for (name, made) in THREE.iter().zip(&made) {
        let store = Store::open(&dir.path().join(format!("cluster-{name}")), name).unwrap();
        let identity = store.identity();
        assert_eq!(identity.cluster, Some(made.cluster_id));
        assert_eq!(identity.node, Some(NodeId::founder(name)));
        assert_ne!(made.cluster_id, OLD);
        assert_eq!(nodes::cluster(&store.rows()).unwrap(), Some(made.cluster_id));
        // Nobody of the old cluster is known, and what ran waits to be given to somebody.
        assert_eq!(nodes::nodes(&store.rows()).unwrap(), []);
        let running = executions::running(&store.rows()).unwrap();
        assert_eq!(running.len(), 1);
        assert_eq!(
            executions::by_key(&store.rows(), "key").unwrap().unwrap().execution,
            running[0].0
        );
        let mut log = store.log().unwrap();
        let vote = runtime().block_on(log.read_vote()).unwrap().unwrap();
        let state = runtime().block_on(log.get_log_state()).unwrap();
        let machine = store.machine(Arc::new(Deaf)).unwrap();
        let (last, membership) = machine.position();
        assert_eq!(last, Some(LogId::new_term_index(4, 64)));
        assert_eq!((state.last_log_id, state.last_purged_log_id), (last, last));
        let voters: Vec<NodeId> = membership.membership().voter_ids().collect();
        assert_eq!(voters, THREE.map(NodeId::founder));
        seen.push((store.state_hash().unwrap(), vote, machine.position(), made.cluster_id));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

#[test]
fn another_token_backup_or_list_makes_another_cluster() {
    let ids = [
        cluster_id("a", "b", "c"),
        cluster_id("b", "b", "c"),
        cluster_id("a", "c", "c"),
        cluster_id("a", "b", "d"),
        cluster_id("ab", "", "c"),
    ];
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(id.get_version_num(), 8);
        assert!(!ids[..at].contains(id));
    }
    assert_eq!(cluster_id("a", "b", "c"), ids[0]);
}

#[test]
fn a_restore_writes_over_nothing_and_leaves_nothing_when_it_is_refused() {
    let (dir, file) = backup();
    let plan = plan(&file, dir.path(), "node1", &["node1"]);
    let listed = || std::fs::read_dir(dir.path()).unwrap().count();
    let before = listed();
    std::fs::create_dir(&plan.store).unwrap();
    let error = restore(&plan).unwrap_err();
    assert!(matches!(error, RestoreError::Exists(_)), "{error}");
    assert!(error.to_string().contains("move it away (mv "), "{error}");
    std::fs::remove_dir(&plan.store).unwrap();

    let unfinished = dir.path().join("cluster-node1.restoring");
    std::fs::create_dir(&unfinished).unwrap();
    let error = restore(&plan).unwrap_err();
    assert!(matches!(error, RestoreError::Unfinished(_)), "{error}");
    std::fs::remove_dir(&unfinished).unwrap();

    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(restore(&plan), Err(RestoreError::File(FileError::CutOff { .. }))));
    assert_eq!(listed(), before);
    std::fs::write(&file, &whole).unwrap();

    let nameless = dir.path().join("nameless");
    std::fs::write(&nameless, bytes_of(&[row(b"e1", b"")])).unwrap();
    let error = restore(&Plan { file: nameless.clone(), ..plan.clone() }).unwrap_err();
    assert!(error.to_string().contains("names no cluster"), "{error}");
    std::fs::remove_file(nameless).unwrap();
    assert_eq!(listed(), before);

    restore(&plan).unwrap();
    assert!(matches!(restore(&plan), Err(RestoreError::Exists(_))));
    assert_eq!(listed(), before + 1);
}

fn config(plan: &Plan) -> Config {
    let peers = plan
        .peers
        .iter()
        .map(|(name, address)| Seed { name: Some(name.clone()), address: address.clone() });
    Config {
        advertise: plan.advertise.clone(),
        peers: peers.collect(),
        ..Config::single(&plan.name, plan.store.clone())
    }
}

#[test]
fn a_node_starts_from_a_restored_store_and_takes_over_what_ran() {
    let (dir, file) = backup();
    let plan = Plan { advertise: String::new(), ..plan(&file, dir.path(), "node1", &["node1"]) };
    let made = restore(&plan).unwrap();
    runtime().block_on(async {
        let node = Node::start(config(&plan)).unwrap();
        let owner = node.owner_within(Duration::from_secs(20)).await.expect("it leads itself");
        // An epoch that no node of the old cluster had at the time of the backup.
        assert!(owner.epoch > made.backup.applied_index, "{owner:?}");
        node.barrier().await.unwrap();
        let tags = heaps::tags(&node.rows(), None, &[59; 32]).unwrap();
        assert_eq!(tags["n"], "59");
        let taken = async {
            loop {
                let row = executions::execution(&node.rows(), running()).unwrap().unwrap();
                if row.attempt == 2 {
                    return row;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let row = tokio::time::timeout(Duration::from_secs(20), taken).await.expect("reassigned");
        assert_eq!((row.owner, row.status), (owner, Status::Running));
        let status = node.status();
        assert_eq!(status.cluster_id, Some(made.cluster_id));
        assert!(status.term > made.backup.term + 1, "{status:?}");
        node.stop().await;
    });
}

#[test]
fn a_running_node_gives_a_bounded_number_of_backups_at_once() {
    use futures_util::StreamExt;
    let (dir, file) = backup();
    let plan = Plan { advertise: String::new(), ..plan(&file, dir.path(), "node1", &["node1"]) };
    restore(&plan).unwrap();
    runtime().block_on(async {
        let node = Node::start(config(&plan)).unwrap();
        node.owner_within(Duration::from_secs(20)).await.expect("it leads itself");
        let mut taken = Vec::new();
        for _ in 0..crate::limits::BACKUPS_AT_ONCE_MAX {
            taken.push(node.backup().await.unwrap());
        }
        let error = node.backup().await.unwrap_err().to_string();
        assert!(error.contains("try again later"), "{error}");
        let (bytes, head) = (taken[0].bytes, taken[0].head.clone());
        let stream = taken.remove(0).into_stream(&node);
        let mut received = Vec::new();
        tokio::pin!(stream);
        while let Some(chunk) = stream.next().await {
            received.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(received.len() as u64, bytes);
        let out = dir.path().join("again");
        std::fs::write(&out, received).unwrap();
        let summary = check(&out).unwrap();
        assert_eq!((summary.cluster_id, summary.applied_index), (head.cluster, head.index));
        assert_eq!(summary.members.len(), 1);
        // Its place is free again, and nothing is left beside the store.
        let again = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                if let Ok(backup) = node.backup().await {
                    return backup;
                }
            }
        });
        again.await.expect("a place");
        let left = std::fs::read_dir(plan.store.join("snapshots")).unwrap().flatten();
        let left: Vec<_> = left.map(|file| file.file_name()).collect();
        assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".snapshot")), "{left:?}");
        node.stop().await;
    });
}
