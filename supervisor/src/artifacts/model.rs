//! What callers see of artifacts.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::executions::SubmitError;

/// What a script has left under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The key.
    pub key: String,
    /// Its media type.
    pub mime_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An artifact, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ArtifactInfo {
    /// The key that the script gave it.
    pub key: String,
    /// Its media type.
    pub mime_type: String,
    /// Its bytes.
    pub size_bytes: u64,
    /// When the script ended that left it, RFC 3339.
    pub created_at: String,
    /// The execution that left it.
    pub execution_id: String,
    /// How get_artifact shows it: as text, or as base64. REST always gives the bytes as they are.
    pub encoding: Encoding,
}

/// How an artifact is shown in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub enum Encoding {
    /// As it is.
    #[serde(rename = "utf-8")]
    Utf8,
    /// RFC 4648, section 4.
    #[serde(rename = "base64")]
    Base64,
}

impl Encoding {
    /// That of artifacts of this media type.
    pub fn of(mime_type: &str) -> Self {
        let essence = mime_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let known = ["application/json", "application/javascript", "application/xml"];
        let is_text = essence.starts_with("text/")
            || essence.ends_with("+json")
            || essence.ends_with("+xml")
            || known.contains(&essence.as_str());
        if is_text { Self::Utf8 } else { Self::Base64 }
    }
}

/// A list of artifacts, in order of their keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ArtifactList {
    /// The artifacts.
    pub artifacts: Vec<ArtifactInfo>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl ArtifactList {
    /// The first half of it, as a page.
    pub fn half(mut self) -> Self {
        self.artifacts.truncate(self.artifacts.len().div_ceil(2));
        self.next_cursor = self.artifacts.last().map(|last| last.key.clone());
        self
    }
}

/// An artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What is known of it.
    pub info: ArtifactInfo,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Why a question about artifacts has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    /// An argument is not accepted.
    #[error(transparent)]
    Invalid(#[from] SubmitError),
    /// There is no such artifact.
    #[error("Artifact '{0}' not found")]
    NotFound(String),
    /// The cluster does not answer, or the bytes are on no node that does.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read_is_shown_as_text() {
        for text in ["text/plain; charset=utf-8", "TEXT/CSV", "image/svg+xml", "application/json"] {
            assert_eq!(Encoding::of(text), Encoding::Utf8, "{text}");
        }
        for bytes in ["image/png", "application/octet-stream", "audio/wav", "application/zip"] {
            assert_eq!(Encoding::of(bytes), Encoding::Base64, "{bytes}");
        }
    }
}
