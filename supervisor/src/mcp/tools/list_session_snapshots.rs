//! `list_session_snapshots`: the history of a session.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use rmcp::service::{RequestContext, RoleServer};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, define, fits, parse, refuse, result, session};
use crate::access::Principal;
use crate::app::App;
use crate::sessions::SnapshotList;

pub(super) const NAME: &str = "list_session_snapshots";

const DESCRIPTION: &str = "Read the history of a session, oldest step first: what ran (`code`), the \
heap it began with (`input_heap`) and the heap it left (`output_heap`). To go back, call run_js with \
`heap` set to an earlier output_heap, and with `session` if the session shall go on from there. \
Example: {\"session\": \"analysis\", \"fields\": \"index,output_heap\"}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The session. Default: the one this connection names, if it names one.
    #[schemars(length(min = 1, max = 256))]
    session: Option<String>,
    /// Fields separated by commas: index, input_heap, output_heap, code, timestamp, execution_id.
    /// Default all.
    fields: Option<String>,
    /// Most entries. Default 1000.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u64>,
    /// The first entry; `next_cursor` of the page before.
    cursor: Option<u64>,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, SnapshotList>(NAME, "Read a session's history", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(
    app: &App,
    by: Principal,
    arguments: JsonObject,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let Arguments { session: named, fields, limit, cursor } = parse(arguments)?;
    let Some(session) = session(app, named, context)? else {
        return Err(refuse("`session` is missing; list_sessions shows which there are"));
    };
    let sessions = app.sessions(by).map_err(refuse)?;
    let page = sessions.snapshots(&session, fields.as_deref(), limit, cursor).await;
    let mut page = page.map_err(refuse)?;
    // What is quoted grows.
    while !fits(&page) && page.entries.len() > 1 {
        page = page.half();
    }
    Ok(result(&page, false))
}
