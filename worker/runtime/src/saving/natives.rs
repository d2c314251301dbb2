//! Objects with native parts: ICU's formatters behind `Intl`, the dates behind `Temporal`.
//!
//! V8 cannot write them: their parts are C++ objects. So before a heap is written, each of them is
//! described in plain values ([recipes](super::internals)), its native parts are taken out, and the
//! list of objects and descriptions goes into the snapshot beside the heap. When the heap is restored,
//! a twin is made from each description and its native parts are put into the object, which has
//! kept its identity, its properties and whoever refers to it.
//!
//! The search for such objects costs two collections. It is left out while nothing native is on the
//! heap, which is told by the number of V8's global handles: every native part has one.

use std::ffi::c_void;

use super::facts::{Facts, Kind};
use super::internals::Internals;
use super::raw::{self, Tagged};
use super::{RestoreError, SaveError, blame};

/// Entries per object in the list that is written with the heap: the object, the name of its kind,
/// its description, which of its words were emptied.
const ENTRY: u32 = 4;

unsafe extern "C" {
    /// `v8::Isolate::GetHeapProfiler()`.
    #[link_name = "_ZN2v87Isolate15GetHeapProfilerEv"]
    fn heap_profiler(isolate: *mut c_void) -> *mut c_void;

    /// `v8::HeapProfiler::QueryObjects(Local<Context>, QueryObjectPredicate*, vector<Global<Object>>*)`,
    /// which the bindings leave out: collects garbage and shows every object that is left to the
    /// predicate.
    #[link_name = "_ZN2v812HeapProfiler12QueryObjectsENS_5LocalINS_7ContextEEEPNS_20QueryObjectPredicateEPNSt4__Cr6vectorINS_6GlobalINS_6ObjectEEENS6_9allocatorISA_EEEE"]
    fn query_objects(
        profiler: *mut c_void,
        context: *const v8::Context,
        predicate: *mut c_void,
        found: *mut [usize; 3],
    );
}

/// `v8::QueryObjectPredicate`, as C++ lays it out: its virtual functions are two destructors, which
/// nobody calls, and `Filter`.
#[repr(C)]
struct Predicate<'a> {
    functions: *const PredicateFunctions,
    facts: &'a Facts,
    isolate: &'a v8::Isolate,
    found: Vec<Found>,
}

/// A live object of one of the kinds.
type Found = (v8::Global<v8::Object>, Kind);

#[repr(C)]
struct PredicateFunctions {
    destroy: extern "C" fn(*mut Predicate<'_>),
    delete: extern "C" fn(*mut Predicate<'_>),
    filter: unsafe extern "C" fn(*mut Predicate<'_>, v8::Local<'_, v8::Object>) -> bool,
}

static FUNCTIONS: PredicateFunctions =
    PredicateFunctions { destroy: nothing, delete: nothing, filter };

extern "C" fn nothing(_: *mut Predicate<'_>) {}

/// Notes an object if it is of one of the kinds. V8's own list of results stays empty.
unsafe extern "C" fn filter(this: *mut Predicate<'_>, object: v8::Local<'_, v8::Object>) -> bool {
    // SAFETY: V8 passes on the predicate it was given, and live objects, while nothing else uses
    // the isolate.
    unsafe {
        let this = &mut *this;
        let kind = Tagged::of(object).object_type().and_then(|found| this.facts.kind(found));
        if let Some(kind) = kind {
            this.found.push((v8::Global::new(this.isolate, object), kind));
        }
    }
    false
}

/// Every live object of one of the kinds.
fn find(scope: &mut v8::PinScope<'_, '_>, facts: &Facts) -> Vec<Found> {
    v8::scope!(let scope, scope);
    let context = scope.get_current_context();
    let isolate: &v8::Isolate = scope;
    let functions = &raw const FUNCTIONS;
    let mut predicate = Predicate { functions, facts, isolate, found: Vec::new() };
    let mut results = [0; 3];
    // SAFETY: methods of V8 with the arguments it declares, found by names that spell out their
    // types. A vector of the C++ library is three pointers, null while it is empty, which it stays.
    unsafe {
        let profiler = heap_profiler(raw::isolate(isolate).cast());
        let predicate = (&raw mut predicate).cast::<c_void>();
        query_objects(profiler, &raw const *context, predicate, &raw mut results);
    }
    predicate.found
}

/// Describes every object with native parts and takes these out. What it returns must be stored
/// with the heap, which must be written at once: the objects are of no use any more.
///
/// # Errors
/// [`SaveError::Unsavable`] for the first that has no description; nothing has been taken out then.
pub(crate) fn prepare<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    facts: &Facts,
    internals: Internals<'s>,
) -> Result<Option<v8::Local<'s, v8::Array>>, SaveError> {
    let mut found = find(scope, facts);
    found.retain(|(object, kind)| *kind != Kind::WasmTag || !internals.is_js_tag(scope, object));
    let (describable, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, kind)| kind.has_recipe());
    if !others.is_empty() {
        return Err(refusal(scope, &others, false));
    }
    if describable.is_empty() {
        return Ok(None);
    }
    let mut entries = Vec::with_capacity(describable.len() * ENTRY as usize);
    for found in &describable {
        let (object, kind) = found;
        let object = v8::Local::new(scope, object);
        let description = internals.describe(scope, kind.name(), object);
        let name = v8::String::new(scope, kind.name());
        let (Some(name), Some(description)) = (name, description) else {
            return Err(refusal(scope, std::slice::from_ref(found), true));
        };
        // SAFETY: it is alive, and its address has just been read from its handle.
        let parts = unsafe { raw::native_parts(Tagged::of(object)) };
        let parts = v8::Integer::new_from_unsigned(scope, parts);
        entries.extend([object.into(), name.into(), description, parts.into()]);
    }
    let list = v8::Array::new_with_elements(scope, &entries);
    let undefined: v8::Local<'_, v8::Value> = v8::undefined(scope).into();
    for entry in entries.chunks_exact(ENTRY as usize) {
        let &[object, _, _, parts] = entry else { continue };
        let Ok(parts) = v8::Local::<v8::Integer>::try_from(parts) else { continue };
        let parts = u32::try_from(parts.value()).unwrap_or_default();
        // SAFETY: as above. No script runs any more, and the heap is about to be written.
        unsafe { raw::empty(Tagged::of(object), parts, Tagged::of(undefined)) };
    }
    Ok(Some(list))
}

/// Gives every object of a list that [`prepare`] made its native parts back.
///
/// # Errors
/// [`RestoreError`] when one cannot be made again. The heap is of no use then.
pub(crate) fn revive(
    scope: &mut v8::PinScope<'_, '_>,
    list: v8::Local<'_, v8::Array>,
) -> Result<(), RestoreError> {
    let error = |text: &str| RestoreError(text.to_owned());
    let internals = Internals::of(scope).ok_or_else(|| error("it lacks what is ours"))?;
    v8::scope!(let scope, scope);
    let mut pairs = Vec::new();
    for at in (0..list.length()).step_by(ENTRY as usize) {
        let entry = |offset| list.get_index(scope, at + offset);
        let (Some(object), Some(kind), Some(description), Some(parts)) =
            (entry(0), entry(1), entry(2), entry(3))
        else {
            return Err(error("the list of its Intl and Temporal objects is incomplete"));
        };
        let name = kind.to_rust_string_lossy(scope);
        let parts = parts.uint32_value(scope).unwrap_or_default();
        let Some(twin) = internals.rebuild(scope, kind, description) else {
            return Err(RestoreError(format!("an object of kind {name} cannot be made again")));
        };
        pairs.push((object, twin, parts, name));
    }
    // Moves what has just been made among the old objects; see `raw::fill`.
    scope.low_memory_notification();
    let undefined: v8::Local<'_, v8::Value> = v8::undefined(scope).into();
    for (object, twin, parts, name) in pairs {
        // SAFETY: both are alive and, since the collection, old; nothing was allocated after it.
        let filled = unsafe {
            raw::fill(Tagged::of(object), Tagged::of(twin), parts, Tagged::of(undefined))
        };
        if !filled {
            return Err(RestoreError(format!("an object of kind {name} does not fit its parts")));
        }
    }
    Ok(())
}

/// What is said of objects that cannot be written, of which the first that a global leads to is
/// named.
fn refusal(scope: &mut v8::PinScope<'_, '_>, found: &[Found], would_differ: bool) -> SaveError {
    let objects: Vec<_> = found.iter().map(|(object, _)| object).collect();
    let place = blame::path_to(scope, &objects);
    let at = place.as_ref().map_or(0, |(at, _)| *at);
    let kind = found.get(at).map_or(Kind::WasmModule, |(_, kind)| *kind);
    let mut text = kind.title();
    match place {
        Some((_, path)) => text.push_str(&format!(", in the global {path}")),
        None => text.push_str(", which a closure or a private field holds: no global leads to it"),
    }
    text.push_str(match would_differ {
        true => "; it would not be the same when made again. Keep what it was made from instead",
        false if kind as usize >= Kind::WasmModule as usize => {
            "; WebAssembly objects last no longer than their script. Keep the bytes of the module \
             and make an instance of it in each run"
        }
        false => "; it lasts no longer than its script. Keep the Intl object and the text instead",
    });
    SaveError::Unsavable(text)
}
