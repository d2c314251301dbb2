//! Sessions: turns, compare-and-set of the head, histories, and what names a heap.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::rows::HeapRow;
use super::tests::{Rows, apply_from, complete, down, id, one, owner, reassign, submit, up};
use super::{keys, named, read, sessions};
use crate::command::{
    Base, Command, CompleteStep, DeleteSession, End, Expire, HeapHash, HeapLeft, MoveSession,
    MoveTo, Part, PartKind, Reply, SetHeapTags, Status, SubmitStep, Text,
};
use crate::limits::{SESSION_CODE_PIECES_MAX, SESSION_ENTRIES_MAX};

fn hash(n: u8) -> HeapHash {
    [n; 32]
}

fn step(n: u128, node: &str, epoch: u64, session: Option<&str>, base: Base) -> Command {
    let Command::Submit(submit) = submit(n, owner(node, epoch), None) else { unreachable!() };
    let session = session.map(str::to_owned);
    Command::SubmitStep(SubmitStep { submit, session, base, tags: BTreeMap::new() })
}

fn left(n: u128, attempt: u32, node: (&str, u64), input: Option<u8>, heap: u8) -> Command {
    let Command::Complete(complete) = complete(n, attempt, owner(node.0, node.1), "") else {
        unreachable!()
    };
    let heap = HeapLeft { hash: hash(heap), stored_bytes: 10, parent: input.map(hash) };
    Command::CompleteStep(CompleteStep { complete, input: input.map(hash), heap: Some(heap) })
}

fn failed(n: u128, node: (&str, u64)) -> Command {
    let Command::Complete(mut complete) = complete(n, 1, owner(node.0, node.1), "") else {
        unreachable!()
    };
    complete.end = End { status: Status::Failed, ..complete.end };
    Command::CompleteStep(CompleteStep { complete, input: None, heap: None })
}

fn put(n: u128, session: &str, to: MoveTo, new: bool) -> Command {
    Command::MoveSession(MoveSession { id: id(n), session: session.to_owned(), to, new, at_ms: 5 })
}

fn expire_all() -> Command {
    Command::Expire(Expire { before_ms: u64::MAX, rows_max: 0, bytes_max: 0 })
}

fn head(rows: &Rows, session: &str) -> Option<HeapHash> {
    sessions::session(rows, session).unwrap().unwrap().head
}

const A: (&str, u64) = ("a", 1);

/// A node, and a session that stands at heap 1.
fn begun() -> Rows {
    let mut rows = Rows::new();
    let first = step(1, "a", 1, Some("s"), Base::Head);
    let done = apply_from(&mut rows, 1, &[up("a"), first, left(1, 1, A, None, 1)]);
    assert_eq!(done[2], Reply::Ended(Status::Completed));
    rows
}

#[test]
fn p7_steps_have_their_turns_in_commit_order_and_each_begins_where_the_last_ended() {
    let mut rows = begun();
    let steps: Vec<_> = (2..5).map(|n| step(n, "a", 1, Some("s"), Base::Head)).collect();
    apply_from(&mut rows, 4, &steps);
    for n in 2..5 {
        assert_eq!(sessions::turn(&rows, "s").unwrap(), Some(id(n)));
        assert!(sessions::has_turn(&rows, id(n)).unwrap());
        assert!(!sessions::has_turn(&rows, id(5)).unwrap(), "no step");
        if n < 4 {
            assert!(!sessions::has_turn(&rows, id(n + 1)).unwrap());
            let early = left(n + 1, 1, A, Some(n as u8 - 1), 90);
            assert_eq!(one(&mut rows, 10 + n as u64, early), Reply::HeadMoved, "not its turn");
        }
        let done = one(&mut rows, 20 + n as u64, left(n, 1, A, Some(n as u8 - 1), n as u8));
        assert_eq!(done, Reply::Ended(Status::Completed));
        assert_eq!(head(&rows, "s"), Some(hash(n as u8)));
    }
    assert_eq!(sessions::turn(&rows, "s").unwrap(), None);
    let entries = sessions::entries(&rows, "s").unwrap();
    let line: Vec<_> = entries.iter().map(|(_, entry)| (entry.input, entry.output)).collect();
    assert_eq!(line[0], (None, Some(hash(1))));
    assert!(line.windows(2).all(|pair| pair[0].1 == pair[1].0), "{line:?}");
    assert_eq!(sessions::code(&rows, "s", 3).unwrap(), "code");
    assert_eq!(sessions::names(&rows, None, None, 9).unwrap(), ["s"]);
}

#[test]
fn p7_a_step_that_fails_leaves_the_session_where_it_was_and_gives_its_turn_on() {
    let mut rows = begun();
    let steps = [2, 3].map(|n| step(n, "a", 1, Some("s"), Base::Head));
    apply_from(&mut rows, 4, &steps);
    assert_eq!(one(&mut rows, 6, failed(2, A)), Reply::Ended(Status::Failed));
    assert_eq!(head(&rows, "s"), Some(hash(1)));
    assert_eq!(sessions::turn(&rows, "s").unwrap(), Some(id(3)));
    assert_eq!(sessions::entries(&rows, "s").unwrap().len(), 1);
}

#[test]
fn p7_an_attempt_that_was_lost_moves_nothing() {
    let mut rows = begun();
    apply_from(&mut rows, 4, &[up("bb"), step(2, "a", 1, Some("s"), Base::Head), down("a", 1)]);
    assert_eq!(one(&mut rows, 7, reassign(2, 1, Some(owner("bb", 4)))), Reply::Done);
    assert_eq!(one(&mut rows, 8, left(2, 1, A, Some(1), 2)), Reply::Fenced);
    assert_eq!(head(&rows, "s"), Some(hash(1)));
    let done = one(&mut rows, 9, left(2, 2, ("bb", 4), Some(1), 3));
    assert_eq!(done, Reply::Ended(Status::Completed));
    assert_eq!(head(&rows, "s"), Some(hash(3)));
    assert_eq!(one(&mut rows, 10, left(2, 2, ("bb", 4), Some(1), 4)), Reply::EndedBefore);
}

#[test]
fn a_step_of_a_session_that_was_moved_meanwhile_does_not_count() {
    let mut rows = begun();
    apply_from(&mut rows, 4, &[step(2, "a", 1, Some("s"), Base::Head)]);
    assert_eq!(one(&mut rows, 5, put(50, "s", MoveTo::Empty, false)), Reply::Done);
    assert_eq!(one(&mut rows, 6, left(2, 1, A, Some(1), 2)), Reply::HeadMoved);
    assert_eq!(one(&mut rows, 7, failed(2, A)), Reply::Ended(Status::Failed));
    assert_eq!(head(&rows, "s"), None);
    // Back in time, and from there on.
    assert_eq!(one(&mut rows, 8, put(51, "s", MoveTo::Heap(hash(1)), false)), Reply::Done);
    assert_eq!(one(&mut rows, 9, put(51, "s", MoveTo::Empty, false)), Reply::Done, "sent again");
    assert_eq!(head(&rows, "s"), Some(hash(1)));
}

#[test]
fn sessions_are_copied_and_what_is_not_there_is_said() {
    let mut rows = begun();
    let copy = MoveTo::Session("s".to_owned());
    assert_eq!(one(&mut rows, 4, put(50, "t", copy.clone(), true)), Reply::Done);
    assert_eq!(head(&rows, "t"), Some(hash(1)));
    assert_eq!(one(&mut rows, 5, put(51, "t", copy.clone(), true)), Reply::SessionExists);
    assert_eq!(one(&mut rows, 6, put(52, "u", copy, false)), Reply::NoSession);
    let from_nowhere = MoveTo::Session("nobody".to_owned());
    assert_eq!(one(&mut rows, 7, put(53, "u", from_nowhere, true)), Reply::NoSession);
    let nothing = put(54, "u", MoveTo::Heap(hash(9)), true);
    assert_eq!(one(&mut rows, 8, nothing), Reply::NoHeap(hash(9)));
    let unknown = step(9, "a", 1, None, Base::Heap(hash(9)));
    assert_eq!(one(&mut rows, 9, unknown), Reply::NoHeap(hash(9)));
    assert_eq!(sessions::names(&rows, None, None, 9).unwrap(), ["s", "t"]);
}

#[test]
fn a_heap_stored_against_one_that_is_gone_is_refused() {
    let mut rows = begun();
    apply_from(&mut rows, 4, &[step(2, "a", 1, None, Base::Head)]);
    let Command::CompleteStep(mut done) = left(2, 1, A, None, 2) else { unreachable!() };
    done.heap = Some(HeapLeft { hash: hash(2), stored_bytes: 1, parent: Some(hash(8)) });
    assert_eq!(one(&mut rows, 5, Command::CompleteStep(done)), Reply::NoHeap(hash(8)));
    assert_eq!(one(&mut rows, 6, left(2, 1, A, None, 2)), Reply::Ended(Status::Completed));
}

#[test]
fn a_heap_is_forgotten_when_nothing_names_it_and_not_before() {
    let mut rows = Rows::new();
    apply_from(&mut rows, 1, &[up("a"), step(1, "a", 1, None, Base::Head)]);
    one(&mut rows, 3, left(1, 1, A, None, 1));
    let tags = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    one(&mut rows, 4, Command::SetHeapTags(SetHeapTags { id: id(60), heap: hash(1), tags }));
    one(&mut rows, 5, expire_all());
    assert!(named::heap(&rows, &hash(1)).unwrap().is_some(), "a tag names it");
    // A heap on it, and then the tag goes.
    one(&mut rows, 6, step(2, "a", 1, None, Base::Heap(hash(1))));
    one(&mut rows, 7, left(2, 1, A, Some(1), 2));
    let delete = crate::command::DeleteHeapTags { id: id(61), heap: hash(1), keys: None };
    one(&mut rows, 8, Command::DeleteHeapTags(delete));
    assert_eq!(named::heap(&rows, &hash(1)).unwrap().unwrap().names, 1, "by heap 2");
    one(&mut rows, 9, expire_all());
    // The execution is forgotten, with it heap 2, and with that heap 1.
    for index in 10..13 {
        one(&mut rows, index, expire_all());
    }
    assert_eq!(named::all(&rows).unwrap(), Vec::<HeapHash>::new());
    let rest: Vec<_> = rows.keys().filter(|key| b"ybzlfw".contains(&key[0])).collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn setting_and_deleting_no_tags_takes_no_name_away() {
    let mut rows = begun();
    let before = named::heap(&rows, &hash(1)).unwrap();
    for n in (60..66).step_by(2) {
        let set = SetHeapTags { id: id(n), heap: hash(1), tags: BTreeMap::new() };
        one(&mut rows, n as u64, Command::SetHeapTags(set));
        let delete = crate::command::DeleteHeapTags { id: id(n + 1), heap: hash(1), keys: None };
        one(&mut rows, n as u64 + 1, Command::DeleteHeapTags(delete));
        assert_eq!(named::heap(&rows, &hash(1)).unwrap(), before);
    }
}

#[test]
fn an_end_without_a_heap_does_not_complete_a_step() {
    let mut rows = begun();
    apply_from(&mut rows, 4, &[step(2, "a", 1, Some("s"), Base::Head)]);
    let plain = complete(2, 1, owner(A.0, A.1), "");
    assert_eq!(one(&mut rows, 5, plain), Reply::HeadMoved);
    assert_eq!(head(&rows, "s"), Some(hash(1)));
    assert_eq!(one(&mut rows, 6, left(2, 1, A, Some(1), 2)), Reply::Ended(Status::Completed));
}

#[test]
fn a_history_keeps_its_bound_and_forgets_the_oldest_first() {
    let mut rows = begun();
    for n in 0..SESSION_ENTRIES_MAX {
        let to = if n % 2 == 0 { MoveTo::Empty } else { MoveTo::Heap(hash(1)) };
        one(&mut rows, 10 + n, put(1000 + u128::from(n), "s", to, false));
        let entries = sessions::session(&rows, "s").unwrap().unwrap();
        let kept = entries.next_entry - entries.first_entry;
        assert_eq!(kept, (n + 2).min(SESSION_ENTRIES_MAX));
    }
    assert_eq!(sessions::entries(&rows, "s").unwrap()[0].0, 1, "the first has gone");
    assert_eq!(sessions::code(&rows, "s", 0).unwrap(), "", "and its source");
}

#[test]
fn a_history_keeps_so_many_pieces_of_a_source_and_not_one_more() {
    for (pieces, kept) in [
        (SESSION_CODE_PIECES_MAX, SESSION_CODE_PIECES_MAX),
        (SESSION_CODE_PIECES_MAX + 1, SESSION_CODE_PIECES_MAX),
    ] {
        let mut rows = begun();
        for number in 0..pieces {
            let part = Part {
                execution: id(2),
                attempt: 0,
                kind: PartKind::Code,
                number,
                text: number.to_string(),
            };
            one(&mut rows, 4 + u64::from(number), Command::Part(part));
        }
        let Command::SubmitStep(mut long) = step(2, "a", 1, Some("s"), Base::Head) else {
            unreachable!()
        };
        long.submit.code = Text::Parts(pieces);
        one(&mut rows, 10, Command::SubmitStep(long));
        one(&mut rows, 11, left(2, 1, A, Some(1), 2));
        let entry = sessions::entry(&rows, "s", 1).unwrap().unwrap();
        assert_eq!((entry.code_parts, entry.code_whole), (kept, pieces == kept));
        let expected: String = (0..kept).map(|number| number.to_string()).collect();
        assert_eq!(sessions::code(&rows, "s", 1).unwrap(), expected);
    }
}

fn delete(n: u128, session: &str) -> Command {
    Command::DeleteSession(DeleteSession { id: id(n), session: session.to_owned() })
}

#[test]
fn a_session_is_deleted_with_its_history_unless_a_step_waits_in_it() {
    let mut rows = begun();
    assert_eq!(one(&mut rows, 4, delete(50, "nobody")), Reply::NoSession);
    apply_from(&mut rows, 5, &[step(2, "a", 1, Some("s"), Base::Head)]);
    assert_eq!(one(&mut rows, 6, delete(51, "s")), Reply::SessionBusy);
    one(&mut rows, 7, failed(2, A));
    // So many that one command does not do.
    for n in 0..600 {
        one(&mut rows, 10 + n, put(1000 + u128::from(n), "s", MoveTo::Heap(hash(1)), false));
    }
    let replies: Vec<Reply> =
        (0..3).map(|n| one(&mut rows, 700 + n, delete(52 + u128::from(n), "s"))).collect();
    assert_eq!(replies, [Reply::More, Reply::More, Reply::Done]);
    assert_eq!(one(&mut rows, 704, delete(54, "s")), Reply::Done, "sent again");
    assert_eq!(sessions::names(&rows, None, None, 9).unwrap(), Vec::<String>::new());
    assert_eq!(named::heap(&rows, &hash(1)).unwrap().unwrap().names, 1, "by its execution");
    let rest: Vec<_> = rows.keys().filter(|key| b"alfw".contains(&key[0])).collect();
    assert!(rest.is_empty(), "{rest:?}");
    let count: u64 = read(&rows, keys::SESSION_COUNT).unwrap().unwrap();
    assert_eq!(count, 0);
}

#[test]
fn names_come_in_pages_and_heaps_are_found_by_their_tags() {
    let mut rows = begun();
    for (n, name) in (50..).zip(["t", "u", "ta"]) {
        one(&mut rows, n, put(u128::from(n), name, MoveTo::Empty, true));
    }
    assert_eq!(sessions::names(&rows, None, None, 2).unwrap(), ["s", "t"]);
    assert_eq!(sessions::names(&rows, None, Some("t"), 2).unwrap(), ["ta", "u"]);
    assert_eq!(sessions::names(&rows, None, Some("u"), 2).unwrap(), Vec::<String>::new());
    let tags = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let tagged = [
        (1, tags(&[("a", "1")])),
        (2, tags(&[("a", "1"), ("b", "2")])),
        (3, tags(&[("a", "2"), ("b", "2")])),
    ];
    for (n, tags) in &tagged {
        let set = SetHeapTags { id: id(60 + u128::from(*n)), heap: hash(*n), tags: tags.clone() };
        one(&mut rows, 60 + u64::from(*n), Command::SetHeapTags(set));
    }
    let found = |wanted: &[(&str, &str)], limit| -> Vec<u8> {
        let found = super::heaps::tagged(&rows, None, &tags(wanted), limit).unwrap();
        found.iter().map(|(hash, _)| hash[0]).collect()
    };
    assert_eq!(found(&[("a", "1")], 9), [1, 2]);
    assert_eq!(found(&[("a", "1"), ("b", "2")], 9), [2]);
    assert_eq!(found(&[("c", "1")], 9), Vec::<u8>::new());
    assert_eq!((found(&[], 9), found(&[], 2)), (vec![1, 2, 3], vec![1, 2]));
}

/// Every name of every heap, counted from the rows.
fn count_names(rows: &Rows) -> BTreeMap<HeapHash, u64> {
    let mut names: BTreeMap<HeapHash, u64> =
        named::all(rows).unwrap().into_iter().map(|hash| (hash, 0)).collect();
    let mut count = |hash: Option<HeapHash>| {
        if let Some(hash) = hash {
            *names.entry(hash).or_default() += 1;
        }
    };
    for session in sessions::names(rows, None, None, usize::MAX).unwrap() {
        count(head(rows, &session));
        for (_, entry) in sessions::entries(rows, &session).unwrap() {
            count(entry.input);
            count(entry.output);
        }
    }
    for (key, value) in rows {
        match key[0] {
            b'y' => {
                let step: super::rows::StepRow = super::decode_row(key, value).unwrap();
                count(step.output);
                let running =
                    rows.contains_key(&keys::running(uuid::Uuid::from_slice(&key[1..]).unwrap()));
                if let (Base::Heap(hash), true) = (step.base, running) {
                    count(Some(hash));
                }
            }
            b'b' => {
                let heap: HeapRow = super::decode_row(key, value).unwrap();
                count(heap.parent);
            }
            b'h' => {
                let hash = HeapHash::try_from(&key[1..]).unwrap();
                if rows.contains_key(&keys::heap(&hash)) {
                    count(Some(hash));
                }
            }
            _ => {}
        }
    }
    names
}

fn any_command() -> impl Strategy<Value = Command> {
    let session = || prop_oneof![Just(None), Just(Some("s")), Just(Some("t"))];
    let heap = || prop::option::of(0_u8..5);
    prop_oneof![
        (1_u128..12, session(), heap()).prop_map(|(n, session, heap)| {
            step(n, "a", 1, session, heap.map_or(Base::Head, |heap| Base::Heap(hash(heap))))
        }),
        (1_u128..12, heap(), 0_u8..5).prop_map(|(n, input, heap)| left(n, 1, A, input, heap)),
        (1_u128..12).prop_map(|n| failed(n, A)),
        (20_u128..60, session(), heap(), any::<bool>()).prop_map(|(n, session, heap, new)| {
            let to = match (session, heap) {
                (_, Some(heap)) => MoveTo::Heap(hash(heap)),
                (Some(other), None) => MoveTo::Session(other.to_owned()),
                (None, None) => MoveTo::Empty,
            };
            put(n, session.unwrap_or("s"), to, new)
        }),
        (70_u128..99, 0_u8..5, any::<bool>()).prop_map(|(n, heap, some)| {
            let tags = some.then(|| ("k".to_owned(), "v".to_owned())).into_iter().collect();
            Command::SetHeapTags(SetHeapTags { id: id(n), heap: hash(heap), tags })
        }),
        (100_u128..130, 0_u8..5).prop_map(|(n, heap)| {
            let heap = hash(heap);
            Command::DeleteHeapTags(crate::command::DeleteHeapTags { id: id(n), heap, keys: None })
        }),
        (140_u128..160, any::<bool>()).prop_map(|(n, one)| delete(n, if one { "s" } else { "t" })),
        Just(expire_all()),
    ]
}

proptest! {
    /// Whatever happens: heaps that something names are there, their names are counted right, those
    /// without are known as such, and every session stands at a heap that is there.
    #[test]
    fn p7_what_is_named_is_kept(commands in prop::collection::vec(any_command(), 0..80)) {
        let mut rows = Rows::new();
        one(&mut rows, 1, up("a"));
        for (index, command) in (2..).zip(commands) {
            one(&mut rows, index, command);
            let counted = count_names(&rows);
            for (hash, names) in &counted {
                let row = named::heap(&rows, hash).unwrap();
                prop_assert_eq!(row.map(|row| row.names), Some(*names), "heap {}", hash[0]);
            }
            let unnamed: BTreeSet<_> =
                rows.keys().filter(|key| key[0] == b'z').map(|key| key[1]).collect();
            let none: BTreeSet<_> =
                counted.iter().filter(|(_, names)| **names == 0).map(|(hash, _)| hash[0]).collect();
            prop_assert_eq!(unnamed, none);
        }
    }
}
