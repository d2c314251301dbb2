//! The tools, one file each.
//!
//! Every file has `NAME`, `definition` and `call`. Arguments are a serde struct that knows its
//! fields exactly, so a wrong name or type is an error that names the argument.

mod cancel_execution;
mod delete_heap_tags;
mod get_artifact;
mod get_execution;
mod get_execution_output;
mod get_heap_tags;
mod list_artifacts;
mod list_executions;
mod list_session_snapshots;
mod list_sessions;
mod query_heaps_by_tags;
mod run_js;
mod set_heap_tags;

use std::collections::BTreeMap;
use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, JsonObject, Tool};
use rmcp::service::{RequestContext, RoleServer};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::access::Principal;
use crate::app::App;
use crate::limits::MCP_MESSAGE_BYTES_MAX;
use crate::requests::{json_error, session_of};

pub(super) use self::run_js::answer as answer_of;

/// All tools, in the order in which a client shows them.
pub fn definitions(app: &App) -> Vec<Tool> {
    with_description(app.texts.run_js_description.as_deref())
}

/// All tools as they are unless the operator has other words for them.
pub fn reference() -> Vec<Tool> {
    with_description(None)
}

fn with_description(run_js: Option<&str>) -> Vec<Tool> {
    let mut tools = vec![run_js::definition(run_js)];
    tools.extend(others());
    tools
}

/// Every tool but `run_js`.
fn others() -> Vec<Tool> {
    vec![
        get_execution::definition(),
        get_execution_output::definition(),
        cancel_execution::definition(),
        list_executions::definition(),
        list_sessions::definition(),
        list_session_snapshots::definition(),
        get_heap_tags::definition(),
        set_heap_tags::definition(),
        delete_heap_tags::definition(),
        query_heaps_by_tags::definition(),
        list_artifacts::definition(),
        get_artifact::definition(),
    ]
}

/// The names of all tools.
pub(super) const NAMES: [&str; 13] = [
    run_js::NAME,
    get_execution::NAME,
    get_execution_output::NAME,
    cancel_execution::NAME,
    list_executions::NAME,
    list_sessions::NAME,
    list_session_snapshots::NAME,
    get_heap_tags::NAME,
    set_heap_tags::NAME,
    delete_heap_tags::NAME,
    query_heaps_by_tags::NAME,
    list_artifacts::NAME,
    get_artifact::NAME,
];

/// What every tool but `run_js` is for: its name, and the first sentence of its description.
pub fn summaries() -> Vec<(String, String)> {
    let summary = |tool: Tool| {
        let description = tool.description.unwrap_or_default();
        let sentence = description.split(". ").next().unwrap_or_default();
        (tool.name.into_owned(), format!("{}.", sentence.trim_end_matches('.')))
    };
    others().into_iter().map(summary).collect()
}

/// Calls a tool by name, for a caller.
///
/// # Errors
/// Only for a name that is no tool; everything else is a tool result.
pub async fn call(
    app: &App,
    by: Principal,
    name: &str,
    arguments: JsonObject,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let answer = match name {
        run_js::NAME => {
            let response = run_js::call(app, by, arguments, context).await;
            return Ok(response.unwrap_or_else(Into::into));
        }
        get_execution::NAME => get_execution::call(app, by, arguments).await,
        get_execution_output::NAME => get_execution_output::call(app, by, arguments).await,
        cancel_execution::NAME => cancel_execution::call(app, by, arguments).await,
        list_executions::NAME => list_executions::call(app, by, arguments).await,
        list_sessions::NAME => list_sessions::call(app, by, arguments).await,
        list_session_snapshots::NAME => {
            list_session_snapshots::call(app, by, arguments, &context).await
        }
        get_heap_tags::NAME => get_heap_tags::call(app, by, arguments).await,
        set_heap_tags::NAME => set_heap_tags::call(app, by, arguments).await,
        delete_heap_tags::NAME => delete_heap_tags::call(app, by, arguments).await,
        query_heaps_by_tags::NAME => query_heaps_by_tags::call(app, by, arguments).await,
        list_artifacts::NAME => list_artifacts::call(app, by, arguments).await,
        get_artifact::NAME => get_artifact::call(app, by, arguments).await,
        other => {
            let names: Vec<_> = definitions(app).iter().map(|tool| tool.name.to_string()).collect();
            let message = format!("no tool '{other}'; there are: {}", names.join(", "));
            return Err(ErrorData::invalid_params(message, None));
        }
    };
    Ok(answer.unwrap_or_else(|refused| refused).into())
}

/// A result, or an error result; both go to the client the same way.
type Answer = Result<CallToolResult, CallToolResult>;

/// Arguments of a tool that takes an execution's id.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ById {
    /// The id that run_js returned.
    execution_id: String,
}

/// Tags of a heap.
#[derive(Debug, Serialize, JsonSchema)]
struct HeapTags {
    /// Values by key.
    tags: BTreeMap<String, String>,
}

/// That it worked.
#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    /// Always true.
    ok: bool,
}

/// The session of a call: the one it names, or else the header, or else `--session-id`.
fn session(
    app: &App,
    named: Option<String>,
    context: &RequestContext<RoleServer>,
) -> Result<Option<String>, CallToolResult> {
    if named.is_some() {
        return Ok(named);
    }
    let from_header = match context.extensions.get::<axum::http::request::Parts>() {
        Some(parts) => session_of(&parts.headers).map_err(refuse)?,
        None => None,
    };
    Ok(from_header.or_else(|| app.session.clone()))
}

/// Parses arguments; an error names the argument.
fn parse<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, CallToolResult> {
    serde_path_to_error::deserialize(Value::Object(arguments))
        .map_err(|error| refuse(json_error("arguments", &error)))
}

/// An error result with `{"error": …}`. It has no structured content: that must fit the tool's output
/// schema, and clients that check it would show their own complaint instead of this one.
fn refuse(error: impl std::fmt::Display) -> CallToolResult {
    let text = serde_json::json!({ "error": error.to_string() }).to_string();
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// A result whose text block and structured content are the same JSON.
fn result(value: &impl Serialize, is_error: bool) -> CallToolResult {
    // Our own types of strings and numbers always serialise.
    let text = serde_json::to_string(value).unwrap_or_default();
    let content = vec![ContentBlock::text(text)];
    let mut result =
        if is_error { CallToolResult::error(content) } else { CallToolResult::success(content) };
    result.structured_content = serde_json::to_value(value).ok();
    result
}

/// Whether [`result`] of this value fits a message. Its JSON travels twice: as structured content,
/// and once more escaped inside the text block.
fn fits(value: &impl Serialize) -> bool {
    message_bytes(value) <= MCP_MESSAGE_BYTES_MAX
}

/// Bytes of the message that [`result`] of this value is.
fn message_bytes(value: &impl Serialize) -> usize {
    let text = serde_json::to_string(value).unwrap_or_default();
    let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    2 * text.len() + escaped
}

/// Cuts `text` to `bytes` at a character boundary and says so with `notice`.
fn cut_with_notice(text: &str, bytes: usize, notice: &str) -> String {
    let mut cut = text[..text.floor_char_boundary(bytes)].to_owned();
    cut.push_str(notice);
    cut
}

/// A tool with the schemas of its argument and result types.
fn define<A, R>(name: &'static str, title: &str, description: String) -> Tool
where
    A: JsonSchema + 'static,
    R: JsonSchema + 'static,
{
    let mut tool = Tool::new(name, description, JsonObject::new())
        .with_title(title)
        .with_input_schema::<A>()
        .with_output_schema::<R>();
    tool.input_schema = Arc::new(without_formats(&tool.input_schema));
    tool.output_schema = tool.output_schema.map(|schema| Arc::new(without_formats(&schema)));
    tool
}

/// Removes `format` ("uint64" and the like): JSON Schema does not define those words, and JavaScript
/// clients warn about them at every call. The bounds say what matters.
fn without_formats(schema: &JsonObject) -> JsonObject {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                if members.get("format").is_some_and(Value::is_string) {
                    members.remove("format");
                }
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut schema = schema.clone();
    schema.values_mut().for_each(strip);
    schema
}
