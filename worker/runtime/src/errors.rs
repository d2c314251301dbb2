//! Exceptions as failures in the user's terms, and exceptions thrown at scripts.
//!
//! A thrown value is hostile: it may be a proxy whose traps throw, or an error with getters. It is
//! only looked at, never run.

use mcp_v8_protocol::limits::{MESSAGE_BYTES_MAX, STACK_BYTES_MAX, cut};
use mcp_v8_protocol::{Failure, FailureKind};

use crate::inspect;
use crate::source::Position;
use crate::state::State;

/// The exact text clients know.
pub(crate) const OUT_OF_MEMORY: &str =
    "Out of memory: V8 heap limit exceeded. Try increasing heap_memory_max_mb.";

/// A failure without a place.
pub(crate) fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    let mut message = message.into();
    cut(&mut message, MESSAGE_BYTES_MAX);
    Failure { kind, message, stack: None, line: None, column: None }
}

/// Gives a failure its place, unless that is unknown.
pub(crate) fn set_position(failure: &mut Failure, position: Option<Position>) {
    if let Some(position) = position {
        failure.line = Some(position.line);
        failure.column = Some(position.column);
    }
}

/// The failure that `exception` stands for. `message` is V8's record of the throw, if there is one.
pub(crate) fn describe(
    scope: &mut v8::PinScope<'_, '_>,
    state: &State,
    kind: FailureKind,
    exception: v8::Local<'_, v8::Value>,
    message: Option<v8::Local<'_, v8::Message>>,
) -> Failure {
    let mut failure = failure(kind, headline(scope, exception));
    failure.stack = inspect::stack_of(scope, exception);
    if let Some(stack) = &mut failure.stack {
        cut(stack, STACK_BYTES_MAX);
    }
    let thrown_at = message.and_then(|message| position_of(scope, state, message));
    // A rethrown error tells more by where it was made, and only that survives an `await`.
    let made_at = inspect::error_place(scope, exception);
    set_position(&mut failure, made_at.or(thrown_at));
    failure
}

/// `TypeError: text` for errors, `Uncaught …` for what else can be thrown.
pub(crate) fn headline(
    scope: &mut v8::PinScope<'_, '_>,
    exception: v8::Local<'_, v8::Value>,
) -> String {
    inspect::error_headline(scope, exception).unwrap_or_else(|| {
        let mut text = "Uncaught ".to_owned();
        inspect::write(scope, exception, &mut text, MESSAGE_BYTES_MAX);
        text
    })
}

/// Where `message` points in the user's source, if it points there at all.
pub(crate) fn position_of(
    scope: &mut v8::PinScope<'_, '_>,
    state: &State,
    message: v8::Local<'_, v8::Message>,
) -> Option<Position> {
    let positions = state.positions();
    let name = v8::Local::<v8::String>::try_from(message.get_script_resource_name(scope)?).ok()?;
    if name.to_rust_string_lossy(scope) != positions.script_name() {
        return None;
    }
    let line = u32::try_from(message.get_line_number(scope)?).ok()?;
    let column = u32::try_from(message.get_start_column()).ok()? + 1;
    Some(positions.map(Position { line, column }))
}

/// Throws a `TypeError` at the script.
pub(crate) fn throw_type_error(scope: &mut v8::PinScope<'_, '_>, message: &str) {
    throw(scope, message, v8::Exception::type_error);
}

/// Throws a `RangeError` at the script.
pub(crate) fn throw_range_error(scope: &mut v8::PinScope<'_, '_>, message: &str) {
    throw(scope, message, v8::Exception::range_error);
}

/// Throws an `Error` of that `name` at the script, where the web has a `DOMException`.
pub(crate) fn throw_named(scope: &mut v8::PinScope<'_, '_>, name: &str, message: &str) {
    throw(scope, message, |scope, message| {
        let error = v8::Exception::error(scope, message);
        let key = v8::String::new(scope, "name");
        let name = v8::String::new(scope, name);
        if let (Ok(error), Some(key), Some(name)) = (error.try_cast::<v8::Object>(), key, name) {
            let hidden = v8::PropertyAttribute::DONT_ENUM;
            let _ = error.define_own_property(scope, key.into(), name.into(), hidden);
        }
        error
    });
}

fn throw<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    message: &str,
    make: impl Fn(&v8::PinScope<'s, 'i>, v8::Local<'_, v8::String>) -> v8::Local<'s, v8::Value>,
) {
    if let Some(message) = v8::String::new(scope, message) {
        let exception = make(scope, message);
        scope.throw_exception(exception);
    }
}
