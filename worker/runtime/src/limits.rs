//! Every bound of the runtime, with its unit in its name.
//!
//! What both sides of the wire agree on is in `mcp_v8_protocol::limits`; what a job may use comes
//! with the job.

/// Native stack that V8 may use for scripts, in KiB. Deeper recursion is a catchable `RangeError`.
pub const JS_STACK_KIB: usize = 984;

/// Smallest V8 heap an isolate is built with: below it V8 cannot even start.
pub const HEAP_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Room the heap gets beyond its limit so that a script that reached it can unwind.
pub const HEAP_UNWIND_BYTES: usize = 32 * 1024 * 1024;

/// Pages of 64 KiB of one WebAssembly memory: 128 MiB.
pub const WASM_MEMORY_PAGES_MAX: u32 = 2048;

/// Timers that may be pending at once.
pub const TIMERS_MAX: usize = 100_000;

/// Longest timer delay in milliseconds; longer ones are taken as this.
pub const TIMER_DELAY_MS_MAX: f64 = 2_147_483_647.0;

/// Steps of every clock a script can read, in microseconds; `Date` has milliseconds.
pub const CLOCK_RESOLUTION_US: u64 = 100;

/// Numbers that `Math.random` has in store.
pub const RANDOM_NUMBERS_CACHED: usize = 512;

/// Batches of numbers that warming up draws: V8 compiles what it has run for a while.
pub const RANDOM_WARM_UP_BATCHES: usize = 40;

/// Bytes that one `crypto.getRandomValues` fills, as Web Crypto has it.
pub const CRYPTO_RANDOM_BYTES_MAX: usize = 65_536;

/// Nesting of values that the inspector shows.
pub const INSPECT_DEPTH_MAX: usize = 24;

/// Items of one array, map, set or typed array, or properties of one object, that are shown.
pub const INSPECT_ITEMS_MAX: usize = 10_000;

/// Bytes of one shown value, whatever the console budget has left.
pub const INSPECT_BYTES_MAX: usize = 1024 * 1024;

/// 64-bit words of a BigInt that is shown in full.
pub const INSPECT_BIGINT_WORDS_MAX: usize = 512;

/// Prototypes that are walked to find `toJSON`, `name` or `message`.
pub const PROTOTYPES_MAX: usize = 64;

/// Errors followed along `cause`.
pub const CAUSES_MAX: usize = 8;

/// Frames of a captured stack.
pub const STACK_FRAMES_MAX: usize = 32;

/// Labels that `console.count` and `console.time` keep.
pub const CONSOLE_LABELS_MAX: usize = 1000;

/// Bytes of such a label; longer ones are cut.
pub const CONSOLE_LABEL_BYTES_MAX: usize = 256;

/// Levels of `console.group` that indent further.
pub const CONSOLE_GROUPS_MAX: usize = 32;

/// Objects that are looked at to find the global that leads to one which cannot be saved.
pub const BLAME_OBJECTS_MAX: usize = 100_000;

/// Bytes of the path to it; longer ones are not followed.
pub const BLAME_PATH_BYTES_MAX: usize = 512;
