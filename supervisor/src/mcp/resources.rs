//! `docs://` resources: the same texts that HTTP serves.

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents};
use serde_json::json;

use crate::app::App;
use crate::docs;
use crate::mcp::tools;

const README: &str = "docs://readme";
const LLMS_TXT: &str = "docs://llms-txt";
const OPENAPI: &str = "docs://openapi";
const TOOLS: &str = "docs://tools";

/// All resources.
pub(super) fn list() -> Vec<Resource> {
    [
        (README, "readme", "The manual", "text/markdown"),
        (LLMS_TXT, "llms.txt", "What this server is, for language models", "text/plain"),
        (OPENAPI, "openapi", "OpenAPI description of the REST interface", "application/json"),
        (TOOLS, "tools", "Every tool with its description and schemas", "application/json"),
    ]
    .into_iter()
    .map(|(uri, name, description, mime_type)| {
        Resource::new(uri, name).with_description(description).with_mime_type(mime_type)
    })
    .collect()
}

/// One resource.
pub(super) fn read(app: &App, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let (text, mime_type) = match uri {
        README => (docs::README.to_owned(), "text/markdown"),
        LLMS_TXT => (docs::llms_txt().to_owned(), "text/plain"),
        OPENAPI => (docs::openapi().to_owned(), "application/json"),
        TOOLS => {
            let tools = serde_json::to_string_pretty(&tools::definitions(app));
            (tools.unwrap_or_default(), "application/json")
        }
        other => {
            let known = [README, LLMS_TXT, OPENAPI, TOOLS].join(", ");
            let message = format!("no resource '{other}'; there are: {known}");
            return Err(ErrorData::resource_not_found(message, Some(json!({ "uri": other }))));
        }
    };
    let contents = ResourceContents::text(text, uri).with_mime_type(mime_type);
    Ok(ReadResourceResult::new(vec![contents]))
}
