//! Values as text: compact JSON where JSON can show them, readable where it cannot.
//!
//! # Contract
//! * Written against V8's own API: nothing a script does to its globals, prototypes or iterators
//!   changes what is shown, and neither getters nor proxy traps run. The one piece of the script's
//!   code that runs is a plain `toJSON` method, and what it throws is dropped.
//! * Bounded in depth, items and bytes, so any value costs about what is shown of it.

mod collections;
mod errors;
mod lookup;
mod objects;
mod regexp;
mod text;

use crate::limits::{INSPECT_BYTES_MAX, INSPECT_DEPTH_MAX};

pub(crate) use errors::{headline as error_headline, place_of as error_place, stack_of};
use text::Writer;
pub(crate) use text::quote;

/// Writes at most `bytes_max` bytes of `value` behind `out`, strings quoted. Says whether it was
/// cut.
pub(crate) fn write(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
    out: &mut String,
    bytes_max: usize,
) -> bool {
    let mut writer = Writer::new(out, bytes_max.min(INSPECT_BYTES_MAX));
    Inspector { out: &mut writer }.value(scope, value, None, 0);
    writer.is_full()
}

/// As [`write`], but a string is written as it is, and bounded by `bytes_max` alone.
pub(crate) fn write_plain(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
    out: &mut String,
    bytes_max: usize,
) -> bool {
    match v8::Local::<v8::String>::try_from(value) {
        Ok(string) => {
            let mut writer = Writer::new(out, bytes_max);
            writer.push_v8(scope, string);
            writer.is_full()
        }
        Err(_) => write(scope, value, out, bytes_max),
    }
}

/// The value of an own data property, or the getter of an accessor, without running either. `object`
/// must not be a proxy.
pub(crate) fn own_value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'_, v8::Object>,
    key: v8::Local<'_, v8::Name>,
) -> Option<v8::Local<'s, v8::Value>> {
    match lookup::own(scope, object, key)? {
        lookup::Property::Data(value) => Some(value),
        lookup::Property::Accessor { getter, .. } => getter.map(Into::into),
    }
}

/// Objects that are being shown, innermost first, to notice cycles.
struct Parents<'a> {
    object: v8::Local<'a, v8::Object>,
    outer: Option<&'a Parents<'a>>,
}

struct Inspector<'w, 'o> {
    out: &'w mut Writer<'o>,
}

impl Inspector<'_, '_> {
    fn value(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        value: v8::Local<'_, v8::Value>,
        parents: Option<&Parents<'_>>,
        depth: usize,
    ) {
        if self.out.is_full() {
            return;
        }
        if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
            self.out.push_quoted(scope, string);
        } else if let Ok(symbol) = v8::Local::<v8::Symbol>::try_from(value) {
            self.symbol(scope, symbol);
        } else if let Ok(bigint) = v8::Local::<v8::BigInt>::try_from(value) {
            self.bigint(scope, bigint);
        } else if let Ok(number) = v8::Local::<v8::Number>::try_from(value) {
            self.number(scope, number);
        } else if value.is_external() {
            self.out.push("[External]");
        } else if let Ok(object) = v8::Local::<v8::Object>::try_from(value) {
            self.object(scope, object, parents, depth);
        } else {
            // undefined, null, true and false
            let text = value.type_of(scope);
            match () {
                () if value.is_null() => self.out.push("null"),
                () if value.is_true() => self.out.push("true"),
                () if value.is_false() => self.out.push("false"),
                () => self.out.push_v8(scope, text),
            }
        }
    }

    fn number(&mut self, scope: &mut v8::PinScope<'_, '_>, number: v8::Local<'_, v8::Number>) {
        let value = number.value();
        if value == 0.0 && value.is_sign_negative() {
            self.out.push("-0");
        } else if let Some(text) = number.to_string(scope) {
            self.out.push_v8(scope, text);
        }
    }

    fn bigint(&mut self, scope: &mut v8::PinScope<'_, '_>, bigint: v8::Local<'_, v8::BigInt>) {
        // Decimal digits cost the square of the length.
        if bigint.word_count() > crate::limits::INSPECT_BIGINT_WORDS_MAX {
            self.out.push(&format!("[BigInt of {} bits]", bigint.word_count() * 64));
        } else if let Some(text) = bigint.to_string(scope) {
            self.out.push_v8(scope, text);
            self.out.push("n");
        }
    }

    fn symbol(&mut self, scope: &mut v8::PinScope<'_, '_>, symbol: v8::Local<'_, v8::Symbol>) {
        self.out.push("Symbol(");
        if let Ok(text) = v8::Local::<v8::String>::try_from(symbol.description(scope)) {
            self.out.push_v8(scope, text);
        }
        self.out.push(")");
    }

    fn object(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<'_, v8::Object>,
        parents: Option<&Parents<'_>>,
        depth: usize,
    ) {
        let mut outer = parents;
        while let Some(parent) = outer {
            if parent.object.strict_equals(object.into()) {
                self.out.push("[Circular]");
                return;
            }
            outer = parent.outer;
        }
        if depth >= INSPECT_DEPTH_MAX {
            self.out.push(if object.is_array() { "[…]" } else { "{…}" });
            return;
        }
        v8::scope!(let scope, scope);
        let parents = Parents { object, outer: parents };
        self.object_by_kind(scope, object, &parents, depth + 1);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
