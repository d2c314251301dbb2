//! The process that runs one script.
//!
//! # Contract
//! * Standard input is one end of a Unix socket to the supervisor, and the only way in or out.
//!   Standard output and error are for the log.
//! * `Hello` in, `Ready` out, `Job` in, `Console` out, `Done` out, exit. The end of the stream ends
//!   the process at any time. Whatever cannot go on says so in a `Fatal`.
//! * The process shuts itself in before it reads its first byte: see [`sandbox`].
//! * Until the job arrives it has one thread, so that a prepared process can be forked. From then
//!   on a second one watches the socket: see [`control`].

mod control;
mod faults;
mod limits;
mod outbox;
mod receive;
mod sandbox;

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use mcp_v8_protocol::{Fatal, FatalKind, FromWorker, Job, Ready, ToWorker};
use mcp_v8_runtime::{ConsoleSink, Runtime};

use crate::outbox::{Outbox, OutboxError};
use crate::receive::{ReceiveError, Receiver};
use crate::sandbox::Sandbox;

/// Isolate and context with all globals, made by the build script.
static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/snapshot.bin"));

/// Why a worker cannot do its work.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("the process cannot shut itself in: {0}")]
    Sandbox(#[from] sandbox::SandboxError),
    #[error("signal handlers cannot be set: {0}")]
    Faults(std::io::Error),
    #[error("nothing can be sent: {0}")]
    Outbox(#[from] OutboxError),
    #[error("the supervisor cannot be understood: {0}")]
    Receive(#[from] ReceiveError),
    #[error("{got} came where {expected} was due")]
    OutOfOrder { got: &'static str, expected: &'static str },
    #[error("the isolate cannot be built: {0}")]
    Create(#[from] mcp_v8_runtime::CreateError),
    #[error("the control thread cannot be started: {0}")]
    Control(std::io::Error),
}

fn main() -> ExitCode {
    // The only argument: whether to shut itself in. Anything but the one word means yes.
    let wanted = std::env::args().nth(1).as_deref() != Some("--sandbox=off");
    let sandbox = Sandbox::begin(wanted);
    let outbox = match Outbox::new() {
        Ok(outbox) => Arc::new(outbox),
        Err(error) => {
            eprintln!("mcp-v8-worker: {error}. It is started by mcp-v8, not by hand.");
            return ExitCode::FAILURE;
        }
    };
    outbox::install_last_words(&outbox);
    match run(sandbox, &outbox) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp-v8-worker: {error}");
            let message = error.to_string();
            outbox.last_words(&FromWorker::Fatal(Fatal { kind: FatalKind::Worker, message }));
            ExitCode::FAILURE
        }
    }
}

/// Returns when the supervisor has hung up before there was a job; a job ends the process itself.
fn run(mut sandbox: Sandbox, outbox: &Arc<Outbox>) -> Result<(), WorkerError> {
    sandbox.enter()?;
    faults::install().map_err(WorkerError::Faults)?;
    mcp_v8_runtime::initialize();
    let mut receiver = Receiver::default();
    let hello = match receiver.next()? {
        None => return Ok(()),
        Some(ToWorker::Hello(hello)) => hello,
        Some(other) => return Err(out_of_order(&other, "Hello")),
    };
    let mut runtime = Runtime::new(SNAPSHOT, hello.heap_bytes)?;
    runtime.warm_up();
    let sandbox = sandbox.seal();
    outbox.send(&FromWorker::Ready(Ready {
        pid: std::process::id(),
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
        v8_version: mcp_v8_runtime::v8_version().to_owned(),
        sandbox,
    }))?;
    match receiver.next()? {
        None => Ok(()),
        Some(ToWorker::Job(job)) => execute(outbox, receiver, runtime, &job),
        Some(other) => Err(out_of_order(&other, "Job")),
    }
}

/// Runs the job and ends the process.
fn execute(
    outbox: &Arc<Outbox>,
    receiver: Receiver,
    mut runtime: Runtime,
    job: &Job,
) -> Result<(), WorkerError> {
    sandbox::limit_memory(job)?;
    if runtime.heap_bytes() != job.limits.heap_bytes {
        drop(runtime);
        runtime = Runtime::new(SNAPSHOT, job.limits.heap_bytes)?;
    }
    control::start(Arc::clone(outbox), receiver, runtime.stopper())
        .map_err(WorkerError::Control)?;
    let done = runtime.run(job, Rc::new(Console(Arc::clone(outbox))));
    outbox.send(&FromWorker::Done(Box::new(done)))?;
    // Taking V8 apart would cost more than the script did.
    outbox::exit(0)
}

/// Console text goes to the outbox.
struct Console(Arc<Outbox>);

impl ConsoleSink for Console {
    fn write(&self, text: &str) {
        self.0.push_console(text);
    }

    fn truncated(&self) {
        self.0.push_console_truncated();
    }
}

fn out_of_order(message: &ToWorker, expected: &'static str) -> WorkerError {
    let got = match message {
        ToWorker::Hello(_) => "Hello",
        ToWorker::Job(_) => "Job",
        ToWorker::Stop => "Stop",
    };
    WorkerError::OutOfOrder { got, expected }
}
