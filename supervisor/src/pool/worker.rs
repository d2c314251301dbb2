//! One worker process: handshake, its single job, its end.
//!
//! # Contract
//! * The worker is hostile until proven otherwise: each message is checked against the state it may
//!   be in, each size against its bound. A violation ends the process and is counted.
//! * A job has an answer at the latest [`KILL_GRACE`] after its limit, plus the time the kernel
//!   takes to end a process: soft stop first, then SIGKILL.
//! * When [`Worker::run`] returns, the process is gone and reaped.
//! * Why a process died is decided in this order: what we did to it, the record of the kernel's kills
//!   for lack of memory, its own last words, its exit status.

use std::sync::Arc;
use std::time::Duration;

use mcp_v8_protocol::limits::HEAP_ENGINES_MAX;
use mcp_v8_protocol::{
    Artifacts, Decoder, Fatal, FatalKind, FromWorker, Job, Ready, ToWorker, WrittenHeap, encode,
};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attribution::{End, attribute, cause, describe, is, is_given_up};
use super::budget::ConsoleBudget;
use super::error::{StartError, Violation};
use super::group::{Group, Kill};
use super::keeping::HeapFiles;
pub use super::keeping::{HeapTask, KeptHeap};
use super::lineage::Lineage;
use super::process::{Exit, Process};
use super::sandbox::{self, Judgement, Mode};
use super::spawner::Spawned;
pub use super::talk::ScriptEvent;
use super::talk::Talk;
use crate::executions::Outcome as ExecutionOutcome;
use crate::executions::model::{ErrorDetail, ErrorKind};
use crate::heaps::Engines;
use crate::limits::{EXIT_GRACE, KILL_GRACE, START_DEADLINE};
use crate::metrics;

/// Bytes read from a worker at a time.
const READ_BYTES: usize = 16 * 1024;

/// What existing clients match on when the wall clock limit was reached.
const TIMED_OUT: &str = "Execution timed out";

/// A ready worker process that has had no job.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    socket: UnixStream,
    decoder: Decoder<FromWorker>,
    v8_version: Arc<str>,
    sandbox: Arc<Judgement>,
    /// Of one for jobs that keep their heap.
    engines: Option<Engines>,
    /// Of a worker that was forked.
    lineage: Option<Arc<Lineage>>,
    group: Option<Arc<Group>>,
}

impl Worker {
    /// Takes over a child that has just been spawned and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`]; the process is gone then.
    pub async fn start(
        spawned: Spawned,
        mode: Mode,
        reapers: TaskTracker,
    ) -> Result<Self, StartError> {
        let Spawned { pid, pidfd, socket, group } = spawned;
        let process = Process::new(pid, pidfd, reapers).map_err(StartError::Spawn)?;
        let process = process.in_group(group);
        let socket = UnixStream::from_std(socket).map_err(StartError::Spawn)?;
        let mut worker = Self {
            process,
            socket,
            decoder: Decoder::default(),
            v8_version: "".into(),
            sandbox: Arc::default(),
            engines: None,
            lineage: None,
            group: None,
        };
        let ready = tokio::time::timeout(START_DEADLINE, worker.handshake())
            .await
            .unwrap_or(Err(StartError::Deadline));
        let ready = ready.and_then(|ready| {
            if mode != Mode::Off {
                worker.sandbox = Arc::new(sandbox::judge(&ready.sandbox, pid));
            }
            if mode == Mode::Required && !worker.sandbox.missing.is_empty() {
                return Err(StartError::Sandbox(worker.sandbox.missing.clone()));
            }
            Ok(ready)
        });
        match ready {
            Ok(ready) => {
                worker.v8_version = ready.v8_version.as_str().into();
                worker.engines = engines_of(&ready);
                Ok(worker)
            }
            Err(error) => {
                worker.process.kill();
                worker.process.wait().await;
                Err(error)
            }
        }
    }

    /// Takes over a child of a template, which needs no greeting.
    pub fn forked(
        process: Process,
        socket: UnixStream,
        v8_version: Arc<str>,
        sandbox: Arc<Judgement>,
        engines: Option<Engines>,
        lineage: Arc<Lineage>,
    ) -> Self {
        let decoder = Decoder::default();
        let lineage = Some(lineage);
        Self { process, socket, decoder, v8_version, sandbox, engines, lineage, group: None }
    }

    async fn handshake(&mut self) -> Result<Ready, StartError> {
        let mut fatal = None;
        loop {
            match next_message(&mut self.socket, &mut self.decoder).await {
                Ok(Some(FromWorker::Ready(ready))) => {
                    if ready.worker_version != env!("CARGO_PKG_VERSION") {
                        return Err(StartError::Version { theirs: ready.worker_version });
                    }
                    return Ok(ready);
                }
                Ok(Some(FromWorker::Fatal(words))) if fatal.is_none() => fatal = Some(words),
                Ok(Some(other)) => {
                    return Err(StartError::Protocol(Violation::Unexpected(name(&other))));
                }
                Ok(None) => {
                    let exit = self.process.wait().await;
                    return Err(StartError::Died { exit: describe(exit), fatal });
                }
                Err(violation) => return Err(StartError::Protocol(violation)),
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The V8 it runs.
    pub fn v8_version(&self) -> &str {
        &self.v8_version
    }

    /// What keeps it in.
    pub fn sandbox(&self) -> &Judgement {
        &self.sandbox
    }

    /// What the heaps are written by that it restores; none of one that was not made for that.
    pub fn engines(&self) -> Option<&Engines> {
        self.engines.as_ref()
    }

    /// Returns when an idle worker is no longer usable: it died, or spoke without being asked.
    pub async fn lost(&mut self) -> String {
        match next_message(&mut self.socket, &mut self.decoder).await {
            Ok(None) => describe(self.process.wait().await),
            Ok(Some(FromWorker::Fatal(fatal))) => fatal.message,
            Ok(Some(message)) => format!("unexpected message {}", name(&message)),
            Err(violation) => violation.to_string(),
        }
    }

    /// The control group it is in, which knows whom the kernel has killed.
    pub fn count_kills_of(&mut self, group: Arc<Group>) {
        self.group = Some(group);
    }

    /// What it has in common with its siblings, if it was forked.
    pub fn lineage(&self) -> Option<Arc<Lineage>> {
        self.lineage.clone()
    }

    /// Ends an idle worker and waits until it is gone.
    pub async fn end(mut self) {
        self.process.kill();
        self.process.wait().await;
    }

    /// Runs the one job of this process. `wall` starts now; `stop` ends the script early, and its
    /// owner knows why. Console text goes to `console` as it arrives.
    pub async fn run(
        self,
        job: Job,
        wall: Duration,
        stop: &CancellationToken,
        console: impl FnMut(ScriptEvent<'_>) + Send,
    ) -> ExecutionOutcome {
        self.run_with(Job { heap: None, ..job }, None, wall, stop, console).await.0
    }

    /// Runs the one job of this process on a heap, and gives the heap that it left if the script
    /// completed. For a worker of [`Pool::take_for_heap`](super::Pool::take_for_heap).
    ///
    /// Either there is a heap and the outcome is a success, or there is none and it is a failure: what
    /// cannot be kept fails the execution. Writing the heap counts towards `wall`.
    pub async fn run_keeping(
        self,
        job: Job,
        task: HeapTask,
        wall: Duration,
        stop: &CancellationToken,
        console: impl FnMut(ScriptEvent<'_>) + Send,
    ) -> Result<(Option<String>, KeptHeap), ErrorDetail> {
        let engine = task.check(self.engines.as_ref());
        let files = engine.and_then(|engine| task.open().map(|files| (engine, files)));
        let (engine, files) = match files {
            Ok(files) => files,
            Err(error) => {
                self.end().await;
                return Err(error);
            }
        };
        let job = Job { heap: Some(files.announced()), ..job };
        let (outcome, written) = self.run_with(job, Some(&files), wall, stop, console).await;
        let result = outcome?;
        let missing = || ErrorDetail::new(ErrorKind::WorkerProtocol, "the worker left no heap");
        let kept = files.keep(written.ok_or_else(missing)?, engine).await?;
        Ok((result, kept))
    }

    async fn run_with(
        mut self,
        job: Job,
        files: Option<&HeapFiles>,
        wall: Duration,
        stop: &CancellationToken,
        mut console: impl FnMut(ScriptEvent<'_>) + Send,
    ) -> (ExecutionOutcome, Option<WrittenHeap>) {
        let deadline = Instant::now() + wall;
        let console_bytes = job.limits.console_bytes;
        self.process.bound_memory(job.memory_bounds().group);
        let frame = match encode(&ToWorker::Job(job)) {
            Ok(frame) => frame,
            Err(error) => {
                self.end().await;
                let error = ErrorDetail::new(ErrorKind::WorkerProtocol, error.to_string());
                return (Err(error), None);
            }
        };
        let budget = ConsoleBudget::new(console_bytes);
        let talk = Talk {
            budget,
            heap: files.map(HeapFiles::announced),
            saving: false,
            artifacts: Artifacts::default(),
            open: None,
        };
        let (end, timed_out) = self.drive(frame, files, deadline, stop, talk, &mut console).await;
        let exit = self.exit(&end).await;
        let end = self.explain(end, exit);
        if let Some(lineage) = &self.lineage
            && is_suspicious(&end, exit, timed_out)
        {
            lineage.note_fault(Instant::now().into_std());
        }
        metrics::worker_exit(cause(&end, exit, timed_out));
        let written = match &end {
            End::Done(done) => done.heap,
            _ => None,
        };
        // A script that finished in time keeps its result, however close the deadline was; whatever
        // else happened after the deadline happened because of it.
        match attribute(end, exit) {
            Err(_) if timed_out => (Err(ErrorDetail::new(ErrorKind::TimedOut, TIMED_OUT)), None),
            outcome => (outcome, written),
        }
    }

    /// Talks to the worker until it reports, breaks the protocol, closes its socket, or runs out of
    /// patience. Also says whether the deadline had passed.
    async fn drive(
        &mut self,
        mut outgoing: Vec<u8>,
        files: Option<&HeapFiles>,
        deadline: Instant,
        stop: &CancellationToken,
        mut talk: Talk,
        console: &mut (impl FnMut(ScriptEvent<'_>) + Send),
    ) -> (End, bool) {
        // They go with the first byte. The socket is empty: this does not wait.
        let mut sent = match files {
            Some(files) => files.send(&self.socket, &outgoing).await,
            None => 0,
        };
        let process = &self.process;
        let (mut reader, mut writer) = self.socket.split();
        let decoder = &mut self.decoder;
        let mut fatal = None;
        // Once set: the soft stop is out and SIGKILL comes at this time.
        let mut kill_at = None;
        let mut timed_out = false;
        loop {
            let limit = kill_at.unwrap_or(deadline);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(limit) => {
                    if kill_at.is_some() {
                        return (End::Unresponsive, timed_out);
                    }
                    timed_out = true;
                    kill_at = Some(Instant::now() + KILL_GRACE);
                    process.stop();
                }
                () = stop.cancelled(), if kill_at.is_none() => {
                    kill_at = Some(Instant::now() + KILL_GRACE);
                    process.stop();
                }
                written = writer.write(&outgoing[sent..]), if sent < outgoing.len() => {
                    match written {
                        Ok(written) => sent += written,
                        // It closed its end; what it said before is still to be read.
                        Err(_) => sent = outgoing.len(),
                    }
                    if sent == outgoing.len() {
                        // The code may be large and is not needed any more.
                        outgoing = Vec::new();
                        sent = 0;
                    }
                }
                read = read_some(&mut reader, decoder) => {
                    if read == 0 {
                        return (talk.closed(fatal), timed_out);
                    }
                    loop {
                        let message = match decoder.next_message() {
                            Ok(Some(message)) => message,
                            Ok(None) => break,
                            Err(error) => return (End::Violation(error.into()), timed_out),
                        };
                        if fatal.is_some() {
                            let violation = Violation::Unexpected(name(&message));
                            return (End::Violation(violation), timed_out);
                        }
                        match message {
                            FromWorker::Fatal(words) => fatal = Some(words),
                            FromWorker::Done(done) => {
                                let end = match talk.check_end(&done) {
                                    Ok(()) => End::Done(done),
                                    Err(violation) => End::Violation(violation),
                                };
                                return (end, timed_out);
                            }
                            message => if let Err(violation) = talk.take(message, console) {
                                return (End::Violation(violation), timed_out);
                            }
                        }
                    }
                }
            }
        }
    }

    /// A process that was killed without a word was perhaps killed for lack of memory.
    fn explain(&self, end: End, exit: Exit) -> End {
        if !matches!(end, End::Closed(None) | End::Unsaved(None)) || !is(exit, Signal::KILL) {
            return end;
        }
        let kill = match self.process.memory_kill() {
            Some(own) => own,
            // Of a group with other workers it is only known that one of them was killed.
            None => {
                let claimed = self.group.as_ref().is_some_and(|group| group.claim_kill());
                claimed.then_some(Kill::All)
            }
        };
        kill.map_or(end, End::OutOfMemory)
    }

    /// Sees the process off: gives one that ended properly a moment, kills any other.
    async fn exit(&mut self, end: &End) -> Exit {
        if matches!(end, End::Done(_) | End::Closed(_) | End::Unsaved(_))
            && let Ok(exit) = tokio::time::timeout(EXIT_GRACE, self.process.wait()).await
        {
            return exit;
        }
        self.process.kill();
        self.process.wait().await
    }
}

/// Whether a process ended as an attack on it may end, which has then learned something about the
/// memory of its siblings. After an end of ours a signal is ours, and that of the processor's limit
/// is no fault once the time is over: before, it is the process's own doing.
fn is_suspicious(end: &End, exit: Exit, timed_out: bool) -> bool {
    match end {
        End::Violation(_) | End::Closed(Some(Fatal { kind: FatalKind::V8, .. })) => true,
        End::Closed(None) => !(timed_out && is(exit, Signal::XCPU)),
        End::Closed(Some(_)) => matches!(exit, Exit::Signal(_)),
        // V8 ends the process by an assertion, or by a trap, for what it cannot write.
        End::Unsaved(_) => !is_given_up(exit),
        End::Done(_) | End::OutOfMemory(_) | End::Unresponsive => false,
    }
}

/// What a worker can restore, as it says itself.
pub(super) fn engines_of(ready: &Ready) -> Option<Engines> {
    let accepted = ready.heap_engines.as_slice();
    let is_valid = !accepted.is_empty() && accepted.len() <= HEAP_ENGINES_MAX;
    is_valid.then(|| Engines {
        v8_version: ready.v8_version.as_str().into(),
        accepted: accepted.into(),
    })
}

/// Reads what is there; 0 at the end of the stream, errors included.
async fn read_some(
    reader: &mut (impl AsyncReadExt + Unpin),
    decoder: &mut Decoder<FromWorker>,
) -> usize {
    let buffer = decoder.buffer_mut();
    buffer.reserve(READ_BYTES);
    reader.read_buf(buffer).await.unwrap_or(0)
}

async fn next_message(
    socket: &mut UnixStream,
    decoder: &mut Decoder<FromWorker>,
) -> Result<Option<FromWorker>, Violation> {
    loop {
        if let Some(message) = decoder.next_message()? {
            return Ok(Some(message));
        }
        if read_some(socket, decoder).await == 0 {
            return Ok(None);
        }
    }
}

/// The name of a message, for logs.
pub(super) fn name(message: &FromWorker) -> &'static str {
    match message {
        FromWorker::Forked(_) => "Forked",
        FromWorker::Ready(_) => "Ready",
        FromWorker::Saving => "Saving",
        FromWorker::Console(_) => "Console",
        FromWorker::ConsoleTruncated => "ConsoleTruncated",
        FromWorker::Done(_) => "Done",
        FromWorker::Fatal(_) => "Fatal",
        FromWorker::Artifact(_) => "Artifact",
        FromWorker::ArtifactBytes(_) => "ArtifactBytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_may_be_an_attack_cost_the_siblings_their_jobs() {
        let fatal = |kind| End::Closed(Some(Fatal { kind, message: String::new() }));
        let signal = |signal: Signal| Exit::Signal(signal.as_raw());
        assert!(is_suspicious(&End::Closed(None), signal(Signal::SEGV), false));
        assert!(is_suspicious(&End::Closed(None), signal(Signal::SYS), false));
        assert!(is_suspicious(&End::Closed(None), Exit::Code(0), false));
        assert!(is_suspicious(&fatal(FatalKind::V8), Exit::Code(1), false));
        assert!(is_suspicious(&fatal(FatalKind::OutOfMemory), signal(Signal::SEGV), false));
        let violation = End::Violation(Violation::Console);
        assert!(is_suspicious(&violation, signal(Signal::KILL), false));

        assert!(!is_suspicious(&fatal(FatalKind::OutOfMemory), Exit::Code(1), false));
        assert!(is_suspicious(&End::Closed(None), signal(Signal::XCPU), false));
        assert!(!is_suspicious(&End::Closed(None), signal(Signal::XCPU), true));
        assert!(!is_suspicious(&End::OutOfMemory(Kill::All), signal(Signal::KILL), false));
        assert!(!is_suspicious(&End::Unresponsive, signal(Signal::KILL), false));
    }
}
