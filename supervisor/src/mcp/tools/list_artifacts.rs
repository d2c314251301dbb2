//! `list_artifacts`: what scripts have left under names.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, define, fits, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::artifacts::ArtifactList;

pub(super) const NAME: &str = "list_artifacts";

const DESCRIPTION: &str = "List the files that scripts have left with artifact(key, mimeType, bytes), \
in order of their keys: type, size, and the execution each is from. Example: {}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Most artifacts. Default 1000.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, ArtifactList>(NAME, "List artifacts", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { limit, cursor } = parse(arguments)?;
    let mut list = app.executions.artifacts(by).list(limit, cursor).await.map_err(refuse)?;
    while !fits(&list) && list.artifacts.len() > 1 {
        list = list.half();
    }
    Ok(result(&list, false))
}
