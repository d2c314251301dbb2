//! The tools: what they are called, and which file answers which.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, ContentBlock, ProgressNotificationParam, ServerNotification, Tool,
};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::{Call, Reply, asking, is_stateless, jobs, made, media, rounds};
use rmcp::ServerHandler;

/// Between two notifications of one call.
const PAUSE: Duration = Duration::from_millis(50);

/// Tools whose arguments the suite does not look at.
const WITHOUT_ARGUMENTS: [(&str, &str); 30] = [
    ("test_simple_text", "Returns a text"),
    ("test_image_content", "Returns an image"),
    ("test_audio_content", "Returns a sound"),
    ("test_embedded_resource", "Returns a resource"),
    ("test_multiple_content_types", "Returns a text, an image and a resource"),
    ("test_tool_with_logging", "Logs three messages"),
    ("test_logging_tool", "Logs a message, if that was asked for"),
    ("test_error_handling", "Fails"),
    ("test_tool_with_progress", "Reports its progress"),
    ("test_elicitation_sep1034_defaults", "Asks the user, with defaults"),
    ("test_elicitation_sep1330_enums", "Asks the user to choose"),
    ("test_reconnection", "Takes a moment"),
    ("test_missing_capability", "Needs a client with sampling"),
    ("test_streaming_elicitation", "Asks the user"),
    ("test_trigger_tool_change", "Says that the tools have changed"),
    ("test_trigger_prompt_change", "Says that the prompts have changed"),
    ("test_input_required_result_elicitation", "Needs a name"),
    ("test_input_required_result_sampling", "Needs a completion"),
    ("test_input_required_result_list_roots", "Needs the roots"),
    ("test_input_required_result_request_state", "Needs a confirmation, and its state back"),
    ("test_input_required_result_multiple_inputs", "Needs three answers"),
    ("test_input_required_result_multi_round", "Needs two answers, one after the other"),
    ("test_input_required_result_tampered_state", "Refuses a state that was changed"),
    ("test_input_required_result_capabilities", "Asks for what the client can answer"),
    ("slow_compute", "Takes `seconds`"),
    ("failing_job", "Fails after a second, as a task"),
    ("protocol_error_job", "Ends with an error of the protocol, as a task"),
    ("confirm_delete", "Asks for a confirmation, as a task"),
    ("multi_input", "Asks for two answers at once, as a task"),
    ("test_tool_with_task", "Asks for a name, then goes on as a task"),
];

/// All of them.
pub(super) fn definitions() -> Result<Vec<Tool>, ErrorData> {
    let plain = WITHOUT_ARGUMENTS.into_iter().map(|(name, description)| {
        json!({"name": name, "description": description, "inputSchema": {"type": "object"}})
    });
    let text = |name: &str, description: &str, argument: &str| {
        json!({
            "name": name,
            "description": description,
            "inputSchema": {
                "type": "object",
                "properties": {argument: {"type": "string"}},
                "required": [argument],
            },
        })
    };
    let others = [
        text("test_sampling", "Asks the client's model", "prompt"),
        text("test_elicitation", "Asks the user", "message"),
        text("greet", "Greets, and is never a task", "name"),
        json!({
            "name": "test_parameter_in_header",
            "description": "Has an argument that travels in a header as well",
            "inputSchema": {
                "type": "object",
                "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
            },
        }),
        json!({
            "name": "json_schema_2020_12_tool",
            "description": "Has a schema of many keywords",
            "inputSchema": media::schema_2020_12(),
        }),
    ];
    plain.chain(others).map(made).collect()
}

/// Answers a call, or lets the product answer it.
pub(super) async fn call(call: Call<'_>) -> Reply {
    let name = call.request.name.clone();
    match &*name {
        "test_simple_text" => complete(text("This is a simple text response for testing.")),
        "test_image_content" => complete(json!({"content": [media::image()]})),
        "test_audio_content" => complete(json!({"content": [media::audio()]})),
        "test_embedded_resource" => complete(json!({"content": [media::resource(
            "test://embedded-resource", "text/plain", "This is an embedded resource content.",
        )]})),
        "test_multiple_content_types" => complete(json!({"content": [
            {"type": "text", "text": "Multiple content types test:"},
            media::image(),
            media::resource(
                "test://mixed-content-resource",
                "application/json",
                r#"{"test":"data","value":123}"#,
            ),
        ]})),
        "test_error_handling" => {
            let said = "This tool intentionally returns an error for testing";
            Ok(CallToolResult::error(vec![ContentBlock::text(said)]).into())
        }
        "test_parameter_in_header" | "json_schema_2020_12_tool" => complete(text("Done.")),
        "test_reconnection" => {
            sleep(PAUSE).await;
            complete(text("Done."))
        }
        "test_tool_with_logging" | "test_logging_tool" => logging(&call).await,
        "test_tool_with_progress" => progress(&call).await,
        "greet" => complete(text(&format!("Hello, {}!", call.argument("name")))),
        "test_trigger_tool_change" => {
            call.fixtures.state.changes.tools();
            complete(text("Changed."))
        }
        "test_trigger_prompt_change" => {
            call.fixtures.state.changes.prompts();
            complete(text("Changed."))
        }
        "test_sampling" => asking::sampling(&call).await,
        "test_elicitation" => asking::elicitation(&call).await,
        "test_elicitation_sep1034_defaults" => asking::defaults(&call).await,
        "test_elicitation_sep1330_enums" => asking::choices(&call).await,
        "test_missing_capability" => {
            asking::needs(&call.context, "sampling")?;
            complete(text("The client has sampling."))
        }
        "slow_compute"
        | "failing_job"
        | "protocol_error_job"
        | "confirm_delete"
        | "multi_input"
        | "test_tool_with_task" => jobs::call(call).await,
        name if name.starts_with("test_input_required_result_")
            || name == "test_streaming_elicitation" =>
        {
            rounds::call(&call)
        }
        _ => call.fixtures.product.call_tool(call.request, call.context).await,
    }
}

impl Call<'_> {
    /// An argument that is a text.
    pub(super) fn argument(&self, name: &str) -> &str {
        let arguments = self.request.arguments.as_ref();
        arguments
            .and_then(|arguments| arguments.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// A result of one text.
pub(super) fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// A result from its JSON.
pub(super) fn complete(mut result: Value) -> Reply {
    result["resultType"] = "complete".into();
    made::<CallToolResult>(result).map(Into::into)
}

async fn logging(call: &Call<'_>) -> Reply {
    // Later revisions: only who asks for it, with the request.
    let wanted = !is_stateless(&call.context) || call.context.meta.log_level().is_some();
    let said = ["Tool execution started", "Tool processing data", "Tool execution completed"];
    for said in said {
        if wanted {
            let message = json!({
                "method": "notifications/message",
                "params": {"level": "info", "logger": "conformance", "data": said},
            });
            let message: ServerNotification = made(message)?;
            call.context.peer.send_notification(message).await.map_err(gone)?;
        }
        sleep(PAUSE).await;
    }
    complete(text("Logged three messages."))
}

async fn progress(call: &Call<'_>) -> Reply {
    let token = call.context.meta.get_progress_token();
    for done in [0, 50, 100] {
        if let Some(token) = &token {
            let progress = ProgressNotificationParam::new(token.clone(), f64::from(done));
            let sent = call.context.peer.notify_progress(progress.with_total(100.0)).await;
            sent.map_err(gone)?;
        }
        sleep(PAUSE).await;
    }
    complete(text("Reported its progress."))
}

fn gone(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(format!("the client cannot be told: {error}"), None)
}
