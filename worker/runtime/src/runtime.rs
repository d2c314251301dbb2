//! One isolate with one context, and the run of one script in it.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use mcp_v8_protocol::limits::RESULT_BYTES_MAX;
use mcp_v8_protocol::{Done, Failure, FailureKind, Job, Outcome, Usage};

use crate::buffers::Buffers;
use crate::clock::Started;
use crate::console::ScriptSink;
use crate::heap::HeapGuard;
use crate::limits::{HEAP_BYTES_MIN, STACK_FRAMES_MAX};
use crate::saving::{self, Facts, HeapBase, Internals, RestoreError, SaveError, Serializer};
use crate::source::{Prepared, SyntaxError};
use crate::state::State;
use crate::stop::Stopper;
use crate::{
    engine, errors, event_loop, globals, inspect, microtasks, module, performance, random,
    rejections, source, stack,
};

/// Why a runtime could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A heap V8 cannot start in.
    #[error("a heap of {bytes} bytes is too small: {HEAP_BYTES_MIN} bytes is the least")]
    HeapTooSmall {
        /// What was asked for.
        bytes: u64,
    },
    /// V8 is not the one that the base was baked with.
    #[error("the base was baked with another build of V8")]
    Foreign,
    /// The heap cannot be used.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// An isolate with a context, ready for one script.
pub struct Runtime {
    context: Option<v8::Global<v8::Context>>,
    state: Rc<State>,
    // Dropped by hand: after the context, before what V8 points to.
    isolate: ManuallyDrop<v8::OwnedIsolate>,
    /// For one whose heap may be kept.
    keeping: Option<Keeping>,
    buffers: Arc<Buffers>,
    heap_bytes: u64,
    _heap: Arc<HeapGuard>,
}

/// What it takes to write the heap.
struct Keeping {
    serializer: Serializer,
    facts: Facts,
    /// Bytes of V8's global handles while there is nothing native on the heap.
    handles_bytes: usize,
    /// Which script of this heap the next one is, from 1.
    run: u32,
}

/// A heap as V8 has written it.
pub struct SavedHeap(v8::StartupData);

impl Deref for SavedHeap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Runtime {
    /// Builds isolate and context from the snapshot that [`bake`](crate::bake) made with this very
    /// build.
    ///
    /// # Errors
    /// [`CreateError::HeapTooSmall`] below [`HEAP_BYTES_MIN`].
    pub fn new(snapshot: &'static [u8], heap_bytes: u64) -> Result<Self, CreateError> {
        let (buffers, params) = params(heap_bytes)?;
        let params = params
            .allow_atomics_wait(false)
            .external_references(globals::external_references())
            .snapshot_blob(v8::StartupData::from(snapshot));
        let mut isolate = v8::Isolate::new(params);
        // V8 keeps this and the clock of Temporal on the heap: what is restored has them already.
        isolate.add_message_listener(microtasks::on_message);
        let mut runtime = Self::with_isolate(isolate, buffers, heap_bytes);
        runtime.make_context(performance::make_temporal_coarse);
        Ok(runtime)
    }

    /// Builds isolate and context from `heap`, which [`save`](Self::save) has written, or from the
    /// base. V8 believes those bytes: they must be known to come from there.
    ///
    /// There must have been no isolate in this process before, or only such as the heap was written
    /// in: once a heap holds code, V8 cannot give its hash tables another seed, and the isolates of
    /// a process share one.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn restore(
        base: &HeapBase,
        heap: Option<&'static [u8]>,
        heap_bytes: u64,
    ) -> Result<Self, CreateError> {
        let (buffers, params) = params(heap_bytes)?;
        let blob = v8::StartupData::from(heap.unwrap_or(base.blob));
        let references = globals::external_references();
        let mut isolate = v8::Isolate::snapshot_creator_from_existing_snapshot(
            blob,
            Some(references),
            Some(params),
        );
        isolate.set_allow_atomics_wait(false);
        let serializer = Serializer::at(&isolate, base.facts.flag_offset);
        let mut runtime = Self::with_isolate(isolate, buffers, heap_bytes);
        let Some(serializer) = serializer else {
            // It could only be dropped by being written.
            std::mem::forget(runtime);
            return Err(CreateError::Foreign);
        };
        runtime.make_context(|_| ());
        serializer.clear();
        runtime.keeping = Some(Keeping {
            serializer,
            facts: base.facts.clone(),
            handles_bytes: runtime.isolate.get_heap_statistics().used_global_handles_size(),
            run: 1,
        });
        runtime.revive()?;
        Ok(runtime)
    }

    fn with_isolate(mut isolate: v8::OwnedIsolate, buffers: Arc<Buffers>, heap_bytes: u64) -> Self {
        let heap = Arc::new(HeapGuard::new(isolate.thread_safe_handle(), Arc::clone(&buffers)));
        // SAFETY: the runtime keeps the guard until its isolate is gone.
        unsafe { HeapGuard::attach(Arc::as_ptr(&heap), &mut isolate) };
        let stopper = Stopper::new(isolate.thread_safe_handle());
        let state = Rc::new(State::new(stopper, Arc::clone(&heap)));
        isolate.set_slot(Rc::clone(&state));
        isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
        isolate.set_promise_reject_callback(rejections::on_reject);
        isolate.set_prepare_stack_trace_callback(stack::prepare);
        isolate.set_host_import_module_dynamically_callback(module::import_dynamically);
        isolate.set_host_initialize_import_meta_object_callback(module::initialize_import_meta);
        let frames = i32::try_from(STACK_FRAMES_MAX).unwrap_or(i32::MAX);
        isolate.set_capture_stack_trace_for_uncaught_exceptions(true, frames);
        let isolate = ManuallyDrop::new(isolate);
        Self { context: None, state, isolate, keeping: None, buffers, heap_bytes, _heap: heap }
    }

    fn make_context(&mut self, prepare: impl FnOnce(v8::Local<'_, v8::Context>)) {
        v8::scope!(let scope, &mut *self.isolate);
        let context = v8::Context::new(scope, v8::ContextOptions::default());
        prepare(context);
        self.context = Some(v8::Global::new(scope, context));
    }

    /// Completes a restored heap.
    fn revive(&mut self) -> Result<(), RestoreError> {
        let missing = || RestoreError("it has no context".to_owned());
        v8::scope!(let scope, &mut *self.isolate);
        let context = v8::Local::new(scope, self.context.as_ref().ok_or_else(missing)?);
        let scope = &mut v8::ContextScope::new(scope, context);
        if let (Some(keeping), Some(internals)) = (&mut self.keeping, Internals::of(scope)) {
            keeping.run = internals.runs(scope).saturating_add(1);
        }
        match scope.get_context_data_from_snapshot_once::<v8::Array>(0) {
            Ok(list) => saving::revive(scope, list),
            Err(_) => Ok(()),
        }
    }

    /// The heap limit it was built with.
    pub fn heap_bytes(&self) -> u64 {
        self.heap_bytes
    }

    /// What stops the script from another thread.
    pub fn stopper(&self) -> Stopper {
        self.state.stopper().clone()
    }

    /// Takes an empty module the way a script takes, so that its first one finds code and memory
    /// in place. The context is left as it was.
    pub fn warm_up(&mut self) {
        let state = Rc::clone(&self.state);
        let Ok(prepared) = source::prepare("0") else { return };
        let Some(context) = self.context.clone() else { return };
        v8::scope!(let scope, &mut *self.isolate);
        let context = v8::Local::new(scope, context);
        let scope = &mut v8::ContextScope::new(scope, context);
        // Whatever fails here fails again, and is reported, when there is a job.
        let _ = drive(scope, &state, &prepared);
    }

    /// Has V8 compile what scripts call in loops. It takes a few milliseconds, which pay where many
    /// processes are made of this one.
    pub fn warm_up_loops(&mut self) {
        let state = Rc::clone(&self.state);
        let Some(context) = self.context.clone() else { return };
        v8::scope!(let scope, &mut *self.isolate);
        let context = v8::Local::new(scope, context);
        let scope = &mut v8::ContextScope::new(scope, context);
        random::warm_up(scope, &state);
    }

    /// Runs the job's script to its end. A runtime runs one.
    pub fn run(&mut self, job: &Job, sink: Rc<dyn ScriptSink>) -> Done {
        let started = Started::now();
        self.state.start(started);
        self.buffers.set_limit(job.limits.buffer_bytes);
        self.state.artifacts.open(Rc::clone(&sink));
        self.state.console.borrow_mut().open(sink, job.limits.console_bytes);
        let outcome = self.run_script(&job.code);
        let usage = Usage {
            cpu_us: started.cpu_us(),
            wall_us: started.wall_us(),
            buffer_peak_bytes: self.buffers.peak(),
        };
        Done { outcome, usage, heap: None }
    }

    /// Writes the heap, after a script that has completed. What belongs to one run is not in it.
    ///
    /// Takes no notice of being stopped once V8 is at it.
    ///
    /// # Errors
    /// [`SaveError`]. What V8 cannot write and nobody has noticed ends the process.
    pub fn save(mut self, bytes_max: u64) -> Result<SavedHeap, SaveError> {
        let nothing = || SaveError::Unsavable("this process was not made for that".to_owned());
        let keeping = self.keeping.take().ok_or_else(nothing)?;
        // Whatever happens from here on, what is left of it cannot be dropped.
        let mut this = ManuallyDrop::new(self);
        if this.buffers.used() > bytes_max {
            return Err(SaveError::TooLarge { bytes_max });
        }
        this.state.let_go();
        this.forget_run(&keeping)?;
        this.context = None;
        // SAFETY: nobody uses it any more; `this` is never dropped.
        let isolate = unsafe { ManuallyDrop::take(&mut this.isolate) };
        keeping.serializer.set(&isolate);
        let blob = isolate.create_blob(v8::FunctionCodeHandling::Keep).ok_or_else(nothing)?;
        if blob.len() as u64 > bytes_max {
            return Err(SaveError::TooLarge { bytes_max });
        }
        Ok(SavedHeap(blob))
    }

    /// Takes out of the heap what is of this run, and what V8 cannot write.
    fn forget_run(&mut self, keeping: &Keeping) -> Result<(), SaveError> {
        let state = Rc::clone(&self.state);
        let stopped = || SaveError::Unsavable("the run was stopped".to_owned());
        let handles_bytes = self.isolate.get_heap_statistics().used_global_handles_size();
        let context = self.context.clone().ok_or_else(stopped)?;
        v8::scope!(let scope, &mut *self.isolate);
        let context = v8::Local::new(scope, context);
        scope.set_default_context(context);
        let scope = &mut v8::ContextScope::new(scope, context);
        let internals = Internals::of(scope).ok_or_else(stopped)?;
        internals.forget_random(scope).ok_or_else(stopped)?;
        internals.count_run(scope).ok_or_else(stopped)?;
        if handles_bytes == keeping.handles_bytes && !internals.is_web_assembly_used(scope) {
            return Ok(());
        }
        let natives = saving::prepare_natives(scope, &keeping.facts, internals);
        if state.is_halted() {
            return Err(stopped());
        }
        if let Some(list) = natives? {
            scope.add_context_data(context, list);
        }
        Ok(())
    }

    fn run_script(&mut self, code: &str) -> Outcome {
        let state = Rc::clone(&self.state);
        let mut prepared = match source::prepare(code) {
            Ok(prepared) => prepared,
            Err(error) => return Outcome::Failed(syntax_failure(error)),
        };
        if let Some(keeping) = &self.keeping {
            prepared.positions = prepared.positions.numbered(keeping.run);
        }
        state.set_positions(prepared.positions.clone());
        if state.is_halted() {
            return Outcome::Failed(halt_failure(&state));
        }
        let Some(context) = self.context.clone() else {
            return Outcome::Failed(halt_failure(&state));
        };
        v8::scope!(let scope, &mut *self.isolate);
        let context = v8::Local::new(scope, context);
        let scope = &mut v8::ContextScope::new(scope, context);
        let outcome = drive(scope, &state, &prepared);
        if state.is_halted() {
            return Outcome::Failed(halt_failure(&state));
        }
        match outcome {
            Ok((result, result_truncated)) => Outcome::Completed { result, result_truncated },
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // One whose heap may be kept could only be dropped by writing it. It is left behind: its
        // process ends.
        if self.keeping.is_none() {
            self.context = None;
            // SAFETY: it is not used after this, and what it points to is dropped after it.
            unsafe { ManuallyDrop::drop(&mut self.isolate) };
        }
    }
}

/// What isolates of both kinds are built with.
fn params(heap_bytes: u64) -> Result<(Arc<Buffers>, v8::CreateParams), CreateError> {
    if heap_bytes < HEAP_BYTES_MIN {
        return Err(CreateError::HeapTooSmall { bytes: heap_bytes });
    }
    engine::initialize();
    let (buffers, allocator) = Buffers::new();
    let params = v8::CreateParams::default()
        .heap_limits(0, usize::try_from(heap_bytes).unwrap_or(usize::MAX))
        .array_buffer_allocator(allocator.make_shared());
    Ok((buffers, params))
}

type ResultText = (Option<String>, bool);

fn drive(
    scope: &mut v8::PinScope<'_, '_>,
    state: &State,
    prepared: &Prepared,
) -> Result<ResultText, Failure> {
    let evaluating = module::start(scope, state, prepared)?;
    event_loop::run(scope, state, &evaluating)?;
    let Some(mut value) = module::result(scope, evaluating.module) else {
        return Ok((None, false));
    };
    // Nothing is left to run, so a promise is as settled as it will ever be.
    while let Ok(promise) = v8::Local::<v8::Promise>::try_from(value) {
        if promise.state() != v8::PromiseState::Fulfilled {
            break;
        }
        value = promise.result(scope);
    }
    if value.is_undefined() {
        return Ok((None, false));
    }
    let mut text = String::new();
    let truncated = inspect::write_plain(scope, value, &mut text, RESULT_BYTES_MAX);
    Ok((Some(text), truncated))
}

fn syntax_failure(error: SyntaxError) -> Failure {
    let mut failure =
        errors::failure(FailureKind::Syntax, format!("SyntaxError: {}", error.message));
    errors::set_position(&mut failure, error.position);
    failure
}

fn halt_failure(state: &State) -> Failure {
    // Both may be true; the memory is what the script can do something about.
    if state.is_heap_full() {
        errors::failure(FailureKind::OutOfMemory, errors::OUT_OF_MEMORY)
    } else {
        errors::failure(FailureKind::Stopped, "The script was stopped before it had ended")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::Runtime;
    use crate::testing::{LIMITS, with_v8};

    /// What a process is to do that [`seeds_are_a_processes_own_unless_it_keeps_heaps`] starts.
    const SEED: &str = "MCP_V8_TEST_SEED";
    const SNAPSHOT: &str = "MCP_V8_TEST_SNAPSHOT";

    /// The hash that V8 has for a text, which follows from its seed.
    fn hash(snapshot: &Path) -> i32 {
        let snapshot = Box::leak(std::fs::read(snapshot).unwrap().into_boxed_slice());
        let mut runtime = Runtime::new(snapshot, LIMITS.heap_bytes).unwrap();
        v8::scope!(let scope, &mut *runtime.isolate);
        v8::String::new(scope, "a text").unwrap().get_identity_hash().get()
    }

    /// A seed that is part of the program is known to whoever has it.
    #[test]
    fn seeds_are_a_processes_own_unless_it_keeps_heaps() {
        if let (Ok(seed), Some(snapshot)) = (std::env::var(SEED), std::env::var_os(SNAPSHOT)) {
            match seed.as_str() {
                "own" => crate::initialize_with_own_seed(),
                _ => crate::initialize(),
            }
            println!("hash {}", hash(Path::new(&snapshot)));
            return;
        }
        let baked = tempfile::NamedTempFile::new().unwrap();
        let bytes = with_v8(|snapshot| snapshot.to_vec());
        std::fs::write(baked.path(), bytes).unwrap();
        let this = std::thread::current();
        let of = |seed: &str| {
            let mut process = Command::new(std::env::current_exe().unwrap());
            process.args(["--exact", this.name().unwrap(), "--nocapture"]);
            process.env(SEED, seed).env(SNAPSHOT, baked.path());
            let printed = String::from_utf8(process.output().unwrap().stdout).unwrap();
            let hash = printed.lines().find_map(|line| line.split_once("hash "));
            hash.unwrap_or_else(|| panic!("{printed}")).1.to_owned()
        };
        assert_eq!(of("baked"), of("baked"));
        assert_ne!(of("own"), of("own"));
    }

    /// What a warm process has drawn or begun, all that are forked from it would share.
    #[test]
    fn warming_up_draws_no_random_numbers_and_starts_no_clock() {
        let (seeded, elapsed_us, origin_us) = with_v8(|snapshot| {
            let mut runtime = Runtime::new(snapshot, LIMITS.heap_bytes).unwrap();
            runtime.warm_up();
            runtime.warm_up_loops();
            let state = &runtime.state;
            (state.random.borrow().is_some(), state.elapsed_us(), state.origin_us())
        });
        assert_eq!((seeded, elapsed_us, origin_us), (false, 0, 0));
    }
}
