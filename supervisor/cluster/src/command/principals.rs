//! Commands that are done for one of several callers who are told apart.

use serde::{Deserialize, Serialize};

use super::{DeleteHeapTags, MoveSession, OpenMcpSession, SetHeapTags, Submit, SubmitStep};
use crate::principal::PrincipalId;

/// Does something for a caller. Names in it that callers choose are
/// [as they are kept](crate::principal::kept).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct For {
    /// The caller; none where callers are not told apart.
    pub principal: Option<PrincipalId>,
    /// Executions of that caller which may not have ended, one that is submitted by this included.
    pub running_max: Option<u32>,
    /// What is done.
    pub act: Act,
}

/// What is done for a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Accepts an execution.
    Submit(Submit),
    /// Accepts an execution that keeps its heap.
    SubmitStep(SubmitStep),
    /// Sets the caller's tags of a heap.
    SetHeapTags(SetHeapTags),
    /// Deletes some of them.
    DeleteHeapTags(DeleteHeapTags),
    /// Puts a session at a heap.
    MoveSession(MoveSession),
    /// A client has begun a session.
    OpenMcpSession(OpenMcpSession),
}
