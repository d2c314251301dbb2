//! `get_artifact`: a file that a script has left, as an image, a sound or text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{ContentBlock, JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, define, parse, refuse, result};
use crate::access::Principal;
use crate::app::App;
use crate::artifacts::{ArtifactInfo, Content, Encoding};
use crate::limits::MCP_MESSAGE_BYTES_MAX;

pub(super) const NAME: &str = "get_artifact";

const DESCRIPTION: &str = "Read a file that a script has left with artifact(key, mimeType, bytes). The \
first block tells its type and size; the second is the file: an image, a sound, text, or base64. \
Example: {\"key\": \"plot.png\"}.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The key that the script gave it.
    #[schemars(length(min = 1, max = 256))]
    key: String,
}

pub(super) fn definition() -> Tool {
    define::<Arguments, ArtifactInfo>(NAME, "Read an artifact", DESCRIPTION.to_owned())
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

pub(super) async fn call(app: &App, by: Principal, arguments: JsonObject) -> Answer {
    let Arguments { key } = parse(arguments)?;
    let artifacts = app.executions.artifacts(by);
    let too_large = |bytes: u64| {
        refuse(format!(
            "artifact '{key}' has {bytes} bytes, more than an answer here can take; GET \
             /api/artifacts/{key} returns it whole"
        ))
    };
    // Not fetched for nothing.
    let info = artifacts.info(&key).await.map_err(refuse)?;
    if info.size_bytes > MCP_MESSAGE_BYTES_MAX as u64 {
        return Err(too_large(info.size_bytes));
    }
    let mut content = artifacts.get(&key).await.map_err(refuse)?;
    let bytes = content.info.size_bytes;
    let block = block(&mut content, MCP_MESSAGE_BYTES_MAX - INFO_BYTES);
    let mut answer = result(&content.info, false);
    answer.content.push(block.ok_or_else(|| too_large(bytes))?);
    Ok(answer)
}

/// Bytes that are left for what is said of an artifact, twice, and what is around it.
const INFO_BYTES: usize = 8 * 1024;

/// The artifact as a block of at most so many bytes. What is no text, although its type says so, is
/// shown as base64.
pub(super) fn block(content: &mut Content, bytes_max: usize) -> Option<ContentBlock> {
    let Content { info, bytes } = content;
    if info.encoding == Encoding::Utf8 {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                // As JSON: most characters of which are as they are.
                let json = serde_json::to_string(text).unwrap_or_default();
                return (json.len() <= bytes_max).then(|| ContentBlock::text(text));
            }
            Err(_) => info.encoding = Encoding::Base64,
        }
    }
    // Four characters for three bytes.
    if bytes.len().div_ceil(3) * 4 > bytes_max {
        return None;
    }
    let data = STANDARD.encode(&*bytes);
    let essence = info.mime_type.split(';').next().unwrap_or_default().trim();
    Some(match essence.split('/').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "image" => ContentBlock::image(data, essence),
        "audio" => ContentBlock::audio(data, essence),
        _ => ContentBlock::text(data),
    })
}
