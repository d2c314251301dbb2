//! `crypto.getRandomValues` and `crypto.randomUUID`: the kernel's random bytes, nothing in between.
//!
//! They refuse what Web Crypto refuses. Where the web throws a `DOMException`, which there is none
//! of here, an `Error` of the same `name` is thrown.

use crate::limits::CRYPTO_RANDOM_BYTES_MAX;
use crate::{errors, random};

const INTEGER_TYPES: &str = "an Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, \
     Uint16Array, Int32Array, Uint32Array, BigInt64Array or BigUint64Array";

/// `crypto.getRandomValues(array)`: fills the array and returns it.
pub(crate) fn get_random_values(
    scope: &mut v8::PinScope<'_, '_>,
    args: v8::FunctionCallbackArguments<'_>,
    mut result: v8::ReturnValue<'_, v8::Value>,
) {
    const NAME: &str = "crypto.getRandomValues";
    let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0)) else {
        let message = format!("{NAME}: the argument must be {INTEGER_TYPES}");
        errors::throw_type_error(scope, &message);
        return;
    };
    let Some(store) = view.get_backing_store() else { return };
    if store.is_shared() || store.is_resizable_by_user_javascript() {
        let message = format!("{NAME}: the array's buffer must be neither shared nor resizable");
        errors::throw_type_error(scope, &message);
        return;
    }
    if !holds_integers(view.into()) {
        let message = format!("{NAME}: the array must be {INTEGER_TYPES}");
        errors::throw_named(scope, "TypeMismatchError", &message);
        return;
    }
    let length = view.byte_length();
    if length > CRYPTO_RANDOM_BYTES_MAX {
        let message =
            format!("{NAME}: the array has {length} bytes, {CRYPTO_RANDOM_BYTES_MAX} is the most");
        errors::throw_named(scope, "QuotaExceededError", &message);
        return;
    }
    let mut bytes = vec![0; length];
    if let Err(error) = random::fill(&mut bytes) {
        return random::throw(scope, error);
    }
    for (place, byte) in store.iter().skip(view.byte_offset()).zip(bytes) {
        place.set(byte);
    }
    result.set(view.into());
}

fn holds_integers(view: v8::Local<'_, v8::Value>) -> bool {
    view.is_typed_array()
        && !view.is_float16_array()
        && !view.is_float32_array()
        && !view.is_float64_array()
}

/// `crypto.randomUUID()`: a version 4 UUID of RFC 9562.
pub(crate) fn random_uuid(
    scope: &mut v8::PinScope<'_, '_>,
    _: v8::FunctionCallbackArguments<'_>,
    mut result: v8::ReturnValue<'_, v8::Value>,
) {
    let mut bytes = [0; 16];
    if let Err(error) = random::fill(&mut bytes) {
        return random::throw(scope, error);
    }
    if let Some(text) = v8::String::new(scope, &uuid(bytes)) {
        result.set(text.into());
    }
}

/// The text of the version 4 UUID with these random bytes.
fn uuid(bytes: [u8; 16]) -> String {
    let version = u128::from_be_bytes(bytes) & !(0xf << 76) | 4 << 76;
    let variant = version & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{variant:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::uuid;
    use crate::limits::CRYPTO_RANDOM_BYTES_MAX;
    use crate::testing::run;

    /// Runs `code` with `said(f)`, which gives what `f` throws as text.
    fn result(code: &str) -> String {
        let said =
            "const said = f => { try { f(); return 'nothing' } catch (e) { return `${e}` } };";
        run(&format!("{said} {code}")).result().unwrap()
    }

    #[test]
    fn integer_arrays_are_filled_and_returned() {
        let code = "const kinds = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array,
                           Int32Array, Uint32Array, BigInt64Array, BigUint64Array];
             kinds.filter(kind => [1, 300].some(length => {
                 const array = new kind(length), zero = array[0];
                 // The chance that all stay zero in one of these is 2^-64 at most.
                 for (let i = 0; i < 8; i++) if (crypto.getRandomValues(array) !== array) return true;
                 if (length > 1 && new Set(array).size < 60) return true;
                 for (let i = 0; array[0] === zero && i < 99; i++) crypto.getRandomValues(array);
                 return array[0] === zero;
             })).length";
        assert_eq!(result(code), "0");
    }

    #[test]
    fn only_the_view_is_filled() {
        let code =
            "const all = new Uint8Array(3000), part = new Uint16Array(all.buffer, 1000, 500);
             crypto.getRandomValues(part);
             const some = (from, to) => all.subarray(from, to).some(byte => byte);
             class Mine extends Uint8Array {}
             [some(0, 1000), some(1000, 2000), some(2000, 3000),
              crypto.getRandomValues(new Mine(4)) instanceof Mine,
              crypto.getRandomValues(new Uint8Array(0)).length]";
        assert_eq!(result(code), "[false,true,false,true,0]");
    }

    #[test]
    fn as_many_bytes_as_web_crypto_gives_and_not_one_more() {
        let most = CRYPTO_RANDOM_BYTES_MAX;
        let code = format!(
            "[said(() => crypto.getRandomValues(new Uint8Array({most}))),
              said(() => crypto.getRandomValues(new Uint8Array({most} + 1))),
              said(() => crypto.getRandomValues(new Uint32Array({most} / 4 + 1)))].join('; ')"
        );
        let refused = "QuotaExceededError: crypto.getRandomValues: the array has";
        let expected = format!(
            "nothing; {refused} {} bytes, {most} is the most; \
             {refused} {} bytes, {most} is the most",
            most + 1,
            most + 4
        );
        assert_eq!(result(&code), expected);
    }

    #[test]
    fn what_web_crypto_refuses_is_refused_by_the_same_name() {
        let code = "const names = [[], [1], [[1]], [{length: 1}], [new ArrayBuffer(4)],
                 [new Uint8Array(new ArrayBuffer(4, {maxByteLength: 8}))],
                 [new Uint8Array(new WebAssembly.Memory({shared: true, initial: 1, maximum: 1}).buffer)],
                 [new Float32Array(1)], [new Float64Array(1)], [new Float16Array(1)],
                 [new DataView(new ArrayBuffer(4))], [new Float32Array(1e5)]]
                 .map(args => said(() => crypto.getRandomValues(...args)).split(':')[0]);
             let error; try { crypto.getRandomValues(new Float32Array(1)) } catch (e) { error = e }
             [...names, error instanceof Error, error.stack.startsWith('TypeMismatchError: crypto.'),
              said(() => new crypto.getRandomValues(new Uint8Array(1))).split(':')[0],
              Object.prototype.toString.call(crypto)].join()";
        let type_error = "TypeError,".repeat(7);
        let mismatch = "TypeMismatchError,".repeat(5);
        assert_eq!(
            result(code),
            format!("{type_error}{mismatch}true,true,TypeError,[object Crypto]")
        );
    }

    #[test]
    fn a_uuid_is_random_but_for_version_and_variant() {
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let code = "const all = Array.from({length: 1000}, () => crypto.randomUUID());
             [new Set(all).size, all.every(id =>
                 /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id))]";
        assert_eq!(result(code), "[1000,true]");
    }
}
