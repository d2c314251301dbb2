//! Bounds of the sandbox, with their units in their names.

/// Descriptors a sandboxed process may have: the socket, the log, for a template those of the child it
/// is making, and a few to spare.
pub const DESCRIPTORS_MAX: u64 = 16;
