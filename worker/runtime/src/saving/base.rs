//! The base: what a heap is before its first script. Baked at build time.

use sha2::{Digest, Sha256};

use super::facts::{Facts, Kind};
use super::internals::Internals;
use super::raw::{self, Tagged};
use super::serializer::Serializer;
use crate::globals::{self, InstallError};
use crate::{engine, microtasks, module, performance};

/// What makes V8's recorder of metrics know a context.
const RECORDED: &str = "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))";

/// Why the base could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BakeHeapError {
    /// A global could not be defined.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// This V8 is not built as is relied on.
    #[error("this build of V8 is not as expected: {0}")]
    Unexpected(&'static str),
    /// V8 made no blob.
    #[error("V8 could not write the heap to a snapshot")]
    Blob,
    /// Hash seeds would be the same in every process.
    #[error("the snapshot cannot be rehashed: every process would share one hash seed")]
    NotRehashable,
}

/// The base, as it is stored in the worker.
#[derive(Debug, Clone)]
pub struct BakedHeap {
    /// The snapshot.
    pub blob: Vec<u8>,
    /// What [`HeapBase::new`] needs beside it.
    pub facts: Vec<u8>,
    /// What the heaps of this build are compatible with; see [`heap_engines`].
    pub engine: [u8; 32],
}

/// The base, ready for use.
#[derive(Debug, Clone)]
pub struct HeapBase {
    pub(crate) blob: &'static [u8],
    pub(crate) facts: Facts,
}

impl HeapBase {
    /// From what [`bake_heap_base`] made with this very build; none from anything else.
    pub fn new(blob: &'static [u8], facts: &[u8]) -> Option<Self> {
        Some(Self { blob, facts: Facts::from_bytes(facts)? })
    }
}

/// What a heap must agree with to be restored by this build: a hash over the version of V8, its
/// flags, the native functions that a heap refers to by their number, and the interface of what is
/// ours in it. A release that can restore the heaps of an earlier one names that one's hash as well.
pub fn heap_engines(own: [u8; 32]) -> Vec<[u8; 32]> {
    vec![own]
}

fn engine_hash() -> [u8; 32] {
    let mut hash = Sha256::new();
    let names = globals::external_names();
    let parts = [super::INTERFACE, engine::v8_version(), std::env::consts::ARCH, engine::FLAGS];
    for part in parts.into_iter().chain(names.iter().copied()) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Bakes the base.
///
/// # Errors
/// [`BakeHeapError`] says which step failed. V8 itself aborts the process for what it cannot store.
pub fn bake_heap_base() -> Result<BakedHeap, BakeHeapError> {
    engine::initialize();
    let mut isolate = v8::Isolate::snapshot_creator(Some(globals::external_references()), None);
    let facts = match furnish(&mut isolate) {
        Ok(facts) => facts,
        Err(error) => {
            // It can only be dropped by being written, and V8 may not be able to write it.
            std::mem::forget(isolate);
            return Err(error);
        }
    };
    let blob = isolate.create_blob(v8::FunctionCodeHandling::Keep).ok_or(BakeHeapError::Blob)?;
    if !blob.can_be_rehashed() {
        return Err(BakeHeapError::NotRehashable);
    }
    Ok(BakedHeap { blob: blob.to_vec(), facts: facts.to_bytes(), engine: engine_hash() })
}

fn furnish(isolate: &mut v8::OwnedIsolate) -> Result<Facts, BakeHeapError> {
    let (facts, recorder_slot) = find_facts(isolate)?;
    let serializer = Serializer::at(isolate, facts.flag_offset)
        .ok_or(BakeHeapError::Unexpected("the mark of the serializer is not where it was found"))?;
    serializer.clear();
    isolate.add_message_listener(microtasks::on_message);
    {
        v8::scope!(let scope, isolate);
        let context = v8::Context::new(scope, v8::ContextOptions::default());
        scope.set_default_context(context);
        performance::make_temporal_coarse(context);
        let scope = &mut v8::ContextScope::new(scope, context);
        install(scope)?;
        number_for_recorder(scope, recorder_slot)?;
    }
    serializer.set(isolate);
    Ok(facts)
}

/// Looks at an isolate that is not going to be written, and at the objects in it. The number is of
/// the slot that [`number_for_recorder`] is about.
fn find_facts(marked: &v8::OwnedIsolate) -> Result<(Facts, usize), BakeHeapError> {
    let mut isolate = v8::Isolate::new(v8::CreateParams::default());
    let flag_offset = Serializer::find(marked, &isolate)
        .ok_or(BakeHeapError::Unexpected("the mark of the serializer is not found"))?;
    v8::scope!(let scope, &mut isolate);
    let context = v8::Context::new(scope, v8::ContextOptions::default());
    let scope = &mut v8::ContextScope::new(scope, context);
    let recorder_slot = find_recorder_slot(scope)?;
    let mut types = Vec::with_capacity(Kind::ALL.len());
    for kind in Kind::ALL {
        let sample = module::evaluate_internal(scope, "sample.js", kind.sample())
            .ok_or(BakeHeapError::Unexpected("a built-in type is missing"))?;
        // SAFETY: it is alive, and its address has just been read from its handle.
        let (found, parts) =
            unsafe { (Tagged::of(sample).object_type(), raw::native_parts(Tagged::of(sample))) };
        if kind.has_recipe() && parts == 0 {
            return Err(BakeHeapError::Unexpected("a built-in object has no native part"));
        }
        types.push(found.ok_or(BakeHeapError::Unexpected("a sample is no object"))?);
    }
    let unique = types.iter().enumerate().all(|(at, found)| !types[..at].contains(found));
    if !unique {
        return Err(BakeHeapError::Unexpected("two built-in types look the same"));
    }
    Ok((Facts { flag_offset, types }, recorder_slot))
}

/// Where a native context holds the number under which V8's recorder of metrics knows it, which it
/// gets when WebAssembly is first compiled or checked in it.
fn find_recorder_slot(scope: &mut v8::PinScope<'_, '_>) -> Result<usize, BakeHeapError> {
    let missing = || BakeHeapError::Unexpected("a context has no number for the recorder");
    let context = scope.get_current_context();
    let undefined: v8::Local<'_, v8::Value> = v8::undefined(scope).into();
    module::evaluate_internal(scope, "wasm.js", "WebAssembly.Module");
    // SAFETY: the context is alive, and its address has just been read from its handle.
    let slots = |context| unsafe { raw::context_slots(Tagged::of(context)) };
    let before = slots(context);
    module::evaluate_internal(scope, "wasm.js", RECORDED).ok_or_else(missing)?;
    match raw::numbered_since(&before, &slots(context), Tagged::of(undefined))[..] {
        [slot] => Ok(slot),
        _ => Err(missing()),
    }
}

/// Gives the context a number as if V8's recorder of metrics knew it. V8 would give it one when a
/// script first uses WebAssembly, and remember the context by a handle that it cannot write and
/// nobody can reach. Nobody has set a recorder to ask for what is remembered.
fn number_for_recorder(scope: &mut v8::PinScope<'_, '_>, slot: usize) -> Result<(), BakeHeapError> {
    let undefined: v8::Local<'_, v8::Value> = v8::undefined(scope).into();
    let context = Tagged::of(scope.get_current_context());
    // SAFETY: it is alive, and its address has just been read from its handle.
    let done = unsafe { raw::number_slot(context, slot, 1, Tagged::of(undefined)) };
    let unexpected = || BakeHeapError::Unexpected("the recorder's number is not where it was");
    done.then_some(()).ok_or_else(unexpected)
}

fn install(scope: &mut v8::PinScope<'_, '_>) -> Result<(), BakeHeapError> {
    // They are made when they are first looked at, by code that no snapshot can refer to.
    module::evaluate_internal(scope, "temporal.js", "Temporal, Date.prototype.toTemporalInstant")
        .ok_or(BakeHeapError::Unexpected("there is no Temporal"))?;
    let missing = || BakeHeapError::Unexpected("our own scripts do not run");
    let js_tag =
        module::evaluate_internal(scope, "wasm.js", "WebAssembly.JSTag").ok_or_else(missing)?;
    remove_suspending(scope)?;
    let installed = globals::install(scope)?;
    let internals =
        Internals::create(scope).ok_or(BakeHeapError::Unexpected("nothing can be hidden"))?;
    internals.set_forget_random(scope, installed.forget_random).ok_or_else(missing)?;
    let recipe = run(scope, "recipes.js", include_str!("recipes.js")).ok_or_else(missing)?;
    internals.set_describe(scope, recipe).ok_or_else(missing)?;
    let registry = run(scope, "registry.js", include_str!("registry.js")).ok_or_else(missing)?;
    globals::replace(scope, "FinalizationRegistry", registry.into())?;
    let web_assembly =
        module::evaluate_internal(scope, "wasm.js", "WebAssembly").ok_or_else(missing)?;
    internals.set_web_assembly(scope, web_assembly, js_tag).ok_or_else(missing)?;
    globals::install_web_assembly(scope)?;
    Ok(())
}

/// Runs one of our own scripts, which is a function, and calls that.
fn run<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
    code: &str,
) -> Option<v8::Local<'s, v8::Object>> {
    let function = module::evaluate_internal(scope, name, code)?;
    let function = v8::Local::<v8::Function>::try_from(function).ok()?;
    let this = v8::undefined(scope).into();
    v8::Local::try_from(function.call(scope, this, &[])?).ok()
}

/// Takes away what lets WebAssembly wait for promises, whose native code no snapshot can refer to,
/// and the tag of JavaScript's exceptions, whose number means something else in each process.
fn remove_suspending(scope: &mut v8::PinScope<'_, '_>) -> Result<(), BakeHeapError> {
    let missing = || BakeHeapError::Unexpected("WebAssembly is not as it was");
    let mut functions = Vec::new();
    for name in ["Suspending", "promising"] {
        let code = format!("WebAssembly.{name}");
        functions.push(module::evaluate_internal(scope, "wasm.js", &code).ok_or_else(missing)?);
    }
    let deleted = module::evaluate_internal(
        scope,
        "wasm.js",
        "['Suspending', 'promising', 'SuspendError', 'JSTag'].every(name => delete WebAssembly[name])",
    );
    if !deleted.is_some_and(|deleted| deleted.is_true()) {
        return Err(missing());
    }
    let array = module::any_fixed_array(scope).ok_or_else(missing)?;
    let targets: Vec<_> = functions.into_iter().map(Tagged::of).collect();
    let context = Tagged::of(scope.get_current_context());
    let undefined: v8::Local<'_, v8::Value> = v8::undefined(scope).into();
    // SAFETY: all of them are alive, and nothing is allocated after their addresses were read but
    // handles.
    let forgotten = unsafe {
        raw::forget_in_context(context, Tagged::of(array), &targets, Tagged::of(undefined))
    };
    // The constructor's own slot, and the entries of both in the cache of functions from templates.
    if forgotten == 3 { Ok(()) } else { Err(missing()) }
}
