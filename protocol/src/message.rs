//! The messages, in the order one execution uses them.
//!
//! ```text
//! supervisor                      worker
//!     │ Hello ───────────────────────► │  written at spawn; the worker builds its isolate
//!     │ ◄─────────────────────── Ready │  from here on it may be handed its one job
//!     │ Job ─────────────────────────► │
//!     │ ◄── Console, Artifact (any) │
//!     │ SIGUSR1 (at most once) ······► │  soft stop: a signal, as the script has the only thread
//!     │ ◄──────────────────────── Done │  or Fatal, or just the end of the stream
//!     ╳ both ends close, the worker exits, the supervisor reaps it
//! ```
//!
//! A job may keep its heap: its frame brings two descriptors, of the heap it begins with and of the
//! file that takes the heap it leaves. When the script has completed the worker says `Saving`, writes
//! the heap, and says in `Done` how long it is. What happens to it in between is about the heap.
//!
//! A template has a conversation of its own: `Hello` in, `Ready` out, then `Fork` in and `Forked` out
//! as often as the supervisor likes. A child has had its `Hello` and `Ready` in its template and goes
//! on from there on its own socket.
//!
//! The supervisor validates every message against the state the worker may be in; anything else is
//! a protocol violation and costs the worker its life.

use std::sync::Arc;

use bincode::{Decode, Encode};

/// From the supervisor to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToWorker {
    /// First frame: what to prepare before a job exists.
    Hello(Hello),
    /// The one job of this process.
    Job(Job),
    /// To a template: fork a child. It answers with [`FromWorker::Forked`], and with that come two
    /// descriptors.
    Fork {
        /// The child is to be born in a control group of its own. With the first byte of this frame
        /// comes the descriptor of the group's directory.
        own_group: bool,
    },
}

/// From a worker to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromWorker {
    /// Isolate and context stand; a job may come.
    Ready(Ready),
    /// The script has completed, and its heap is being written. At most once, and only for a job that
    /// keeps its heap; only [`Done`] and [`Fatal`] follow.
    Saving,
    /// Console text in order, complete UTF-8, at most
    /// [`CONSOLE_CHUNK_BYTES_MAX`](crate::limits::CONSOLE_CHUNK_BYTES_MAX) bytes.
    Console(String),
    /// The console budget is used up; whatever the script prints from here on is dropped. At most
    /// once.
    ConsoleTruncated,
    /// The end of the job. Nothing follows.
    Done(Box<Done>),
    /// Last words of a process that cannot go on. Nothing follows.
    Fatal(Fatal),
    /// From a template: a child is there. With the first byte of this frame come its pidfd and our
    /// end of its socket, in this order.
    Forked(Forked),
    /// The script leaves an artifact. Its bytes follow, in as many [`FromWorker::ArtifactBytes`] as it
    /// takes, with nothing else between. Within the bounds of [`Artifacts`](crate::Artifacts), and
    /// before [`FromWorker::Saving`].
    Artifact(ArtifactHead),
    /// The next bytes of the artifact: at least one, at most
    /// [`ARTIFACT_CHUNK_BYTES_MAX`](crate::limits::ARTIFACT_CHUNK_BYTES_MAX).
    ArtifactBytes(Vec<u8>),
}

/// An artifact, before its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ArtifactHead {
    /// Its name.
    pub key: String,
    /// Its media type.
    pub mime_type: String,
    /// How many bytes follow.
    pub bytes: u64,
}

/// What a worker prepares before its job arrives.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Heap limit the isolate is built with; a job with another limit rebuilds it.
    pub heap_bytes: u64,
    /// Whether there is to be an isolate before a job is known. Not for heaps: what is restored
    /// has to be the first isolate of its process.
    pub isolate: bool,
}

/// A child of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Forked {
    /// Its process id, in the process namespace of the template and the supervisor.
    pub pid: u32,
    /// It is where the template is and not in the group it was meant for: what the kernel said to
    /// that (errno(3)).
    pub group_refused: Option<i32>,
}

/// A worker introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ready {
    /// Its process id as it sees it; differs from the supervisor's view in a pid namespace.
    pub pid: u32,
    /// Version of the worker binary; must equal the supervisor's.
    pub worker_version: String,
    /// Version of V8, for logs and heap snapshots.
    pub v8_version: String,
    /// Every layer of the sandbox it tried to put on; empty when it was told to put on none.
    pub sandbox: Vec<LayerReport>,
    /// From a template: with the first byte of this frame comes the pidfd of the process that holds
    /// its children's process namespace.
    pub holder: bool,
    /// What the heaps that it can restore are written by, at most
    /// [`HEAP_ENGINES_MAX`](crate::limits::HEAP_ENGINES_MAX); the heaps it writes are of the last.
    /// Empty when it was not started for jobs that keep their heap.
    pub heap_engines: Vec<HeapEngine>,
}

/// A hash over everything that a heap must agree with to be restored: V8's version and flags, and the
/// code of ours that a heap refers to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct HeapEngine(pub [u8; 32]);

impl std::fmt::Debug for HeapEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What became of one layer of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LayerReport {
    /// Which layer.
    pub layer: Layer,
    /// Why it is not on; `None` when it is.
    pub missing: Option<String>,
}

/// The layers of the sandbox that a worker puts on by itself, in the order it does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Layer {
    /// Nothing but the socket and the log pipe is open.
    Descriptors,
    /// It does not run as root: the user who owns nothing, or the server's own unprivileged one.
    User,
    /// Own namespaces: users, mounts, network, IPC, host name; cgroups, unless its children have control
    /// groups of their own; processes, for what a template forks.
    Namespaces,
    /// The root of its file system is an empty read-only directory.
    Root,
    /// Resource limits: no files written, few descriptors, no core dumps; memory once a job is known.
    Resources,
    /// No program the process could start gains privileges (`no_new_privs`).
    NoNewPrivileges,
    /// Landlock: no file, directory or TCP port.
    Landlock,
    /// No capability, and none to be had.
    Capabilities,
    /// System calls: an allow-list, everything else ends the process.
    SystemCalls,
}

impl Layer {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Descriptors,
        Self::User,
        Self::Namespaces,
        Self::Root,
        Self::Resources,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::Capabilities,
        Self::SystemCalls,
    ];

    /// Its name in logs, metrics and readiness.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::User => "user",
            Self::Namespaces => "namespaces",
            Self::Root => "root",
            Self::Resources => "resources",
            Self::NoNewPrivileges => "no_new_privileges",
            Self::Landlock => "landlock",
            Self::Capabilities => "capabilities",
            Self::SystemCalls => "system_calls",
        }
    }
}

/// One script to run.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Job {
    /// Id of the execution, for messages; at most
    /// [`EXECUTION_ID_BYTES_MAX`](crate::limits::EXECUTION_ID_BYTES_MAX) bytes.
    pub execution_id: String,
    /// Which try of this execution this is, from 1.
    pub attempt: u32,
    /// JavaScript or TypeScript source of one ES module, at most
    /// [`CODE_BYTES_MAX`](crate::limits::CODE_BYTES_MAX) bytes. Shared, since the supervisor looks
    /// at it again when the worker dies under it, and it may be large.
    pub code: Arc<String>,
    /// What the script may use.
    pub limits: JobLimits,
    /// For a job that keeps its heap.
    pub heap: Option<JobHeap>,
}

/// The heaps of a job. With the first byte of the job's frame come the descriptors of two files in
/// memory, in this order: the heap to begin with, unless that is the base, and the one to write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct JobHeap {
    /// Bytes of the heap to begin with; none for the base. At most
    /// [`HEAP_BYTES_MAX`](crate::limits::HEAP_BYTES_MAX). The file cannot change any more.
    pub base_bytes: Option<u64>,
    /// Bytes that the heap which is left may have.
    pub bytes_max: u64,
}

/// Bounds of one job that the worker keeps. Wall clock is the supervisor's: it sends `SIGUSR1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct JobLimits {
    /// V8 heap, in bytes.
    pub heap_bytes: u64,
    /// `ArrayBuffer` memory, in bytes; V8's heap limit does not cover it.
    pub buffer_bytes: u64,
    /// Console text, in bytes; what goes past it is dropped with a notice.
    pub console_bytes: u64,
    /// Processor time, in seconds. The kernel keeps it, by ending the process.
    pub cpu_secs: u64,
}

/// How a job ended and what it used.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Done {
    /// Success or failure.
    pub outcome: Outcome,
    /// What it took.
    pub usage: Usage,
    /// The heap that was written; only with a job that keeps its heap and has completed.
    pub heap: Option<WrittenHeap>,
}

/// A heap that is in the job's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct WrittenHeap {
    /// Its bytes, from the beginning of the file.
    pub bytes: u64,
    /// What restoring the heap took that the job began with, in microseconds.
    pub restore_us: u64,
    /// What writing took, in microseconds.
    pub save_us: u64,
}

/// Success or failure of a script.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// The module ran to its end and nothing is left to wait for.
    Completed {
        /// The value of the default export or of the last expression statement, as text; `None`
        /// when there is none or it is `undefined`.
        result: Option<String>,
        /// The text was cut at [`RESULT_BYTES_MAX`](crate::limits::RESULT_BYTES_MAX).
        result_truncated: bool,
    },
    /// The script did not run to its end.
    Failed(Failure),
}

/// A failed script, in terms of the user's own source.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Failure {
    /// What kind of end this was.
    pub kind: FailureKind,
    /// One line for people, such as `TypeError: x is not a function`.
    pub message: String,
    /// The stack trace with positions in the user's source, when there is one.
    pub stack: Option<String>,
    /// Line in the user's source, from 1.
    pub line: Option<u32>,
    /// Column in the user's source, from 1.
    pub column: Option<u32>,
}

/// The ways a script fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FailureKind {
    /// The source does not parse, or imports what is not there.
    Syntax,
    /// A value was thrown and nobody caught it.
    Thrown,
    /// A promise was rejected and nobody handled it.
    UnhandledRejection,
    /// A top-level `await` waits for something that can never happen.
    Stalled,
    /// The heap limit was reached.
    OutOfMemory,
    /// The script completed, but something on its heap cannot be kept.
    HeapNotSaved,
    /// The script completed, but its heap is larger than it may be.
    HeapTooLarge,
    /// The heap to begin with is of no use. No line of the script has run.
    HeapNotRestored,
    /// `SIGUSR1` came before the script had ended. Why is the supervisor's business: a deadline or a
    /// cancelled call. SIGKILL follows.
    Stopped,
}

/// What a job used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Usage {
    /// CPU time of the process since it got the job, in microseconds.
    pub cpu_us: u64,
    /// Wall clock since it got the job, in microseconds.
    pub wall_us: u64,
    /// The most `ArrayBuffer` memory at any time, in bytes.
    pub buffer_peak_bytes: u64,
}

/// Last words.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Fatal {
    /// What ended the process.
    pub kind: FatalKind,
    /// V8's or the worker's own description, for the log.
    pub message: String,
}

/// Why a worker process ends itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FatalKind {
    /// V8 could not allocate; the script is to blame.
    OutOfMemory,
    /// V8 met a state it cannot go on from.
    V8,
    /// The worker could not get ready, or was sent something it cannot take.
    Worker,
}
