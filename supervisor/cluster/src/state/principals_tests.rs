//! What belongs to whom: nobody names what is another's, and a caller has no more than it may.

use std::collections::BTreeMap;

use super::tests::{Rows, apply_from, complete, id, one, owner, submit, up};
use super::{executions, heaps, keys, mcp, named, principals, sessions};
use crate::command::{
    Act, Base, Cancel, CloseMcpSession, Command, CompleteStep, DeleteHeapTags, Expire, For,
    HeapHash, HeapLeft, MoveSession, MoveTo, OpenMcpSession, Reply, SetHeapTags, Status, Submit,
    SubmitStep,
};
use crate::principal::{PrincipalId, kept};

const ONE: Option<PrincipalId> = Some(PrincipalId([1; 16]));
const OTHER: Option<PrincipalId> = Some(PrincipalId([2; 16]));

fn hash(n: u8) -> HeapHash {
    [n; 32]
}

fn by(principal: Option<PrincipalId>, act: Act) -> Command {
    Command::For(For { principal, running_max: None, act })
}

fn script(n: u128, key: Option<(&str, u8)>) -> Submit {
    let Command::Submit(submit) = submit(n, owner("a", 1), key) else { unreachable!() };
    submit
}

fn step(whose: Option<PrincipalId>, n: u128, session: Option<&str>, base: Base) -> Command {
    let session = session.map(|name| kept(whose, name));
    let tags = BTreeMap::from([("n".to_owned(), n.to_string())]);
    by(whose, Act::SubmitStep(SubmitStep { submit: script(n, None), session, base, tags }))
}

fn left(n: u128, input: Option<u8>, heap: u8) -> Command {
    let Command::Complete(complete) = complete(n, 1, owner("a", 1), "") else { unreachable!() };
    let heap = HeapLeft { hash: hash(heap), stored_bytes: 10, parent: None };
    Command::CompleteStep(CompleteStep { complete, input: input.map(hash), heap: Some(heap) })
}

/// A node, and a session of each of two callers, of the same name: at heap 1 and at heap 2.
fn begun() -> Rows {
    let mut rows = Rows::new();
    let commands = [
        up("a"),
        step(ONE, 1, Some("s"), Base::Head),
        step(OTHER, 2, Some("s"), Base::Head),
        left(1, None, 1),
        left(2, None, 2),
    ];
    let replies = apply_from(&mut rows, 1, &commands);
    assert_eq!(replies[3..], [Reply::Ended(Status::Completed), Reply::Ended(Status::Completed)]);
    rows
}

fn tagged(rows: &Rows, whose: Option<PrincipalId>) -> Vec<HeapHash> {
    let found = heaps::tagged(rows, whose, &BTreeMap::new(), 9).unwrap();
    found.into_iter().map(|(heap, _)| heap).collect()
}

#[test]
fn sessions_of_one_name_are_two_and_each_caller_lists_its_own() {
    let mut rows = begun();
    let head =
        |rows: &Rows, whose| sessions::session(rows, &kept(whose, "s")).unwrap().unwrap().head;
    assert_eq!((head(&rows, ONE), head(&rows, OTHER)), (Some(hash(1)), Some(hash(2))));
    apply_from(&mut rows, 9, &[step(OTHER, 3, Some("t"), Base::Head), left(3, None, 3)]);
    apply_from(&mut rows, 11, &[step(None, 4, Some("u"), Base::Head), left(4, None, 4)]);
    let names = |whose| sessions::names(&rows, whose, None, 9).unwrap();
    assert_eq!(
        (names(ONE), names(OTHER), names(None)),
        (vec!["s".to_owned()], vec!["s".to_owned(), "t".to_owned()], vec!["u".to_owned()])
    );
    assert_eq!(sessions::names(&rows, OTHER, Some("s"), 9).unwrap(), ["t"]);
    assert_eq!(sessions::names(&rows, None, Some("\u{1}"), 9).unwrap(), ["u"]);
}

#[test]
fn a_heap_of_another_is_no_heap_for_whatever_names_it() {
    let mut rows = begun();
    let missing = |rows: &mut Rows, at: u64, whose, heap: u8| {
        let move_to = |new| {
            let session = kept(whose, if new { "new" } else { "s" });
            let id = id(1000 + u128::from(at) * 10 + u128::from(new));
            by(
                whose,
                Act::MoveSession(MoveSession {
                    id,
                    session,
                    to: MoveTo::Heap(hash(heap)),
                    new,
                    at_ms: 1,
                }),
            )
        };
        let id = |n: u128| id(5000 + u128::from(at) * 10 + n);
        let tags = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let set = SetHeapTags { id: id(1), heap: hash(heap), tags };
        let delete = DeleteHeapTags { id: id(2), heap: hash(heap), keys: None };
        let commands = [
            step(whose, 100 + u128::from(at), None, Base::Heap(hash(heap))),
            move_to(true),
            move_to(false),
            by(whose, Act::SetHeapTags(set)),
            by(whose, Act::DeleteHeapTags(delete)),
        ];
        let replies = apply_from(rows, at, &commands);
        replies.iter().filter(|reply| **reply == Reply::NoHeap(hash(heap))).count()
    };
    // Another's, and one that nobody has: the same.
    assert_eq!(missing(&mut rows, 10, ONE, 2), 5);
    assert_eq!(missing(&mut rows, 20, ONE, 9), 5);
    assert_eq!(missing(&mut rows, 30, OTHER, 2), 0);
    assert!(principals::may_name(&rows, ONE, &hash(1)).unwrap());
    assert!(!principals::may_name(&rows, ONE, &hash(2)).unwrap());
}

#[test]
fn the_same_heap_of_two_callers_has_the_tags_of_each_for_each() {
    let mut rows = begun();
    apply_from(&mut rows, 9, &[step(OTHER, 3, None, Base::Head), left(3, None, 1)]);
    assert_eq!(tagged(&rows, ONE), [hash(1)]);
    assert_eq!(tagged(&rows, OTHER), [hash(1), hash(2)]);
    assert_eq!(tagged(&rows, None), Vec::<HeapHash>::new());
    let tags = |rows: &Rows, whose| heaps::tags(rows, whose, &hash(1)).unwrap();
    assert_eq!(
        (&tags(&rows, ONE)["n"], &tags(&rows, OTHER)["n"]),
        (&"1".to_owned(), &"3".to_owned())
    );
    let delete = DeleteHeapTags { id: id(77), heap: hash(1), keys: None };
    assert_eq!(one(&mut rows, 12, by(OTHER, Act::DeleteHeapTags(delete))), Reply::Done);
    assert_eq!((tags(&rows, ONE).len(), tags(&rows, OTHER).len()), (1, 0));
}

#[test]
fn what_is_forgotten_belongs_to_nobody_and_leaves_nothing() {
    let mut rows = begun();
    let open =
        OpenMcpSession { id: id(70), session: "m".to_owned(), client: "{}".to_owned(), at_ms: 1 };
    apply_from(&mut rows, 9, &[by(ONE, Act::OpenMcpSession(open))]);
    assert_eq!(principals::of_mcp_session(&rows, "m").unwrap(), ONE);
    let untag = |n: u128, whose, heap: u8| {
        by(whose, Act::DeleteHeapTags(DeleteHeapTags { id: id(n), heap: hash(heap), keys: None }))
    };
    let delete = |n: u128, whose| {
        let session = kept(whose, "s");
        Command::DeleteSession(crate::command::DeleteSession { id: id(n), session })
    };
    let expire = || Command::Expire(Expire { before_ms: u64::MAX, rows_max: 0, bytes_max: 0 });
    let commands = [
        untag(71, ONE, 1),
        untag(72, OTHER, 2),
        delete(73, ONE),
        delete(74, OTHER),
        Command::CloseMcpSession(CloseMcpSession { session: "m".to_owned() }),
        expire(),
        expire(),
    ];
    apply_from(&mut rows, 10, &commands);
    assert_eq!((named::heap(&rows, &hash(1)).unwrap(), mcp::count(&rows).unwrap()), (None, 0));
    let letters = [keys::PRINCIPALS, keys::LEFT_BY, keys::MCP_PRINCIPALS, b'E', b'N', b'H'];
    let rest: Vec<_> = rows.keys().filter(|key| letters.contains(&key[0])).collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn a_caller_has_as_many_executions_as_it_may_and_not_one_more() {
    let mut rows = Rows::new();
    one(&mut rows, 1, up("a"));
    let submit = |whose, n: u128, key: Option<(&str, u8)>| {
        let act = Act::Submit(script(n, key));
        Command::For(For { principal: whose, running_max: Some(2), act })
    };
    for whose in [ONE, OTHER, None] {
        let base = whose.map_or(30, |id| u128::from(id.0[0]) * 10);
        let name = kept(whose, "k");
        let key = Some((name.as_str(), 7));
        let mut at =
            |n: u128, key: Option<(&str, u8)>| one(&mut rows, 2, submit(whose, base + n, key));
        assert_eq!(at(1, key), Reply::Accepted(id(base + 1)));
        // The same once more counts once, whether its id or its key comes again.
        assert_eq!(at(1, key), Reply::Accepted(id(base + 1)));
        assert_eq!(at(2, None), Reply::Accepted(id(base + 2)));
        assert_eq!(at(3, None), Reply::TooManyRunning);
        assert_eq!(at(4, key), Reply::Accepted(id(base + 1)));
        assert_eq!(principals::running(&rows, whose).unwrap(), 2);
        assert_eq!(executions::execution(&rows, id(base + 3)).unwrap(), None);
        one(&mut rows, 3, Command::Cancel(Cancel { execution: id(base + 1) }));
        one(&mut rows, 3, complete(base + 1, 1, owner("a", 1), ""));
        assert_eq!(principals::running(&rows, whose).unwrap(), 1);
        assert_eq!(one(&mut rows, 4, submit(whose, base + 5, None)), Reply::Accepted(id(base + 5)));
        assert_eq!(principals::of(&rows, id(base + 5)).unwrap(), whose);
    }
}
