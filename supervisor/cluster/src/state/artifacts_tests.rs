//! Artifacts: there with their execution's end or not at all, within their bounds, and named by
//! nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::rows::{ArtifactTotals, HeapRow};
use super::tests::{Rows, apply_from, complete, id, one, owner, submit, up};
use super::{artifacts, keys, named, read};
use crate::command::{
    ArtifactLeft, Cancel, Command, CompleteStep, CompleteWithArtifacts, DeleteArtifact, End,
    Expire, Reply, Status,
};
use crate::limits::{ARTIFACTS_BYTES_MAX, ARTIFACTS_MAX};

fn artifact(key: &str, bytes: u64, blob: u8) -> ArtifactLeft {
    let (key, mime_type) = (key.to_owned(), "text/plain".to_owned());
    ArtifactLeft { key, mime_type, bytes, blob: [blob; 32], stored_bytes: bytes / 2 + 1 }
}

fn left(n: u128, status: Status, artifacts: Vec<ArtifactLeft>) -> Command {
    let Command::Complete(mut complete) = complete(n, 1, owner("a", 1), "") else { unreachable!() };
    complete.end = End { status, ..complete.end };
    let step = CompleteStep { complete, input: None, heap: None };
    Command::CompleteWithArtifacts(CompleteWithArtifacts { step, artifacts })
}

fn begun(executions: u128) -> Rows {
    let mut rows = Rows::new();
    one(&mut rows, 1, up("a"));
    let submitted: Vec<_> = (1..=executions).map(|n| submit(n, owner("a", 1), None)).collect();
    apply_from(&mut rows, 2, &submitted);
    rows
}

fn keys_of(rows: &Rows) -> Vec<String> {
    artifacts::list(rows, None, None, 100).unwrap().into_iter().map(|(key, _)| key).collect()
}

fn expire_all() -> Command {
    Command::Expire(Expire { before_ms: u64::MAX, rows_max: 0, bytes_max: 0 })
}

const COMPLETED: Reply = Reply::Ended(Status::Completed);

#[test]
fn what_a_script_left_is_there_when_it_has_completed_and_otherwise_not() {
    let mut rows = begun(4);
    let two = || vec![artifact("b", 10, 1), artifact("a", 20, 2)];
    assert_eq!(one(&mut rows, 10, left(1, Status::Failed, two())), Reply::Ended(Status::Failed));
    one(&mut rows, 11, Command::Cancel(Cancel { execution: id(2) }));
    let cancelled = one(&mut rows, 12, left(2, Status::Completed, two()));
    assert_eq!(cancelled, Reply::Ended(Status::Cancelled));
    assert_eq!(keys_of(&rows), [""; 0]);
    assert_eq!(one(&mut rows, 13, left(3, Status::Completed, two())), COMPLETED);
    assert_eq!(keys_of(&rows), ["a", "b"]);
    assert_eq!(artifacts::of(&rows, id(3)).unwrap(), ["a", "b"]);
    assert_eq!(artifacts::totals(&rows).unwrap(), ArtifactTotals { rows: 2, bytes: 30 });
    // It comes again: it has ended.
    assert_eq!(one(&mut rows, 14, left(3, Status::Completed, two())), Reply::EndedBefore);
    // They outlive it.
    one(&mut rows, 15, expire_all());
    assert_eq!(artifacts::of(&rows, id(3)).unwrap(), [""; 0]);
    assert_eq!(keys_of(&rows), ["a", "b"]);
    assert!(named::heap(&rows, &[1; 32]).unwrap().is_some());
}

#[test]
fn one_takes_the_place_of_another_and_one_that_is_deleted_is_gone_with_its_bytes() {
    let mut rows = begun(2);
    one(&mut rows, 10, left(1, Status::Completed, vec![artifact("a", 10, 1)]));
    one(&mut rows, 11, left(2, Status::Completed, vec![artifact("a", 70, 2)]));
    assert_eq!(artifacts::totals(&rows).unwrap(), ArtifactTotals { rows: 1, bytes: 70 });
    assert_eq!(artifacts::artifact(&rows, "a").unwrap().unwrap().execution, id(2));
    one(&mut rows, 12, expire_all());
    assert!(named::heap(&rows, &[1; 32]).unwrap().is_none(), "nothing names it any more");
    assert!(named::heap(&rows, &[2; 32]).unwrap().is_some());
    let delete =
        |n, key: &str| Command::DeleteArtifact(DeleteArtifact { id: id(n), key: key.to_owned() });
    assert_eq!(one(&mut rows, 13, delete(50, "b")), Reply::NoArtifact);
    assert_eq!(one(&mut rows, 14, delete(51, "a")), Reply::Done);
    assert_eq!(one(&mut rows, 15, delete(51, "a")), Reply::Done, "the same command again");
    assert_eq!(one(&mut rows, 16, delete(52, "a")), Reply::NoArtifact);
    one(&mut rows, 17, expire_all());
    assert!(named::heap(&rows, &[2; 32]).unwrap().is_none());
    assert_eq!(artifacts::totals(&rows).unwrap(), ArtifactTotals::default());
}

#[test]
fn as_many_bytes_as_may_be_are_kept_and_not_one_more() {
    let mut rows = begun(3);
    let most = vec![artifact("a", 1, 1), artifact("b", ARTIFACTS_BYTES_MAX - 1, 2)];
    assert_eq!(one(&mut rows, 10, left(1, Status::Completed, most)), COMPLETED);
    let more = left(2, Status::Completed, vec![artifact("c", 1, 3)]);
    assert_eq!(one(&mut rows, 11, more.clone()), Reply::TooManyArtifacts);
    assert_eq!(keys_of(&rows), ["a", "b"]);
    // The execution has not ended: it may end otherwise.
    let failed = left(2, Status::Failed, Vec::new());
    assert_eq!(one(&mut rows, 12, failed), Reply::Ended(Status::Failed));
    let same = left(3, Status::Completed, vec![artifact("a", 1, 3)]);
    assert_eq!(one(&mut rows, 13, same), COMPLETED, "in the place of another");
}

#[test]
fn as_many_artifacts_as_may_be_are_kept_and_not_one_more() {
    let mut rows = begun(3);
    let totals = ArtifactTotals { rows: ARTIFACTS_MAX - 1, bytes: 0 };
    rows.insert(keys::ARTIFACT_TOTALS.to_vec(), crate::codec::encode(&totals));
    let last = left(1, Status::Completed, vec![artifact("a", 1, 1)]);
    assert_eq!(one(&mut rows, 10, last), COMPLETED);
    let more = left(2, Status::Completed, vec![artifact("b", 1, 2)]);
    assert_eq!(one(&mut rows, 11, more), Reply::TooManyArtifacts);
}

#[test]
fn a_list_goes_on_after_a_name() {
    let mut rows = begun(1);
    let all = ["a", "a0", "b", "ü"].map(|key| artifact(key, 1, 1)).to_vec();
    one(&mut rows, 10, left(1, Status::Completed, all));
    let names = |after, limit| -> Vec<String> {
        let listed = artifacts::list(&rows, None, after, limit).unwrap();
        listed.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(names(None, 2), ["a", "a0"]);
    assert_eq!(names(Some("a0"), 2), ["b", "ü"]);
    assert_eq!(names(Some("ü"), 2), [""; 0]);
}

proptest! {
    /// Whatever comes in whatever order: totals and names are those of a simple model.
    #[test]
    fn totals_and_names_are_always_right(
        acts in proptest::collection::vec((0_u8..3, 0_u8..4, 1_u64..9, 0_u8..5), 1..40),
    ) {
        let mut rows = begun(acts.len() as u128);
        let mut model: BTreeMap<String, (u64, u8)> = BTreeMap::new();
        for (at, (act, key, bytes, blob)) in acts.into_iter().enumerate() {
            let (n, index, key) = (at as u128 + 1, 100 + at as u64, format!("k{key}"));
            match act {
                0 => {
                    let twice = vec![artifact(&key, 1, 9), artifact(&key, bytes, blob)];
                    one(&mut rows, index, left(n, Status::Completed, twice));
                    model.insert(key, (bytes, blob));
                }
                1 => {
                    let delete = DeleteArtifact { id: id(1000 + n), key: key.clone() };
                    let reply = one(&mut rows, index, Command::DeleteArtifact(delete));
                    let was = model.remove(&key).is_some();
                    prop_assert_eq!(reply, if was { Reply::Done } else { Reply::NoArtifact });
                }
                _ => drop(one(&mut rows, index, expire_all())),
            }
        }
        one(&mut rows, 9999, expire_all());
        let totals = ArtifactTotals {
            rows: model.len() as u64,
            bytes: model.values().map(|(bytes, _)| bytes).sum(),
        };
        prop_assert_eq!(artifacts::totals(&rows).unwrap(), totals);
        let expected: Vec<String> = model.keys().cloned().collect();
        prop_assert_eq!(keys_of(&rows), expected);
        let blobs: BTreeSet<u8> = model.values().map(|(_, blob)| *blob).collect();
        let stored = named::all(&rows).unwrap();
        prop_assert_eq!(stored.iter().map(|hash| hash[0]).collect::<BTreeSet<_>>(), blobs);
        for hash in stored {
            let row: HeapRow = read(&rows, &keys::heap(&hash)).unwrap().unwrap();
            let names = model.values().filter(|(_, blob)| *blob == hash[0]).count();
            prop_assert_eq!(row.names, names as u64);
        }
    }
}
