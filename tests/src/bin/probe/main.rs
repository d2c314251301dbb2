//! `mcp-v8-probe`: a worker program that attempts one system call instead of running a script, as
//! native code in a worker would, and tells how that ended.
//!
//! ```text
//! mcp-v8-probe --table     runs every probe in both ways and prints SECURITY.md's table
//! ```
//!
//! # Contract
//! * It is started, judged, forked and reaped by the supervisor's own pool, and shuts itself in by
//!   the worker's own code, in the same order: what holds a probe holds a script. Only V8 is missing.
//! * The code of a job is the name of a probe. All of them, and what must come of each, are in
//!   [`table`]. If one ends otherwise, the exit code is 1 and standard error says which.
//! * An attempt does no harm to the machine it is made on, should nothing stop it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attempt;
mod inside;
mod memory;
mod outside;
mod table;

use std::process::ExitCode;

use mcp_v8_sandbox::Role;

fn main() -> ExitCode {
    let has = |word: &str| std::env::args().skip(1).any(|argument| argument == word);
    if has("--table") {
        return outside::print_table();
    }
    if !has("--process=single") && !has("--process=template") {
        eprintln!("usage: mcp-v8-probe --table");
        return ExitCode::from(2);
    }
    inside::run(if has("--process=template") { Role::Template } else { Role::Single })
}
