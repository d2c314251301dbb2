//! What a worker may say while it has a job, and when.

use mcp_v8_protocol::{Done, FailureKind, Fatal, FromWorker, JobHeap, Outcome};

use super::attribution::End;
use super::budget::ConsoleBudget;
use super::error::Violation;
use super::worker::name;

/// Console text as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleEvent<'a> {
    /// More text.
    Text(&'a str),
    /// The budget is used up; no more text comes.
    Truncated,
}

/// Where the conversation stands.
pub(super) struct Talk {
    pub(super) budget: ConsoleBudget,
    /// Of a job that keeps its heap.
    pub(super) heap: Option<JobHeap>,
    /// The script has completed and its heap is being written.
    pub(super) saving: bool,
}

impl Talk {
    /// Takes a message that does not end the conversation.
    ///
    /// # Errors
    /// A [`Violation`].
    pub(super) fn take(
        &mut self,
        message: FromWorker,
        console: &mut (impl FnMut(ConsoleEvent<'_>) + Send),
    ) -> Result<(), Violation> {
        match message {
            FromWorker::Console(text) if !self.saving => {
                self.budget.take(&text)?;
                console(ConsoleEvent::Text(&text));
            }
            FromWorker::ConsoleTruncated if !self.saving && !self.budget.truncated => {
                self.budget.truncated = true;
                console(ConsoleEvent::Truncated);
            }
            FromWorker::Saving if self.heap.is_some() && !self.saving => self.saving = true,
            other => return Err(Violation::Unexpected(name(&other))),
        }
        Ok(())
    }

    /// Whether the job may end so.
    ///
    /// # Errors
    /// A [`Violation`].
    pub(super) fn check_end(&self, done: &Done) -> Result<(), Violation> {
        let completed = matches!(done.outcome, Outcome::Completed { .. });
        let failed_to = |kinds: &[FailureKind]| match &done.outcome {
            Outcome::Failed(failure) => kinds.contains(&failure.kind),
            Outcome::Completed { .. } => false,
        };
        let as_due = match (self.heap, self.saving) {
            (Some(heap), true) if completed => {
                done.heap.is_some_and(|written| (1..=heap.bytes_max).contains(&written.bytes))
            }
            (Some(_), true) => {
                done.heap.is_none()
                    && failed_to(&[FailureKind::HeapNotSaved, FailureKind::HeapTooLarge])
            }
            (Some(_), false) => {
                let saved = failed_to(&[FailureKind::HeapNotSaved, FailureKind::HeapTooLarge]);
                done.heap.is_none() && !completed && !saved
            }
            (None, _) => {
                let of_heaps = [
                    FailureKind::HeapNotSaved,
                    FailureKind::HeapTooLarge,
                    FailureKind::HeapNotRestored,
                ];
                done.heap.is_none() && !failed_to(&of_heaps)
            }
        };
        if as_due { Ok(()) } else { Err(Violation::Heap) }
    }

    /// How it ended if the worker closed its socket, perhaps after last words.
    pub(super) fn closed(&self, fatal: Option<Fatal>) -> End {
        if self.saving { End::Unsaved(fatal) } else { End::Closed(fatal) }
    }
}

#[cfg(test)]
mod tests {
    use mcp_v8_protocol::{Failure, WrittenHeap};

    use super::*;

    fn talk(heap: bool, saving: bool) -> Talk {
        let heap = heap.then_some(JobHeap { base_bytes: None, bytes_max: 10 });
        Talk { budget: ConsoleBudget::new(100), heap, saving }
    }

    fn completed(bytes: Option<u64>) -> Done {
        let outcome = Outcome::Completed { result: None, result_truncated: false };
        let heap = bytes.map(|bytes| WrittenHeap { bytes, restore_us: 0, save_us: 0 });
        Done { outcome, usage: Default::default(), heap }
    }

    fn failed(kind: FailureKind) -> Done {
        let message = "m".to_owned();
        let failure = Failure { kind, message, stack: None, line: None, column: None };
        Done { outcome: Outcome::Failed(failure), ..completed(None) }
    }

    #[test]
    fn a_heap_comes_with_a_script_that_completed_and_only_if_it_was_asked_for() {
        let keeping = talk(true, true);
        assert!(keeping.check_end(&completed(Some(1))).is_ok());
        assert!(keeping.check_end(&completed(Some(10))).is_ok());
        assert!(keeping.check_end(&completed(Some(11))).is_err(), "past its bound");
        assert!(keeping.check_end(&completed(Some(0))).is_err());
        assert!(keeping.check_end(&completed(None)).is_err());
        assert!(keeping.check_end(&failed(FailureKind::HeapNotSaved)).is_ok());
        assert!(keeping.check_end(&failed(FailureKind::HeapTooLarge)).is_ok());
        assert!(keeping.check_end(&failed(FailureKind::Thrown)).is_err(), "it had completed");
        let heap = completed(Some(1)).heap;
        let both = Done { heap, ..failed(FailureKind::HeapNotSaved) };
        assert!(keeping.check_end(&both).is_err());

        let running = talk(true, false);
        assert!(running.check_end(&completed(Some(1))).is_err(), "it was not said before");
        assert!(running.check_end(&completed(None)).is_err());
        assert!(running.check_end(&failed(FailureKind::Thrown)).is_ok());
        assert!(running.check_end(&failed(FailureKind::HeapNotRestored)).is_ok());
        assert!(running.check_end(&failed(FailureKind::HeapNotSaved)).is_err());

        let plain = talk(false, false);
        assert!(plain.check_end(&completed(None)).is_ok());
        assert!(plain.check_end(&completed(Some(1))).is_err());
        assert!(plain.check_end(&failed(FailureKind::Thrown)).is_ok());
        assert!(plain.check_end(&failed(FailureKind::HeapNotSaved)).is_err());
    }

    #[test]
    fn nothing_is_printed_while_the_heap_is_written() {
        let text = || FromWorker::Console("x".to_owned());
        let mut nobody = |_: ConsoleEvent<'_>| ();
        let mut talk = talk(true, false);
        assert!(talk.take(text(), &mut nobody).is_ok());
        assert!(talk.take(FromWorker::Saving, &mut nobody).is_ok());
        assert!(talk.take(text(), &mut nobody).is_err());
        assert!(talk.take(FromWorker::ConsoleTruncated, &mut nobody).is_err());
        assert!(talk.take(FromWorker::Saving, &mut nobody).is_err(), "twice");
        assert!(self::talk(false, false).take(FromWorker::Saving, &mut nobody).is_err());
    }
}
