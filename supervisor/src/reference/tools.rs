//! The page of the MCP tools, from their schemas.

use serde_json::{Map, Value};

use super::markdown::{cell, code, head, table};
use crate::mcp::tools;

const ABOUT: &str = "Every tool that MCP clients see, with the description that their model reads. \
Arguments that are not required may be left out.";

/// The page.
pub fn page() -> String {
    let mut text = head("MCP tools", ABOUT);
    for tool in tools::reference() {
        text += &format!("\n## `{}`\n", tool.name);
        text += &format!("\n{}\n", tool.description.unwrap_or_default().trim());
        let input = Value::Object((*tool.input_schema).clone());
        text += &titled("Arguments", &members(&input, true));
        if let Some(output) = &tool.output_schema {
            let output = Value::Object((**output).clone());
            // That a member is always there says nothing to whoever reads it.
            text += &titled("Result", &members(&output, false));
            text += &shapes(&output);
        }
    }
    text
}

fn titled(title: &str, rows: &[Vec<String>]) -> String {
    match table(&[title, "Type", "Meaning"], rows) {
        table if table.is_empty() => format!("\n{title}: none.\n"),
        table => table,
    }
}

/// What the members of a result are made of.
fn shapes(schema: &Value) -> String {
    let mut text = String::new();
    for (name, shape) in schema["$defs"].as_object().into_iter().flatten() {
        let words = shape["enum"].as_array().or(shape["oneOf"].as_array());
        let word = |word: &Value| word.as_str().or(word["const"].as_str()).map(code);
        let words: Vec<_> = words.into_iter().flatten().filter_map(word).collect();
        if words.is_empty() {
            text += &table(&[name.as_str(), "Type", "Meaning"], &members(shape, false));
        } else {
            text += &format!("\n{name}: one of {}.\n", words.join(", "));
        }
    }
    text
}

/// The members of an object.
fn members(schema: &Value, says_required: bool) -> Vec<Vec<String>> {
    let empty = Map::new();
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let mut rows = Vec::new();
    for (name, member) in properties {
        let mut meaning = cell(member["description"].as_str().unwrap_or_default());
        meaning += &bounds(member);
        if says_required && required.iter().any(|required| required == name) {
            meaning = format!("{meaning} *Required.*").trim().to_owned();
        }
        rows.push(vec![code(name), kind(member), meaning]);
    }
    rows
}

/// What kind of value a schema is for.
pub fn kind(schema: &Value) -> String {
    let reference = |schema: &Value| {
        let name = schema["$ref"].as_str()?.rsplit('/').next()?.to_owned();
        // In descriptions of tools shapes stand with the tool that has them.
        let own = schema["$ref"].as_str()?.starts_with("#/components/");
        Some(if own { format!("[{name}](#{})", name.to_lowercase()) } else { name })
    };
    if let Some(name) = reference(schema) {
        return name;
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[choice].as_array() {
            let mut kinds: Vec<String> = parts.iter().map(kind).collect();
            kinds.dedup();
            return kinds.join(" or ");
        }
    }
    let name = |value: &Value| match value.as_str() {
        Some("array") => {
            let items = kind(&schema["items"]);
            if items.is_empty() { "list".to_owned() } else { format!("list of {items}") }
        }
        Some("object") => match schema["additionalProperties"].is_object() {
            true => format!("object of {}", kind(&schema["additionalProperties"])),
            false => "object".to_owned(),
        },
        Some(name) => name.to_owned(),
        None => String::new(),
    };
    match schema["type"].as_array() {
        Some(names) => names.iter().map(name).collect::<Vec<_>>().join(" or "),
        None => name(&schema["type"]),
    }
}

/// Bounds of a number and what it is when it is left out.
pub fn bounds(schema: &Value) -> String {
    let mut text = String::new();
    let number = |name: &str| schema[name].as_number().map(ToString::to_string);
    // Every number of ours is at least 0.
    match (number("minimum").filter(|least| least != "0"), number("maximum")) {
        (Some(least), Some(most)) => text += &format!(" {least} to {most}."),
        (None, Some(most)) => text += &format!(" At most {most}."),
        (Some(least), None) => text += &format!(" At least {least}."),
        (None, None) => {}
    }
    if !schema["default"].is_null() {
        text += &format!(" Default {}.", code(&schema["default"].to_string()));
    }
    text
}
