//! `mcp-v8 exec`: one script for a person at a terminal.
//!
//! # Contract
//! * Console output goes to stdout as it comes, then the result if there is one; errors go to
//!   stderr.
//! * Exit code 0: completed; 1: the script failed; 2: it could not be run.

mod local;
mod remote;

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::ExecArgs;
use crate::executions::model::{ExecutionInfo, Status};
use crate::limits::CODE_BYTES_MAX;

/// Why a script could not be run.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("{file}: {problem}")]
    Script { file: String, problem: String },
    #[error(transparent)]
    Serve(#[from] crate::server::ServeError),
    #[error(transparent)]
    Pool(#[from] crate::pool::PoolError),
    #[error(transparent)]
    Submit(#[from] crate::executions::SubmitError),
    #[error(transparent)]
    Rest(#[from] crate::rest_client::RestError),
}

/// Runs the script and shows what it does.
pub async fn run(args: ExecArgs) -> ExitCode {
    match run_script(args).await {
        Ok(info) => show_end(&info),
        Err(error) => {
            eprintln!("mcp-v8 exec: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run_script(args: ExecArgs) -> Result<ExecutionInfo, ExecError> {
    let code = read_script(&args.file)?;
    match &args.url {
        Some(url) => remote::run(url, &args, code).await,
        None => local::run(&args, code).await,
    }
}

fn read_script(file: &Path) -> Result<String, ExecError> {
    let shown = file.display().to_string();
    let failed = |problem: String| ExecError::Script { file: shown.clone(), problem };
    let mut bytes = Vec::new();
    // One byte past the bound is enough to know that it is too much.
    let bound = CODE_BYTES_MAX as u64 + 1;
    let read = if shown == "-" {
        if std::io::stdin().is_terminal() {
            eprintln!("Reading the script from the terminal; end it with Ctrl-D.");
        }
        std::io::stdin().take(bound).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(bound).read_to_end(&mut bytes))
    };
    read.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        failed(format!("not valid UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })
}

/// Shows console text as it comes. A closed stdout (`… | head`) is not an error of ours.
fn show_output(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

fn show_end(info: &ExecutionInfo) -> ExitCode {
    if let Some(error) = &info.error {
        eprintln!("{error}");
    }
    match info.result.as_deref() {
        None | Some("") => {}
        Some(result) => show_output(&format!("{result}\n")),
    }
    if info.status == Status::Completed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
