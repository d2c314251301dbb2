//! `set_heap_tags`: puts labels on a heap.

use std::collections::BTreeMap;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, Done, define, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::sessions::heap_id;

pub(super) const NAME: &str = "set_heap_tags";

const DESCRIPTION: &str = "Set tags of a heap; tags under other keys stay. A tagged heap is kept when \
no session needs it any more. Example: {\"heap\": \"3f1c…\", \"tags\": {\"stage\": \"clean\"}}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The heap, 64 hexadecimal digits, as run_js returned it.
    heap: String,
    /// Values by key.
    tags: BTreeMap<String, String>,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, Done>(NAME, "Set tags of a heap", DESCRIPTION.to_owned()).with_annotations(
        ToolAnnotations::new()
            .read_only(false)
            .destructive(false)
            .idempotent(true)
            .open_world(false),
    )
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { heap, tags } = parse(arguments)?;
    let heap = heap_id("heap", &heap).map_err(refuse)?;
    app.sessions(by).map_err(refuse)?.set_tags(heap, tags).await.map_err(refuse)?;
    Ok(result(&Done { ok: true }, false))
}
