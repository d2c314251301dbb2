//! The globals that every script sees beyond the language, and the table of their native code.
//!
//! The snapshot stores native functions as indices into [`external_references`], so the table must
//! be the same when it is baked and when it is used. Functions are created from the table's own
//! pointers: taking a function's address twice may give two.

use std::borrow::Cow;

use v8::MapFnTo;

use crate::saving::Internals;
use crate::{artifacts, console, crypto, microtasks, performance, random, thrown, timers};

/// A native function and where it goes.
struct Binding {
    /// The global object that carries it; `None` for the global object itself.
    object: Option<&'static str>,
    name: &'static str,
    kind: Kind,
    function: v8::FunctionCallback,
}

/// How a native function is seen.
#[derive(Clone, Copy)]
enum Kind {
    /// As a function of so many parameters.
    Method { length: i32 },
    /// As a property that only it can change.
    Getter,
}

/// Objects that carry native functions, and what `Object.prototype.toString` calls them.
const OBJECTS: &[(&str, &str)] =
    &[("console", "console"), ("crypto", "Crypto"), ("performance", "Performance")];

fn bindings() -> Vec<Binding> {
    let mut bindings: Vec<Binding> = console::METHODS
        .iter()
        .map(|(name, function)| Binding {
            object: Some("console"),
            name,
            kind: Kind::Method { length: 0 },
            function: *function,
        })
        .collect();
    let method = |object, name, length, function| {
        let kind = Kind::Method { length };
        Binding { object, name, kind, function }
    };
    let global = |name, length, function| method(None, name, length, function);
    bindings.extend([
        global("setTimeout", 1, timers::set_timeout.map_fn_to()),
        global("setInterval", 1, timers::set_interval.map_fn_to()),
        global("clearTimeout", 1, timers::clear.map_fn_to()),
        global("clearInterval", 1, timers::clear.map_fn_to()),
        global("queueMicrotask", 1, microtasks::queue_microtask.map_fn_to()),
        global("artifact", 3, artifacts::artifact.map_fn_to()),
        method(Some("crypto"), "getRandomValues", 1, crypto::get_random_values.map_fn_to()),
        method(Some("crypto"), "randomUUID", 0, crypto::random_uuid.map_fn_to()),
        method(Some("performance"), "now", 0, performance::now.map_fn_to()),
        Binding {
            object: Some("performance"),
            name: "timeOrigin",
            kind: Kind::Getter,
            function: performance::time_origin.map_fn_to(),
        },
    ]);
    bindings
}

/// Globals of V8 that scripts do not get, and properties of globals. Nobody could wake a script
/// that waits for shared memory to change: it would not wait but stall.
const REMOVED: &[(Option<&str>, &str)] =
    &[(None, "SharedArrayBuffer"), (Some("Atomics"), "waitAsync")];

/// All native code that a snapshot refers to, with what it is called among it, in the order in which
/// a snapshot counts it.
fn externals() -> Vec<(&'static str, v8::FunctionCallback)> {
    let named = bindings().into_iter().map(|binding| (binding.name, binding.function));
    named
        .chain([
            ("thrown", note_thrown()),
            ("refill", refill_random()),
            ("get WebAssembly", get_web_assembly.map_fn_to()),
            ("set WebAssembly", set_web_assembly.map_fn_to()),
        ])
        .collect()
}

/// Addresses of all native code a snapshot refers to.
pub(crate) fn external_references() -> Cow<'static, [v8::ExternalReference]> {
    let functions = externals().into_iter();
    let functions = functions.map(|(_, function)| v8::ExternalReference { function });
    functions
        .chain([
            v8::ExternalReference { message: microtasks::on_message },
            v8::ExternalReference { pointer: performance::temporal_clock() },
        ])
        .collect()
}

/// What is at each of those addresses.
pub(crate) fn external_names() -> Vec<&'static str> {
    externals().into_iter().map(|(name, _)| name).chain(["on message", "temporal clock"]).collect()
}

/// The function of [`thrown`] that `import.meta` carries.
pub(crate) fn note_thrown() -> v8::FunctionCallback {
    thrown::note.map_fn_to()
}

/// The function of [`random`] behind `Math.random`.
fn refill_random() -> v8::FunctionCallback {
    random::refill.map_fn_to()
}

/// Why the globals could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("V8 refused to define the global `{0}`")]
pub struct InstallError(&'static str);

/// What came of installing the globals and is no global.
pub(crate) struct Installed<'s> {
    /// Drops what `Math.random` has in store.
    pub(crate) forget_random: v8::Local<'s, v8::Function>,
}

/// Defines the globals in the current context.
pub(crate) fn install<'s>(scope: &mut v8::PinScope<'s, '_>) -> Result<Installed<'s>, InstallError> {
    let global = scope.get_current_context().global(scope);
    // V8 brings a console of its own, which prints only where a debugger is attached.
    for (name, tag) in OBJECTS {
        let object = v8::Object::new(scope);
        define(scope, global, name, object.into())?;
        tag_object(scope, object, tag).ok_or(InstallError(name))?;
    }
    for binding in bindings() {
        bind(scope, global, &binding).ok_or(InstallError(binding.name))?;
    }
    let forget_random = install_random(scope, global).ok_or(InstallError("Math.random"))?;
    for (object, name) in REMOVED {
        remove(scope, global, *object, name).ok_or(InstallError(name))?;
    }
    hide_shared_buffers(scope).ok_or(InstallError("SharedArrayBuffer"))?;
    Ok(Installed { forget_random })
}

/// Puts `value` in the place of a global of V8's.
pub(crate) fn replace(
    scope: &mut v8::PinScope<'_, '_>,
    name: &'static str,
    value: v8::Local<'_, v8::Value>,
) -> Result<(), InstallError> {
    let global = scope.get_current_context().global(scope);
    define(scope, global, name, value)
}

const WEB_ASSEMBLY: &str = "WebAssembly";

/// Has the first look at `WebAssembly` noted, for heaps that are kept: what comes of it cannot be.
pub(crate) fn install_web_assembly(scope: &mut v8::PinScope<'_, '_>) -> Result<(), InstallError> {
    let installed = (|| {
        let functions = externals();
        let find = |name: &str| functions.iter().find(|(known, _)| *known == name);
        let (_, get) = find("get WebAssembly")?;
        let (_, set) = find("set WebAssembly")?;
        let get = native(scope, *get, 0)?;
        let set = native(scope, *set, 1)?;
        let mut property = v8::PropertyDescriptor::new_from_get_set(get.into(), set.into());
        property.set_enumerable(false);
        property.set_configurable(true);
        let name = v8::String::new(scope, WEB_ASSEMBLY)?;
        let global = scope.get_current_context().global(scope);
        global.delete(scope, name.into())?;
        global.define_property(scope, name.into(), &property)
    })();
    installed.filter(|done| *done).map(|_| ()).ok_or(InstallError(WEB_ASSEMBLY))
}

/// The first look at `WebAssembly`: from now on it is a plain property.
fn get_web_assembly<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: v8::FunctionCallbackArguments<'s>,
    mut result: v8::ReturnValue<'s, v8::Value>,
) {
    let Some(internals) = Internals::of(scope) else { return };
    let Some(object) = internals.use_web_assembly(scope) else { return };
    // Should the script have frozen its globals, the next look is as the first.
    let _ = replace(scope, WEB_ASSEMBLY, object);
    result.set(object);
}

/// A script has a value of its own for it.
fn set_web_assembly<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: v8::FunctionCallbackArguments<'s>,
    _: v8::ReturnValue<'s, v8::Value>,
) {
    let _ = replace(scope, WEB_ASSEMBLY, args.get(0));
}

/// The global object, or the object of that name in it.
fn holder<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    global: v8::Local<'_, v8::Object>,
    object: Option<&str>,
) -> Option<v8::Local<'s, v8::Object>> {
    let Some(object) = object else { return Some(v8::Local::new(scope, global)) };
    let key = v8::String::new(scope, object)?;
    v8::Local::<v8::Object>::try_from(global.get(scope, key.into())?).ok()
}

fn tag_object(
    scope: &mut v8::PinScope<'_, '_>,
    object: v8::Local<'_, v8::Object>,
    tag: &str,
) -> Option<()> {
    let tag = v8::String::new(scope, tag)?;
    let symbol = v8::Symbol::get_to_string_tag(scope);
    let hidden = v8::PropertyAttribute::DONT_ENUM;
    object.define_own_property(scope, symbol.into(), tag.into(), hidden)?.then_some(())
}

fn bind(
    scope: &mut v8::PinScope<'_, '_>,
    global: v8::Local<'_, v8::Object>,
    binding: &Binding,
) -> Option<()> {
    let length = match binding.kind {
        Kind::Method { length } => length,
        Kind::Getter => 0,
    };
    let function = native(scope, binding.function, length)?;
    let name = v8::String::new(scope, binding.name)?;
    let holder = holder(scope, global, binding.object)?;
    match (binding.kind, binding.object) {
        (Kind::Method { .. }, None) => {
            function.set_name(name);
            define(scope, holder, binding.name, function.into()).ok()
        }
        (Kind::Method { .. }, Some(_)) => {
            function.set_name(name);
            holder.set(scope, name.into(), function.into())?.then_some(())
        }
        (Kind::Getter, _) => {
            let shown = v8::String::new(scope, &format!("get {}", binding.name))?;
            function.set_name(shown);
            let nothing = v8::undefined(scope);
            let mut property =
                v8::PropertyDescriptor::new_from_get_set(function.into(), nothing.into());
            property.set_enumerable(true);
            property.set_configurable(true);
            holder.define_property(scope, name.into(), &property)?.then_some(())
        }
    }
}

fn native<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    function: v8::FunctionCallback,
    length: i32,
) -> Option<v8::Local<'s, v8::Function>> {
    v8::Function::builder_raw(function)
        .length(length)
        .constructor_behavior(v8::ConstructorBehavior::Throw)
        .build(scope)
}

fn install_random<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    global: v8::Local<'_, v8::Object>,
) -> Option<v8::Local<'s, v8::Function>> {
    let math = holder(scope, global, Some("Math"))?;
    let refill = native(scope, refill_random(), 1)?;
    random::install(scope, math, refill)
}

fn remove(
    scope: &mut v8::PinScope<'_, '_>,
    global: v8::Local<'_, v8::Object>,
    object: Option<&str>,
    name: &str,
) -> Option<()> {
    let holder = holder(scope, global, object)?;
    let key = v8::String::new(scope, name)?;
    holder.delete(scope, key.into())?.then_some(())
}

/// WebAssembly can still make memories that are shared. Their buffers do not lead to the
/// constructor of others.
fn hide_shared_buffers(scope: &mut v8::PinScope<'_, '_>) -> Option<()> {
    let buffer: v8::Local<'_, v8::Object> = v8::SharedArrayBuffer::new(scope, 0)?.into();
    let prototype = v8::Local::<v8::Object>::try_from(buffer.get_prototype(scope)?).ok()?;
    let key = v8::String::new(scope, "constructor")?;
    prototype.delete(scope, key.into())?.then_some(())
}

fn define(
    scope: &mut v8::PinScope<'_, '_>,
    object: v8::Local<'_, v8::Object>,
    name: &'static str,
    value: v8::Local<'_, v8::Value>,
) -> Result<(), InstallError> {
    let key = v8::String::new(scope, name).ok_or(InstallError(name))?;
    // As the web has it: replaceable, not listed.
    object
        .define_own_property(scope, key.into(), value, v8::PropertyAttribute::DONT_ENUM)
        .ok_or(InstallError(name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::run;

    /// A new V8 may bring globals: each is to be looked at before scripts get it.
    #[test]
    fn scripts_have_these_globals_and_no_others() {
        let ran = run("const strip = names => names.filter(name => typeof name === 'string').sort().join(' ');
             console.log(strip(Reflect.ownKeys(globalThis)));
             console.log(strip(Reflect.ownKeys(Atomics)));
             console.log(strip(Reflect.ownKeys(Temporal.Now)));
             console.log(strip(Reflect.ownKeys(crypto)), strip(Reflect.ownKeys(performance)));");
        assert_eq!(
            ran.console,
            "AggregateError Array ArrayBuffer AsyncDisposableStack Atomics BigInt BigInt64Array \
             BigUint64Array Boolean DataView Date DisposableStack Error EvalError \
             FinalizationRegistry Float16Array Float32Array Float64Array Function Infinity \
             Int16Array Int32Array Int8Array Intl Iterator JSON Map Math NaN Number Object Promise \
             Proxy RangeError ReferenceError Reflect RegExp Set String SuppressedError Symbol \
             SyntaxError Temporal TypeError URIError Uint16Array Uint32Array Uint8Array \
             Uint8ClampedArray WeakMap WeakRef WeakSet WebAssembly artifact clearInterval clearTimeout \
             console crypto decodeURI decodeURIComponent encodeURI encodeURIComponent escape eval \
             globalThis isFinite isNaN parseFloat parseInt performance queueMicrotask setInterval \
             setTimeout undefined unescape\n\
             add and compareExchange exchange isLockFree load notify or pause store sub wait xor\n\
             instant plainDateISO plainDateTimeISO plainTimeISO timeZoneId zonedDateTimeISO\n\
             getRandomValues randomUUID now timeOrigin\n"
        );
    }
}
