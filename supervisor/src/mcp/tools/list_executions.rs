//! `list_executions`: what ran lately, newest first.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, define, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::executions::model::ExecutionList;

pub(super) const NAME: &str = "list_executions";

const DESCRIPTION: &str = "List executions, newest first, with their status and times. Example: \
{\"limit\": 10}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Most rows. Default 100.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, ExecutionList>(NAME, "List executions", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { limit, cursor } = parse(arguments)?;
    let list = app.executions.list(by, limit, cursor.as_deref(), false).await.map_err(refuse)?;
    Ok(result(&list, false))
}
