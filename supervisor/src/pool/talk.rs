//! What a worker may say while it has a job, and when.

use mcp_v8_protocol::limits::ARTIFACT_CHUNK_BYTES_MAX;
use mcp_v8_protocol::{
    ArtifactHead, Artifacts, Done, FailureKind, Fatal, FromWorker, JobHeap, Outcome,
};

use super::attribution::End;
use super::budget::ConsoleBudget;
use super::error::Violation;
use super::worker::name;
use crate::artifacts::Artifact;

/// What a script says while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptEvent<'a> {
    /// More text.
    Text(&'a str),
    /// The budget is used up; no more text comes.
    Truncated,
    /// It has left an artifact, which counts if it completes.
    Artifact(Artifact),
}

/// Where the conversation stands.
pub(super) struct Talk {
    pub(super) budget: ConsoleBudget,
    /// Of a job that keeps its heap.
    pub(super) heap: Option<JobHeap>,
    /// The script has completed and its heap is being written.
    pub(super) saving: bool,
    /// What was left so far.
    pub(super) artifacts: Artifacts,
    /// One whose bytes are still coming, and how many it will have.
    pub(super) open: Option<(Artifact, usize)>,
}

impl Talk {
    /// Takes a message that does not end the conversation.
    ///
    /// # Errors
    /// A [`Violation`].
    pub(super) fn take(
        &mut self,
        message: FromWorker,
        console: &mut (impl FnMut(ScriptEvent<'_>) + Send),
    ) -> Result<(), Violation> {
        if let Some((artifact, _)) = &mut self.open {
            let FromWorker::ArtifactBytes(bytes) = message else {
                return Err(Violation::Unexpected(name(&message)));
            };
            artifact.bytes.extend_from_slice(&piece(bytes)?);
            return self.close(console);
        }
        match message {
            FromWorker::Artifact(ArtifactHead { key, mime_type, bytes }) if !self.saving => {
                self.artifacts.add(&key, &mime_type, bytes)?;
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                // Room is made as they come: what is announced costs nothing.
                self.open = Some((Artifact { key, mime_type, bytes: Vec::new() }, bytes));
                self.close(console)?;
            }
            FromWorker::Console(text) if !self.saving => {
                self.budget.take(&text)?;
                console(ScriptEvent::Text(&text));
            }
            FromWorker::ConsoleTruncated if !self.saving && !self.budget.truncated => {
                self.budget.truncated = true;
                console(ScriptEvent::Truncated);
            }
            FromWorker::Saving if self.heap.is_some() && !self.saving => self.saving = true,
            other => return Err(Violation::Unexpected(name(&other))),
        }
        Ok(())
    }

    /// Hands the artifact on whose bytes are all there.
    fn close(
        &mut self,
        console: &mut (impl FnMut(ScriptEvent<'_>) + Send),
    ) -> Result<(), Violation> {
        if let Some((artifact, bytes)) = self.open.take() {
            match artifact.bytes.len() {
                all if all == bytes => console(ScriptEvent::Artifact(artifact)),
                some if some < bytes => self.open = Some((artifact, bytes)),
                _ => return Err(Violation::ArtifactBytes),
            }
        }
        Ok(())
    }

    /// Whether the job may end so.
    ///
    /// # Errors
    /// A [`Violation`].
    pub(super) fn check_end(&self, done: &Done) -> Result<(), Violation> {
        if self.open.is_some() {
            return Err(Violation::ArtifactBytes);
        }
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

/// A piece of an artifact, if it has the size that one may have.
fn piece(bytes: Vec<u8>) -> Result<Vec<u8>, Violation> {
    let fits = (1..=ARTIFACT_CHUNK_BYTES_MAX).contains(&bytes.len());
    if fits { Ok(bytes) } else { Err(Violation::ArtifactBytes) }
}

#[cfg(test)]
mod tests {
    use mcp_v8_protocol::{ArtifactError, Failure, WrittenHeap};

    use super::*;

    fn talk(heap: bool, saving: bool) -> Talk {
        let heap = heap.then_some(JobHeap { base_bytes: None, bytes_max: 10 });
        let (budget, artifacts) = (ConsoleBudget::new(100), Artifacts::default());
        Talk { budget, heap, saving, artifacts, open: None }
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
    fn an_artifact_comes_in_pieces_with_nothing_between_and_no_byte_too_many() {
        let head = |bytes| {
            let (key, mime_type) = ("k".to_owned(), "a/b".to_owned());
            FromWorker::Artifact(ArtifactHead { key, mime_type, bytes })
        };
        let bytes = |bytes: usize| FromWorker::ArtifactBytes(vec![7; bytes]);
        let text = || FromWorker::Console("x".to_owned());
        let hear = |talk: &mut Talk, messages: Vec<FromWorker>| {
            let mut heard = Vec::new();
            for message in messages {
                talk.take(message, &mut |event| {
                    if let ScriptEvent::Artifact(artifact) = event {
                        heard.push(artifact.bytes.len());
                    }
                })?;
            }
            Ok::<_, Violation>(heard)
        };
        let most = ARTIFACT_CHUNK_BYTES_MAX;
        let pieces =
            vec![head(0), text(), head(most as u64 + 1), bytes(most), bytes(1), text(), head(3)];
        let mut whole = talk(false, false);
        assert_eq!(hear(&mut whole, pieces).unwrap(), [0, most + 1]);
        assert!(whole.check_end(&completed(None)).is_err(), "the last one is not whole");
        for (bad, why) in [
            (vec![bytes(1)], "without a head"),
            (vec![head(0), bytes(1)], "more than announced"),
            (vec![head(1), bytes(2)], "more than announced"),
            (vec![head(2), bytes(0)], "an empty piece"),
            (vec![head(most as u64 + 1), bytes(most + 1)], "a piece past its bound"),
            (vec![head(2), bytes(1), text()], "text between"),
            (vec![head(2), head(2)], "a head between"),
        ] {
            assert!(hear(&mut talk(false, false), bad).is_err(), "{why}");
        }
        assert!(hear(&mut talk(true, true), vec![head(0)]).is_err(), "while the heap is written");
        let past = head(mcp_v8_protocol::limits::ARTIFACT_BYTES_MAX + 1);
        let error = hear(&mut talk(false, false), vec![past]).unwrap_err();
        assert!(matches!(error, Violation::Artifact(ArtifactError::Bytes { .. })), "{error}");
    }

    #[test]
    fn nothing_is_printed_while_the_heap_is_written() {
        let text = || FromWorker::Console("x".to_owned());
        let mut nobody = |_: ScriptEvent<'_>| ();
        let mut talk = talk(true, false);
        assert!(talk.take(text(), &mut nobody).is_ok());
        assert!(talk.take(FromWorker::Saving, &mut nobody).is_ok());
        assert!(talk.take(text(), &mut nobody).is_err());
        assert!(talk.take(FromWorker::ConsoleTruncated, &mut nobody).is_err());
        assert!(talk.take(FromWorker::Saving, &mut nobody).is_err(), "twice");
        assert!(self::talk(false, false).take(FromWorker::Saving, &mut nobody).is_err());
    }
}
