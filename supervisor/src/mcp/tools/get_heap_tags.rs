//! `get_heap_tags`: the labels of a heap.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, HeapTags, define, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::sessions::heap_id;

pub(super) const NAME: &str = "get_heap_tags";

const DESCRIPTION: &str =
    "Read the tags of a heap. Example: {\"heap\": \"3f1c…64 hexadecimal digits\"}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The heap, 64 hexadecimal digits, as run_js returned it.
    heap: String,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, HeapTags>(NAME, "Read tags of a heap", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { heap } = parse(arguments)?;
    let heap = heap_id("heap", &heap).map_err(refuse)?;
    let tags = app.sessions(by).map_err(refuse)?.tags(heap).await.map_err(refuse)?;
    Ok(result(&HeapTags { tags }, false))
}
