//! Compiles and starts the module, and reads its result.

use mcp_v8_protocol::{Failure, FailureKind};

use crate::source::{self, Position, Prepared};
use crate::state::State;
use crate::{errors, globals, thrown};

/// A module whose evaluation has begun.
pub(crate) struct Evaluating<'s> {
    pub(crate) module: v8::Local<'s, v8::Module>,
    /// Settles when the module has run to its end.
    pub(crate) promise: v8::Local<'s, v8::Promise>,
}

/// Compiles the source and runs it up to its first `await`.
pub(crate) fn start<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &State,
    prepared: &Prepared,
) -> Result<Evaluating<'s>, Failure> {
    let module = compile(scope, state, prepared)?;
    refuse_imports(scope, state, module)?;
    v8::tc_scope!(let scope, scope);
    let instantiated = module.instantiate_module(scope, resolve_nothing);
    if instantiated.is_none() {
        return Err(caught(scope, state, FailureKind::Syntax));
    }
    let Some(value) = module.evaluate(scope) else {
        return Err(caught(scope, state, FailureKind::Thrown));
    };
    let Ok(promise) = v8::Local::<v8::Promise>::try_from(value) else {
        return Err(errors::failure(FailureKind::Thrown, "V8 evaluated the module to no promise"));
    };
    Ok(Evaluating { module, promise })
}

/// The default export, or nothing.
pub(crate) fn result<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    module: v8::Local<'_, v8::Module>,
) -> Option<v8::Local<'s, v8::Value>> {
    v8::tc_scope!(let scope, scope);
    let namespace = module.get_module_namespace().to_object(scope)?;
    let key = v8::String::new(scope, "default")?;
    let value = namespace.get(scope, key.into())?;
    Some(value)
}

fn compile<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &State,
    prepared: &Prepared,
) -> Result<v8::Local<'s, v8::Module>, Failure> {
    v8::tc_scope!(let scope, scope);
    let too_long = || errors::failure(FailureKind::Syntax, "the source is longer than V8 accepts");
    let code = v8::String::new(scope, &prepared.code).ok_or_else(too_long)?;
    let name =
        v8::String::new(scope, prepared.positions.script_name()).ok_or_else(too_long)?.into();
    let origin =
        v8::ScriptOrigin::new(scope, name, 0, 0, false, -1, None, false, false, true, None);
    let mut source = v8::script_compiler::Source::new(code, Some(&origin));
    match v8::script_compiler::compile_module(scope, &mut source) {
        Some(module) => Ok(module),
        // V8 bounds its parser by the stack, and says so as a running script would hear it.
        None if is_range_error(scope) => {
            Err(errors::failure(FailureKind::Syntax, source::NESTED_TOO_DEEPLY))
        }
        None => Err(caught(scope, state, FailureKind::Syntax)),
    }
}

/// The value of a script of our own.
pub(crate) fn evaluate_internal<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
    code: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    let name = v8::String::new(scope, name)?.into();
    let origin =
        v8::ScriptOrigin::new(scope, name, 0, 0, false, -1, None, false, false, false, None);
    let code = v8::String::new(scope, code)?;
    v8::tc_scope!(let scope, scope);
    let script = v8::Script::compile(scope, code, Some(&origin))?;
    script.run(scope)
}

/// An array of V8's own, whichever.
pub(crate) fn any_fixed_array<'s>(
    scope: &mut v8::PinScope<'s, '_>,
) -> Option<v8::Local<'s, v8::FixedArray>> {
    let name = v8::String::new(scope, "empty.js")?.into();
    let origin =
        v8::ScriptOrigin::new(scope, name, 0, 0, false, -1, None, false, false, true, None);
    let mut source = v8::script_compiler::Source::new(v8::String::empty(scope), Some(&origin));
    let module = v8::script_compiler::compile_module(scope, &mut source)?;
    Some(module.get_module_requests())
}

fn is_range_error<'obj>(
    scope: &mut v8::PinnedRef<'_, v8::TryCatch<'_, 'obj, v8::HandleScope<'_>>>,
) -> bool {
    let Some(exception) = scope.exception() else { return false };
    crate::inspect::error_headline(scope, exception)
        .is_some_and(|headline| headline.starts_with("RangeError"))
}

fn refuse_imports(
    scope: &mut v8::PinScope<'_, '_>,
    state: &State,
    module: v8::Local<'_, v8::Module>,
) -> Result<(), Failure> {
    let requests = module.get_module_requests();
    if requests.length() == 0 {
        return Ok(());
    }
    let Some(request) = requests.get(scope, 0) else { return Ok(()) };
    let Ok(request) = v8::Local::<v8::ModuleRequest>::try_from(request) else { return Ok(()) };
    let specifier = request.get_specifier().to_rust_string_lossy(scope);
    let mut failure = errors::failure(FailureKind::Syntax, cannot_import(&specifier));
    let location = module.source_offset_to_location(request.get_source_offset());
    let position = Position {
        line: u32::try_from(location.get_line_number()).unwrap_or(0) + 1,
        column: u32::try_from(location.get_column_number()).unwrap_or(0) + 1,
    };
    errors::set_position(&mut failure, Some(state.positions().map(position)));
    Err(failure)
}

fn cannot_import(specifier: &str) -> String {
    let mut shown = String::new();
    crate::inspect::quote(specifier, &mut shown);
    format!("Cannot import {shown}: scripts have no modules to import from")
}

fn resolve_nothing<'s>(
    _: v8::Local<'s, v8::Context>,
    _: v8::Local<'s, v8::String>,
    _: v8::Local<'s, v8::FixedArray>,
    _: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    None
}

/// `import(…)`: a promise rejected with the same words.
pub(crate) fn import_dynamically<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _options: v8::Local<'s, v8::Data>,
    _referrer: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
) -> Option<v8::Local<'s, v8::Promise>> {
    let text = cannot_import(&specifier.to_rust_string_lossy(scope));
    let message = v8::String::new(scope, &text)?;
    let error = v8::Exception::type_error(scope, message);
    let resolver = v8::PromiseResolver::new(scope)?;
    resolver.reject(scope, error);
    Some(resolver.get_promise(scope))
}

/// `import.meta.url` names the source as stack traces do; `thrown` is what throws are compiled to.
pub(crate) unsafe extern "C" fn initialize_import_meta(
    context: v8::Local<'_, v8::Context>,
    _: v8::Local<'_, v8::Module>,
    meta: v8::Local<'_, v8::Object>,
) {
    // SAFETY: V8 calls this with a live context.
    v8::callback_scope!(unsafe let scope, context);
    let Some(state) = State::of(scope) else { return };
    let url = format!("file:///{}", state.positions().script_name());
    if let (Some(key), Some(url)) = (v8::String::new(scope, "url"), v8::String::new(scope, &url)) {
        let _ = meta.create_data_property(scope, key.into(), url.into());
    }
    let function = v8::Function::builder_raw(globals::note_thrown())
        .constructor_behavior(v8::ConstructorBehavior::Throw)
        .build(scope);
    if let (Some(key), Some(function)) = (v8::String::new(scope, thrown::NAME), function) {
        let hidden = v8::PropertyAttribute::DONT_ENUM
            | v8::PropertyAttribute::READ_ONLY
            | v8::PropertyAttribute::DONT_DELETE;
        let _ = meta.define_own_property(scope, key.into(), function.into(), hidden);
    }
}

/// The failure a `TryCatch` holds.
pub(crate) fn caught<'obj>(
    scope: &mut v8::PinnedRef<'_, v8::TryCatch<'_, 'obj, v8::HandleScope<'_>>>,
    state: &State,
    kind: FailureKind,
) -> Failure {
    match (scope.exception(), scope.message()) {
        (Some(exception), message) => errors::describe(scope, state, kind, exception, message),
        (None, _) => errors::failure(kind, "V8 gave up without an exception"),
    }
}
