//! Reference pages, written from what the program itself is made of: the flags, the routes, the tools
//! and the limits. `docs/reference` has them; a test fails while one is not what is written here.
//!
//! # Contract
//! * The same program writes the same pages, on every machine.

mod cli;
mod limits;
mod markdown;
mod rest;
mod tools;

use std::path::{Path, PathBuf};

/// What writes the pages anew.
const COMMAND: &str = "scripts/reference";

/// A page: the name of its file, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its name in `docs/reference`.
    pub name: &'static str,
    /// Markdown.
    pub text: String,
}

/// A page that cannot be written, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says something else than the program.
    #[error("{path}:{line} is not what the program says any more; write it anew with {COMMAND}")]
    Drift {
        /// The file.
        path: PathBuf,
        /// The first line that differs.
        line: usize,
    },
}

/// All pages.
pub fn pages() -> Vec<Page> {
    [
        ("cli.md", cli::page()),
        ("limits.md", limits::page()),
        ("rest.md", rest::page()),
        ("tools.md", tools::page()),
    ]
    .map(|(name, text)| Page { name, text })
    .into()
}

/// Writes all pages into a directory, or checks those that are there.
///
/// # Errors
/// [`ReferenceError`].
pub fn run(directory: &Path, check: bool) -> Result<(), ReferenceError> {
    for Page { name, text } in pages() {
        let path = directory.join(name);
        let failed = |source| ReferenceError::Io { path: path.clone(), source };
        if !check {
            std::fs::write(&path, text).map_err(failed)?;
            continue;
        }
        let there = std::fs::read_to_string(&path).map_err(failed)?;
        if there != text {
            let same = there.lines().zip(text.lines()).take_while(|(one, other)| one == other);
            return Err(ReferenceError::Drift { line: same.count() + 1, path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_pages_say_what_the_program_says() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        if let Err(error) = run(&directory, true) {
            panic!("{error}");
        }
    }

    #[test]
    fn a_page_that_says_something_else_is_named_with_the_line_and_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        run(directory.path(), false).unwrap();
        run(directory.path(), true).unwrap();
        let path = directory.path().join("tools.md");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("run_js", "run_ts", 1)).unwrap();
        let error = run(directory.path(), true).unwrap_err().to_string();
        assert!(error.contains("tools.md:") && error.contains("scripts/reference"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(run(directory.path(), true), Err(ReferenceError::Io { .. })));
    }

    #[test]
    fn every_flag_route_and_tool_has_a_place() {
        let text = |name| pages().into_iter().find(|page| page.name == name).unwrap().text;
        let (cli, rest, tools) = (text("cli.md"), text("rest.md"), text("tools.md"));
        let command = crate::cli::command();
        for flag in command.get_arguments().filter_map(|arg| arg.get_long()) {
            assert!(cli.contains(&format!("`--{flag}")), "--{flag}");
        }
        for part in ["`MCP_V8_HTTP_PORT`", "`http-port`", "mcp-v8 cluster status"] {
            assert!(cli.contains(part), "{part}");
        }
        assert!(rest.contains("`POST /api/exec`") && rest.contains("### ExecutionInfo"));
        assert!(tools.contains("## `run_js`") && tools.contains("`execution_timeout_secs`"));
        assert!(text("limits.md").contains("`QUEUE_DEPTH_MAX`"));
    }
}
