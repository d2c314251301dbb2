//! The key of every row.
//!
//! | letter | row |
//! |---|---|
//! | `e` id | an execution |
//! | `p` id kind number | a piece of a text of it |
//! | `o` id | pieces of code whose submission has not come |
//! | `r` id | it runs, or waits to |
//! | `t` time id | it ended then |
//! | `k` key | an idempotency key |
//! | `n` name | a node |
//! | `h` hash | tags of a heap |
//! | `d` hash | workers that code killed |
//! | `s` id | a command that was applied, and its answer |
//! | `q` number | the same, in order |
//! | `c` name | counters and the cluster's id |
//! | `a` name | a session |
//! | `l` name 0 number | an entry of its history |
//! | `f` name 0 number piece | a piece of the source of that entry |
//! | `w` name 0 ticket | a step that waits for its turn, or has it |
//! | `y` id | what an execution has to do with heaps |
//! | `b` hash | a heap |
//! | `z` hash | a heap that nothing names |
//! | `g` name | an artifact |
//! | `x` id | names of the artifacts that an execution has left |
//! | `i` id | a session of an MCP client |
//! | `u` time id | it was last used then |
//! | `J` id | whose an execution is |
//! | `E` principal id | an execution of a principal |
//! | `N` principal | how many executions of a principal have not ended |
//! | `B` hash principal | an execution of a principal has left the heap |
//! | `H` principal hash | tags of a principal's heap |
//! | `I` id | whose a session of an MCP client is |

use uuid::Uuid;

use crate::command::PartKind;
use crate::principal::PrincipalId;

fn with(letter: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(letter);
    key.extend_from_slice(rest);
    key
}

/// All executions, in order of acceptance.
pub const EXECUTIONS: &[u8] = b"e";
/// The letter of pieces of texts.
pub const PARTS: u8 = b'p';
/// All that run.
pub const RUNNING: &[u8] = b"r";
/// All that have ended, in order of that.
pub const ENDED: &[u8] = b"t";
/// All pieces of code without submission.
pub const ORPHANS: &[u8] = b"o";
/// All nodes.
pub const NODES: &[u8] = b"n";
/// Tags of all heaps.
pub const TAGS: &[u8] = b"h";
/// All codes that killed workers.
pub const DEATHS: &[u8] = b"d";
/// All sessions, in order of their names.
pub const SESSIONS: &[u8] = b"a";
/// The letter of what executions have to do with heaps.
pub const STEPS: u8 = b'y';
/// All heaps.
pub const HEAPS: &[u8] = b"b";
/// The letter of whose executions are.
pub const PRINCIPALS: u8 = b'J';
/// The letter of who has left a heap.
pub const LEFT_BY: u8 = b'B';
/// The letter of whose sessions of MCP clients are.
pub const MCP_PRINCIPALS: u8 = b'I';
/// All heaps that nothing names.
pub const UNNAMED: &[u8] = b"z";
/// The key of the heaps' codes.
pub const HEAP_KEY: &[u8] = b"cheapkey";
/// All artifacts, in order of their names.
pub const ARTIFACTS: &[u8] = b"g";
/// How many artifacts there are.
pub const ARTIFACT_TOTALS: &[u8] = b"cartifacts";
/// Sessions of MCP clients, in order of their last use.
pub const MCP_USES: &[u8] = b"u";
/// How many sessions of MCP clients there are.
pub const MCP_SESSION_COUNT: &[u8] = b"cmcpsessions";
/// How many sessions there are.
pub const SESSION_COUNT: &[u8] = b"csessions";
/// The cluster's id.
pub const CLUSTER: &[u8] = b"ccluster";
/// How much is kept.
pub const KEPT: &[u8] = b"ckept";
/// Where the remembered commands begin and end.
pub const SEEN: &[u8] = b"cseen";

/// An execution.
pub fn execution(id: Uuid) -> Vec<u8> {
    with(EXECUTIONS[0], id.as_bytes())
}

/// That it runs.
pub fn running(id: Uuid) -> Vec<u8> {
    with(RUNNING[0], id.as_bytes())
}

/// That its code is here and its submission is not.
pub fn orphan(id: Uuid) -> Vec<u8> {
    with(ORPHANS[0], id.as_bytes())
}

/// That it ended then.
pub fn ended(at_ms: u64, id: Uuid) -> Vec<u8> {
    let mut key = with(ENDED[0], &at_ms.to_be_bytes());
    key.extend_from_slice(id.as_bytes());
    key
}

/// All pieces of an execution.
pub fn parts(id: Uuid) -> Vec<u8> {
    with(PARTS, id.as_bytes())
}

/// One piece.
pub fn part(id: Uuid, kind: PartKind, number: u32) -> Vec<u8> {
    let mut key = parts(id);
    key.push(match kind {
        PartKind::Code => 0,
        PartKind::Output => 1,
        PartKind::Result => 2,
        PartKind::Error => 3,
    });
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// An idempotency key.
pub fn key(text: &str) -> Vec<u8> {
    with(b'k', text.as_bytes())
}

/// A node.
pub fn node(name: &str) -> Vec<u8> {
    with(NODES[0], name.as_bytes())
}

/// Tags of a heap.
pub fn tags(heap: &[u8; 32]) -> Vec<u8> {
    with(TAGS[0], heap)
}

/// Workers that code killed.
pub fn deaths(code: &[u8; 32]) -> Vec<u8> {
    with(DEATHS[0], code)
}

/// A command that was applied.
pub fn seen(id: Uuid) -> Vec<u8> {
    with(b's', id.as_bytes())
}

/// The same, by its number.
pub fn seen_number(number: u64) -> Vec<u8> {
    with(b'q', &number.to_be_bytes())
}

/// A session.
pub fn session(name: &str) -> Vec<u8> {
    with(SESSIONS[0], name.as_bytes())
}

/// Everything of a session under a letter. Names have no zero byte, so that none is the beginning of
/// another here.
fn of_session(letter: u8, name: &str) -> Vec<u8> {
    let mut key = with(letter, name.as_bytes());
    key.push(0);
    key
}

/// All entries of a session's history.
pub fn entries(session: &str) -> Vec<u8> {
    of_session(b'l', session)
}

/// One of them.
pub fn entry(session: &str, number: u64) -> Vec<u8> {
    let mut key = entries(session);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// All pieces of the source of an entry.
pub fn entry_codes(session: &str, number: u64) -> Vec<u8> {
    let mut key = of_session(b'f', session);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// One of them.
pub fn entry_code(session: &str, number: u64, piece: u32) -> Vec<u8> {
    let mut key = entry_codes(session, number);
    key.extend_from_slice(&piece.to_be_bytes());
    key
}

/// All steps of a session that have not ended.
pub fn turns(session: &str) -> Vec<u8> {
    of_session(b'w', session)
}

/// One of them.
pub fn turn(session: &str, ticket: u64) -> Vec<u8> {
    let mut key = turns(session);
    key.extend_from_slice(&ticket.to_be_bytes());
    key
}

/// What an execution has to do with heaps.
pub fn step(id: Uuid) -> Vec<u8> {
    with(STEPS, id.as_bytes())
}

/// A heap.
pub fn heap(hash: &[u8; 32]) -> Vec<u8> {
    with(HEAPS[0], hash)
}

/// An artifact.
pub fn artifact(key: &str) -> Vec<u8> {
    with(ARTIFACTS[0], key.as_bytes())
}

/// Names of the artifacts that an execution has left.
pub fn artifacts_of(id: Uuid) -> Vec<u8> {
    with(b'x', id.as_bytes())
}

/// A session of an MCP client.
pub fn mcp_session(id: &str) -> Vec<u8> {
    with(b'i', id.as_bytes())
}

/// That it was last used then.
pub fn mcp_use(used_ms: u64, id: &str) -> Vec<u8> {
    let mut key = with(MCP_USES[0], &used_ms.to_be_bytes());
    key.extend_from_slice(id.as_bytes());
    key
}

/// That nothing names it.
pub fn unnamed(hash: &[u8; 32]) -> Vec<u8> {
    with(UNNAMED[0], hash)
}

/// Whose an execution is.
pub fn principal(id: Uuid) -> Vec<u8> {
    with(PRINCIPALS, id.as_bytes())
}

/// All executions of a principal, in order of acceptance.
pub fn executions_of(whose: PrincipalId) -> Vec<u8> {
    with(b'E', &whose.0)
}

/// One of them.
pub fn execution_of(whose: PrincipalId, id: Uuid) -> Vec<u8> {
    let mut key = executions_of(whose);
    key.extend_from_slice(id.as_bytes());
    key
}

/// How many of them have not ended; without one, of those that are nobody's in particular.
pub fn running_of(whose: Option<PrincipalId>) -> Vec<u8> {
    with(b'N', whose.as_ref().map_or(&[][..], |whose| &whose.0))
}

/// All who have left a heap.
pub fn left_by_all(heap: &[u8; 32]) -> Vec<u8> {
    with(LEFT_BY, heap)
}

/// That one has.
pub fn left_by(heap: &[u8; 32], whose: PrincipalId) -> Vec<u8> {
    let mut key = left_by_all(heap);
    key.extend_from_slice(&whose.0);
    key
}

/// Tags of all heaps that a principal has given any.
pub fn all_tags_of(whose: Option<PrincipalId>) -> Vec<u8> {
    match whose {
        None => TAGS.to_vec(),
        Some(whose) => with(b'H', &whose.0),
    }
}

/// Those of one heap.
pub fn tags_of(whose: Option<PrincipalId>, heap: &[u8; 32]) -> Vec<u8> {
    let mut key = all_tags_of(whose);
    key.extend_from_slice(heap);
    key
}

/// Whose a session of an MCP client is.
pub fn mcp_principal(id: &str) -> Vec<u8> {
    with(MCP_PRINCIPALS, id.as_bytes())
}
