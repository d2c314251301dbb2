//! Why a worker process died, and what its caller is told.
//!
//! # Contract
//! * The order is: what the supervisor did to it, its own last words, its exit status. That the wall
//!   clock was over is the caller's of this to say.
//! * An end is violent when the script brought it about and nothing kept it in order: the process died
//!   of a fault, left without a word, failed an assertion of V8, or broke the protocol. Running out of
//!   memory with last words is a limit doing its job; a SIGKILL came from outside, be it from the
//!   kernel for lack of memory; last words of the worker's own are trouble with the host or with us.
//! * Every death has a typed error that the script's caller can act on, and a label under which it is
//!   counted.

use mcp_v8_protocol::{Done, FailureKind, Fatal, FatalKind, Outcome};
use rustix::process::Signal;

use super::error::Violation;
use super::group::Kill;
use super::process::Exit;
use crate::executions::Outcome as ExecutionOutcome;
use crate::executions::model::{ErrorDetail, ErrorKind};

/// What existing clients match on when the memory limit was reached.
const OUT_OF_MEMORY: &str =
    "Out of memory: V8 heap limit exceeded. Try increasing heap_memory_max_mb.";

/// The script completed, and there was no memory left to write its heap.
const NO_MEMORY_TO_SAVE: &str = "Out of memory: the heap could not be written in the memory that the \
script may have. Try increasing heap_memory_max_mb.";

/// The script's process used up what it may have, script heap or not.
const PROCESS_OUT_OF_MEMORY: &str = "Out of memory: the script's process has used up all memory that it \
may have. Try increasing heap_memory_max_mb.";

/// All scripts together used up what this server may use.
const HOST_OUT_OF_MEMORY: &str = "Out of memory: the memory of this server for all its scripts is \
used up. Try again later, or with a smaller heap_memory_max_mb.";

/// How the conversation with a worker ended.
pub(super) enum End {
    /// It reported.
    Done(Box<Done>),
    /// It closed its socket without a report, perhaps with last words.
    Closed(Option<Fatal>),
    /// It closed its socket while it wrote the heap of a script that had completed.
    Unsaved(Option<Fatal>),
    /// The kernel killed it, by the record of the control groups.
    OutOfMemory(Kill),
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
            // Where it was told to stop, whoever did so knows why and replaces this.
            Outcome::Failed(failure) if failure.kind == FailureKind::Stopped => {
                let message = "the worker stopped by itself";
                Err(ErrorDetail::new(ErrorKind::WorkerProtocol, message).violent())
            }
            Outcome::Failed(failure) => Err(failure.into()),
        },
        End::Closed(Some(Fatal { kind: FatalKind::OutOfMemory, .. })) => {
            Err(ErrorDetail::new(ErrorKind::OutOfMemory, OUT_OF_MEMORY))
        }
        End::Closed(Some(fatal)) => {
            let message = format!("The script's process ended: {}", fatal.message);
            let detail = ErrorDetail::new(ErrorKind::WorkerCrashed, message);
            Err(if fatal.kind == FatalKind::V8 { detail.violent() } else { detail })
        }
        End::Closed(None) => {
            let message = format!("The script's process ended ({})", describe(exit));
            let detail = ErrorDetail::new(ErrorKind::WorkerCrashed, message);
            Err(if is_violent(exit) { detail.violent() } else { detail })
        }
        End::Unsaved(Some(Fatal { kind: FatalKind::OutOfMemory, .. })) => {
            Err(ErrorDetail::new(ErrorKind::OutOfMemory, NO_MEMORY_TO_SAVE))
        }
        End::Unsaved(Some(fatal)) => Err(unsaved(&fatal.message)),
        End::Unsaved(None) if is_given_up(exit) => Err(unsaved(&describe(exit))),
        End::Unsaved(None) => attribute(End::Closed(None), exit),
        End::OutOfMemory(Kill::Own) => {
            Err(ErrorDetail::new(ErrorKind::OutOfMemory, PROCESS_OUT_OF_MEMORY))
        }
        End::OutOfMemory(Kill::All) => {
            Err(ErrorDetail::new(ErrorKind::OutOfMemory, HOST_OUT_OF_MEMORY))
        }
        End::Violation(violation) => {
            tracing::warn!(%violation, "a worker broke the protocol and was killed");
            let message = format!("The script's process broke the protocol: {violation}");
            Err(ErrorDetail::new(ErrorKind::WorkerProtocol, message).violent())
        }
        // Only a stop makes us impatient, and whoever asked for it knows why.
        End::Unresponsive => {
            Err(ErrorDetail::new(ErrorKind::WorkerCrashed, "The script's process was killed"))
        }
    }
}

/// The error for a heap that V8 could not write.
fn unsaved(why: &str) -> ErrorDetail {
    let message = format!(
        "state cannot be saved: V8 could not write something on the heap ({why}). Which global leads \
         to it is not known"
    );
    ErrorDetail::new(ErrorKind::HeapNotSaved, message)
}

/// Whether V8 ended the process because it could not go on.
pub(super) fn is_given_up(exit: Exit) -> bool {
    matches!(exit, Exit::Code(_))
        || [Signal::TRAP, Signal::ILL, Signal::ABORT].iter().any(|signal| is(exit, *signal))
}

/// Whether a process died of this signal.
pub(super) fn is(exit: Exit, signal: Signal) -> bool {
    matches!(exit, Exit::Signal(number) if number == signal.as_raw())
}

/// Whether a process that said nothing came to this end by itself.
fn is_violent(exit: Exit) -> bool {
    // Somebody outside sends these: an operator, or the kernel when the host has no memory. A script
    // that could make its process send them to itself could as well make it report a success.
    const FROM_OUTSIDE: [Signal; 5] =
        [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    match exit {
        Exit::Code(_) => true,
        Exit::Signal(signal) => !FROM_OUTSIDE.iter().any(|known| known.as_raw() == signal),
        Exit::Unknown => false,
    }
}

/// The label under which the end of a process is counted.
pub(super) fn cause(end: &End, exit: Exit, timed_out: bool) -> &'static str {
    match (end, exit) {
        (End::Done(_), _) => "done",
        (End::Violation(_), _) => "protocol",
        (End::Unresponsive, _) if timed_out => "killed_at_deadline",
        (End::Unresponsive, _) => "killed_on_cancel",
        (End::OutOfMemory(_), _) => "out_of_memory",
        (End::Closed(Some(Fatal { kind: FatalKind::OutOfMemory, .. })), _) => "out_of_memory",
        (End::Unsaved(_), _) => "heap_not_saved",
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
            } else if is(Signal::XCPU) {
                ": processor time used up"
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

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_v8_protocol::Failure;

    fn is_counted(end: End, exit: Exit) -> bool {
        attribute(end, exit).unwrap_err().violent
    }

    fn failed(kind: FailureKind) -> End {
        let message = "m".to_owned();
        let failure = Failure { kind, message, stack: None, line: None, column: None };
        let outcome = Outcome::Failed(failure);
        End::Done(Box::new(Done { outcome, usage: Default::default(), heap: None }))
    }

    fn last_words(kind: FatalKind) -> End {
        End::Closed(Some(Fatal { kind, message: "m".to_owned() }))
    }

    #[test]
    fn faults_assertions_silent_exits_and_breaches_are_violent() {
        for signal in [Signal::SEGV, Signal::BUS, Signal::ILL, Signal::TRAP, Signal::ABORT] {
            assert!(is_counted(End::Closed(None), Exit::Signal(signal.as_raw())), "{signal:?}");
        }
        assert!(is_counted(End::Closed(None), Exit::Signal(Signal::SYS.as_raw())));
        assert!(is_counted(End::Closed(None), Exit::Code(0)));
        assert!(is_counted(last_words(FatalKind::V8), Exit::Code(1)));
        let violation = End::Violation(Violation::Unexpected("Ready"));
        assert!(is_counted(violation, Exit::Signal(Signal::KILL.as_raw())));
    }

    #[test]
    fn each_limit_of_the_kernel_has_its_kind() {
        let kind = |end, exit| attribute(end, exit).unwrap_err().kind;
        let signal = |signal: Signal| Exit::Signal(signal.as_raw());
        // Before the wall clock's limit it cannot be genuine; after it the limit is the cause.
        assert_eq!(kind(End::Closed(None), signal(Signal::XCPU)), ErrorKind::WorkerCrashed);
        assert_eq!(kind(End::OutOfMemory(Kill::All), signal(Signal::KILL)), ErrorKind::OutOfMemory);
        let no_memory = last_words(FatalKind::OutOfMemory);
        assert_eq!(kind(no_memory, signal(Signal::SEGV)), ErrorKind::OutOfMemory);
        assert_eq!(kind(End::Closed(None), signal(Signal::SEGV)), ErrorKind::WorkerCrashed);
    }

    #[test]
    fn a_heap_that_v8_cannot_write_is_the_scripts_failure_and_no_violence() {
        let signal = |signal: Signal| Exit::Signal(signal.as_raw());
        let unsaved = |kind: Option<FatalKind>| {
            End::Unsaved(kind.map(|kind| Fatal { kind, message: "m".to_owned() }))
        };
        for (end, exit, kind) in [
            (unsaved(Some(FatalKind::V8)), Exit::Code(1), ErrorKind::HeapNotSaved),
            (unsaved(None), signal(Signal::TRAP), ErrorKind::HeapNotSaved),
            (unsaved(None), signal(Signal::ABORT), ErrorKind::HeapNotSaved),
            (unsaved(Some(FatalKind::OutOfMemory)), Exit::Code(1), ErrorKind::OutOfMemory),
            (unsaved(None), signal(Signal::KILL), ErrorKind::WorkerCrashed),
        ] {
            let detail = attribute(end, exit).unwrap_err();
            assert_eq!((detail.kind, detail.violent), (kind, false), "{exit:?}");
        }
        let fault = attribute(unsaved(None), signal(Signal::SEGV)).unwrap_err();
        assert_eq!((fault.kind, fault.violent), (ErrorKind::WorkerCrashed, true));
    }

    #[test]
    fn what_ends_in_good_order_or_by_others_is_not() {
        for kind in [
            FailureKind::Syntax,
            FailureKind::Thrown,
            FailureKind::UnhandledRejection,
            FailureKind::Stalled,
            FailureKind::OutOfMemory,
        ] {
            assert!(!is_counted(failed(kind), Exit::Code(0)), "{kind:?}");
        }
        assert!(!is_counted(last_words(FatalKind::OutOfMemory), Exit::Code(1)));
        assert!(!is_counted(last_words(FatalKind::Worker), Exit::Code(1)));
        assert!(!is_counted(End::Unresponsive, Exit::Signal(Signal::KILL.as_raw())));
        for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
            assert!(!is_counted(End::Closed(None), Exit::Signal(signal.as_raw())), "{signal:?}");
        }
        assert!(!is_counted(End::Closed(None), Exit::Unknown));
        assert!(!is_counted(End::OutOfMemory(Kill::All), Exit::Signal(Signal::KILL.as_raw())));
    }
}
