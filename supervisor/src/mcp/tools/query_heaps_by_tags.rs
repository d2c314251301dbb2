//! `query_heaps_by_tags`: finds heaps by their labels.

use std::collections::BTreeMap;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, define, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::sessions::TaggedHeaps;

pub(super) const NAME: &str = "query_heaps_by_tags";

const DESCRIPTION: &str = "Find heaps that have all of these tags, whatever others they have. \
Example: {\"tags\": {\"stage\": \"clean\"}}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Values by key.
    tags: BTreeMap<String, String>,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, TaggedHeaps>(NAME, "Find heaps by tags", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { tags } = parse(arguments)?;
    let mut found = app.sessions(by).map_err(refuse)?.tagged(tags).await.map_err(refuse)?;
    while !super::fits(&found) {
        found.results.truncate(found.results.len() / 2);
        found.truncated = true;
    }
    Ok(result(&found, false))
}
