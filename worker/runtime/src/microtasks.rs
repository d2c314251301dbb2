//! `queueMicrotask`, and exceptions that leave a microtask.

use crate::errors;
use crate::state::State;
use mcp_v8_protocol::FailureKind;

/// `queueMicrotask(callback)`.
pub(crate) fn queue_microtask(
    scope: &mut v8::PinScope<'_, '_>,
    args: v8::FunctionCallbackArguments<'_>,
    _: v8::ReturnValue<'_, v8::Value>,
) {
    let Ok(callback) = v8::Local::<v8::Function>::try_from(args.get(0)) else {
        errors::throw_type_error(scope, "queueMicrotask: the callback must be a function");
        return;
    };
    scope.enqueue_microtask(callback);
}

/// V8 calls this for exceptions nobody can catch any more: those of queued microtasks. The first
/// one fails the script.
pub(crate) unsafe extern "C" fn on_message(
    message: v8::Local<'_, v8::Message>,
    exception: v8::Local<'_, v8::Value>,
) {
    // SAFETY: V8 calls message listeners inside a context, with live handles.
    v8::callback_scope!(unsafe let scope, message);
    let context = scope.get_current_context();
    let scope = &mut v8::ContextScope::new(scope, context);
    let Some(state) = State::of(scope) else { return };
    if state.is_halted() || state.uncaught.borrow().is_some() {
        return;
    }
    let failure = errors::describe(scope, &state, FailureKind::Thrown, exception, Some(message));
    state.uncaught.borrow_mut().get_or_insert(failure);
}
