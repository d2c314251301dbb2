//! The worker's side: shut in as `worker/src/main.rs` and `worker/src/template.rs` do it, then one
//! attempt.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use mcp_v8_protocol::{
    Decoder, Done, Forked as ForkedMessage, FromWorker, Job, LayerReport, Outcome, Ready, ToWorker,
    Usage, encode,
};
use mcp_v8_sandbox::{Forked, Purpose, Role, Sandbox, receive_with, send_with};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::stdio::stdin;

use crate::table;

/// Prepares as a worker would, then attempts what its job says. Returns when the supervisor has hung
/// up before there was a job.
pub fn run(role: Role) -> ExitCode {
    let number = |argument: String| argument.strip_prefix("--supervisor=")?.parse().ok();
    let supervisor = std::env::args().skip(1).find_map(number);
    let own_groups = std::env::args().skip(1).any(|argument| argument == "--groups=own");
    let mut sandbox = Sandbox::begin(true, role, Purpose::Scripts)
        .of_supervisor(supervisor)
        .with_own_groups(own_groups);
    sandbox.enter().unwrap();
    let mut receiver = Receiver { is_template: role == Role::Template, ..Receiver::default() };
    let Some(ToWorker::Hello(_)) = receiver.next() else { return ExitCode::SUCCESS };
    match role {
        Role::Single => {
            send(&ready(sandbox.seal(), false));
            serve_job(&mut receiver)
        }
        Role::Template => {
            let (reports, mut forker) = sandbox.seal_template().unwrap();
            let holder = forker.take_holder();
            let frame = encode(&ready(reports, holder.is_some())).unwrap();
            send_with(&frame, holder.as_slice()).unwrap();
            drop(holder);
            while let Some(ToWorker::Fork { .. }) = receiver.next() {
                let group = receiver.descriptors.pop();
                match forker.fork(group.as_ref().map(AsFd::as_fd)).unwrap() {
                    Forked::Child(child) => {
                        // Closed by the fork.
                        std::mem::forget(group);
                        child.seal().unwrap();
                        return serve_job(&mut Receiver::default());
                    }
                    Forked::Parent(birth) => {
                        let group_refused = birth.group_refused.map(Errno::raw_os_error);
                        let forked = ForkedMessage { pid: birth.pid, group_refused };
                        let frame = encode(&FromWorker::Forked(forked)).unwrap();
                        send_with(&frame, &[birth.pidfd, birth.socket]).unwrap();
                    }
                }
            }
            ExitCode::SUCCESS
        }
    }
}

fn ready(sandbox: Vec<LayerReport>, holder: bool) -> FromWorker {
    FromWorker::Ready(Ready {
        pid: std::process::id(),
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
        v8_version: "none".to_owned(),
        sandbox,
        holder,
        heap_engines: Vec::new(),
    })
}

fn serve_job(receiver: &mut Receiver) -> ExitCode {
    let Some(ToWorker::Job(job)) = receiver.next() else { return ExitCode::SUCCESS };
    mcp_v8_sandbox::limit_memory(&job).unwrap();
    mcp_v8_sandbox::limit_processor(&job).unwrap();
    let end = attempt(&job);
    let outcome = Outcome::Completed { result: Some(end), result_truncated: false };
    send(&FromWorker::Done(Box::new(Done { outcome, usage: Usage::default(), heap: None })));
    // SAFETY: no preconditions.
    unsafe { libc::_exit(0) }
}

/// Without `sendmsg`, which is a template's only.
fn send(message: &FromWorker) {
    let frame = encode(message).unwrap();
    let mut rest = &frame[..];
    while !rest.is_empty() {
        let sent = rustix::io::write(stdin(), rest).unwrap();
        rest = &rest[sent..];
    }
}

fn attempt(job: &Job) -> String {
    let probe = table::PROBES.iter().find(|probe| probe.name == job.code.as_str());
    (probe.expect("a probe of that name").attempt)(job)
}

/// Frames from the supervisor.
#[derive(Default)]
struct Receiver {
    decoder: Decoder<ToWorker>,
    is_template: bool,
    descriptors: Vec<OwnedFd>,
}

impl Receiver {
    /// The next message; none at the end of the stream.
    fn next(&mut self) -> Option<ToWorker> {
        let mut bytes = [0_u8; 4096];
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(message);
            }
            let read = if self.is_template {
                receive_with(&mut bytes, &mut self.descriptors)
            } else {
                recv(stdin(), &mut bytes[..], RecvFlags::empty()).map(|(read, _)| read)
            };
            match read {
                Ok(0) | Err(Errno::CONNRESET) => return None,
                Ok(read) => self.decoder.buffer_mut().extend_from_slice(&bytes[..read]),
                Err(Errno::INTR) => {}
                Err(error) => panic!("reading failed: {error}"),
            }
        }
    }
}
