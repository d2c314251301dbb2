//! The process that runs one script, or the template that such processes are forked from.
//!
//! # Contract
//! * Standard input is one end of a Unix socket to the supervisor, and the only way in or out.
//!   Standard output and error are for the log.
//! * `--heaps`: the process, or each child, is for a job that keeps its heap; see [`heaps`]. It has no
//!   isolate before its job.
//! * `--process=single`: `Hello` in, `Ready` out, `Job` in, `Console` and
//!   `Artifact` out, `Done` out, exit.
//! * `--process=template`: `Hello` in, `Ready` out, then `Fork` in and `Forked` out. A child has a
//!   socket of its own, and a job as above. See [`template`].
//! * The end of the stream ends the process at any time. Whatever cannot go on says so in a
//!   `Fatal`.
//! * The process shuts itself in before it reads the first byte of a job: see [`mcp_v8_sandbox`].
//! * It has one thread, always. While a script runs, signals say what the supervisor wants and let
//!   console text out: see [`signals`].

mod allocator;
mod faults;
mod heaps;
mod limits;
mod outbox;
mod receive;
mod signals;
mod template;
mod text;

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use mcp_v8_protocol::{Fatal, FatalKind, FromWorker, Job, LayerReport, Ready, ToWorker};
use mcp_v8_runtime::{Runtime, ScriptSink};
use mcp_v8_sandbox::{Purpose, Role, Sandbox};

use crate::outbox::{Outbox, OutboxError};
use crate::receive::{ReceiveError, Receiver};

/// Isolate and context with all globals, made by the build script.
static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/snapshot.bin"));

/// Why a worker cannot do its work.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("the process cannot shut itself in: {0}")]
    Sandbox(#[from] mcp_v8_sandbox::SandboxError),
    #[error("no child can be forked: {0}")]
    Fork(#[from] mcp_v8_sandbox::ForkError),
    #[error("signal handlers cannot be set: {0}")]
    Signals(std::io::Error),
    #[error("nothing can be sent: {0}")]
    Outbox(#[from] OutboxError),
    #[error("the supervisor cannot be understood: {0}")]
    Receive(#[from] ReceiveError),
    #[error("{got} came where {expected} was due")]
    OutOfOrder { got: &'static str, expected: &'static str },
    #[error("the isolate cannot be built: {0}")]
    Create(#[from] mcp_v8_runtime::CreateError),
    #[error("no control group came for a child that is to have its own")]
    NoGroup,
    #[error("heaps cannot be exchanged: {0}")]
    Heap(#[from] heaps::HeapError),
}

fn main() -> ExitCode {
    // Whether to shut itself in: anything but the one word means yes. What to be, and for whom.
    let has = |word: &str| std::env::args().skip(1).any(|argument| argument == word);
    let role = if has("--process=template") { Role::Template } else { Role::Single };
    let number = |argument: String| argument.strip_prefix("--supervisor=")?.parse().ok();
    let supervisor = std::env::args().skip(1).find_map(number);
    let purpose = if has("--heaps") { Purpose::Heaps } else { Purpose::Scripts };
    let sandbox = Sandbox::begin(!has("--sandbox=off"), role, purpose)
        .of_supervisor(supervisor)
        .with_own_groups(has("--groups=own"));
    let outbox = match Outbox::new() {
        Ok(outbox) => Arc::new(outbox),
        Err(error) => {
            eprintln!("mcp-v8-worker: {error}. It is started by mcp-v8, not by hand.");
            return ExitCode::FAILURE;
        }
    };
    outbox::install_last_words(&outbox);
    let ended = match role {
        Role::Single => single(sandbox, purpose, &outbox),
        Role::Template => template::run(sandbox, purpose, &outbox),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp-v8-worker: {error}");
            let message = error.to_string();
            outbox.last_words(&FromWorker::Fatal(Fatal { kind: FatalKind::Worker, message }));
            ExitCode::FAILURE
        }
    }
}

/// A process for one job. Returns when the supervisor has hung up before there was one.
fn single(mut sandbox: Sandbox, purpose: Purpose, outbox: &Arc<Outbox>) -> Result<(), WorkerError> {
    let mut receiver = Receiver::new(purpose);
    let Some(runtime) = prepare(&mut sandbox, purpose, &mut receiver)? else { return Ok(()) };
    outbox.send(&FromWorker::Ready(ready(sandbox.seal(), false, purpose)))?;
    await_job(outbox, &mut receiver, runtime)
}

/// Shuts the process in as far as V8's start allows, starts V8, and builds what the greeting asks
/// for. None when the supervisor has hung up.
fn prepare(
    sandbox: &mut Sandbox,
    purpose: Purpose,
    receiver: &mut Receiver,
) -> Result<Option<Option<Runtime>>, WorkerError> {
    allocator::configure();
    sandbox.enter()?;
    faults::install().map_err(WorkerError::Signals)?;
    signals::install().map_err(WorkerError::Signals)?;
    match purpose {
        Purpose::Scripts => mcp_v8_runtime::initialize_with_own_seed(),
        Purpose::Heaps => mcp_v8_runtime::initialize(),
    }
    let hello = match receiver.next()? {
        None => return Ok(None),
        Some(ToWorker::Hello(hello)) => hello,
        Some(other) => return Err(out_of_order(&other, "Hello")),
    };
    let mut runtime = None;
    if hello.isolate {
        let mut built = Runtime::new(SNAPSHOT, hello.heap_bytes)?;
        built.warm_up();
        runtime = Some(built);
    }
    Ok(Some(runtime))
}

fn ready(sandbox: Vec<LayerReport>, holder: bool, purpose: Purpose) -> Ready {
    let heap_engines = match purpose {
        Purpose::Scripts => Vec::new(),
        Purpose::Heaps => heaps::engines(),
    };
    Ready {
        pid: std::process::id(),
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
        v8_version: mcp_v8_runtime::v8_version().to_owned(),
        sandbox,
        holder,
        heap_engines,
    }
}

/// Waits for the one job of this process. Returns when the supervisor has hung up before there was
/// one; a job ends the process itself.
fn await_job(
    outbox: &Arc<Outbox>,
    receiver: &mut Receiver,
    runtime: Option<Runtime>,
) -> Result<(), WorkerError> {
    match receiver.next()? {
        None => Ok(()),
        Some(ToWorker::Job(job)) => execute(outbox, runtime, &job, receiver.take_descriptors()),
        Some(other) => Err(out_of_order(&other, "Job")),
    }
}

/// Runs the job and ends the process.
fn execute(
    outbox: &Arc<Outbox>,
    runtime: Option<Runtime>,
    job: &Job,
    descriptors: Vec<OwnedFd>,
) -> Result<(), WorkerError> {
    mcp_v8_sandbox::limit_memory(job)?;
    mcp_v8_sandbox::limit_processor(job)?;
    if let Some(heap) = job.heap {
        return heaps::execute(outbox, job, heap, descriptors);
    }
    let fitting = runtime.filter(|runtime| runtime.heap_bytes() == job.limits.heap_bytes);
    let mut runtime = match fitting {
        Some(runtime) => runtime,
        None => Runtime::new(SNAPSHOT, job.limits.heap_bytes)?,
    };
    signals::stop_with(runtime.stopper());
    let done = runtime.run(job, console(outbox));
    outbox.send(&FromWorker::Done(Box::new(done)))?;
    // Taking V8 apart would cost more than the script did.
    outbox::exit(0)
}

/// Where console text and artifacts go.
fn console(outbox: &Arc<Outbox>) -> Rc<dyn ScriptSink> {
    Rc::new(Console(Arc::clone(outbox)))
}

/// They go to the outbox.
struct Console(Arc<Outbox>);

impl ScriptSink for Console {
    fn write(&self, text: &str) {
        self.0.push_console(text);
    }

    fn truncated(&self) {
        self.0.push_console_truncated();
    }

    fn artifact(&self, key: &str, mime_type: &str, bytes: &[u8]) {
        self.0.send_artifact(key, mime_type, bytes);
    }
}

fn out_of_order(message: &ToWorker, expected: &'static str) -> WorkerError {
    let got = match message {
        ToWorker::Hello(_) => "Hello",
        ToWorker::Job(_) => "Job",
        ToWorker::Fork { .. } => "Fork",
    };
    WorkerError::OutOfOrder { got, expected }
}
