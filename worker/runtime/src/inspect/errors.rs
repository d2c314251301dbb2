//! Errors: headline, stack, own properties, causes.

use super::lookup::{self, Property};
use super::{Inspector, Parents, text::Writer};
use crate::limits::CAUSES_MAX;
use crate::source::Position;
use crate::stack;
use crate::state::State;

/// Bytes of an error's name or message that are shown.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// `Name: message` of an error; none for what is not one.
pub(crate) fn headline(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
) -> Option<String> {
    let error = as_error(value)?;
    v8::scope!(let scope, scope);
    let mut text = |key: &str| {
        let value = lookup::inherited(scope, error, key)?;
        let string = v8::Local::<v8::String>::try_from(value).ok()?;
        let mut text = String::new();
        Writer::new(&mut text, TEXT_BYTES_MAX).push_v8(scope, string);
        Some(text)
    };
    let name = text("name").unwrap_or_else(|| "Error".to_owned());
    let message = text("message").unwrap_or_default();
    Some(match (name.is_empty(), message.is_empty()) {
        (true, _) => message,
        (false, true) => name,
        (false, false) => format!("{name}: {message}"),
    })
}

/// The stack of an error as text; none when it has none that can be read without running code.
pub(crate) fn stack_of(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
) -> Option<String> {
    let error = as_error(value)?;
    v8::scope!(let scope, scope);
    let key = v8::String::new(scope, "stack")?;
    let value = match lookup::own(scope, error, key.into())? {
        Property::Data(value) => value,
        // V8 keeps the stack behind an accessor of its own. Another one is the script's.
        Property::Accessor { getter, .. } => {
            let getter = getter.filter(|getter| is_native_getter(scope, *getter))?;
            v8::tc_scope!(let scope, scope);
            getter.call(scope, error.into(), &[])?
        }
    };
    let text = v8::Local::<v8::String>::try_from(value).ok()?;
    let mut stack = String::new();
    Writer::new(&mut stack, mcp_v8_protocol::limits::STACK_BYTES_MAX).push_v8(scope, text);
    Some(stack).filter(|stack| !stack.is_empty())
}

/// Where an error was made, whatever the script has put in the place of its stack. None when the
/// script wrote over the stack before anyone had looked at it.
pub(crate) fn place_of(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
) -> Option<Position> {
    let error = as_error(value)?;
    v8::scope!(let scope, scope);
    if let Some(getter) = native_getter(scope) {
        v8::tc_scope!(let scope, scope);
        // For what V8 does when it is asked the first time: see `stack::prepare`.
        let _ = getter.call(scope, error.into(), &[]);
    }
    stack::place_of(scope, error)
}

/// Whether `getter` is the one V8 gives to every error.
fn is_native_getter(scope: &mut v8::PinScope<'_, '_>, getter: v8::Local<'_, v8::Function>) -> bool {
    native_getter(scope).is_some_and(|native| native == getter)
}

fn native_getter<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Function>> {
    let state = State::of(scope)?;
    if state.stack_getter.borrow().is_none() {
        let found = find_native_getter(scope);
        state.stack_getter.replace(found);
    }
    state.stack_getter.borrow().as_ref().map(|native| v8::Local::new(scope, native))
}

fn find_native_getter(scope: &mut v8::PinScope<'_, '_>) -> Option<v8::Global<v8::Function>> {
    let empty = v8::String::empty(scope);
    let error = v8::Local::<v8::Object>::try_from(v8::Exception::error(scope, empty)).ok()?;
    let key = v8::String::new(scope, "stack")?;
    match lookup::own(scope, error, key.into())? {
        Property::Accessor { getter: Some(getter), .. } => Some(v8::Global::new(scope, getter)),
        _ => None,
    }
}

fn as_error<'a>(value: v8::Local<'a, v8::Value>) -> Option<v8::Local<'a, v8::Object>> {
    if value.is_native_error() { v8::Local::try_from(value).ok() } else { None }
}

impl Inspector<'_, '_> {
    pub(super) fn error(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        error: v8::Local<'_, v8::Object>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        let headline = headline(scope, error.into()).unwrap_or_default();
        match stack_of(scope, error.into()) {
            // The stack keeps the name and message the error was made with.
            Some(stack) if stack.starts_with(&headline) => self.out.push(&stack),
            Some(stack) => {
                self.out.push(&headline);
                if let Some(frames) = stack.find("\n    at ") {
                    self.out.push(&stack[frames..]);
                }
            }
            None => self.out.push(&format!("[{headline}]")),
        }
        const HIDDEN: &[&str] = &["stack", "message", "name", "cause", "errors"];
        self.extra_properties(scope, error, HIDDEN, parents, depth);
        if depth > CAUSES_MAX {
            return;
        }
        for name in ["cause", "errors"] {
            let Some(key) = v8::String::new(scope, name) else { return };
            if let Some(Property::Data(value)) = lookup::own(scope, error, key.into()) {
                self.out.push(&format!("\n  [{name}]: "));
                self.value(scope, value, Some(parents), depth);
            }
        }
    }
}
