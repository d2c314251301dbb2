//! The page of REST, from the OpenAPI description.

use serde_json::{Map, Value};

use super::markdown::{cell, code, head, table};
use super::tools::{bounds, kind};
use crate::docs;

const ABOUT: &str = "Every route of `--http-port` and `--sse-port`, from `GET /api-doc/openapi.json`, which \
programs read. Every error is `{\"error\": \"…\"}` with what was refused, why, and what would be accepted.\n\n\
Any route may answer 403 as well (the host or origin of a browser is not allowed). With `--jwks-url` every \
one but `/`, `/livez`, `/readyz`, `/metrics`, `/raft/status`, `/console`, `/docs`, `/llms.txt`, \
`/api-doc/openapi.json` and `/.well-known/oauth-protected-resource` answers 401 without a good token, and 503 \
while no token can be verified.";

/// The page.
pub fn page() -> String {
    // Our own description.
    let api: Value = serde_json::from_str(docs::openapi()).unwrap_or_default();
    let mut text = head("REST", ABOUT);
    for tag in list(&api["tags"]) {
        let name = word(&tag["name"]);
        text += &format!("\n## {name}\n\n{}.\n", word(&tag["description"]));
        for (path, item) in members(&api["paths"]) {
            for (method, operation) in members(item) {
                if list(&operation["tags"]).iter().any(|tag| word(tag) == name) {
                    text += &describe(method, path, operation);
                }
            }
        }
    }
    text += "\n## Shapes\n\nWhat requests and answers are made of.\n";
    for (name, schema) in members(&api["components"]["schemas"]) {
        text += &format!("\n### {name}\n\n{}\n", sentence(word(&schema["description"])));
        text += &fields(schema);
        let values: Vec<_> = list(&schema["enum"]).iter().map(|value| code(word(value))).collect();
        if !values.is_empty() {
            text += &format!("\nOne of {}.\n", values.join(", "));
        }
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() || text.ends_with('.') { text } else { format!("{text}.") }
}

fn describe(method: &str, path: &str, operation: &Value) -> String {
    let mut text = format!("\n### `{} {path}`\n", method.to_uppercase());
    text += &format!("\n{}\n", sentence(word(&operation["summary"])));
    let more = sentence(word(&operation["description"]));
    if !more.is_empty() {
        text += &format!("\n{more}\n");
    }
    let parameter = |parameter: &Value| {
        let schema = &parameter["schema"];
        vec![
            code(word(&parameter["name"])),
            word(&parameter["in"]).to_owned(),
            kind(schema),
            cell(word(&parameter["description"])),
        ]
    };
    let parameters: Vec<_> = list(&operation["parameters"]).iter().map(parameter).collect();
    text += &table(&["Parameter", "In", "Type", "Meaning"], &parameters);
    let bodies: Vec<_> = members(&operation["requestBody"]["content"]).collect();
    for (media, body) in bodies {
        let example = &body["example"];
        let example = if example.is_null() {
            String::new()
        } else {
            format!(", such as {}", code(&example.to_string()))
        };
        text += &format!("\nBody `{media}`: {}{example}\n", kind(&body["schema"]));
    }
    let response = |(status, response): (&String, &Value)| {
        let content = members(&response["content"]).next();
        let shape = content.map(|(media, content)| match kind(&content["schema"]) {
            shape if media == "application/json" => shape,
            _ => code(media),
        });
        vec![status.clone(), shape.unwrap_or_default(), cell(word(&response["description"]))]
    };
    let responses: Vec<_> = members(&operation["responses"]).map(response).collect();
    text + &table(&["Status", "Body", "When"], &responses)
}

/// The members of an object, those of what it is made of included.
fn fields(schema: &Value) -> String {
    let mut rows = Vec::new();
    let empty = Map::new();
    let parts = std::iter::once(schema).chain(list(&schema["allOf"]));
    for part in parts {
        let reference = word(&part["$ref"]).rsplit('/').next().unwrap_or_default();
        if !reference.is_empty() {
            let shape = format!("[{reference}](#{})", reference.to_lowercase());
            rows.push(vec!["…".to_owned(), shape, "All of its members".to_owned()]);
        }
        for (name, member) in part["properties"].as_object().unwrap_or(&empty) {
            let mut meaning = cell(word(&member["description"]));
            meaning += &bounds(member);
            rows.push(vec![code(name), kind(member), meaning]);
        }
    }
    table(&["Member", "Type", "Meaning"], &rows)
}
