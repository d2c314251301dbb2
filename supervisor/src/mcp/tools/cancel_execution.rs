//! `cancel_execution`: stop a script and wait until it has ended.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, ById, define, parse, result};
use crate::access::Principal;
use crate::app::App;

pub(super) const NAME: &str = "cancel_execution";

const DESCRIPTION: &str = "Stop a running execution. Returns {\"ok\": true} once it has ended, or \
{\"ok\": false, \"error\": …} when there is none with this id or it was over already. Example: \
{\"execution_id\": \"01990f3e-…\"}.";

#[derive(Debug, Serialize, JsonSchema)]
struct Cancelled {
    /// Whether it is cancelled.
    ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) fn definition() -> Tool {
    define::<ById, Cancelled>(NAME, "Cancel an execution", DESCRIPTION.to_owned()).with_annotations(
        ToolAnnotations::new()
            .read_only(false)
            .destructive(true)
            .idempotent(true)
            .open_world(false),
    )
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let ById { execution_id } = parse(arguments)?;
    let error = app.executions.cancel(by, &execution_id).await.err().map(|error| error.to_string());
    let ok = error.is_none();
    Ok(result(&Cancelled { ok, error }, !ok))
}
