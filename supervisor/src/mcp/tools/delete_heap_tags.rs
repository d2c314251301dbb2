//! `delete_heap_tags`: takes labels off a heap.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, Done, define, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::sessions::heap_id;

pub(super) const NAME: &str = "delete_heap_tags";

const DESCRIPTION: &str = "Delete tags of a heap: those in `keys`, or all. A heap without tags is \
forgotten once no session and no execution needs it. Example: {\"heap\": \"3f1c…\", \"keys\": \
\"stage,owner\"}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The heap, 64 hexadecimal digits, as run_js returned it.
    heap: String,
    /// Keys separated by commas; all tags when absent.
    keys: Option<String>,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, Done>(NAME, "Delete tags of a heap", DESCRIPTION.to_owned())
        .with_annotations(
            ToolAnnotations::new()
                .read_only(false)
                .destructive(true)
                .idempotent(true)
                .open_world(false),
        )
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { heap, keys } = parse(arguments)?;
    let heap = heap_id("heap", &heap).map_err(refuse)?;
    let sessions = app.sessions(by).map_err(refuse)?;
    sessions.delete_tags(heap, keys.as_deref()).await.map_err(refuse)?;
    Ok(result(&Done { ok: true }, false))
}
