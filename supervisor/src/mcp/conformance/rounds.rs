//! Tools that end with a question, and are called again with its answer, as the revision without
//! sessions has it.

use std::collections::BTreeMap;

use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, InputRequiredResult, InputResponses};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Map, Value, json};

use super::calls::{complete, text};
use super::{Call, Reply, asking, made};

/// Questions by the key under which their answers come.
pub(super) type Questions = BTreeMap<&'static str, Value>;

/// A question to the user with one field.
pub(super) fn user(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {field: {"type": kind}},
        "required": [field],
    });
    let params = json!({"message": message, "requestedSchema": schema});
    json!({"method": "elicitation/create", "params": params})
}

fn model(prompt: &str, tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    let params = json!({"messages": [message], "maxTokens": tokens});
    json!({"method": "sampling/createMessage", "params": params})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn capability(question: &Value) -> &'static str {
    match question["method"].as_str() {
        Some("elicitation/create") => "elicitation",
        Some("sampling/createMessage") => "sampling",
        _ => "roots",
    }
}

/// The result that asks.
///
/// # Errors
/// Where the client has not said that it can answer.
pub(super) fn ask(
    context: &RequestContext<RoleServer>,
    questions: Questions,
    state: Option<String>,
) -> Result<InputRequiredResult, ErrorData> {
    let mut requests = Map::new();
    for (key, question) in questions {
        asking::needs(context, capability(&question))?;
        requests.insert(key.to_owned(), question);
    }
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    made(result)
}

/// What the user has filled in, if that is an answer.
pub(super) fn filled(answers: Option<&InputResponses>, key: &str, field: &str) -> Option<Value> {
    let answer = answers?.get(key)?;
    let filled = answer.get("content")?.get(field)?;
    (answer["action"] == "accept").then(|| filled.clone())
}

fn said(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn call(call: &Call<'_>) -> Reply {
    let tool = &*call.request.name;
    let answers = call.request.input_responses.as_ref();
    let answer = |key: &str| answers.and_then(|answers| answers.get(key));
    let seal = &call.fixtures.state.seal;
    let state = call.request.request_state.as_deref();
    let state = state.map(|state| seal.open(tool, state)).transpose()?;
    let asked = |questions: Questions, state: Option<&str>| {
        let state = state.map(|state| seal.close(tool, state));
        ask(&call.context, questions, state).map(CallToolResponse::from)
    };
    match tool {
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => {
            match filled(answers, "user_name", "name") {
                Some(Value::String(name)) => complete(text(&format!("Hello, {name}!"))),
                _ => asked(
                    [("user_name", user("What is your name?", "name", "string"))].into(),
                    None,
                ),
            }
        }
        "test_input_required_result_sampling" => {
            match answer("capital_question").and_then(|answer| answer["content"]["text"].as_str()) {
                Some(said) => complete(text(said)),
                None => {
                    let question = model("What is the capital of France?", 100);
                    asked([("capital_question", question)].into(), None)
                }
            }
        }
        "test_input_required_result_list_roots" => {
            match answer("client_roots").and_then(|answer| answer["roots"].as_array()) {
                Some(roots) => {
                    let uris: Vec<_> = roots.iter().map(|root| said(&root["uri"])).collect();
                    complete(text(&format!("Roots: {}", uris.join(", "))))
                }
                None => asked([("client_roots", roots())].into(), None),
            }
        }
        "test_input_required_result_request_state"
        | "test_input_required_result_tampered_state" => {
            match (filled(answers, "confirm", "ok"), state.as_deref()) {
                (Some(_), Some("confirm")) => complete(text("state-ok")),
                _ => {
                    let question = user("Please confirm", "ok", "boolean");
                    asked([("confirm", question)].into(), Some("confirm"))
                }
            }
        }
        "test_input_required_result_multiple_inputs" => {
            let name = filled(answers, "user_name", "name");
            let greeting = answer("greeting").map(|answer| &answer["content"]["text"]);
            match (name, greeting, answer("client_roots"), state.as_deref()) {
                (Some(name), Some(greeting), Some(_), Some("all")) => {
                    complete(text(&format!("{}, {}!", said(greeting), said(&name))))
                }
                _ => asked(
                    [
                        ("user_name", user("What is your name?", "name", "string")),
                        ("greeting", model("Generate a greeting", 50)),
                        ("client_roots", roots()),
                    ]
                    .into(),
                    Some("all"),
                ),
            }
        }
        "test_input_required_result_multi_round" => {
            let color = filled(answers, "step2", "color");
            let name = state.as_deref().and_then(|state| state.strip_prefix("2:"));
            if let (Some(color), Some(name)) = (color, name) {
                return complete(text(&format!("{name} likes {}.", said(&color))));
            }
            match (filled(answers, "step1", "name"), state.as_deref()) {
                (Some(name), Some("1")) => {
                    let question = user("Step 2: What is your favorite color?", "color", "string");
                    let state = format!("2:{}", said(&name));
                    asked([("step2", question)].into(), Some(&state))
                }
                _ => {
                    let question = user("Step 1: What is your name?", "name", "string");
                    asked([("step1", question)].into(), Some("1"))
                }
            }
        }
        "test_input_required_result_capabilities" => {
            let questions = [
                ("user_name", user("What is your name?", "name", "string")),
                ("greeting", model("Generate a greeting", 50)),
                ("client_roots", roots()),
            ];
            let possible = questions
                .into_iter()
                .filter(|(_, question)| asking::has(&call.context, capability(question)));
            asked(possible.collect(), Some("asked"))
        }
        other => Err(ErrorData::invalid_params(format!("no fixture '{other}'"), None)),
    }
}
