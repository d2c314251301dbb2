//! Process-wide V8: flags, platform, ICU data, entropy. Once per process, the same when the
//! snapshot is baked and when it is used.
//!
//! V8 runs single-threaded: a process runs one script, and a process that has no threads can be
//! forked with its isolate ready.

use std::sync::OnceLock;

use crate::limits::{JS_STACK_KIB, WASM_MEMORY_PAGES_MAX};
use crate::{heap, random};

/// Flags that decide what a snapshot looks like, and by what a heap that was kept is restored. The
/// last one keeps the part of the heap that all isolates of a process share the same in every
/// snapshot.
pub(crate) const FLAGS: &str =
    "--single-threaded --enable-sharedarraybuffer-per-context --no-extensible-ro-snapshot";

/// Has V8 draw a seed for its hash tables when it takes up a snapshot. By itself it goes on with the
/// seed that the snapshot was baked with, which everybody knows who has the program.
const OWN_SEED: &str = "--rehash-snapshot";

/// Has V8 leave its builtins where the program has them. It would map them anew for heaps of 2 GiB and more,
/// for shorter jumps, and ends the process when it cannot ask what kernel this is.
const BUILTINS_IN_PLACE: &str = "--no-short-builtin-calls";

static PLATFORM: OnceLock<v8::SharedRef<v8::Platform>> = OnceLock::new();

/// Initialises V8 for this process. Later calls do nothing.
///
/// Threads that are to enter an isolate must descend from the thread of the first call: V8 guards
/// its memory with protection keys, and new threads inherit those rights from their parent.
///
/// Hash tables have the seed of the snapshot: heaps that are kept refer to it.
pub fn initialize() {
    platform();
}

/// Initialises V8 for a process that keeps no heap: its hash tables have a seed of its own.
///
/// Otherwise as [`initialize`].
pub fn initialize_with_own_seed() {
    PLATFORM.get_or_init(|| start(OWN_SEED));
}

/// Version of the V8 that is linked in.
pub fn v8_version() -> &'static str {
    v8::V8::get_version()
}

/// Runs the tasks V8 has posted to itself; says whether there were any.
pub(crate) fn pump_tasks(isolate: &v8::Isolate) -> bool {
    let platform = platform();
    let mut any = false;
    while v8::Platform::pump_message_loop(platform, isolate, false) {
        any = true;
    }
    any
}

fn platform() -> &'static v8::SharedRef<v8::Platform> {
    PLATFORM.get_or_init(|| start(""))
}

fn start(seed: &str) -> v8::SharedRef<v8::Platform> {
    // Flags are part of the snapshot's identity: none may depend on a job or a machine.
    v8::V8::set_flags_from_string(&format!(
        "{FLAGS} --stack-size={JS_STACK_KIB} --wasm-max-mem-pages={WASM_MEMORY_PAGES_MAX} \
         {BUILTINS_IN_PLACE} {seed}"
    ));
    // The data is a multiple of 16 bytes aligned by the crate; a refusal only costs `Intl`.
    let _ = v8::icu::set_common_data_78(deno_core_icudata::ICU_DATA);
    // V8 would open /dev/urandom, which a sandboxed process cannot.
    v8::V8::set_entropy_source(|buffer| random::fill(buffer).is_ok());
    v8::V8::set_fatal_error_handler(heap::on_fatal_error);
    let platform = v8::new_single_threaded_default_platform(false).make_shared();
    v8::V8::initialize_platform(platform.clone());
    v8::V8::initialize();
    platform
}
