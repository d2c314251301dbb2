//! `get_execution_output`: console output in pages, also while the script runs.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, parse, refuse, result};
use crate::app::App;
use crate::executions::model::OutputPage;
use crate::requests::PageQuery;

pub(super) const NAME: &str = "get_execution_output";

const DESCRIPTION: &str = "Read the console output of an execution in pages, by lines (default: \
100 from line 1) or by bytes (when byte_offset is given). Go on with next_line_offset or \
next_byte_offset while has_more; while status is \"running\" more may come. Example: \
{\"execution_id\": \"01990f3e-…\", \"line_offset\": 101}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The id that run_js returned.
    execution_id: String,
    /// First line, from 1. Default 1.
    line_offset: Option<u64>,
    /// Most lines. Default 100.
    line_limit: Option<u64>,
    /// First byte, from 0. Given, the page is counted in bytes.
    byte_offset: Option<u64>,
    /// Most bytes. Default 4096.
    byte_limit: Option<u64>,
}

pub(super) fn definition() -> Tool {
    Tool::new(NAME, DESCRIPTION, JsonObject::new())
        .with_title("Read console output")
        .with_input_schema::<Arguments>()
        .with_output_schema::<OutputPage>()
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) fn call(app: &App, arguments: JsonObject) -> Answer {
    let Arguments { execution_id, line_offset, line_limit, byte_offset, byte_limit } =
        parse(arguments)?;
    let query = PageQuery { line_offset, line_limit, byte_offset, byte_limit };
    let page = query.page().map_err(refuse)?;
    let execution = app.executions.get(&execution_id).map_err(refuse)?;
    Ok(result(&execution.page(page), false))
}
