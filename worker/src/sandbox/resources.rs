//! Resource limits: those of every process, and the bound on memory that a job brings.

use mcp_v8_protocol::Job;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::SandboxError;
use crate::limits::{MEMORY_BYTES_PER_CODE_BYTE, MEMORY_SLACK_BYTES, STACK_BYTES};

/// No core dumps, which would hold the script's data, and stack enough for nested sources.
pub(crate) fn limit() -> Result<(), SandboxError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    set(Resource::Core, none, "core")?;
    let hard = getrlimit(Resource::Stack).maximum;
    let soft = hard.map_or(STACK_BYTES, |hard| hard.min(STACK_BYTES));
    set(Resource::Stack, Rlimit { current: Some(soft), maximum: hard }, "stack")
}

/// Bounds the memory of the process by what the job may use. V8 keeps its own count of heap and
/// buffers and ends more gracefully; this catches what it does not count, such as resizable buffers
/// and the memories of WebAssembly. `RLIMIT_AS` would not do: V8 reserves address space by the
/// terabyte.
pub(crate) fn limit_memory(job: &Job) -> Result<(), SandboxError> {
    let bytes = job
        .limits
        .heap_bytes
        .saturating_add(job.limits.buffer_bytes)
        .saturating_add((job.code.len() as u64).saturating_mul(MEMORY_BYTES_PER_CODE_BYTE))
        .saturating_add(MEMORY_SLACK_BYTES);
    set(Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) }, "data")
}

fn set(resource: Resource, rlimit: Rlimit, limit: &'static str) -> Result<(), SandboxError> {
    setrlimit(resource, rlimit).map_err(|error| SandboxError::Resource { limit, error })
}
