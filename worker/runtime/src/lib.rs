//! V8 with the mcp-v8 globals, as a library: it runs one script and says how that ended.
//!
//! # Contract
//! * [`initialize`] comes first, on the thread all others that enter an isolate descend from.
//! * A [`Runtime`] is an isolate and a context from the startup snapshot that [`bake`] makes at
//!   build time. It stays on its thread; only its [`Stopper`] may leave it.
//! * [`Runtime::run`] takes the source of one ES module in JavaScript or TypeScript, drives it to
//!   its end and returns an [`Outcome`](mcp_v8_protocol::Outcome) whose positions are those of the
//!   user's own source.
//! * [`Runtime::restore`] begins with a heap that was kept, [`Runtime::save`] keeps one.
//! * Nothing a script does to its globals changes how its values, its errors or its console are
//!   shown, and showing them runs no code of the script but `toJSON`.
//! * After [`Stopper::stop`] no further line of the script runs, whatever it catches.
//! * Console text and artifacts leave through a [`ScriptSink`], in order and within their budgets.

mod artifacts;
mod buffers;
mod clock;
mod console;
mod crypto;
mod engine;
mod errors;
mod event_loop;
mod globals;
mod heap;
mod inspect;
pub mod limits;
mod microtasks;
mod module;
mod performance;
mod random;
mod rejections;
mod runtime;
mod saving;
mod snapshot;
mod source;
mod stack;
mod state;
mod stop;
mod thrown;
mod timers;

pub use console::ScriptSink;
pub use engine::{initialize, initialize_with_own_seed, v8_version};
pub use heap::{LastWords, set_last_words};
pub use runtime::{CreateError, Runtime, SavedHeap};
pub use saving::{
    BakeHeapError, BakedHeap, HeapBase, RestoreError, SaveError, bake_heap_base, heap_engines,
};
pub use snapshot::{BakeError, bake};
pub use source::{NESTED_TOO_DEEPLY, is_preparing as is_preparing_source};
pub use stop::Stopper;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
