//! `get_execution`: where an execution stands and how it ended.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};

use super::{Answer, ById, parse, refuse, result};
use crate::app::App;
use crate::executions::model::ExecutionInfo;

pub(super) const NAME: &str = "get_execution";

const DESCRIPTION: &str = "Look at an execution: status (running, completed, failed, cancelled, \
timed_out), result and error. Its console output is read with get_execution_output. Example: \
{\"execution_id\": \"01990f3e-…\"}.";

pub(super) fn definition() -> Tool {
    Tool::new(NAME, DESCRIPTION, JsonObject::new())
        .with_title("Look at an execution")
        .with_input_schema::<ById>()
        .with_output_schema::<ExecutionInfo>()
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) fn call(app: &App, arguments: JsonObject) -> Answer {
    let ById { execution_id } = parse(arguments)?;
    let execution = app.executions.get(&execution_id).map_err(refuse)?;
    Ok(result(&execution.info(), false))
}
