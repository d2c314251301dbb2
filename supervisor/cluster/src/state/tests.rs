//! What commands do, and that they do it the same everywhere.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::rows::ExecutionRow;
use super::{Transaction, apply, executions, heaps, keys};
use crate::command::{
    Cancel, Command, Complete, End, Expire, ForgetDeaths, Key, Limits, NodeDown, NodeUp, Owner,
    Part, PartKind, Reassign, Reply, SetHeapTags, Status, Submit, Text, WorkerDied,
};
use crate::limits::{ATTEMPTS_MAX, COMMAND_IDS_MAX, TAGS_MAX};

pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Applies commands, each an entry of its own, the first at `index`.
pub(super) fn apply_from(rows: &mut Rows, index: u64, commands: &[Command]) -> Vec<Reply> {
    let mut replies = Vec::new();
    for (index, command) in (index..).zip(commands) {
        let mut state = Transaction::new(rows);
        replies.push(apply(&mut state, index, command).unwrap());
        let writes = std::mem::take(&mut state.writes);
        for (key, value) in writes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }
    replies
}

pub(super) fn one(rows: &mut Rows, index: u64, command: Command) -> Reply {
    apply_from(rows, index, &[command]).remove(0)
}

pub(super) fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub(super) fn up(node: &str) -> Command {
    let incarnation = Uuid::from_u128(node.len() as u128);
    Command::NodeUp(NodeUp { node: node.to_owned(), incarnation, runs_scripts: true })
}

pub(super) fn owner(node: &str, epoch: u64) -> Owner {
    Owner { node: node.to_owned(), epoch }
}

pub(super) fn submit(n: u128, owner: Owner, key: Option<(&str, u8)>) -> Command {
    Command::Submit(Submit {
        execution: id(n),
        owner,
        accepted_ms: 1,
        key: key.map(|(text, digest)| Key { text: text.to_owned(), digest: [digest; 32] }),
        limits: Limits { wall_secs: 1, heap_bytes: 1, console_bytes: 1 },
        code: Text::Inline("code".to_owned()),
    })
}

pub(super) fn complete(n: u128, attempt: u32, owner: Owner, output: &str) -> Command {
    let end = End {
        status: Status::Completed,
        ended_ms: 10,
        result: Some(Text::Inline("result".to_owned())),
        error: None,
        output: Text::Inline(output.to_owned()),
        output_bytes: output.len() as u64,
    };
    Command::Complete(Complete { execution: id(n), attempt, owner, end })
}

pub(super) fn reassign(n: u128, from_attempt: u32, to: Option<Owner>) -> Command {
    let error = "lost".to_owned();
    Command::Reassign(Reassign { execution: id(n), from_attempt, to, at_ms: 20, error })
}

pub(super) fn down(node: &str, epoch: u64) -> Command {
    Command::NodeDown(NodeDown { node: node.to_owned(), epoch })
}

pub(super) fn row(rows: &Rows, n: u128) -> ExecutionRow {
    executions::execution(rows, id(n)).unwrap().unwrap()
}

#[test]
fn p2_an_execution_ends_once_and_only_under_its_attempt_and_owner() {
    let mut rows = Rows::new();
    apply_from(&mut rows, 1, &[up("a"), up("bb"), submit(1, owner("a", 1), None)]);
    let other = complete(1, 1, owner("bb", 2), "other's");
    assert_eq!(one(&mut rows, 4, other), Reply::Fenced);
    assert_eq!(one(&mut rows, 5, complete(1, 2, owner("a", 1), "later")), Reply::Fenced);
    let done = one(&mut rows, 6, complete(1, 1, owner("a", 1), "first"));
    assert_eq!(done, Reply::Ended(Status::Completed));
    assert_eq!(one(&mut rows, 7, complete(1, 1, owner("a", 1), "again")), Reply::EndedBefore);
    let output = executions::text(&rows, id(1), PartKind::Output, 1).unwrap();
    assert_eq!(output, "first");
}

#[test]
fn p2_a_lost_attempt_cannot_end_what_was_given_to_another() {
    let mut rows = Rows::new();
    apply_from(&mut rows, 1, &[up("a"), up("bb"), submit(1, owner("a", 1), None)]);
    let early = reassign(1, 1, Some(owner("bb", 2)));
    assert_eq!(one(&mut rows, 4, early.clone()), Reply::Fenced, "its owner is up");
    assert_eq!(one(&mut rows, 5, down("a", 1)), Reply::Done);
    assert_eq!(one(&mut rows, 6, early), Reply::Done);
    assert_eq!(one(&mut rows, 7, complete(1, 1, owner("a", 1), "late")), Reply::Fenced);
    let done = one(&mut rows, 8, complete(1, 2, owner("bb", 2), "second"));
    assert_eq!(done, Reply::Ended(Status::Completed));
    assert_eq!(row(&rows, 1).attempt, 2);
}

/// A node that stops, in its present epoch.
fn takes_no_more(node: &str) -> Command {
    let Command::NodeUp(up) = up(node) else { unreachable!() };
    Command::NodeUp(NodeUp { runs_scripts: false, ..up })
}

#[test]
fn p8_a_node_that_stops_gives_away_what_it_has_and_is_given_nothing() {
    let mut rows = Rows::new();
    apply_from(&mut rows, 1, &[up("a"), up("bb"), submit(1, owner("a", 1), None)]);
    apply_from(&mut rows, 4, &[submit(2, owner("a", 1), None), submit(3, owner("bb", 2), None)]);
    let given = |n| reassign(n, 1, Some(owner("bb", 2)));
    assert_eq!(one(&mut rows, 6, given(1)), Reply::Fenced, "it does not stop yet");
    assert_eq!(one(&mut rows, 7, takes_no_more("a")), Reply::Epoch(1), "its epoch goes on");
    assert_eq!(one(&mut rows, 8, up("a")), Reply::Epoch(1));
    assert!(!super::nodes::node(&rows, "a").unwrap().unwrap().runs_scripts, "and that it stops");
    assert_eq!(one(&mut rows, 9, given(1)), Reply::Done);
    assert_eq!((row(&rows, 1).owner, row(&rows, 1).attempt), (owner("bb", 2), 2));
    assert_eq!(one(&mut rows, 10, complete(1, 1, owner("a", 1), "late")), Reply::Fenced);
    // What it has not given away it may end itself.
    let done = one(&mut rows, 11, complete(2, 1, owner("a", 1), "in time"));
    assert_eq!(done, Reply::Ended(Status::Completed));
    let back = reassign(3, 1, Some(owner("a", 1)));
    one(&mut rows, 12, takes_no_more("bb"));
    assert_eq!(one(&mut rows, 13, back), Reply::Fenced, "neither takes anything");
}

#[test]
fn giving_away_has_no_bound_and_leaves_an_unaccepted_attempt_whole() {
    let mut rows = Rows::new();
    apply_from(&mut rows, 1, &[up("a"), submit(1, owner("a", 1), None), takes_no_more("a")]);
    let part = Command::Part(Part {
        execution: id(1),
        attempt: 1,
        kind: PartKind::Output,
        number: 0,
        text: "long".to_owned(),
    });
    assert_eq!(one(&mut rows, 4, part), Reply::Done);
    let nobody = reassign(1, 1, Some(owner("bb", 9)));
    assert_eq!(one(&mut rows, 5, nobody), Reply::Fenced, "there is no such node");
    assert_eq!(executions::text(&rows, id(1), PartKind::Output, 1).unwrap(), "long");
    let (mut index, mut last) = (6, "a");
    for attempt in 1..=ATTEMPTS_MAX + 2 {
        let next = if last == "a" { "bb" } else { "a" };
        let fresh = NodeUp {
            node: next.to_owned(),
            incarnation: Uuid::from_u128(u128::from(index)),
            runs_scripts: true,
        };
        one(&mut rows, index, Command::NodeUp(fresh.clone()));
        let given = one(&mut rows, index + 1, reassign(1, attempt, Some(owner(next, index))));
        assert_eq!(given, Reply::Done, "attempt {attempt}");
        one(&mut rows, index + 2, Command::NodeUp(NodeUp { runs_scripts: false, ..fresh }));
        (index, last) = (index + 3, next);
    }
    assert_eq!(row(&rows, 1).attempt, ATTEMPTS_MAX + 3);
}

#[test]
fn attempts_end_at_their_bound_with_the_error_that_was_given() {
    let mut rows = Rows::new();
    apply_from(&mut rows, 1, &[up("a"), submit(1, owner("a", 1), None)]);
    let (mut index, mut epoch) = (3, 1);
    for attempt in 1..ATTEMPTS_MAX {
        one(&mut rows, index, down("a", epoch));
        one(&mut rows, index + 1, up("a"));
        epoch = index + 1;
        let given = one(&mut rows, index + 2, reassign(1, attempt, Some(owner("a", epoch))));
        assert_eq!(given, Reply::Done, "attempt {attempt}");
        index += 3;
    }
    one(&mut rows, index, down("a", epoch));
    one(&mut rows, index + 1, up("a"));
    let last = reassign(1, ATTEMPTS_MAX, Some(owner("a", index + 1)));
    assert_eq!(one(&mut rows, index + 2, last), Reply::Ended(Status::Failed));
    assert_eq!(executions::text(&rows, id(1), PartKind::Error, 1).unwrap(), "lost");
}

#[test]
fn a_cancel_before_the_end_is_the_end_and_one_after_it_is_told() {
    let mut rows = Rows::new();
    apply_from(&mut rows, 1, &[up("a"), submit(1, owner("a", 1), None)]);
    let cancel = || Command::Cancel(Cancel { execution: id(1) });
    assert_eq!(one(&mut rows, 3, cancel()), Reply::Done);
    let end = one(&mut rows, 4, complete(1, 1, owner("a", 1), ""));
    assert_eq!(end, Reply::Ended(Status::Cancelled));
    assert_eq!(one(&mut rows, 5, cancel()), Reply::Ended(Status::Cancelled));
    let unknown = Command::Cancel(Cancel { execution: id(9) });
    assert_eq!(one(&mut rows, 6, unknown), Reply::NoExecution);
}

#[test]
fn a_key_finds_its_first_execution_and_refuses_another_submission() {
    let mut rows = Rows::new();
    one(&mut rows, 1, up("a"));
    let first = one(&mut rows, 2, submit(1, owner("a", 1), Some(("key", 1))));
    assert_eq!(first, Reply::Accepted(id(1)));
    let again = one(&mut rows, 3, submit(2, owner("a", 1), Some(("key", 1))));
    assert_eq!(again, Reply::Accepted(id(1)));
    let other = one(&mut rows, 4, submit(3, owner("a", 1), Some(("key", 2))));
    assert_eq!(other, Reply::KeyConflict);
    assert_eq!(executions::running(&rows).unwrap().len(), 1);
    // A node that was declared lost meanwhile does not get it.
    assert_eq!(one(&mut rows, 5, submit(4, owner("a", 9), None)), Reply::Fenced);
}

#[test]
fn what_is_forgotten_leaves_nothing_behind_and_what_runs_stays() {
    let mut rows = Rows::new();
    one(&mut rows, 1, up("a"));
    let before = rows.clone();
    for n in 1..=3 {
        let key = format!("key{n}");
        one(&mut rows, 10 + n as u64, submit(n, owner("a", 1), Some((&key, 1))));
    }
    one(&mut rows, 20, complete(1, 1, owner("a", 1), "x"));
    one(&mut rows, 21, complete(2, 1, owner("a", 1), "y"));
    let expire =
        |rows_max, before_ms| Command::Expire(Expire { before_ms, rows_max, bytes_max: u64::MAX });
    one(&mut rows, 22, expire(2, 10));
    assert!(executions::execution(&rows, id(1)).unwrap().is_some(), "at both bounds it stays");
    one(&mut rows, 23, expire(1, 10));
    assert!(executions::execution(&rows, id(1)).unwrap().is_none());
    assert_eq!(executions::kept(&rows).unwrap().rows, 1);
    one(&mut rows, 24, expire(10, 11));
    assert_eq!(executions::kept(&rows).unwrap(), super::rows::Kept::default());
    assert_eq!(executions::running(&rows).unwrap().len(), 1);
    one(&mut rows, 25, complete(3, 1, owner("a", 1), "z"));
    one(&mut rows, 26, expire(0, 11));
    rows.remove(keys::KEPT);
    assert_eq!(rows, before, "rows were left behind");
}

#[test]
fn a_command_that_comes_again_changes_nothing_and_hears_the_same() {
    let mut rows = Rows::new();
    let set = |n: u128, value: &str| {
        let tags = BTreeMap::from([("k".to_owned(), value.to_owned())]);
        Command::SetHeapTags(SetHeapTags { id: id(n), heap: [1; 32], tags })
    };
    one(&mut rows, 1, set(1, "old"));
    one(&mut rows, 2, set(2, "new"));
    let before = rows.clone();
    assert_eq!(one(&mut rows, 3, set(1, "old")), Reply::Done);
    assert_eq!(rows, before);
    assert_eq!(heaps::tags(&rows, None, &[1; 32]).unwrap()["k"], "new");
    let many = |count: usize| (0..count).map(|n| (n.to_string(), String::new())).collect();
    let at = SetHeapTags { id: id(3), heap: [2; 32], tags: many(TAGS_MAX) };
    assert_eq!(one(&mut rows, 4, Command::SetHeapTags(at)), Reply::Done);
    let past = SetHeapTags { id: id(4), heap: [3; 32], tags: many(TAGS_MAX + 1) };
    assert_eq!(one(&mut rows, 5, Command::SetHeapTags(past)), Reply::TooManyTags);
    const { assert!(COMMAND_IDS_MAX >= 100_000) };
}

fn command() -> impl Strategy<Value = Command> {
    let node = prop_oneof![Just("a"), Just("bb"), Just("ccc")];
    prop_oneof![
        node.clone().prop_map(up),
        node.clone().prop_map(takes_no_more),
        (node.clone(), 1_u64..60).prop_map(|(node, epoch)| down(node, epoch)),
        (1_u128..9, node.clone(), 1_u64..60, prop::option::of((1_u8..3, 1_u8..3))).prop_map(
            |(n, node, epoch, key)| {
                let text = key.map(|(key, _)| format!("key{key}"));
                let key = text.as_deref().zip(key.map(|(_, digest)| digest));
                submit(n, owner(node, epoch), key)
            }
        ),
        (1_u128..9, 1_u32..4, node.clone(), 1_u64..60)
            .prop_map(|(n, attempt, node, epoch)| complete(n, attempt, owner(node, epoch), "o")),
        (1_u128..9).prop_map(|n| Command::Cancel(Cancel { execution: id(n) })),
        (1_u128..9, 1_u32..4, node, 1_u64..60).prop_map(|(n, from, node, epoch)| reassign(
            n,
            from,
            Some(owner(node, epoch))
        )),
        (1_u128..20, 1_u8..3, 0_u64..9_000_000).prop_map(|(n, code, at_ms)| {
            let reason = "died".to_owned();
            Command::WorkerDied(WorkerDied { id: id(n), code: [code; 32], reason, at_ms })
        }),
        (1_u128..20, 1_u8..3, 0_u64..9_000_000).prop_map(|(n, code, at_ms)| {
            Command::ForgetDeaths(ForgetDeaths { id: id(n), code: [code; 32], at_ms })
        }),
        (0_u64..30, 0_u64..5).prop_map(|(before_ms, rows_max)| {
            Command::Expire(Expire { before_ms, rows_max, bytes_max: 2000 })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However commands are divided into writes, the state is the same; what is counted is there; an
    /// end never changes.
    #[test]
    fn the_state_depends_on_the_commands_and_their_order_alone(
        commands in prop::collection::vec(command(), 1..60),
        cut in 0_usize..60,
    ) {
        let (mut singly, mut ends) = (Rows::new(), BTreeMap::new());
        for (index, command) in (1..).zip(&commands) {
            apply_from(&mut singly, index, std::slice::from_ref(command));
            for n in 1..9 {
                let row = executions::execution(&singly, id(n)).unwrap();
                match row.filter(|row| row.end.is_some()) {
                    Some(row) => {
                        let first = ends.entry(n).or_insert_with(|| row.clone());
                        prop_assert_eq!(&*first, &row, "an outcome changed");
                    }
                    None => {
                        ends.remove(&n);
                    }
                }
            }
        }
        let mut together = Rows::new();
        let (head, tail) = commands.split_at(cut.min(commands.len()));
        let mut index = 1;
        for part in [head, tail] {
            let mut state = Transaction::new(&together);
            for command in part {
                apply(&mut state, index, command).unwrap();
                index += 1;
            }
            let writes = std::mem::take(&mut state.writes);
            for (key, value) in writes {
                match value {
                    Some(value) => together.insert(key, value),
                    None => together.remove(&key),
                };
            }
        }
        prop_assert_eq!(&together, &singly);
        let ended = singly.keys().filter(|key| key.starts_with(keys::ENDED)).count() as u64;
        prop_assert_eq!(executions::kept(&singly).unwrap().rows, ended);
    }
}
