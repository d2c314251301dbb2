//! Bounds of the sandbox, with their units in their names.

/// Native stack of the main thread, in bytes, unless the hard limit is lower. Deeply nested source
/// needs it; V8 itself stays far below.
pub const STACK_BYTES: u64 = 64 * 1024 * 1024;

/// Descriptors a sandboxed process may have: the socket, the log, for a template those of the child it
/// is making, and a few to spare.
pub const DESCRIPTORS_MAX: u64 = 16;

/// Memory of the process beside the job's heap and buffers, in bytes: V8's own structures, the
/// room its garbage collector and the end of an over-full heap need, stacks.
pub const MEMORY_SLACK_BYTES: u64 = 256 * 1024 * 1024;

/// Memory that reading the source takes, in bytes per byte of source. The densest JavaScript that
/// was measured (16 MiB of `a=>1;` or `{}`) takes 168, the densest TypeScript 195; ordinary code a
/// fifth of that.
pub const MEMORY_BYTES_PER_CODE_BYTE: u64 = 200;

/// The most memory that reading any source may take, in bytes: ordinary code of 16 MiB needs less,
/// and a few megabytes of the densest must not cost an operator many gigabytes.
pub const SOURCE_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Memory that writing a heap takes beside the heap itself, in bytes per byte of what is written.
pub const MEMORY_BYTES_PER_HEAP_BYTE: u64 = 6;

/// Memory put by for saying that there is no more, in bytes.
pub const MEMORY_RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// The user and group that own nothing, on every Linux.
pub const NOBODY_ID: u32 = 65534;
