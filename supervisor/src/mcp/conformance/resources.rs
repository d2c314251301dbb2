//! Resources of known contents.

use rmcp::ErrorData;
use rmcp::model::{ListResourceTemplatesResult, ReadResourceResult, Resource};
use serde_json::{Value, json};

use super::{made, media};

const STATIC_TEXT: &str = "test://static-text";
const STATIC_BINARY: &str = "test://static-binary";
const WATCHED: &str = "test://watched-resource";

/// All but those of the template.
pub(super) fn list() -> Result<Vec<Resource>, ErrorData> {
    let resource = |uri: &str, name: &str, mime_type: &str| {
        made(json!({
            "uri": uri,
            "name": name,
            "description": format!("{name}, for the conformance suite"),
            "mimeType": mime_type,
        }))
    };
    Ok(vec![
        resource(STATIC_TEXT, "A text", "text/plain")?,
        resource(STATIC_BINARY, "An image", "image/png")?,
        resource(WATCHED, "A resource to subscribe to", "text/plain")?,
    ])
}

/// The template.
pub(super) fn templates() -> Result<ListResourceTemplatesResult, ErrorData> {
    made(json!({"resultType": "complete", "resourceTemplates": [{
        "uriTemplate": "test://template/{id}/data",
        "name": "A template",
        "description": "A template, for the conformance suite",
        "mimeType": "application/json",
    }]}))
}

/// One of them, if it is one.
pub(super) fn read(uri: &str) -> Result<Option<ReadResourceResult>, ErrorData> {
    let text =
        |mime_type: &str, text: &str| json!({"uri": uri, "mimeType": mime_type, "text": text});
    let content: Value = match uri {
        STATIC_TEXT => text("text/plain", "This is the content of the static text resource."),
        STATIC_BINARY => json!({"uri": uri, "mimeType": "image/png", "blob": media::png()}),
        WATCHED => text("text/plain", "This may change."),
        other => {
            let id = other.strip_prefix("test://template/");
            let Some(id) = id.and_then(|rest| rest.strip_suffix("/data")) else { return Ok(None) };
            let data = format!("Data for ID: {id}");
            let data = json!({"id": id, "templateTest": true, "data": data}).to_string();
            text("application/json", &data)
        }
    };
    made(json!({"resultType": "complete", "contents": [content]})).map(Some)
}

/// Whether there is such a fixture.
pub(super) fn known(uri: &str) -> Result<(), ErrorData> {
    match read(uri)? {
        Some(_) => Ok(()),
        None => Err(ErrorData::resource_not_found(format!("no resource '{uri}'"), None)),
    }
}
