//! `list_sessions`: names of the sessions there are.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, define, fits, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::sessions::SessionList;

pub(super) const NAME: &str = "list_sessions";

const DESCRIPTION: &str = "List the sessions that hold state, in alphabetical order. A session is \
made by the first run_js that names it. Example: {}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Most names. Default 1000.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, SessionList>(NAME, "List sessions", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { limit, cursor } = parse(arguments)?;
    let sessions = app.sessions(by).map_err(refuse)?;
    let mut list = sessions.names(limit, cursor).await.map_err(refuse)?;
    // What is quoted grows.
    while !fits(&list) && list.sessions.len() > 1 {
        list = list.half();
    }
    Ok(result(&list, false))
}
