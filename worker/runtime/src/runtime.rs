//! One isolate with one context, and the run of one script in it.

use std::rc::Rc;
use std::sync::Arc;

use mcp_v8_protocol::limits::RESULT_BYTES_MAX;
use mcp_v8_protocol::{Done, Failure, FailureKind, Job, Outcome, Usage};

use crate::buffers::Buffers;
use crate::clock::Started;
use crate::console::ConsoleSink;
use crate::heap::HeapGuard;
use crate::limits::{HEAP_BYTES_MIN, STACK_FRAMES_MAX};
use crate::source::{Prepared, SyntaxError};
use crate::state::State;
use crate::stop::Stopper;
use crate::{
    engine, errors, event_loop, globals, inspect, microtasks, module, performance, random,
    rejections, source, stack,
};

/// Why a runtime could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A heap V8 cannot start in.
    #[error("a heap of {bytes} bytes is too small: {HEAP_BYTES_MIN} bytes is the least")]
    HeapTooSmall {
        /// What was asked for.
        bytes: u64,
    },
}

/// An isolate with a context, ready for one script.
pub struct Runtime {
    // Dropped in this order: handles before the isolate, what V8 points to after it.
    context: v8::Global<v8::Context>,
    state: Rc<State>,
    isolate: v8::OwnedIsolate,
    buffers: Arc<Buffers>,
    heap_bytes: u64,
    _heap: Arc<HeapGuard>,
}

impl Runtime {
    /// Builds isolate and context from the snapshot that [`bake`](crate::bake) made with this very
    /// build.
    ///
    /// # Errors
    /// [`CreateError::HeapTooSmall`] below [`HEAP_BYTES_MIN`].
    pub fn new(snapshot: &'static [u8], heap_bytes: u64) -> Result<Self, CreateError> {
        if heap_bytes < HEAP_BYTES_MIN {
            return Err(CreateError::HeapTooSmall { bytes: heap_bytes });
        }
        engine::initialize();
        let (buffers, allocator) = Buffers::new();
        let params = v8::CreateParams::default()
            .heap_limits(0, usize::try_from(heap_bytes).unwrap_or(usize::MAX))
            .array_buffer_allocator(allocator.make_shared())
            .allow_atomics_wait(false)
            .external_references(globals::external_references())
            .snapshot_blob(v8::StartupData::from(snapshot));
        let mut isolate = v8::Isolate::new(params);
        let heap = Arc::new(HeapGuard::new(isolate.thread_safe_handle(), Arc::clone(&buffers)));
        // SAFETY: the runtime keeps the guard until its isolate is gone.
        unsafe { HeapGuard::attach(Arc::as_ptr(&heap), &mut isolate) };
        let stopper = Stopper::new(isolate.thread_safe_handle());
        let state = Rc::new(State::new(stopper, Arc::clone(&heap)));
        isolate.set_slot(Rc::clone(&state));
        isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
        isolate.set_promise_reject_callback(rejections::on_reject);
        isolate.add_message_listener(microtasks::on_message);
        isolate.set_prepare_stack_trace_callback(stack::prepare);
        isolate.set_host_import_module_dynamically_callback(module::import_dynamically);
        isolate.set_host_initialize_import_meta_object_callback(module::initialize_import_meta);
        let frames = i32::try_from(STACK_FRAMES_MAX).unwrap_or(i32::MAX);
        isolate.set_capture_stack_trace_for_uncaught_exceptions(true, frames);
        let context = {
            v8::scope!(let scope, &mut isolate);
            let context = v8::Context::new(scope, v8::ContextOptions::default());
            performance::make_temporal_coarse(context);
            v8::Global::new(scope, context)
        };
        Ok(Self { context, state, isolate, buffers, heap_bytes, _heap: heap })
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
        v8::scope!(let scope, &mut self.isolate);
        let context = v8::Local::new(scope, &self.context);
        let scope = &mut v8::ContextScope::new(scope, context);
        // Whatever fails here fails again, and is reported, when there is a job.
        let _ = drive(scope, &state, &prepared);
    }

    /// Has V8 compile what scripts call in loops. It takes a few milliseconds, which pay where many
    /// processes are made of this one.
    pub fn warm_up_loops(&mut self) {
        let state = Rc::clone(&self.state);
        v8::scope!(let scope, &mut self.isolate);
        let context = v8::Local::new(scope, &self.context);
        let scope = &mut v8::ContextScope::new(scope, context);
        random::warm_up(scope, &state);
    }

    /// Runs the job's script to its end. A runtime runs one.
    pub fn run(&mut self, job: &Job, sink: Rc<dyn ConsoleSink>) -> Done {
        let started = Started::now();
        self.state.start(started);
        self.buffers.set_limit(job.limits.buffer_bytes);
        self.state.console.borrow_mut().open(sink, job.limits.console_bytes);
        let outcome = self.run_script(&job.code);
        let usage = Usage {
            cpu_us: started.cpu_us(),
            wall_us: started.wall_us(),
            buffer_peak_bytes: self.buffers.peak(),
        };
        Done { outcome, usage }
    }

    fn run_script(&mut self, code: &str) -> Outcome {
        let state = Rc::clone(&self.state);
        let prepared = match source::prepare(code) {
            Ok(prepared) => prepared,
            Err(error) => return Outcome::Failed(syntax_failure(error)),
        };
        state.set_positions(prepared.positions.clone());
        if state.is_halted() {
            return Outcome::Failed(halt_failure(&state));
        }
        v8::scope!(let scope, &mut self.isolate);
        let context = v8::Local::new(scope, &self.context);
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Runtime;
    use crate::testing::{LIMITS, with_v8};

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
