//! `mcp-v8 sessions`, `heaps`, `executions` and `artifacts`: what a user asks of a running server.
//!
//! # Contract
//! * Through the REST interface of any node. A table by default, the server's own JSON with `--json`.
//! * Exit code 0: done; 1: refused; 2: the server was not reached, or the flags are wrong.

mod artifacts;
mod executions;
mod heaps;
mod sessions;

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{ArtifactsArgs, ExecutionsArgs, HeapsArgs, SessionsArgs};
use crate::rest_client::{RestError, RestServer};

/// What was asked.
#[derive(Debug)]
pub enum Ask {
    /// About sessions.
    Sessions(SessionsArgs),
    /// About heaps.
    Heaps(HeapsArgs),
    /// About executions.
    Executions(ExecutionsArgs),
    /// About artifacts.
    Artifacts(ArtifactsArgs),
}

/// What is printed.
#[derive(Debug)]
enum Printed {
    /// Lines.
    Text(String),
    /// Bytes as they are.
    Bytes(Vec<u8>),
}

impl From<String> for Printed {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Asks, and shows the answer.
pub async fn run(ask: Ask) -> ExitCode {
    let answer = match ask {
        Ask::Sessions(args) => sessions::ask(&args).await.map(Printed::from),
        Ask::Heaps(args) => heaps::ask(&args).await.map(Printed::from),
        Ask::Executions(args) => executions::ask(&args).await.map(Printed::from),
        Ask::Artifacts(args) => artifacts::ask(&args).await,
    };
    match answer {
        Ok(Printed::Bytes(bytes)) => {
            let mut out = std::io::stdout();
            let _ = out.write_all(&bytes).and_then(|()| out.flush());
            ExitCode::SUCCESS
        }
        Ok(Printed::Text(text)) => {
            let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            // A closed stdout (`… | head`) is not an error of ours.
            let _ = write!(std::io::stdout(), "{text}{newline}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mcp-v8: {error}");
            ExitCode::from(match error {
                RestError::Refused { .. } => 1,
                RestError::Url { .. } | RestError::File { .. } => 2,
            })
        }
    }
}

/// A page as JSON, or as the text that is made of it.
fn shown<T: Serialize>(as_json: bool, answer: &T, text: impl FnOnce() -> String) -> String {
    if as_json { serde_json::to_string_pretty(answer).unwrap_or_default() } else { text() }
}

/// What is said of a change that was made.
fn done(as_json: bool, text: String) -> String {
    if as_json { json!({ "ok": true }).to_string() } else { text }
}

/// Sends a request whose answer says only that it worked.
async fn change(server: &RestServer, request: reqwest::RequestBuilder) -> Result<(), RestError> {
    server.send::<Value>(request).await.map(drop)
}

/// The beginning of a hash, enough to tell it from others.
fn short(hash: Option<&str>) -> String {
    hash.map_or("-".to_owned(), |hash| hash.chars().take(12).collect())
}
