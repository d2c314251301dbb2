//! A worker, or a template of workers, that misbehaves, for the supervisor's tests. What it does is in
//! its file name, since a worker gets no arguments of ours and no environment: `hostile-<mode>`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod random;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use mcp_v8_protocol::limits::{ARTIFACT_BYTES_MAX, CODE_BYTES_MAX};
use mcp_v8_protocol::{
    ArtifactHead, Decoder, Done, Failure, FailureKind, Fatal, FatalKind, Forked as ForkedMessage,
    FromWorker, HeapEngine, Job, Layer, LayerReport, Outcome, Ready, ToWorker, Usage, WrittenHeap,
    encode,
};
use mcp_v8_sandbox::{Forked, Purpose, Role, Sandbox, send_with};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};

fn main() {
    // Some of them do not hear their server end.
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let name = std::env::args().next().unwrap_or_default();
    let mode = name.rsplit("hostile-").next().unwrap_or_default().to_owned();
    // It does not stop when it is asked to.
    // SAFETY: ignoring a signal has no preconditions.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    let mut worker = Hostile { socket: own_socket(), claims: Vec::new() };
    match mode.as_str() {
        "exits" => std::process::exit(3),
        "fatal" => {
            let message = "no room for V8".to_owned();
            worker.send(&FromWorker::Fatal(Fatal { kind: FatalKind::Worker, message }));
            return;
        }
        "garbage-at-start" => return worker.raw(&[0xff; 64]),
        "old" => return worker.ready("0.0.0"),
        _ => {}
    }
    if mode == "claims-a-sandbox" {
        worker.claims = Layer::ALL.to_vec();
    }
    if std::env::args().any(|argument| argument == "--process=template") {
        worker = template(worker, &mode);
    } else {
        worker.ready(env!("CARGO_PKG_VERSION"));
    }
    if mode == "talks-idle" {
        worker.send(&FromWorker::Console("nobody asked".to_owned()));
        worker.read_forever();
    }
    match mode.as_str() {
        "deaf" => hang(),
        "hears-half" => {
            worker.socket.read_exact(&mut vec![0; CODE_BYTES_MAX / 2]).unwrap();
            hang();
        }
        _ => {}
    }
    let job = worker.await_job();
    match mode.as_str() {
        "garbage" => worker.raw(&[0xff; 64]),
        "huge-frame" => {
            let mut header = encode(&FromWorker::ConsoleTruncated).unwrap();
            header[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
            worker.raw(&header);
        }
        "ready-again" => worker.ready(env!("CARGO_PKG_VERSION")),
        "floods" => loop {
            worker.send(&FromWorker::Console("x".repeat(60_000)));
        },
        "endless-frame" => {
            let mut header = encode(&FromWorker::ConsoleTruncated).unwrap();
            header[0..4].copy_from_slice(&1_000_000_u32.to_le_bytes());
            worker.raw(&header);
            loop {
                worker.raw(&[0_u8; 64]);
            }
        }
        "truncates-twice" => loop {
            worker.send(&FromWorker::ConsoleTruncated);
        },
        "saves-and-aborts" => {
            worker.send(&FromWorker::Saving);
            std::process::abort();
        }
        "saves-and-exits" => {
            worker.send(&FromWorker::Saving);
            std::process::exit(0);
        }
        "saves-and-prints" => {
            worker.send(&FromWorker::Saving);
            worker.send(&FromWorker::Console("more".to_owned()));
        }
        "saves-nothing" => {
            worker.send(&FromWorker::Saving);
            worker.complete(None);
        }
        "saves-too-much" => {
            worker.send(&FromWorker::Saving);
            worker.complete(Some(u64::MAX));
        }
        "leaves-nothing-of-it" => {
            worker.artifact(5);
            worker.complete(None);
        }
        "leaves-more-than-it-said" => {
            worker.artifact(5);
            worker.send(&FromWorker::ArtifactBytes(vec![0; 6]));
        }
        "leaves-without-end" => loop {
            worker.artifact(1);
            worker.send(&FromWorker::ArtifactBytes(vec![0; 1]));
        },
        "leaves-too-much" => worker.artifact(ARTIFACT_BYTES_MAX + 1),
        "prints-into-it" => {
            worker.artifact(5);
            worker.send(&FromWorker::Console("more".to_owned()));
        }
        "saves-and-leaves" => {
            worker.send(&FromWorker::Saving);
            worker.artifact(0);
        }
        "saves-unannounced" => worker.complete(Some(1)),
        "silent" | "claims-a-sandbox" => {}
        "stopped" => kill_process(getpid(), Signal::STOP).unwrap(),
        "obeys" => worker.obey(&job.code),
        "random" => random::converse(&mut worker, job.code.parse().unwrap()),
        other => panic!("unknown mode {other}"),
    }
    worker.read_forever();
}

/// Does nothing, and sees and hears nothing, until it is killed.
fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

fn own_socket() -> UnixStream {
    UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap())
}

/// Forks as it is asked to, or not quite. Returns in the children.
fn template(mut worker: Hostile, mode: &str) -> Hostile {
    let mut sandbox = Sandbox::begin(false, Role::Template, Purpose::Scripts);
    sandbox.enter().unwrap();
    let (_, mut forker) = sandbox.seal_template().unwrap();
    worker.ready(env!("CARGO_PKG_VERSION"));
    let mut decoder = Decoder::default();
    loop {
        while !matches!(worker.next(&mut decoder), ToWorker::Fork { .. }) {}
        match mode {
            "forks-garbage" => worker.raw(&[0xff; 64]),
            "forks-nothing" => worker.read_forever(),
            "forks-a-claim" => {
                worker.send(&FromWorker::Forked(ForkedMessage { pid: 1, group_refused: None }));
                worker.read_forever();
            }
            "forks-descriptors" => loop {
                let one = OwnedFd::from(own_socket());
                let two = OwnedFd::from(own_socket());
                send_with(&[0], &[one, two]).unwrap_or_else(|_| std::process::exit(0));
            },
            _ => {}
        }
        match forker.fork(None).unwrap() {
            Forked::Child(child) => {
                child.seal().unwrap();
                // The fork has closed it.
                std::mem::forget(worker.socket);
                return Hostile { socket: own_socket(), claims: worker.claims };
            }
            Forked::Parent(birth) => {
                let forked = ForkedMessage { pid: birth.pid, group_refused: None };
                let frame = encode(&FromWorker::Forked(forked)).unwrap();
                send_with(&frame, &[birth.pidfd, birth.socket]).unwrap();
            }
        }
    }
}

struct Hostile {
    socket: UnixStream,
    claims: Vec<Layer>,
}

impl Hostile {
    fn send(&mut self, message: &FromWorker) {
        let frame = encode(message).unwrap();
        self.raw(&frame);
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.socket.write_all(bytes).is_err() {
            std::process::exit(0);
        }
    }

    /// Says that an artifact comes which has so many bytes.
    fn artifact(&mut self, bytes: u64) {
        let (key, mime_type) = ("k".to_owned(), "text/plain".to_owned());
        self.send(&FromWorker::Artifact(ArtifactHead { key, mime_type, bytes }));
    }

    /// Says that the script completed, and how much of a heap it left.
    fn complete(&mut self, bytes: Option<u64>) {
        let outcome = Outcome::Completed { result: None, result_truncated: false };
        let heap = bytes.map(|bytes| WrittenHeap { bytes, restore_us: 0, save_us: 0 });
        self.send(&FromWorker::Done(Box::new(Done { outcome, usage: Usage::default(), heap })));
    }

    fn ready(&mut self, version: &str) {
        let heaps = std::env::args().any(|argument| argument == "--heaps");
        self.send(&FromWorker::Ready(Ready {
            pid: std::process::id(),
            worker_version: version.to_owned(),
            v8_version: "none".to_owned(),
            sandbox: self
                .claims
                .iter()
                .map(|layer| LayerReport { layer: *layer, missing: None })
                .collect(),
            holder: false,
            heap_engines: if heaps { vec![HeapEngine([1; 32])] } else { Vec::new() },
        }));
    }

    /// Reads until the job has arrived.
    fn await_job(&mut self) -> Job {
        let mut decoder = Decoder::default();
        loop {
            if let ToWorker::Job(job) = self.next(&mut decoder) {
                return job;
            }
        }
    }

    fn next(&mut self, decoder: &mut Decoder<ToWorker>) -> ToWorker {
        let mut chunk = [0_u8; 4096];
        loop {
            if let Some(message) = decoder.next_message().unwrap() {
                return message;
            }
            match self.socket.read(&mut chunk) {
                Ok(0) | Err(_) => std::process::exit(0),
                Ok(read) => decoder.buffer_mut().extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Ends in the way the code of the job says.
    fn obey(&mut self, code: &str) {
        // The standard library's own handler lets the first SIGSEGV pass.
        let dies_of = |signal| -> () {
            loop {
                kill_process(getpid(), signal).unwrap();
            }
        };
        match code {
            "segmentation fault" => dies_of(Signal::SEGV),
            "forbidden system call" => dies_of(Signal::SYS),
            "trap" => dies_of(Signal::TRAP),
            "killed from outside" => dies_of(Signal::KILL),
            "silent exit" => std::process::exit(7),
            "garbage" => self.raw(&[0xff; 64]),
            "assertion" => self.last_words(FatalKind::V8),
            "out of memory" => self.last_words(FatalKind::OutOfMemory),
            "internal error" => self.last_words(FatalKind::Worker),
            "stops by itself" => self.fail(FailureKind::Stopped),
            "throws" => self.fail(FailureKind::Thrown),
            "silent" => {}
            _ => self.done(Outcome::Completed { result: None, result_truncated: false }),
        }
    }

    fn last_words(&mut self, kind: FatalKind) {
        let message = "last words".to_owned();
        self.send(&FromWorker::Fatal(Fatal { kind, message }));
        std::process::exit(1);
    }

    fn fail(&mut self, kind: FailureKind) {
        let message = "failed".to_owned();
        let failure = Failure { kind, message, stack: None, line: None, column: None };
        self.done(Outcome::Failed(failure));
    }

    fn done(&mut self, outcome: Outcome) {
        self.send(&FromWorker::Done(Box::new(Done {
            outcome,
            usage: Usage::default(),
            heap: None,
        })));
        std::process::exit(0);
    }

    fn read_forever(&mut self) {
        let mut chunk = [0_u8; 4096];
        while matches!(self.socket.read(&mut chunk), Ok(read) if read > 0) {}
    }
}
