//! `mcp-v8-conformance`: the same server, with the fixtures of the MCP conformance suite.

#[path = "main.rs"]
mod product;

use std::process::ExitCode;

fn main() -> ExitCode {
    product::main()
}
