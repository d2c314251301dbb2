//! The text of `error.stack`: V8's format, positions in the user's source. And where an error was
//! made, which is taken from the frames: the text also holds names and messages of the script.

use crate::errors;
use crate::source::{Position, PositionMap};
use crate::state::State;

/// Where [`prepare`] keeps the place of an error, on the error itself, out of the script's reach.
const PLACE: &str = "mcp-v8 place";

/// V8 calls this when the stack of an error is first looked at. Overridden `name` and `message`
/// are read without running getters: the text is wanted most when a script is falling apart.
pub(crate) fn prepare<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
    sites: v8::Local<'s, v8::Array>,
) -> v8::Local<'s, v8::Value> {
    let mut text = errors::headline(scope, error);
    let positions = State::of(scope).map(|state| state.positions());
    let mut place = None;
    for at in 0..sites.length() {
        v8::scope!(let scope, scope);
        let Some(site) = sites.get_index(scope, at).and_then(|site| site.to_object(scope)) else {
            continue;
        };
        if let (None, Some(positions)) = (place, &positions) {
            place = site_place(scope, site, positions);
        }
        let Some(site) = site_text(scope, site) else { continue };
        text.push_str("\n    at ");
        match &positions {
            Some(positions) => text.push_str(&positions.map_text(&site)),
            None => text.push_str(&site),
        }
    }
    if let Some(place) = place {
        keep(scope, error, place);
    }
    match v8::String::new(scope, &text) {
        Some(text) => text.into(),
        None => v8::String::empty(scope).into(),
    }
}

/// Where `error` was made, if its stack has been looked at.
pub(crate) fn place_of(
    scope: &mut v8::PinScope<'_, '_>,
    error: v8::Local<'_, v8::Object>,
) -> Option<Position> {
    let key = place_key(scope)?;
    let kept = v8::Local::<v8::BigInt>::try_from(error.get_private(scope, key)?).ok()?;
    let (packed, _) = kept.u64_value();
    Some(Position {
        line: u32::try_from(packed >> 32).ok()?,
        column: u32::try_from(packed & u64::from(u32::MAX)).ok()?,
    })
}

fn keep(scope: &mut v8::PinScope<'_, '_>, error: v8::Local<'_, v8::Value>, place: Position) {
    let Ok(error) = v8::Local::<v8::Object>::try_from(error) else { return };
    if let Some(key) = place_key(scope) {
        let packed = u64::from(place.line) << 32 | u64::from(place.column);
        let packed = v8::BigInt::new_from_u64(scope, packed);
        let _ = error.set_private(scope, key, packed.into());
    }
}

fn place_key<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Private>> {
    let name = v8::String::new(scope, PLACE)?;
    Some(v8::Private::for_api(scope, Some(name)))
}

/// The place of a frame in the user's source; none for frames of anything else.
fn site_place(
    scope: &mut v8::PinScope<'_, '_>,
    site: v8::Local<'_, v8::Object>,
    positions: &PositionMap,
) -> Option<Position> {
    let name = call(scope, site, "getFileName")?;
    let name = v8::Local::<v8::String>::try_from(name).ok()?;
    if name.to_rust_string_lossy(scope) != positions.script_name() {
        return None;
    }
    let mut number = |method| call(scope, site, method)?.uint32_value(scope);
    let (line, column) = (number("getLineNumber")?, number("getColumnNumber")?);
    Some(positions.map(Position { line, column }))
}

/// One frame as V8 writes it.
fn site_text(scope: &mut v8::PinScope<'_, '_>, site: v8::Local<'_, v8::Object>) -> Option<String> {
    let text = v8::Local::<v8::String>::try_from(call(scope, site, "toString")?).ok()?;
    Some(text.to_rust_string_lossy(scope))
}

/// What a method of a call site gives. Scripts cannot reach their prototype, so the method is V8's
/// own.
fn call<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    site: v8::Local<'_, v8::Object>,
    method: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    v8::tc_scope!(let scope, scope);
    let key = v8::String::new(scope, method)?;
    let method = v8::Local::<v8::Function>::try_from(site.get(scope, key.into())?).ok()?;
    method.call(scope, site.into(), &[])
}
