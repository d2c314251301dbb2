//! What callers see of sessions and heaps besides running scripts: names, histories, tags, and moving a
//! session on request.
//!
//! # Contract
//! * Every read is linearizable: it knows what was committed before it was asked.
//! * Each caller has sessions, heaps and tags of its own; what is another's is not there, exactly as
//!   what does not exist.
//! * Lists are pages, bounded in rows and in bytes; a page says where the next one begins.

use std::collections::BTreeMap;
use std::fmt::Display;

use mcp_v8_cluster::command::{
    Act, Command, DeleteHeapTags, DeleteSession, For, MoveSession, MoveTo, Reply, SetHeapTags,
};
use mcp_v8_cluster::hex;
use mcp_v8_cluster::limits::{TAGS_BYTES_MAX, TAGS_MAX};
use mcp_v8_cluster::node::{Node, ProposeError};
use mcp_v8_cluster::state::rows::EntryRow;
use mcp_v8_cluster::state::{Rows, StateError, heaps, named, principals, sessions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::Principal;
use crate::executions::model::rfc3339;
use crate::executions::{SubmitError, check_session, ms, time};
use crate::heaps::HeapId;
use crate::limits::{LIST_MAX, SNAPSHOTS_BYTES_MAX, TAGGED_HEAPS_MAX};

/// Why a question about sessions or heaps has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There are none here.
    #[error(
        "this server keeps no sessions and no heaps (--stateless, or another server has its database)"
    )]
    NotKept,
    /// An argument is not accepted.
    #[error(transparent)]
    Invalid(#[from] SubmitError),
    /// There is no such session.
    #[error("Session '{0}' not found")]
    NoSession(String),
    /// There is one already.
    #[error("Session '{0}' exists already; choose another name, or reset that session")]
    Exists(String),
    /// Scripts run in it, or wait to.
    #[error("Session '{0}' has executions that have not ended; cancel them first")]
    Busy(String),
    /// There is no such heap.
    #[error("Heap '{0}' not found")]
    NoHeap(HeapId),
    /// The heap has too many tags.
    #[error(
        "`tags`: with those it has the heap would have too many; accepted: {TAGS_MAX} tags and \
         {TAGS_BYTES_MAX} bytes of keys and values"
    )]
    TooManyTags,
    /// The cluster does not answer.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

fn unavailable(error: impl Display) -> SessionError {
    SessionError::Unavailable(error.to_string())
}

/// Names of sessions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SessionList {
    /// In alphabetical order.
    pub sessions: Vec<String>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl SessionList {
    /// The first half of it, as a page.
    pub fn half(mut self) -> Self {
        self.sessions.truncate(self.sessions.len().div_ceil(2));
        self.next_cursor = self.sessions.last().cloned();
        self
    }
}

/// A session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionInfo {
    /// Its name.
    pub session: String,
    /// The heap it stands at; null while that is empty.
    pub heap: Option<String>,
    /// Number of the oldest entry of its history that is kept.
    pub first_entry: u64,
    /// Number of the next one.
    pub next_entry: u64,
    /// When it was last moved, RFC 3339.
    pub changed_at: String,
}

/// One entry of a session's history. Of the fields only those are there that were asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Snapshot {
    /// Its number; the first entry of a session has 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The heap the step began with; null for an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_heap: Option<Option<String>>,
    /// The heap it left, where the session stood afterwards; null for an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_heap: Option<Option<String>>,
    /// The source of the script, or the beginning of a long one; empty where the session was forked or reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// The execution; null where the session was forked or reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<Option<String>>,
}

/// A page of a session's history, oldest entry first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SnapshotList {
    /// The entries.
    pub entries: Vec<Snapshot>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<u64>,
    /// Number of the first entry.
    #[serde(skip)]
    first: u64,
}

impl SnapshotList {
    /// The first half of it, as a page.
    pub fn half(mut self) -> Self {
        let keep = self.entries.len().div_ceil(2);
        if keep < self.entries.len() {
            self.next_cursor = Some(self.first + keep as u64);
            self.entries.truncate(keep);
        }
        self
    }
}

/// A stored heap.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct HeapInfo {
    /// Its hash.
    pub heap: String,
    /// Bytes it takes on each node.
    pub stored_bytes: u64,
    /// The heap that it is stored as the difference from; null when it stands by itself.
    pub parent: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A heap and its tags.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TaggedHeap {
    /// Its hash.
    pub heap: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Heaps with certain tags.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct TaggedHeaps {
    /// The heaps, at most 1000.
    pub results: Vec<TaggedHeap>,
    /// There when there are more than these: ask for more tags.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Which fields of history entries are wanted.
#[derive(Debug, Clone, Copy)]
struct Fields {
    index: bool,
    input_heap: bool,
    output_heap: bool,
    code: bool,
    timestamp: bool,
    execution_id: bool,
}

impl Fields {
    fn parse(text: Option<&str>) -> Result<Self, SubmitError> {
        let all = text.is_none();
        let mut fields = Self {
            index: all,
            input_heap: all,
            output_heap: all,
            code: all,
            timestamp: all,
            execution_id: all,
        };
        for name in text.iter().flat_map(|text| text.split(',')) {
            let field = match name.trim() {
                "index" => &mut fields.index,
                "input_heap" => &mut fields.input_heap,
                "output_heap" => &mut fields.output_heap,
                "code" => &mut fields.code,
                "timestamp" => &mut fields.timestamp,
                "execution_id" => &mut fields.execution_id,
                other => {
                    let problem = format!(
                        "has '{other}'; accepted, separated by commas: index, input_heap, \
                         output_heap, code, timestamp, execution_id"
                    );
                    return Err(SubmitError::Invalid { field: "fields", problem });
                }
            };
            *field = true;
        }
        Ok(fields)
    }
}

/// A heap's hash as callers write it.
///
/// # Errors
/// [`SubmitError::Invalid`] naming the field.
pub fn heap_id(field: &'static str, text: &str) -> Result<HeapId, SubmitError> {
    let id = hex::decode_array(text.as_bytes());
    id.map(HeapId).ok_or_else(|| {
        let problem = "is not the hash of a heap; accepted: 64 hexadecimal digits".to_owned();
        SubmitError::Invalid { field, problem }
    })
}

fn checked_limit(limit: Option<u64>) -> Result<usize, SubmitError> {
    // Existing clients do not ask for the next page.
    let limit = limit.unwrap_or(LIST_MAX);
    crate::executions::check_range("limit", limit, 1, LIST_MAX, "")?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Sessions and heaps of a caller, over the replicated state.
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    node: &'a Node,
    by: Principal,
}

impl<'a> Sessions<'a> {
    /// Those of a caller, over this node of the cluster.
    ///
    /// # Errors
    /// [`SessionError::NotKept`] without one.
    pub fn new(node: Option<&'a Node>, by: Principal) -> Result<Self, SessionError> {
        Ok(Self { node: node.ok_or(SessionError::NotKept)?, by })
    }

    /// Reads rows that are up to date, on a thread of its own.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, SessionError> {
        self.node.barrier().await.map_err(unavailable)?;
        let rows = self.node.rows();
        let reading = tokio::task::spawn_blocking(move || read(&rows));
        reading.await.map_err(unavailable)?.map_err(unavailable)
    }

    /// Names of sessions, in alphabetical order, after `cursor`.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn names(
        &self,
        limit: Option<u64>,
        cursor: Option<String>,
    ) -> Result<SessionList, SessionError> {
        let limit = checked_limit(limit)?;
        let by = self.by.id();
        let mut names =
            self.read(move |rows| sessions::names(rows, by, cursor.as_deref(), limit + 1)).await?;
        let more = names.len() > limit;
        names.truncate(limit);
        let next_cursor = if more { names.last().cloned() } else { None };
        Ok(SessionList { sessions: names, next_cursor })
    }

    /// Where a session stands.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn session(&self, session: &str) -> Result<SessionInfo, SessionError> {
        check_session("session", session)?;
        let name = self.by.kept(session);
        let row = self.read(move |rows| sessions::session(rows, &name)).await?;
        let row = row.ok_or_else(|| SessionError::NoSession(session.to_owned()))?;
        Ok(SessionInfo {
            session: session.to_owned(),
            heap: row.head.map(|heap| HeapId(heap).to_string()),
            first_entry: row.first_entry,
            next_entry: row.next_entry,
            changed_at: rfc3339(time(row.changed_ms)),
        })
    }

    /// The history of a session from entry `cursor` on.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn snapshots(
        &self,
        session: &str,
        fields: Option<&str>,
        limit: Option<u64>,
        cursor: Option<u64>,
    ) -> Result<SnapshotList, SessionError> {
        check_session("session", session)?;
        let (fields, limit) = (Fields::parse(fields)?, checked_limit(limit)?);
        let name = self.by.kept(session);
        let page = self.read(move |rows| page(rows, &name, fields, limit, cursor)).await?;
        page.ok_or_else(|| SessionError::NoSession(session.to_owned()))
    }

    /// Makes a session as a copy of another, or at a heap.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn fork(&self, session: &str, from: MoveTo) -> Result<(), SessionError> {
        self.put(session, from, true).await
    }

    /// Puts a session at a heap, or at its beginning.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn reset(&self, session: &str, to: Option<HeapId>) -> Result<(), SessionError> {
        let to = to.map_or(MoveTo::Empty, |heap| MoveTo::Heap(heap.0));
        self.put(session, to, false).await
    }

    async fn put(&self, session: &str, to: MoveTo, new: bool) -> Result<(), SessionError> {
        check_session("session", session)?;
        let (source, to) = match to {
            MoveTo::Session(from) => {
                check_session("session", &from)?;
                let kept = self.by.kept(&from);
                (from, MoveTo::Session(kept))
            }
            to => (session.to_owned(), to),
        };
        let at_ms = ms(std::time::SystemTime::now());
        let put =
            MoveSession { id: Uuid::now_v7(), session: self.by.kept(session), to, new, at_ms };
        match self.commit_for(Act::MoveSession(put)).await? {
            Reply::Done => Ok(()),
            Reply::SessionExists => Err(SessionError::Exists(session.to_owned())),
            Reply::NoSession => Err(SessionError::NoSession(source)),
            Reply::NoHeap(heap) => Err(SessionError::NoHeap(HeapId(heap))),
            Reply::TooManySessions => Err(SubmitError::TooManySessions.into()),
            other => Err(unavailable(format!("{other:?}"))),
        }
    }

    /// Forgets a session and its history. Heaps that nothing else names go with it.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn delete(&self, session: &str) -> Result<(), SessionError> {
        check_session("session", session)?;
        loop {
            let delete = DeleteSession { id: Uuid::now_v7(), session: self.by.kept(session) };
            match self.commit(Command::DeleteSession(delete)).await? {
                Reply::Done => return Ok(()),
                Reply::More => {}
                Reply::NoSession => return Err(SessionError::NoSession(session.to_owned())),
                Reply::SessionBusy => return Err(SessionError::Busy(session.to_owned())),
                other => return Err(unavailable(format!("{other:?}"))),
            }
        }
    }

    /// A heap that something names.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn heap(&self, heap: HeapId) -> Result<HeapInfo, SessionError> {
        let by = self.by.id();
        let read = self.read(move |rows| {
            let Some(row) = named::heap(rows, &heap.0)? else { return Ok(None) };
            if !principals::may_name(rows, by, &heap.0)? {
                return Ok(None);
            }
            // Whoever left the same heap first may have had another below it.
            let own =
                |parent: &[u8; 32]| principals::may_name(rows, by, parent).unwrap_or_default();
            let parent = row.parent.filter(own);
            Ok(Some((row.stored_bytes, parent, heaps::tags(rows, by, &heap.0)?)))
        });
        let (stored_bytes, parent, tags) = read.await?.ok_or(SessionError::NoHeap(heap))?;
        let parent = parent.map(|parent| HeapId(parent).to_string());
        Ok(HeapInfo { heap: heap.to_string(), stored_bytes, parent, tags })
    }

    /// The tags of a heap.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn tags(&self, heap: HeapId) -> Result<BTreeMap<String, String>, SessionError> {
        let by = self.by.id();
        let read = self.read(move |rows| match principals::may_name(rows, by, &heap.0)? {
            true => heaps::tags(rows, by, &heap.0).map(Some),
            false => Ok(None),
        });
        read.await?.ok_or(SessionError::NoHeap(heap))
    }

    /// Sets tags of a heap; those it has under other keys stay.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn set_tags(
        &self,
        heap: HeapId,
        tags: BTreeMap<String, String>,
    ) -> Result<(), SessionError> {
        let set = SetHeapTags { id: Uuid::now_v7(), heap: heap.0, tags };
        match self.commit_for(Act::SetHeapTags(set)).await? {
            Reply::Done => Ok(()),
            Reply::NoHeap(_) => Err(SessionError::NoHeap(heap)),
            Reply::TooManyTags => Err(SessionError::TooManyTags),
            other => Err(unavailable(format!("{other:?}"))),
        }
    }

    /// Deletes tags of a heap: those named, separated by commas, or all.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn delete_tags(&self, heap: HeapId, keys: Option<&str>) -> Result<(), SessionError> {
        let keys = keys.map(|keys| keys.split(',').map(str::to_owned).collect());
        let delete = DeleteHeapTags { id: Uuid::now_v7(), heap: heap.0, keys };
        match self.commit_for(Act::DeleteHeapTags(delete)).await? {
            Reply::Done => Ok(()),
            Reply::NoHeap(_) => Err(SessionError::NoHeap(heap)),
            other => Err(unavailable(format!("{other:?}"))),
        }
    }

    /// Heaps that have all these tags, whatever others they have.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn tagged(
        &self,
        tags: BTreeMap<String, String>,
    ) -> Result<TaggedHeaps, SessionError> {
        let most = TAGGED_HEAPS_MAX + 1;
        let by = self.by.id();
        let mut found = self.read(move |rows| heaps::tagged(rows, by, &tags, most)).await?;
        let truncated = found.len() > TAGGED_HEAPS_MAX;
        found.truncate(TAGGED_HEAPS_MAX);
        let shown = |(heap, tags)| TaggedHeap { heap: HeapId(heap).to_string(), tags };
        Ok(TaggedHeaps { results: found.into_iter().map(shown).collect(), truncated })
    }

    /// Commits what is done for the caller.
    async fn commit_for(&self, act: Act) -> Result<Reply, SessionError> {
        let command = match (self.by.id(), act) {
            (None, Act::MoveSession(put)) => Command::MoveSession(put),
            (None, Act::SetHeapTags(set)) => Command::SetHeapTags(set),
            (None, Act::DeleteHeapTags(delete)) => Command::DeleteHeapTags(delete),
            (principal, act) => Command::For(For { principal, running_max: None, act }),
        };
        self.commit(command).await
    }

    async fn commit(&self, command: Command) -> Result<Reply, SessionError> {
        let proposed = self.node.propose(command).await.map_err(|error| match error {
            ProposeError::TooLong(_) => {
                let problem = "is too much for one request".to_owned();
                SessionError::Invalid(SubmitError::Invalid { field: "tags", problem })
            }
            error => unavailable(error),
        })?;
        Ok(proposed.reply)
    }
}

/// A page of a history; `None` without such a session.
fn page(
    rows: &dyn Rows,
    session: &str,
    fields: Fields,
    limit: usize,
    cursor: Option<u64>,
) -> Result<Option<SnapshotList>, StateError> {
    let Some(row) = sessions::session(rows, session)? else { return Ok(None) };
    let first = cursor.unwrap_or_default().max(row.first_entry);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for index in first..row.next_entry {
        if entries.len() == limit || bytes > SNAPSHOTS_BYTES_MAX {
            return Ok(Some(SnapshotList { entries, next_cursor: Some(index), first }));
        }
        let Some(entry) = sessions::entry(rows, session, index)? else { continue };
        let code = match fields.code {
            true => Some(shown_code(sessions::code(rows, session, index)?, entry.code_whole)),
            false => None,
        };
        let snapshot = shown(index, &entry, code, fields);
        bytes += snapshot.code.as_ref().map_or(0, String::len) + ENTRY_BYTES;
        entries.push(snapshot);
    }
    Ok(Some(SnapshotList { entries, next_cursor: None, first }))
}

/// Bytes of an entry besides its code, about.
const ENTRY_BYTES: usize = 384;

fn shown(index: u64, entry: &EntryRow, code: Option<String>, fields: Fields) -> Snapshot {
    let heap = |heap: Option<[u8; 32]>| heap.map(|heap| HeapId(heap).to_string());
    Snapshot {
        index: fields.index.then_some(index),
        input_heap: fields.input_heap.then(|| heap(entry.input)),
        output_heap: fields.output_heap.then(|| heap(entry.output)),
        code,
        timestamp: fields.timestamp.then(|| rfc3339(time(entry.at_ms))),
        execution_id: fields
            .execution_id
            .then(|| entry.execution.map(|execution| execution.to_string())),
    }
}

fn shown_code(mut code: String, whole: bool) -> String {
    if !whole {
        code.push_str("\n// [cut here: the source was longer]");
    }
    code
}
