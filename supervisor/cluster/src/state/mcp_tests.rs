//! Sessions of clients: within their bound, the least used one goes first, and what is kept of them
//! agrees.

use proptest::prelude::*;

use super::rows::McpSessionRow;
use super::tests::{Rows, apply_from, id, one};
use super::{keys, mcp};
use crate::command::{
    CloseMcpSession, Command, ExpireMcpSessions, OpenMcpSession, Reply, UseMcpSessions,
};
use crate::limits::{MCP_SESSIONS_KEPT_MAX, MCP_SESSIONS_PER_COMMAND_MAX};

fn open(n: u128, session: &str, at_ms: u64) -> Command {
    let (session, client) = (session.to_owned(), format!("client of {session}"));
    Command::OpenMcpSession(OpenMcpSession { id: id(n), session, client, at_ms })
}

fn note(sessions: &[&str], at_ms: u64) -> Command {
    let sessions = sessions.iter().map(|session| (*session).to_owned()).collect();
    Command::UseMcpSessions(UseMcpSessions { sessions, at_ms })
}

fn close(session: &str) -> Command {
    Command::CloseMcpSession(CloseMcpSession { session: session.to_owned() })
}

fn expire(before_ms: u64) -> Command {
    Command::ExpireMcpSessions(ExpireMcpSessions { before_ms })
}

fn there(rows: &Rows, session: &str) -> bool {
    mcp::session(rows, session).unwrap().is_some()
}

#[test]
fn a_session_is_there_until_it_is_closed_or_old() {
    let mut rows = Rows::new();
    let opened = [open(1, "a", 10), open(2, "b", 20), open(3, "c", 30)];
    assert_eq!(apply_from(&mut rows, 1, &opened), [Reply::Done, Reply::Done, Reply::Done]);
    let row = McpSessionRow { client: "client of a".to_owned(), used_ms: 10 };
    assert_eq!(mcp::session(&rows, "a").unwrap(), Some(row));
    apply_from(&mut rows, 4, &[note(&["a", "unknown"], 40), note(&["c"], 5)]);
    assert_eq!(mcp::oldest_use_ms(&rows).unwrap(), Some(20));
    // To the bound, and one past it; the earlier time of use did not count.
    one(&mut rows, 6, expire(20));
    assert!(there(&rows, "b"));
    one(&mut rows, 7, expire(21));
    assert!(!there(&rows, "b") && there(&rows, "c"));
    one(&mut rows, 8, expire(31));
    assert!(!there(&rows, "c") && there(&rows, "a"));
    apply_from(&mut rows, 9, &[close("a"), close("a")]);
    // A command that comes again opens nothing again.
    assert_eq!(one(&mut rows, 11, open(1, "a", 10)), Reply::Done);
    assert!(!there(&rows, "a"));
    assert_eq!((mcp::count(&rows).unwrap(), mcp::oldest_use_ms(&rows).unwrap()), (0, None));
}

#[test]
fn one_more_than_may_be_takes_the_place_of_the_least_used() {
    let mut rows = Rows::new();
    apply_from(&mut rows, 1, &[open(1, "a", 10), open(2, "b", 20)]);
    let key = keys::MCP_SESSION_COUNT.to_vec();
    rows.insert(key.clone(), crate::codec::encode(&(MCP_SESSIONS_KEPT_MAX - 1)));
    one(&mut rows, 3, open(3, "c", 5));
    assert!(["a", "b", "c"].iter().all(|session| there(&rows, session)));
    one(&mut rows, 4, open(4, "d", 6));
    assert!(!there(&rows, "c") && there(&rows, "d"));
    assert_eq!(mcp::count(&rows).unwrap(), MCP_SESSIONS_KEPT_MAX);
    // One that is there already needs no place.
    one(&mut rows, 5, open(5, "d", 7));
    assert!(["a", "b", "d"].iter().all(|session| there(&rows, session)));
}

#[test]
fn one_command_ends_so_many_and_no_more() {
    let mut rows = Rows::new();
    let most = MCP_SESSIONS_PER_COMMAND_MAX;
    let opened: Vec<_> = (0..=most).map(|n| open(n as u128, &n.to_string(), 1)).collect();
    apply_from(&mut rows, 1, &opened);
    one(&mut rows, 10_000, expire(2));
    assert_eq!(mcp::count(&rows).unwrap(), 1);
    one(&mut rows, 10_001, expire(2));
    assert_eq!(mcp::count(&rows).unwrap(), 0);
}

proptest! {
    #[test]
    fn what_is_kept_agrees(steps in proptest::collection::vec((0..4_u8, 0..6_u8, 0..50_u64), 0..60)) {
        let mut rows = Rows::new();
        for (n, (kind, session, at_ms)) in steps.into_iter().enumerate() {
            let session = session.to_string();
            let command = match kind {
                0 => open(n as u128, &session, at_ms),
                1 => note(&[&session], at_ms),
                2 => close(&session),
                _ => expire(at_ms),
            };
            one(&mut rows, n as u64 + 1, command);
            let uses = rows.keys().filter(|key| key.starts_with(keys::MCP_USES)).count() as u64;
            let sessions: Vec<_> = (0..6).map(|n| n.to_string()).collect();
            let found = sessions.iter().filter_map(|name| mcp::session(&rows, name).unwrap());
            let found: Vec<_> = found.map(|row| row.used_ms).collect();
            let count = found.len() as u64;
            prop_assert_eq!((uses, count), (count, mcp::count(&rows).unwrap()));
            prop_assert_eq!(found.into_iter().min(), mcp::oldest_use_ms(&rows).unwrap());
        }
    }
}
