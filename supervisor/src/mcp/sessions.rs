//! Sessions of MCP clients that any node of the cluster goes on with.
//!
//! # Contract
//! * A session is in the replicated state before its client has its id. A node that gets a request of a
//!   session it does not have reads that, as of now, and goes on with it.
//! * A session that was ended at any node, or was not used for a day, is found nowhere (404): its client
//!   opens another, as the specification has it. When the end is answered, every node that is reached
//!   within a second knows.
//! * A session is its caller's. Another's is not there.
//! * What cannot be kept, or ended, is said (503); a session that other nodes do not know is not
//!   begun.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use mcp_v8_cluster::command::{Act, CloseMcpSession, Command, For, OpenMcpSession, UseMcpSessions};
use mcp_v8_cluster::limits::{MCP_CLIENT_BYTES_MAX, MCP_SESSIONS_PER_COMMAND_MAX};
use mcp_v8_cluster::node::Node;
use mcp_v8_cluster::state::{mcp, principals};
use parking_lot::Mutex;
use rmcp::model::{ClientCapabilities, Implementation, InitializeRequestParams};
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::store::{
    SessionState, SessionStore, SessionStoreError,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::access::Principal;
use crate::executions::Executions;
use crate::limits::{
    MCP_SESSION_USE_NOTED, MCP_SESSIONS_MAX, MCP_SESSIONS_PER_PRINCIPAL_MAX, MCP_SESSIONS_SWEPT,
};

/// The header that names a session.
const SESSION_HEADER: &str = "mcp-session-id";

tokio::task_local! {
    /// Why the session that a request begins is not kept. rmcp asks for that in the midst of its
    /// answer, and gives the session to its client whatever comes of it.
    static NOT_KEPT: Cell<Option<String>>;
    /// For whom the session is that a request begins.
    static BEGINS_FOR: Principal;
}

/// The session that a request or an answer names.
pub(super) fn id_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_HEADER).and_then(|value| value.to_str().ok())
}

/// Has a request name no session.
pub(super) fn forget_session(headers: &mut HeaderMap) {
    headers.remove(SESSION_HEADER);
}

/// Has a request name a session that nobody has.
pub(super) fn name_none(headers: &mut HeaderMap) {
    let none = HeaderValue::try_from(Uuid::new_v4().to_string());
    let none = none.unwrap_or(HeaderValue::from_static("none"));
    headers.insert(SESSION_HEADER, none);
}

/// The sessions that are open here, and those of the cluster. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sessions {
    manager: Arc<LocalSessionManager>,
    /// When each session was last used, and by whom. Holds every open one, and forgets the others when it has as
    /// many entries as there may be sessions.
    at: Arc<Mutex<HashMap<String, (Instant, Principal)>>>,
    kept: Option<Arc<Kept>>,
}

impl Sessions {
    /// Kept in the replicated state, where there is one.
    pub(super) fn new(
        manager: Arc<LocalSessionManager>,
        node: Option<Node>,
        executions: Executions,
    ) -> Self {
        let kept = node.map(|node| Arc::new(Kept { node, executions }));
        Self { manager, at: Arc::default(), kept }
    }

    /// What rmcp is to ask for sessions that are not open here.
    pub(super) fn store(&self) -> Option<Arc<dyn SessionStore>> {
        self.kept.clone().map(|kept| kept as Arc<dyn SessionStore>)
    }

    /// A request of a session has come; says whether it may be the caller's. One that another node has
    /// ended ends here as well; what this node has to know to go on with one that is not open here, it
    /// knows when this returns.
    ///
    /// # Errors
    /// Why nobody can say whether there is such a session.
    pub(super) async fn asked(&self, by: Principal, id: &str) -> Result<bool, String> {
        let Some(kept) = &self.kept else { return Ok(self.is_of(by, id)) };
        if !self.manager.has_session(&id.into()).await.unwrap_or_default() {
            kept.catch_up().await?;
        } else if kept.has_ended(id) {
            self.close_here(id).await;
        }
        kept.is_of(by, id)
    }

    /// Whether a session that is open here is a caller's.
    fn is_of(&self, by: Principal, id: &str) -> bool {
        self.at.lock().get(id).is_some_and(|(_, whose)| *whose == by)
    }

    /// Answers a request that may begin a session.
    ///
    /// # Errors
    /// Why the session is not kept; then it is closed again.
    pub(super) async fn begin(
        &self,
        by: Principal,
        answering: impl Future<Output = Response>,
    ) -> Result<Response, String> {
        let answered = async { (answering.await, NOT_KEPT.with(Cell::take)) };
        let answered = BEGINS_FOR.scope(by, NOT_KEPT.scope(Cell::default(), answered));
        let (response, problem) = answered.await;
        if let Some(id) = id_of(response.headers()) {
            if let Some(problem) = problem {
                self.close_here(id).await;
                return Err(problem);
            }
            self.used(by, id);
        }
        Ok(response)
    }

    /// A request of a session was answered; the session is open here.
    pub(super) fn used(&self, by: Principal, id: &str) {
        self.at.lock().insert(id.to_owned(), (Instant::now(), by));
    }

    /// A client ends its session: at all nodes. Says whether it may be the caller's.
    ///
    /// # Errors
    /// Why it may not have ended.
    pub(super) async fn end(&self, by: Principal, id: &str) -> Result<bool, String> {
        let Some(kept) = &self.kept else { return Ok(self.is_of(by, id)) };
        kept.catch_up().await?;
        if !kept.is_of(by, id)? {
            return Ok(false);
        }
        if kept.find(id)?.is_some() {
            let close = CloseMcpSession { session: id.to_owned() };
            let index = kept.commit(Command::CloseMcpSession(close)).await?;
            // A node that has the session open goes by what it has applied.
            kept.executions.applied_elsewhere(index).await;
        }
        Ok(true)
    }

    /// Makes room for a session of this caller by closing the one that was not used for longest, here:
    /// of its own, when it has its share; else of all, when there are as many as there may be. Where
    /// sessions are kept a client goes on with it all the same, unless a call was under way in it.
    pub(super) async fn make_room(&self, by: Principal) {
        let is_own = |(_, whose): &(Instant, Principal)| by.id().is_some() && *whose == by;
        let has_share = |own: usize| own >= MCP_SESSIONS_PER_PRINCIPAL_MAX;
        {
            let at = self.at.lock();
            let own = at.values().filter(|entry| is_own(entry)).count();
            if at.len() < MCP_SESSIONS_MAX && !has_share(own) {
                return;
            }
        }
        let open: HashSet<_> = self.manager.sessions.read().await.keys().cloned().collect();
        let oldest = {
            let mut at = self.at.lock();
            at.retain(|id, _| open.contains(id.as_str()));
            let own = || at.iter().filter(|(_, entry)| is_own(entry));
            if has_share(own().count()) {
                own().min_by_key(|(_, (at, _))| *at).map(|(id, _)| id.clone())
            } else if open.len() >= MCP_SESSIONS_MAX {
                let oldest = open.iter().min_by_key(|id| at.get(&***id).map(|(at, _)| *at));
                oldest.map(|id| id.to_string())
            } else {
                None
            }
        };
        if let Some(oldest) = oldest {
            self.close_here(&oldest).await;
        }
    }

    async fn close_here(&self, id: &str) {
        // One that has ended in this moment is closed already.
        let _ = self.manager.close_session(&id.into()).await;
        self.at.lock().remove(id);
    }

    /// Closes what has ended elsewhere, and notes what is used, until `stop`.
    pub(super) async fn look_after(self, stop: CancellationToken) {
        let Some(kept) = self.kept.clone() else { return };
        let mut look = interval(MCP_SESSIONS_SWEPT);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut noted = Instant::now();
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            // Not those that are just beginning.
            let open: Vec<String> = self.at.lock().keys().cloned().collect();
            for id in open.iter().filter(|id| kept.has_ended(id)) {
                self.close_here(id).await;
            }
            if noted.elapsed() >= MCP_SESSION_USE_NOTED {
                let now = Instant::now();
                let used: Vec<String> = {
                    let at = self.at.lock();
                    at.iter()
                        .filter(|(_, (at, _))| *at >= noted)
                        .map(|(id, _)| id.clone())
                        .collect()
                };
                match kept.note(&used).await {
                    Ok(()) => noted = now,
                    Err(problem) => {
                        tracing::warn!(problem, "the use of MCP sessions is noted later");
                    }
                }
            }
        }
    }
}

/// The sessions of the cluster.
struct Kept {
    node: Node,
    executions: Executions,
}

impl Kept {
    /// Whether a session that was open here has ended in the cluster, as far as this node knows. All
    /// that are open here were known when they were opened.
    fn has_ended(&self, id: &str) -> bool {
        matches!(mcp::session(&self.node.rows(), id), Ok(None))
    }

    /// Whether a session is a caller's, as far as this node knows.
    fn is_of(&self, by: Principal, id: &str) -> Result<bool, String> {
        let whose = principals::of_mcp_session(&self.node.rows(), id);
        match whose.map_err(|error| error.to_string())? {
            None => Ok(by.id().is_none()),
            whose => Ok(whose == by.id()),
        }
    }

    /// Commits a command; this node knows of it when this returns. Returns the index of its entry.
    async fn commit(&self, command: Command) -> Result<u64, String> {
        let proposed = self.node.propose(command).await.map_err(|error| error.to_string())?;
        self.node.applied_to(proposed.index).await.map_err(|error| error.to_string())?;
        Ok(proposed.index)
    }

    async fn open(&self, id: &str, params: &InitializeRequestParams) -> Result<(), String> {
        let open = OpenMcpSession {
            id: Uuid::now_v7(),
            session: id.to_owned(),
            client: told(params),
            at_ms: now_ms(),
        };
        let command = match BEGINS_FOR.try_with(|by| by.id()) {
            Ok(None) => Command::OpenMcpSession(open),
            Ok(principal) => {
                let act = Act::OpenMcpSession(open);
                Command::For(For { principal, running_max: None, act })
            }
            // Nobody's, rather than everybody's.
            Err(_) => return Err("its caller is not known".to_owned()),
        };
        self.commit(command).await.map(drop)
    }

    /// This node knows all that the cluster knew when this was called.
    async fn catch_up(&self) -> Result<(), String> {
        self.node.barrier().await.map(drop).map_err(|error| error.to_string())
    }

    /// What this node knows of a session.
    fn find(&self, id: &str) -> Result<Option<SessionState>, String> {
        let row = mcp::session(&self.node.rows(), id).map_err(|error| error.to_string())?;
        let Some(row) = row else { return Ok(None) };
        let params = serde_json::from_str(&row.client).map_err(|error| error.to_string())?;
        Ok(Some(SessionState::new(params)))
    }

    /// Notes that sessions were used.
    async fn note(&self, sessions: &[String]) -> Result<(), String> {
        for some in sessions.chunks(MCP_SESSIONS_PER_COMMAND_MAX) {
            let uses = UseMcpSessions { sessions: some.to_vec(), at_ms: now_ms() };
            let proposed = self.node.propose(Command::UseMcpSessions(uses)).await;
            proposed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

// As `async_trait` writes it.
impl SessionStore for Kept {
    fn load<'a, 'b, 'c>(&'a self, id: &'b str) -> Asked<'c, Option<SessionState>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        // [`Sessions::asked`] has seen to it that this node knows.
        Box::pin(async move { self.find(id).map_err(Into::into) })
    }

    fn store<'a, 'b, 'd, 'c>(&'a self, id: &'b str, state: &'d SessionState) -> Asked<'c, ()>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let opened = self.open(id, &state.initialize_params).await;
            if let Err(problem) = &opened {
                NOT_KEPT.with(|not_kept| not_kept.set(Some(problem.clone())));
            }
            opened.map_err(Into::into)
        })
    }

    fn delete<'a, 'b, 'c>(&'a self, _: &'b str) -> Asked<'c, ()>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        // [`Sessions::end`] has done it, before the answer said so.
        Box::pin(async { Ok(()) })
    }
}

/// What is kept of what a client says of itself: everything, or when that is too long, what it takes
/// to talk to it.
fn told(params: &InitializeRequestParams) -> String {
    const NAME_CHARS_MAX: usize = 100;
    let text = |params: &InitializeRequestParams| serde_json::to_string(params).unwrap_or_default();
    let whole = text(params);
    if whole.len() <= MCP_CLIENT_BYTES_MAX {
        return whole;
    }
    let short = |text: &str| text.chars().take(NAME_CHARS_MAX).collect::<String>();
    let info = &params.client_info;
    let info = Implementation::new(short(&info.name), short(&info.version));
    let version = params.protocol_version.clone();
    let params = InitializeRequestParams::new(ClientCapabilities::default(), info);
    text(&params.with_protocol_version(version))
}

fn now_ms() -> u64 {
    crate::executions::ms(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(name: &str) -> InitializeRequestParams {
        let info = Implementation::new(name, "1.0");
        let version = serde_json::from_str("\"2025-06-18\"").unwrap();
        InitializeRequestParams::new(ClientCapabilities::default(), info)
            .with_protocol_version(version)
    }

    #[test]
    fn what_a_client_says_is_kept_whole_up_to_the_bound_and_short_one_past_it() {
        let length = |name: usize| told(&params(&"n".repeat(name))).len();
        let rest = length(1) - 1;
        assert_eq!(length(MCP_CLIENT_BYTES_MAX - rest), MCP_CLIENT_BYTES_MAX);
        let short = told(&params(&"n".repeat(MCP_CLIENT_BYTES_MAX - rest + 1)));
        let read: InitializeRequestParams = serde_json::from_str(&short).unwrap();
        assert_eq!(read, params(&"n".repeat(100)));
    }
}
