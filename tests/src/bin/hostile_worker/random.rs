//! A conversation made up by chance: frames in and out of order, whole and broken, then some end.
//!
//! The code of the job is the seed, so that what it did can be had again.

use std::net::Shutdown;
use std::os::fd::OwnedFd;

use mcp_v8_protocol::limits::{ARTIFACT_CHUNK_BYTES_MAX, CONSOLE_CHUNK_BYTES_MAX};
use mcp_v8_protocol::{
    ArtifactHead, Done, Failure, FailureKind, Fatal, FatalKind, Forked, FromWorker, Outcome,
    ToWorker, Usage, encode,
};
use mcp_v8_sandbox::send_with;
use rustix::process::{Signal, getpid, kill_process};

use crate::{Hostile, hang, own_socket};

/// Things said at most before the end.
const STEPS_MAX: u64 = 8;

/// Console text that goes past the budget of any job here, in bytes.
const FLOOD_BYTES: usize = 1 << 20;

/// Talks at random, then ends at random, or does not end.
pub fn converse(worker: &mut Hostile, seed: u64) -> ! {
    let mut chance = Chance(seed);
    // Half of them end when they are asked to stop.
    if chance.below(2) == 0 {
        // SAFETY: the default action has no preconditions.
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_DFL) };
    }
    for _ in 0..chance.below(STEPS_MAX + 1) {
        say(worker, &mut chance);
    }
    match chance.below(8) {
        0 => std::process::exit(0),
        1 => std::process::exit(i32::from(chance.byte())),
        2 => kill_process(getpid(), Signal::KILL).unwrap(),
        3 => std::process::abort(),
        // Its end of the socket, but not the process.
        4 => drop(worker.socket.shutdown(Shutdown::Both)),
        5 => drop(worker.socket.shutdown(Shutdown::Write)),
        6 => kill_process(getpid(), Signal::STOP).unwrap(),
        _ => {}
    }
    hang();
}

fn say(worker: &mut Hostile, chance: &mut Chance) {
    match chance.below(22) {
        0 => worker.ready(env!("CARGO_PKG_VERSION")),
        1 => worker
            .send(&FromWorker::Forked(Forked { pid: chance.next() as u32, group_refused: None })),
        2..=5 => worker.send(&console(chance.below(200))),
        6 => worker.send(&console(CONSOLE_CHUNK_BYTES_MAX as u64 + 1)),
        7 => {
            for _ in 0..FLOOD_BYTES / CONSOLE_CHUNK_BYTES_MAX {
                worker.send(&console(CONSOLE_CHUNK_BYTES_MAX as u64));
            }
        }
        8 => worker.send(&FromWorker::ConsoleTruncated),
        9 => worker.send(&done(chance)),
        10 => {
            worker.send(&done(chance));
            worker.send(&done(chance));
        }
        11 => worker.send(&fatal(chance)),
        12 => {
            worker.send(&fatal(chance));
            worker.send(&fatal(chance));
        }
        13 => {
            let garbage: Vec<u8> = (0..chance.below(5000)).map(|_| chance.byte()).collect();
            worker.raw(&garbage);
        }
        // A frame that is cut off, or followed by what it does not announce.
        14 => {
            let mut frame = encode(&done(chance)).unwrap();
            frame.truncate(chance.below(frame.len() as u64) as usize);
            worker.raw(&frame);
        }
        // One that is almost right.
        15 | 16 => {
            let frame = if chance.below(2) == 0 { done(chance) } else { console(40) };
            let mut frame = encode(&frame).unwrap();
            let at = chance.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << chance.below(8);
            worker.raw(&frame);
        }
        // One of the other direction.
        17 => worker.raw(&encode(&ToWorker::Fork { own_group: false }).unwrap()),
        // One with descriptors that nobody has asked for.
        18 => {
            let descriptors = [OwnedFd::from(own_socket()), OwnedFd::from(own_socket())];
            let _ = send_with(&encode(&console(10)).unwrap(), &descriptors);
        }
        20 => worker.send(&artifact(chance.below(2 * ARTIFACT_CHUNK_BYTES_MAX as u64))),
        21 => {
            let bytes = chance.below(ARTIFACT_CHUNK_BYTES_MAX as u64 + 2) as usize;
            worker.send(&artifact(bytes as u64));
            worker.send(&FromWorker::ArtifactBytes(vec![7; bytes]));
        }
        // One byte at a time.
        _ => {
            for byte in encode(&console(40)).unwrap() {
                worker.raw(&[byte]);
            }
        }
    }
}

fn console(bytes: u64) -> FromWorker {
    FromWorker::Console("x".repeat(bytes as usize))
}

fn artifact(bytes: u64) -> FromWorker {
    let (key, mime_type) = ("k".to_owned(), "text/plain".to_owned());
    FromWorker::Artifact(ArtifactHead { key, mime_type, bytes })
}

fn fatal(chance: &mut Chance) -> FromWorker {
    let kinds = [FatalKind::OutOfMemory, FatalKind::V8, FatalKind::Worker];
    let message = "m".repeat(chance.below(2000) as usize);
    FromWorker::Fatal(Fatal { kind: kinds[chance.below(3) as usize], message })
}

fn done(chance: &mut Chance) -> FromWorker {
    let kinds = [
        FailureKind::Syntax,
        FailureKind::Thrown,
        FailureKind::UnhandledRejection,
        FailureKind::Stalled,
        FailureKind::OutOfMemory,
        FailureKind::Stopped,
    ];
    let outcome = match chance.below(4) {
        0 => Outcome::Completed { result: None, result_truncated: chance.below(2) == 0 },
        1 => {
            let result = Some("r".repeat(chance.below(20_000) as usize));
            Outcome::Completed { result, result_truncated: chance.below(2) == 0 }
        }
        _ => Outcome::Failed(Failure {
            kind: kinds[chance.below(6) as usize],
            message: "\u{0}\u{1b}[31m".repeat(chance.below(1000) as usize),
            stack: (chance.below(2) == 0).then(|| "s".repeat(chance.below(20_000) as usize)),
            line: (chance.below(2) == 0).then(|| chance.next() as u32),
            column: (chance.below(2) == 0).then(|| chance.next() as u32),
        }),
    };
    let usage =
        Usage { cpu_us: chance.next(), wall_us: chance.next(), buffer_peak_bytes: chance.next() };
    FromWorker::Done(Box::new(Done { outcome, usage, heap: None }))
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}
