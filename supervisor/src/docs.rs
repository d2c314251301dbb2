//! The texts that clients can read: over HTTP, and as MCP resources.

use std::sync::OnceLock;

/// The manual.
pub const README: &str = include_str!("../../README.md");

/// What this server is, for language models, but for its tools.
const LLMS_TXT: &str = include_str!("../assets/llms.txt");

/// Where its tools belong in it.
const TOOLS: &str = "{tools}";

/// What this server is, for language models: what the tools say of themselves is in it.
pub fn llms_txt() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let tools = crate::mcp::tools::summaries();
        let tools: Vec<_> =
            tools.iter().map(|(name, summary)| format!("- `{name}`: {summary}")).collect();
        LLMS_TXT.replace(TOOLS, &tools.join("\n"))
    })
}

/// The OpenAPI description as JSON.
pub fn openapi() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(crate::http::openapi)
}
