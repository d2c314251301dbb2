//! Bounds of the process, with their units in their names.

/// How long console text may wait for more before it is sent, in milliseconds.
pub(crate) const CONSOLE_FLUSH_MS: u64 = 10;

/// How often a stop is repeated until the script has ended, in milliseconds.
pub(crate) const STOP_REPEAT_MS: u64 = 2;

/// How long last words may take to leave when the supervisor does not read, in milliseconds.
pub(crate) const LAST_WORDS_MS: u64 = 100;

/// Room beside the text of the largest console frame, in bytes: its header, and a frame that is
/// being sent before it.
pub(crate) const FRAME_ROOM_BYTES: usize = 64 * 1024 + 1024;

/// Stack that signal handlers run on, in bytes.
pub(crate) const SIGNAL_STACK_BYTES: usize = 64 * 1024;

/// Bytes taken from the socket at first: most jobs are smaller, and each page more is one that the
/// kernel copies for a child.
pub(crate) const FIRST_READ_BYTES: usize = 2 * 1024;

/// Bytes taken from the socket at a time once there have been more.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// A process that may not have this much more memory, in bytes, has none left.
pub(crate) const EXHAUSTED_BYTES: usize = 4 * 1024 * 1024;

/// How far from the end of the stack a fault may be that comes from running over it, in bytes: what
/// lies above the first frame, the kernel's gap below the stack, and one large frame.
pub(crate) const STACK_END_BYTES: usize = 4 * 1024 * 1024;
