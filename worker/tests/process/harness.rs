//! One worker process and its socket. Everything that waits has a deadline.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mcp_v8_protocol::{
    ArtifactHead, Decoder, Done, Failure, FailureKind, Fatal, FatalKind, FromWorker, Hello, Job,
    JobLimits, Outcome, ToWorker, encode,
};
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a debug build on a busy machine; tests wait for conditions, not for this.
const DEADLINE: Duration = Duration::from_secs(60);

/// Limits that no test meets by accident.
pub const LIMITS: JobLimits = JobLimits {
    heap_bytes: 64 << 20,
    buffer_bytes: 64 << 20,
    console_bytes: 1 << 20,
    cpu_secs: 60,
};

/// Runs `code` in a process of its own.
pub fn run(code: &str) -> Run {
    run_with(code, LIMITS)
}

/// Runs `code` with other limits than the worker was prepared for.
pub fn run_with(code: &str, limits: JobLimits) -> Run {
    let mut worker = Worker::ready();
    worker.job(code, limits);
    worker.finish()
}

/// A worker process.
pub struct Worker {
    child: Child,
    stream: UnixStream,
    decoder: Decoder<FromWorker>,
}

impl Worker {
    /// A process that has been told nothing.
    pub fn spawn_silent() -> Self {
        Self::spawn_with(&[])
    }

    /// The same, with arguments.
    pub fn spawn_with(arguments: &[&str]) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_mcp-v8-worker"))
            .args(arguments)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_clear()
            .spawn()
            .unwrap();
        Self { child, stream, decoder: Decoder::default() }
    }

    /// A process that was greeted.
    pub fn spawn() -> Self {
        let mut worker = Self::spawn_silent();
        worker.send(&ToWorker::Hello(Hello { heap_bytes: LIMITS.heap_bytes, isolate: true }));
        worker
    }

    /// A process that is ready for its job.
    pub fn ready() -> Self {
        let mut worker = Self::spawn();
        assert!(matches!(worker.receive(), Some(FromWorker::Ready(_))));
        worker
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    pub fn send(&mut self, message: &ToWorker) {
        self.stream.write_all(&encode(message).unwrap()).unwrap();
    }

    /// Asks it to stop its script.
    pub fn stop(&self) {
        kill_process(Pid::from_raw(self.id() as i32).unwrap(), Signal::USR1).unwrap();
    }

    pub fn job(&mut self, code: &str, limits: JobLimits) {
        let (execution_id, code) = ("test".to_owned(), code.to_owned().into());
        self.send(&ToWorker::Job(Job { execution_id, attempt: 1, code, limits, heap: None }));
    }

    /// The next message, or none at the end of the stream.
    pub fn receive(&mut self) -> Option<FromWorker> {
        let mut bytes = [0_u8; 64 * 1024];
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(message);
            }
            let read = match self.stream.read(&mut bytes) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
                Err(error) => panic!("nothing was heard in {DEADLINE:?}: {error}"),
            };
            if read == 0 {
                assert!(self.decoder.is_empty(), "the stream ended inside a frame");
                return None;
            }
            self.decoder.buffer_mut().extend_from_slice(&bytes[..read]);
        }
    }

    /// Ends the stream.
    pub fn hang_up(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "the process did not end");
            std::thread::yield_now();
        }
    }

    /// Takes everything to the end.
    pub fn finish(mut self) -> Run {
        let (mut console, mut artifacts) = (String::new(), Vec::new());
        let (mut truncated, mut longest_chunk, mut done, mut fatal) = (false, 0, None, None);
        while let Some(message) = self.receive() {
            assert!(done.is_none() && fatal.is_none(), "{message:?} after the end");
            match message {
                FromWorker::Console(text) => {
                    assert!(!truncated, "text after its end");
                    longest_chunk = longest_chunk.max(text.len());
                    console.push_str(&text);
                }
                FromWorker::ConsoleTruncated => truncated = true,
                FromWorker::Done(end) => done = Some(*end),
                FromWorker::Fatal(end) => fatal = Some(end),
                FromWorker::Artifact(head) => artifacts.push((head, Vec::new())),
                FromWorker::ArtifactBytes(piece) => {
                    artifacts.last_mut().expect("a head").1.push(piece);
                }
                FromWorker::Ready(_) => panic!("ready twice"),
                FromWorker::Saving => panic!("nobody asked it to keep its heap"),
                FromWorker::Forked(_) => panic!("forked without a template"),
            }
        }
        Run { console, artifacts, truncated, longest_chunk, done, fatal, status: self.wait() }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one job gave.
#[derive(Debug)]
pub struct Run {
    pub console: String,
    /// Each with the pieces that its bytes came in.
    pub artifacts: Vec<(ArtifactHead, Vec<Vec<u8>>)>,
    pub truncated: bool,
    pub longest_chunk: usize,
    pub done: Option<Done>,
    pub fatal: Option<Fatal>,
    pub status: ExitStatus,
}

impl Run {
    /// The result of a completed run.
    #[track_caller]
    pub fn completed(&self) -> Option<String> {
        match &self.done {
            Some(Done { outcome: Outcome::Completed { result, .. }, .. }) => result.clone(),
            _ => panic!("{self:?}"),
        }
    }

    /// The failure of a failed run.
    #[track_caller]
    pub fn failed(&self, kind: FailureKind) -> &Failure {
        match &self.done {
            Some(Done { outcome: Outcome::Failed(failure), .. }) if failure.kind == kind => failure,
            _ => panic!("{self:?} where {kind:?} was expected"),
        }
    }

    /// The last words of a worker that gave up.
    #[track_caller]
    pub fn fatal_of(&self, kind: FatalKind) -> &str {
        match &self.fatal {
            Some(fatal) if fatal.kind == kind => &fatal.message,
            _ => panic!("{self:?} where {kind:?} was expected"),
        }
    }
}
