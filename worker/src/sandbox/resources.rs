//! Resource limits that need no knowledge of the job.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::SandboxError;
use crate::limits::STACK_BYTES;

/// No core dumps, which would hold the script's data, and stack enough for nested sources.
pub(crate) fn limit() -> Result<(), SandboxError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    set(Resource::Core, none, "core")?;
    let hard = getrlimit(Resource::Stack).maximum;
    let soft = hard.map_or(STACK_BYTES, |hard| hard.min(STACK_BYTES));
    set(Resource::Stack, Rlimit { current: Some(soft), maximum: hard }, "stack")
}

fn set(resource: Resource, rlimit: Rlimit, limit: &'static str) -> Result<(), SandboxError> {
    setrlimit(resource, rlimit).map_err(|error| SandboxError::Resource { limit, error })
}
