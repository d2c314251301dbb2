//! `get_execution_output`: console output in pages, also while the script runs.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, define, fits, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::executions::model::OutputPage;
use crate::executions::{Execution, PageBy};
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
    define::<Arguments, OutputPage>(NAME, "Read console output", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { execution_id, line_offset, line_limit, byte_offset, byte_limit } =
        parse(arguments)?;
    let query = PageQuery { line_offset, line_limit, byte_offset, byte_limit };
    let page = query.page().map_err(refuse)?;
    let execution = app.executions.get(by, &execution_id).await.map_err(refuse)?;
    Ok(result(&fitted(&execution, page), false))
}

/// The page, or as much of it as fits a message.
fn fitted(execution: &Execution, by: PageBy) -> OutputPage {
    let mut by = by;
    loop {
        let page = execution.page(by);
        if fits(&page) {
            return page;
        }
        by = match by {
            PageBy::Lines { offset, limit: 1 } => return cut_line(execution, &page, offset),
            PageBy::Lines { offset, limit } => PageBy::Lines { offset, limit: limit.div_ceil(2) },
            PageBy::Bytes { offset, limit } => PageBy::Bytes { offset, limit: limit.div_ceil(2) },
        };
    }
}

/// The beginning of a line that is too long for a message. Reading on by lines skips its rest,
/// reading on by bytes does not; the notice says so.
fn cut_line(execution: &Execution, whole: &OutputPage, line: u64) -> OutputPage {
    let mut limit = (whole.end_byte - whole.start_byte).div_ceil(2);
    loop {
        let mut page = execution.page(PageBy::Bytes { offset: whole.start_byte, limit });
        page.data.push_str(&format!(
            "… [line cut here; read its rest with byte_offset {}]",
            page.next_byte_offset
        ));
        page.end_line = line;
        page.next_line_offset = line + 1;
        if fits(&page) {
            return page;
        }
        limit = limit.div_ceil(2);
    }
}
