//! `get_execution`: where an execution stands and how it ended.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};

use super::{Answer, ById, cut_with_notice, define, fits, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::executions::model::ExecutionInfo;
use crate::limits::MCP_MESSAGE_BYTES_MAX;

pub(super) const NAME: &str = "get_execution";

const DESCRIPTION: &str = "Look at an execution: status (running, completed, failed, cancelled, \
timed_out), result and error. Its console output is read with get_execution_output. Example: \
{\"execution_id\": \"01990f3e-…\"}.";

pub(super) fn definition() -> Tool {
    define::<ById, ExecutionInfo>(NAME, "Look at an execution", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let ById { execution_id } = parse(arguments)?;
    let execution = app.executions.get(by, &execution_id).await.map_err(refuse)?;
    let info = execution.info();
    let mut fitted = info.clone();
    let mut bytes = MCP_MESSAGE_BYTES_MAX / 2;
    while !fits(&fitted) && bytes > 1 {
        fitted.result = info.result.as_deref().map(|result| fitted_result(result, bytes));
        bytes /= 2;
    }
    Ok(result(&fitted, false))
}

/// At most `bytes` of a result's text, with a notice if that is less than all.
pub(super) fn fitted_result(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let notice = format!(
        "… [result cut here: it has {} bytes; REST returns it whole from /api/executions/ID]",
        text.len()
    );
    cut_with_notice(text, bytes, &notice)
}
