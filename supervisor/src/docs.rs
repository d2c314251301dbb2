//! The texts that clients can read: over HTTP, and as MCP resources.

use std::sync::OnceLock;

/// The manual.
pub const README: &str = include_str!("../../README.md");

/// What this server is, for language models.
pub const LLMS_TXT: &str = include_str!("../assets/llms.txt");

/// The OpenAPI description as JSON.
pub fn openapi() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(crate::http::openapi)
}
