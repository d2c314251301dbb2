//! The text of `error.stack`: V8's format, positions in the user's source.

use crate::errors;
use crate::state::State;

/// V8 calls this when the stack of an error is first looked at. Overridden `name` and `message`
/// are read without running getters: the text is wanted most when a script is falling apart.
pub(crate) fn prepare<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
    sites: v8::Local<'s, v8::Array>,
) -> v8::Local<'s, v8::Value> {
    let mut text = errors::headline(scope, error);
    let positions = State::of(scope).map(|state| state.positions());
    for at in 0..sites.length() {
        let Some(site) = site_text(scope, sites, at) else { continue };
        text.push_str("\n    at ");
        match &positions {
            Some(positions) => text.push_str(&positions.map_text(&site)),
            None => text.push_str(&site),
        }
    }
    match v8::String::new(scope, &text) {
        Some(text) => text.into(),
        None => v8::String::empty(scope).into(),
    }
}

/// One frame as V8 writes it. Scripts cannot reach the prototype of call sites, so the method
/// called is V8's own.
fn site_text(
    scope: &mut v8::PinScope<'_, '_>,
    sites: v8::Local<'_, v8::Array>,
    at: u32,
) -> Option<String> {
    v8::tc_scope!(let scope, scope);
    let site = sites.get_index(scope, at)?.to_object(scope)?;
    let key = v8::String::new(scope, "toString")?;
    let to_string = v8::Local::<v8::Function>::try_from(site.get(scope, key.into())?).ok()?;
    let text = to_string.call(scope, site.into(), &[])?;
    let text = v8::Local::<v8::String>::try_from(text).ok()?;
    Some(text.to_rust_string_lossy(scope))
}
