//! A worker that misbehaves, for the supervisor's tests. What it does is in its file name, since a
//! worker gets neither arguments nor environment: `hostile-<mode>`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use mcp_v8_protocol::{
    Done, Failure, FailureKind, Fatal, FatalKind, FromWorker, Job, Layer, LayerReport, Outcome,
    Ready, ToWorker, Usage, encode,
};
use rustix::process::{Signal, getpid, kill_process};

fn main() {
    let name = std::env::args().next().unwrap_or_default();
    let mode = name.rsplit("hostile-").next().unwrap_or_default().to_owned();
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut worker = Hostile { socket, claims: Vec::new() };
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
        worker.claims = vec![
            Layer::Descriptors,
            Layer::Resources,
            Layer::NoNewPrivileges,
            Layer::Landlock,
            Layer::Capabilities,
            Layer::SystemCalls,
        ];
    }
    worker.ready(env!("CARGO_PKG_VERSION"));
    if mode == "talks-idle" {
        worker.send(&FromWorker::Console("nobody asked".to_owned()));
        worker.read_forever();
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
        "silent" | "claims-a-sandbox" => {}
        "stopped" => kill_process(getpid(), Signal::STOP).unwrap(),
        "obeys" => worker.obey(&job.code),
        other => panic!("unknown mode {other}"),
    }
    worker.read_forever();
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

    fn ready(&mut self, version: &str) {
        self.send(&FromWorker::Ready(Ready {
            pid: std::process::id(),
            worker_version: version.to_owned(),
            v8_version: "none".to_owned(),
            sandbox: self
                .claims
                .iter()
                .map(|layer| LayerReport { layer: *layer, missing: None })
                .collect(),
        }));
    }

    /// Reads until the job has arrived.
    fn await_job(&mut self) -> Job {
        let mut decoder = mcp_v8_protocol::Decoder::<ToWorker>::default();
        let mut chunk = [0_u8; 4096];
        loop {
            while let Some(message) = decoder.next_message().unwrap() {
                if let ToWorker::Job(job) = message {
                    return job;
                }
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
        self.send(&FromWorker::Done(Box::new(Done { outcome, usage: Usage::default() })));
        std::process::exit(0);
    }

    fn read_forever(&mut self) {
        let mut chunk = [0_u8; 4096];
        while matches!(self.socket.read(&mut chunk), Ok(read) if read > 0) {}
    }
}
