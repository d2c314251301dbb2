//! Resource limits: those of every process, and the bound on memory that a job brings.

use mcp_v8_protocol::Job;
use mcp_v8_protocol::limits::{HEAP_BYTES_MAX, WORKER_STACK_BYTES};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::DESCRIPTORS_MAX;
use crate::{Purpose, SandboxError};

/// What every worker needs, sandbox or not: no core dumps, which would hold the script's data, and
/// stack enough for nested sources, but no more: what is stack, `RLIMIT_DATA` does not count.
pub(crate) fn limit_start() -> Result<(), SandboxError> {
    set(Resource::Core, fixed(0), "core")?;
    let hard = getrlimit(Resource::Stack).maximum;
    let soft = hard.map_or(WORKER_STACK_BYTES, |hard| hard.min(WORKER_STACK_BYTES));
    set(Resource::Stack, fixed(soft), "stack")
}

/// Where the machine runs out of memory, the kernel takes a worker and not its server
/// (proc_pid_oom_score_adj(5)). Raising one's own takes no right.
pub(crate) fn be_killed_first() {
    // Without /proc nothing is lost but this preference.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// No file grows, but the one that a heap is written to, and there are no descriptors to spare.
pub(crate) fn limit_all(purpose: Purpose) -> Result<(), SandboxError> {
    let bytes = match purpose {
        Purpose::Scripts => 0,
        Purpose::Heaps => HEAP_BYTES_MAX,
    };
    set(Resource::Fsize, fixed(bytes), "fsize")?;
    set(Resource::Nofile, fixed(DESCRIPTORS_MAX), "nofile")
}

/// Bounds the memory of the process by what the job may use, see [`mcp_v8_protocol::memory`].
/// `RLIMIT_AS` would not do: V8 reserves address space by the terabyte.
///
/// # Errors
/// When the kernel refuses.
pub fn limit_memory(job: &Job) -> Result<(), SandboxError> {
    let bounds = job.memory_bounds();
    let (current, maximum) = (Some(bounds.data), Some(bounds.data_with_reserve));
    set(Resource::Data, Rlimit { current, maximum }, "data")
}

/// Bounds the processor time of the process, whatever becomes of the supervisor and its clock: the
/// kernel ends it with `SIGXCPU`. One second later it would with `SIGKILL`.
///
/// # Errors
/// When the kernel refuses.
pub fn limit_processor(job: &Job) -> Result<(), SandboxError> {
    let seconds = job.limits.cpu_secs;
    let limits = Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(1)) };
    set(Resource::Cpu, limits, "cpu")
}

/// No more threads or processes.
pub(crate) fn limit_tasks() -> Result<(), SandboxError> {
    set(Resource::Nproc, fixed(0), "nproc")
}

/// Gives a process that has used up its memory what it needs to say so.
pub fn release_reserve() {
    let maximum = getrlimit(Resource::Data).maximum;
    let _ = setrlimit(Resource::Data, Rlimit { current: maximum, maximum });
}

fn fixed(limit: u64) -> Rlimit {
    Rlimit { current: Some(limit), maximum: Some(limit) }
}

fn set(resource: Resource, rlimit: Rlimit, limit: &'static str) -> Result<(), SandboxError> {
    setrlimit(resource, rlimit).map_err(|error| SandboxError::Resource { limit, error })
}
