//! What callers see of an execution: status, errors, and the JSON shapes that MCP and REST share.
//!
//! Names and always-present nulls follow the interface existing clients rely on; `error_detail`,
//! `output` and `result` are additions of ours.

use std::time::SystemTime;

use mcp_v8_protocol::{Failure, FailureKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where an execution stands. An execution that waits for a worker counts as running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waiting for a worker or running.
    Running,
    /// Ran to its end.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by its caller.
    Cancelled,
    /// Ended at its wall clock limit.
    TimedOut,
}

impl Status {
    /// The word clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// What kind of error ended an execution, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The source does not parse, or imports what is not there.
    SyntaxError,
    /// A value was thrown and not caught.
    ScriptError,
    /// A promise was rejected and not handled.
    UnhandledRejection,
    /// A top-level `await` waits for something that can never happen.
    Stalled,
    /// The memory limit was reached.
    OutOfMemory,
    /// The script completed, but something on its heap cannot be kept. The session stays as it was.
    HeapNotSaved,
    /// The script completed, but its heap is larger than it may be. The session stays as it was.
    HeapTooLarge,
    /// The heap to begin with cannot be used. No line of the script has run.
    HeapNotRestored,
    /// The script completed, but what it left with `artifact` cannot be kept.
    ArtifactNotSaved,
    /// The session was put elsewhere while the script ran. Its heap is not kept.
    SessionMoved,
    /// The wall clock limit was reached.
    TimedOut,
    /// The caller cancelled.
    Cancelled,
    /// The worker process died under the script.
    WorkerCrashed,
    /// The worker broke the protocol and was killed.
    WorkerProtocol,
    /// No worker can be started.
    Unavailable,
    /// The server stopped before the script had ended.
    ShuttingDown,
    /// The code was quarantined while it waited for a worker.
    Quarantined,
    /// The node that ran the script was lost, and so were those it was given to.
    NodeLost,
}

impl ErrorKind {
    /// The status an execution has that ended so.
    pub fn status(self) -> Status {
        match self {
            Self::Cancelled => Status::Cancelled,
            Self::TimedOut => Status::TimedOut,
            _ => Status::Failed,
        }
    }

    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SyntaxError => "syntax_error",
            Self::ScriptError => "script_error",
            Self::UnhandledRejection => "unhandled_rejection",
            Self::Stalled => "stalled",
            Self::OutOfMemory => "out_of_memory",
            Self::HeapNotSaved => "heap_not_saved",
            Self::HeapTooLarge => "heap_too_large",
            Self::HeapNotRestored => "heap_not_restored",
            Self::ArtifactNotSaved => "artifact_not_saved",
            Self::SessionMoved => "session_moved",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::WorkerCrashed => "worker_crashed",
            Self::WorkerProtocol => "worker_protocol",
            Self::Unavailable => "unavailable",
            Self::ShuttingDown => "shutting_down",
            Self::Quarantined => "quarantined",
            Self::NodeLost => "node_lost",
        }
    }

    /// Whether an operator should hear of it: it may not be the script's doing.
    pub fn is_ours(self) -> bool {
        matches!(
            self,
            Self::HeapNotRestored
                | Self::ArtifactNotSaved
                | Self::WorkerCrashed
                | Self::WorkerProtocol
                | Self::Unavailable
                | Self::ShuttingDown
                | Self::NodeLost
        )
    }
}

/// The error of a failed execution, in terms of the user's own source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ErrorDetail {
    /// What kind of error it was.
    pub kind: ErrorKind,
    /// One line, such as `TypeError: x is not a function`.
    pub message: String,
    /// The stack trace, when there is one.
    pub stack: Option<String>,
    /// Line in the source, from 1.
    pub line: Option<u32>,
    /// Column in the source, from 1.
    pub column: Option<u32>,
    /// The script brought its process to a violent end. For the quarantine; clients do not see it.
    #[serde(skip)]
    pub violent: bool,
}

impl ErrorDetail {
    /// An error without a place in the source.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (stack, line, column) = (None, None, None);
        Self { kind, message: message.into(), stack, line, column, violent: false }
    }

    /// The same error as the violent end of a process, by the script it ran.
    pub fn violent(self) -> Self {
        Self { violent: true, ..self }
    }

    /// The `error` text: message and stack, or message and place.
    pub fn text(&self) -> String {
        match (&self.stack, self.line) {
            (Some(stack), _) if stack.starts_with(&self.message) => stack.clone(),
            (Some(stack), _) => format!("{}\n{stack}", self.message),
            (None, Some(line)) => match self.column {
                Some(column) => format!("{} (line {line}, column {column})", self.message),
                None => format!("{} (line {line})", self.message),
            },
            (None, None) => self.message.clone(),
        }
    }

    /// Bytes held by the texts.
    pub fn bytes(&self) -> usize {
        self.message.len() + self.stack.as_ref().map_or(0, String::len)
    }
}

impl From<Failure> for ErrorDetail {
    /// A worker's failure. `Stopped` has no meaning by itself; the caller of this knows why it
    /// stopped the script and replaces it.
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Syntax => ErrorKind::SyntaxError,
            FailureKind::Thrown => ErrorKind::ScriptError,
            FailureKind::UnhandledRejection => ErrorKind::UnhandledRejection,
            FailureKind::Stalled => ErrorKind::Stalled,
            FailureKind::OutOfMemory => ErrorKind::OutOfMemory,
            FailureKind::HeapNotSaved => ErrorKind::HeapNotSaved,
            FailureKind::HeapTooLarge => ErrorKind::HeapTooLarge,
            FailureKind::HeapNotRestored => ErrorKind::HeapNotRestored,
            FailureKind::Stopped => ErrorKind::WorkerProtocol,
        };
        Self {
            kind,
            message: failure.message,
            stack: failure.stack,
            line: failure.line,
            column: failure.column,
            violent: false,
        }
    }
}

/// One execution, as `get_execution` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ExecutionInfo {
    /// Its id.
    pub execution_id: String,
    /// Where it stands.
    pub status: Status,
    /// The value of the default export or the last expression, as text; null until it completed.
    pub result: Option<String>,
    /// Hash of the heap it left, for `heap` of a later script; null while it runs, when it failed, and
    /// where it left none.
    pub heap: Option<String>,
    /// Always null; kept for existing clients.
    pub fs: Option<String>,
    /// The error, when it failed: message, stack and place.
    pub error: Option<String>,
    /// The same error in parts.
    pub error_detail: Option<ErrorDetail>,
    /// When it was accepted, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339; null while it runs.
    pub completed_at: Option<String>,
    /// Keys of the artifacts it left; empty until it completed.
    pub artifacts: Vec<String>,
}

/// A finished execution with its console output, as `POST /api/exec?wait=` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecutionWithOutput {
    /// The execution.
    #[serde(flatten)]
    pub info: ExecutionInfo,
    /// Its console text.
    pub output: String,
}

/// What `run_js` answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct RunResult {
    /// Id for `get_execution`, `get_execution_output` and `cancel_execution`.
    pub execution_id: String,
    /// `running` when the wait ended before the script did.
    pub status: Status,
    /// Console text so far.
    pub output: String,
    /// The value of the default export or the last expression, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Hash of the heap it left, for `heap` of a later script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heap: Option<String>,
    /// Keys of the artifacts it left, for `get_artifact`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// The error, when the script failed: message, stack and place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same error in parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
}

/// One row of a list of executions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ExecutionSummary {
    /// Its id.
    pub execution_id: String,
    /// Where it stands.
    pub status: Status,
    /// When it was accepted, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339; null while it runs.
    pub completed_at: Option<String>,
    /// The node that runs it, or ran it last. With `details` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub node: Option<String>,
    /// The session it is a step of. With `details` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub session: Option<String>,
}

/// Where an execution comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// The node that runs it, or ran it last; null where executions are not replicated.
    pub node: Option<String>,
    /// How often it was given to a node; null where executions are not replicated.
    pub attempt: Option<u32>,
    /// The session it is a step of; null without one.
    pub session: Option<String>,
    /// The heap it was told to begin with; null where it begins with the session's, or with none.
    pub from_heap: Option<String>,
}

/// A list of executions, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ExecutionList {
    /// The rows.
    pub executions: Vec<ExecutionSummary>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What the quarantine holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineList {
    /// What is refused first, then what is merely counted; of each, what ends last comes first.
    pub entries: Vec<QuarantineEntry>,
}

/// Code that killed worker processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineEntry {
    /// SHA-256 of the code, 64 hexadecimal digits.
    pub hash: String,
    /// Whether the code is refused; otherwise its deaths are merely counted.
    pub quarantined: bool,
    /// Worker processes it killed.
    pub deaths: u64,
    /// How the last one died.
    pub reason: String,
    /// When the first of them died, RFC 3339.
    pub since: String,
    /// When the code is accepted again, or its deaths are forgotten, RFC 3339.
    pub until: String,
}

/// One page of console output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct OutputPage {
    /// The execution.
    pub execution_id: String,
    /// The text of the page; in line mode without the last newline.
    pub data: String,
    /// First line of the page, from 1.
    pub start_line: u64,
    /// Last line of the page; `start_line - 1` when the page is empty.
    pub end_line: u64,
    /// `line_offset` of the next page.
    pub next_line_offset: u64,
    /// Lines there are by now.
    pub total_lines: u64,
    /// First byte of the page, from 0.
    pub start_byte: u64,
    /// The byte after the page.
    pub end_byte: u64,
    /// `byte_offset` of the next page.
    pub next_byte_offset: u64,
    /// Bytes there are by now.
    pub total_bytes: u64,
    /// Whether there is more behind this page by now.
    pub has_more: bool,
    /// Where the execution stands; while it runs, more may come.
    pub status: Status,
}

/// Formats a time as RFC 3339 with milliseconds.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_error_has_one_name_everywhere() {
        for kind in [
            ErrorKind::SyntaxError,
            ErrorKind::ScriptError,
            ErrorKind::UnhandledRejection,
            ErrorKind::Stalled,
            ErrorKind::OutOfMemory,
            ErrorKind::HeapNotSaved,
            ErrorKind::HeapTooLarge,
            ErrorKind::HeapNotRestored,
            ErrorKind::ArtifactNotSaved,
            ErrorKind::SessionMoved,
            ErrorKind::TimedOut,
            ErrorKind::Cancelled,
            ErrorKind::WorkerCrashed,
            ErrorKind::WorkerProtocol,
            ErrorKind::Unavailable,
            ErrorKind::ShuttingDown,
            ErrorKind::Quarantined,
            ErrorKind::NodeLost,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn the_error_text_holds_message_stack_and_place_once() {
        let mut detail = ErrorDetail::new(ErrorKind::ScriptError, "Error: no");
        assert_eq!(detail.text(), "Error: no");
        detail.line = Some(3);
        assert_eq!(detail.text(), "Error: no (line 3)");
        detail.column = Some(5);
        assert_eq!(detail.text(), "Error: no (line 3, column 5)");
        detail.stack = Some("Error: no\n    at script.js:3:5".to_owned());
        assert_eq!(detail.text(), "Error: no\n    at script.js:3:5");
        detail.stack = Some("    at script.js:3:5".to_owned());
        assert_eq!(detail.text(), "Error: no\n    at script.js:3:5");
    }
}
