//! Prompts of known contents, and what their arguments may be completed to.

use rmcp::ErrorData;
use rmcp::model::{
    CompleteRequestParams, CompleteResult, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, ListPromptsResult,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};

use super::rounds::{ask, filled, user};
use super::{made, media};

const SIMPLE: &str = "test_simple_prompt";
const WITH_ARGUMENTS: &str = "test_prompt_with_arguments";
const WITH_RESOURCE: &str = "test_prompt_with_embedded_resource";
const WITH_IMAGE: &str = "test_prompt_with_image";
const ASKING: &str = "test_input_required_result_prompt";

/// All of them.
pub(super) fn list() -> Result<ListPromptsResult, ErrorData> {
    let prompt = |name: &str, arguments: &[&str]| {
        let arguments = arguments.iter().map(|name| {
            json!({"name": name, "description": "For the conformance suite", "required": true})
        });
        let arguments: Vec<_> = arguments.collect();
        json!({"name": name, "description": "For the conformance suite", "arguments": arguments})
    };
    made(json!({"resultType": "complete", "prompts": [
        prompt(SIMPLE, &[]),
        prompt(WITH_ARGUMENTS, &["arg1", "arg2"]),
        prompt(WITH_RESOURCE, &["resourceUri"]),
        prompt(WITH_IMAGE, &[]),
        prompt(ASKING, &[]),
    ]}))
}

/// One of them.
pub(super) fn get(
    request: GetPromptRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<GetPromptResponse, ErrorData> {
    let arguments = request.arguments.unwrap_or_default();
    let argument = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
    let text = |text: &str| json!({"type": "text", "text": text});
    let contents = match &*request.name {
        SIMPLE => vec![text("This is a simple prompt for testing.")],
        WITH_ARGUMENTS => vec![text(&format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2")
        ))],
        WITH_RESOURCE => vec![
            media::resource(
                argument("resourceUri"),
                "text/plain",
                "Embedded resource content for testing.",
            ),
            text("Please process the embedded resource above."),
        ],
        WITH_IMAGE => vec![media::image(), text("Please analyze the image above.")],
        ASKING => match filled(request.input_responses.as_ref(), "user_context", "context") {
            Some(said) => vec![text(&format!("Use this context: {said}"))],
            None => {
                let question = user("What context should the prompt use?", "context", "string");
                return ask(context, [("user_context", question)].into(), None).map(Into::into);
            }
        },
        other => return Err(ErrorData::invalid_params(format!("no prompt '{other}'"), None)),
    };
    let messages = contents.into_iter().map(|content| json!({"role": "user", "content": content}));
    let messages: Vec<_> = messages.collect();
    let result: GetPromptResult = made(json!({"resultType": "complete", "messages": messages}))?;
    Ok(result.into())
}

/// Values that begin as the argument does.
pub(super) fn complete(request: &CompleteRequestParams) -> Result<CompleteResult, ErrorData> {
    let begun = &request.argument.value;
    let values = ["paris", "park", "party"].into_iter().filter(|value| value.starts_with(begun));
    let values: Vec<_> = values.collect();
    made(json!({"resultType": "complete", "completion": {
        "values": values, "total": values.len(), "hasMore": false,
    }}))
}
