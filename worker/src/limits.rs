//! Bounds of the process, with their units in their names.

/// How long console text may wait for more before it is sent, in milliseconds.
pub(crate) const CONSOLE_FLUSH_MS: u64 = 10;

/// How often a stop is repeated until the script has ended, in milliseconds.
pub(crate) const STOP_REPEAT_MS: u64 = 2;

/// How long last words may take to leave when the supervisor does not read, in milliseconds.
pub(crate) const LAST_WORDS_MS: u64 = 100;

/// Stack of the control thread, in bytes.
pub(crate) const CONTROL_STACK_BYTES: usize = 128 * 1024;

/// Native stack of the main thread, in bytes, unless the hard limit is lower. Deeply nested source
/// needs it; V8 itself stays far below.
pub(crate) const STACK_BYTES: u64 = 64 * 1024 * 1024;

/// Descriptors a sandboxed process may have: the socket, the log, what wakes its second thread, and
/// a few that libc opens in passing.
pub(crate) const DESCRIPTORS_MAX: u64 = 16;

/// Memory of the process beside the job's heap and buffers, in bytes: V8's own structures, the
/// room its garbage collector and the end of an over-full heap need, stacks.
pub(crate) const MEMORY_SLACK_BYTES: u64 = 256 * 1024 * 1024;

/// Memory that reading the source takes, in bytes per byte of source. The densest JavaScript that
/// was measured (16 MiB of `a=>1;` or `{}`) takes 168, the densest TypeScript 195; ordinary code a
/// fifth of that.
pub(crate) const MEMORY_BYTES_PER_CODE_BYTE: u64 = 200;

/// The most memory that reading any source may take, in bytes: ordinary code of 16 MiB needs less,
/// and a few megabytes of the densest must not cost an operator many gigabytes.
pub(crate) const SOURCE_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Memory put by for saying that there is no more, in bytes.
pub(crate) const MEMORY_RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// Stack that signal handlers run on, in bytes.
pub(crate) const SIGNAL_STACK_BYTES: usize = 64 * 1024;

/// Bytes taken from the socket at a time.
pub(crate) const READ_BYTES: usize = 16 * 1024;
