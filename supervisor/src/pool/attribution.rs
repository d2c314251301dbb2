//! Why a worker process died, and what its caller is told.
//!
//! # Contract
//! * The order is: what the supervisor did to it, its own last words, its exit status. That the wall
//!   clock was over is the caller's of this to say.
//! * Every death has a typed error that the script's caller can act on, and a label under which it is
//!   counted.

use mcp_v8_protocol::{Done, FailureKind, Fatal, FatalKind, Outcome};
use rustix::process::Signal;

use super::process::Exit;
use super::worker::Violation;
use crate::executions::Outcome as ExecutionOutcome;
use crate::executions::model::{ErrorDetail, ErrorKind};

/// What existing clients match on when the memory limit was reached.
const OUT_OF_MEMORY: &str =
    "Out of memory: V8 heap limit exceeded. Try increasing heap_memory_max_mb.";

/// How the conversation with a worker ended.
pub(super) enum End {
    /// It reported.
    Done(Box<Done>),
    /// It closed its socket without a report, perhaps with last words.
    Closed(Option<Fatal>),
    /// It broke the protocol.
    Violation(Violation),
    /// It did not react to a soft stop.
    Unresponsive,
}

/// The outcome of an execution, from the end of the conversation and of the process.
pub(super) fn attribute(end: End, exit: Exit) -> ExecutionOutcome {
    match end {
        End::Done(done) => match done.outcome {
            Outcome::Completed { result, result_truncated } => Ok(result.map(|mut text| {
                if result_truncated {
                    text.push_str("… [result cut here: it was longer than 1 MiB]");
                }
                text
            })),
            Outcome::Failed(failure) if failure.kind == FailureKind::Stopped => {
                Err(ErrorDetail::new(ErrorKind::WorkerProtocol, "the worker stopped by itself"))
            }
            Outcome::Failed(failure) => Err(failure.into()),
        },
        End::Closed(Some(Fatal { kind: FatalKind::OutOfMemory, .. })) => {
            Err(ErrorDetail::new(ErrorKind::OutOfMemory, OUT_OF_MEMORY))
        }
        End::Closed(Some(fatal)) => {
            let message = format!("The script's process ended: {}", fatal.message);
            Err(ErrorDetail::new(ErrorKind::WorkerCrashed, message))
        }
        End::Closed(None) => {
            let message = format!("The script's process ended ({})", describe(exit));
            Err(ErrorDetail::new(ErrorKind::WorkerCrashed, message))
        }
        End::Violation(violation) => {
            tracing::warn!(%violation, "a worker broke the protocol and was killed");
            let message = format!("The script's process broke the protocol: {violation}");
            Err(ErrorDetail::new(ErrorKind::WorkerProtocol, message))
        }
        // Only a stop makes us impatient, and whoever asked for it knows why.
        End::Unresponsive => {
            Err(ErrorDetail::new(ErrorKind::WorkerCrashed, "The script's process was killed"))
        }
    }
}

/// The label under which the end of a process is counted.
pub(super) fn cause(end: &End, exit: Exit, timed_out: bool) -> &'static str {
    match (end, exit) {
        (End::Done(_), _) => "done",
        (End::Violation(_), _) => "protocol",
        (End::Unresponsive, _) if timed_out => "killed_at_deadline",
        (End::Unresponsive, _) => "killed_on_cancel",
        (End::Closed(Some(Fatal { kind: FatalKind::OutOfMemory, .. })), _) => "out_of_memory",
        (End::Closed(_), Exit::Signal(_)) => "signal",
        (End::Closed(_), _) => "exit",
    }
}

/// How a process ended, in words.
pub(super) fn describe(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => {
            let is = |known: Signal| known.as_raw() == signal;
            let meaning = if is(Signal::TRAP) || is(Signal::ILL) || is(Signal::ABORT) {
                ": V8 could not go on"
            } else if is(Signal::SEGV) || is(Signal::BUS) {
                ": invalid memory access"
            } else if is(Signal::SYS) {
                ": a system call that the sandbox forbids"
            } else if is(Signal::KILL) {
                ": killed from outside, perhaps for lack of memory"
            } else {
                ""
            };
            format!("signal {signal}{meaning}")
        }
        Exit::Unknown => "end not known".to_owned(),
    }
}
