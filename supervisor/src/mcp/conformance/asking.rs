//! Tools that ask the client while they run, as revisions with sessions have it.

use rmcp::ErrorData;
use rmcp::model::{ClientCapabilities, ServerRequest};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};

use super::calls::{complete, text};
use super::{Call, Reply, made};

/// Refuses a client that has not declared a capability.
pub(super) fn needs(context: &RequestContext<RoleServer>, name: &str) -> Result<(), ErrorData> {
    if has(context, name) {
        return Ok(());
    }
    let required: ClientCapabilities = made(json!({name: {}}))?;
    Err(ErrorData::missing_required_client_capability(required))
}

/// Whether a client has declared a capability.
pub(super) fn has(context: &RequestContext<RoleServer>, name: &str) -> bool {
    let declared = serde_json::to_value(context.client_capabilities()).unwrap_or_default();
    declared[name].is_object()
}

/// Asks, and returns what the client has said.
async fn ask(call: &Call<'_>, capability: &str, request: Value) -> Result<Value, ErrorData> {
    needs(&call.context, capability)?;
    let request: ServerRequest = made(request)?;
    let failed = |error: &dyn std::fmt::Display| {
        ErrorData::internal_error(format!("the client has not answered: {error}"), None)
    };
    let answer = call.context.peer.send_request(request).await.map_err(|error| failed(&error))?;
    serde_json::to_value(answer).map_err(|error| failed(&error))
}

/// Asks the user, and tells what came of it.
async fn user(call: &Call<'_>, said: &str, message: &str, schema: Value) -> Reply {
    let params = json!({"message": message, "requestedSchema": schema});
    let request = json!({"method": "elicitation/create", "params": params});
    let answer = ask(call, "elicitation", request).await?;
    let action = answer["action"].as_str().unwrap_or_default();
    complete(text(&format!("{said}: action={action}, content={}", answer["content"])))
}

pub(super) async fn sampling(call: &Call<'_>) -> Reply {
    let said = json!({"type": "text", "text": call.argument("prompt")});
    let params = json!({"messages": [{"role": "user", "content": said}], "maxTokens": 100});
    let request = json!({"method": "sampling/createMessage", "params": params});
    let answer = ask(call, "sampling", request).await?;
    let said = answer["content"]["text"].as_str().unwrap_or_default();
    complete(text(&format!("LLM response: {said}")))
}

pub(super) async fn elicitation(call: &Call<'_>) -> Reply {
    let schema = json!({
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "User's response"},
            "email": {"type": "string", "description": "User's email address"},
        },
        "required": ["username", "email"],
    });
    user(call, "User response", call.argument("message"), schema).await
}

pub(super) async fn defaults(call: &Call<'_>) -> Reply {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {
                "type": "string",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": {"type": "boolean", "default": true},
        },
        "required": [],
    });
    user(call, "Elicitation completed", "Please look at the defaults", schema).await
}

pub(super) async fn choices(call: &Call<'_>) -> Reply {
    let titled = |titles: [&str; 3]| {
        let titled = (1..).zip(titles);
        let titled = titled.map(|(n, title)| json!({"const": format!("value{n}"), "title": title}));
        titled.collect::<Vec<_>>()
    };
    let options = json!(["option1", "option2", "option3"]);
    let schema = json!({
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {
                "type": "string",
                "oneOf": titled(["First Option", "Second Option", "Third Option"]),
            },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {
                "type": "array",
                "items": {"anyOf": titled(["First Choice", "Second Choice", "Third Choice"])},
            },
        },
        "required": [],
    });
    user(call, "Elicitation completed", "Please choose", schema).await
}
