//! Chance: bytes from the kernel, and `Math.random`, which hands out numbers made from them.
//!
//! V8's own `Math.random` takes its seed from a generator that every isolate has from its start, so
//! processes forked from one that is ready would all draw the same numbers. The one here asks the
//! kernel when it is used first, in the process that uses it; what warming up has drawn is used up
//! then, and its seed forgotten.
//!
//! What scripts call is JavaScript (`random.js`) that reads from a batch of numbers, because V8
//! compiles that into the script's own loops; native code only makes the next batch. Scripts reach
//! neither the batch nor the native function: the closure is all that knows them, and its source is
//! not shown. It is for games and samples; secrets are what `crypto` is for.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::errors;
use crate::limits::{RANDOM_NUMBERS_CACHED, RANDOM_WARM_UP_BATCHES};
use crate::state::State;

/// The kernel gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub(crate) struct NoEntropy(rustix::io::Errno);

/// Fills `bytes` from the kernel.
///
/// # Errors
/// [`NoEntropy`] when the kernel refuses.
pub(crate) fn fill(mut bytes: &mut [u8]) -> Result<(), NoEntropy> {
    while !bytes.is_empty() {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(filled) => bytes = &mut std::mem::take(&mut bytes)[filled..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(NoEntropy(error)),
        }
    }
    Ok(())
}

/// Throws what Web Crypto throws when there is no chance to be had.
pub(crate) fn throw(scope: &mut v8::PinScope<'_, '_>, error: NoEntropy) {
    errors::throw_named(scope, "OperationError", &error.to_string());
}

/// xoshiro256++ by Blackman and Vigna: 256 bits of state, which are its seed.
#[derive(Debug)]
pub(crate) struct Generator([u64; 4]);

impl Generator {
    fn from_kernel() -> Result<Self, NoEntropy> {
        let mut seed = [0; 32];
        fill(&mut seed)?;
        Ok(Self::from_seed(seed))
    }

    fn from_seed(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        // All zero is the one state it would never leave.
        state[0] |= u64::from(state == [0; 4]);
        Self(state)
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number in [0, 1), of the 2^53 evenly spaced ones.
    fn next_number(&mut self) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        // Signed: processors have an instruction for that.
        (self.next() >> (u64::BITS - BITS)).cast_signed() as f64 / (1_i64 << BITS) as f64
    }
}

/// How the function begins in `random.js`.
const HEAD: &str = "random()";

/// [`HEAD`] with so much space in it that V8, which has 16 bits for where a function begins, does
/// not know it: it shows `[native code]` for the source of such functions. A bound function shows
/// that too, but calls of those are not compiled into a loop before its function is called again.
fn hidden_head() -> String {
    HEAD.replace('(', &(" ".repeat(1 << 16) + "("))
}

/// Puts `Math.random` in the place of V8's. `refill` is [`refill`] as the snapshot knows it. Gives the
/// function that drops the batch: heaps that are kept must not hold numbers to come.
pub(crate) fn install<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    math: v8::Local<'_, v8::Object>,
    refill: v8::Local<'_, v8::Function>,
) -> Option<v8::Local<'s, v8::Function>> {
    let file = v8::String::new(scope, "random.js")?.into();
    let origin =
        v8::ScriptOrigin::new(scope, file, 0, 0, false, -1, None, false, false, false, None);
    let code = include_str!("random.js").replace(HEAD, &hidden_head());
    let code = v8::String::new(scope, &code)?;
    let mut source = v8::script_compiler::Source::new(code, Some(&origin));
    let script = v8::script_compiler::compile(
        scope,
        &mut source,
        v8::script_compiler::CompileOptions::EagerCompile,
        v8::script_compiler::NoCacheReason::NoReason,
    )?;
    let script = script.run(scope)?;
    let make = v8::Local::<v8::Function>::try_from(script).ok()?;
    let this = v8::undefined(scope).into();
    let count = v8::Integer::new(scope, i32::try_from(RANDOM_NUMBERS_CACHED).ok()?);
    let made = make.call(scope, this, &[refill.into(), count.into()])?;
    let made = v8::Local::<v8::Object>::try_from(made).ok()?;
    let key = v8::String::new(scope, "random")?;
    let random = made.get(scope, key.into())?;
    let hidden = v8::PropertyAttribute::DONT_ENUM;
    math.define_own_property(scope, key.into(), random, hidden)?.then_some(())?;
    let key = v8::String::new(scope, "forget")?;
    v8::Local::try_from(made.get(scope, key.into())?).ok()
}

/// Calls `Math.random` until V8 has compiled it, so that a script that calls it a few thousand times
/// does not wait for that. Whole batches: the next call asks for a new one, and finds no seed.
pub(crate) fn warm_up(scope: &mut v8::PinScope<'_, '_>, state: &State) {
    let mut call = || {
        let context = scope.get_current_context();
        let (math, random) = (v8::String::new(scope, "Math")?, v8::String::new(scope, "random")?);
        let math = context.global(scope).get(scope, math.into())?.to_object(scope)?;
        let random = math.get(scope, random.into())?;
        let random = v8::Local::<v8::Function>::try_from(random).ok()?;
        for _ in 0..RANDOM_WARM_UP_BATCHES * RANDOM_NUMBERS_CACHED {
            v8::scope!(let scope, scope);
            random.call(scope, math.into(), &[])?;
        }
        Some(())
    };
    // Whatever fails here fails again, and is reported, when a script calls it.
    let _ = call();
    *state.random.borrow_mut() = None;
}

/// `refill(numbers)` of `random.js`: new numbers in the array of the last batch, or in a new array
/// when there is none yet.
pub(crate) fn refill(
    scope: &mut v8::PinScope<'_, '_>,
    args: v8::FunctionCallbackArguments<'_>,
    mut result: v8::ReturnValue<'_, v8::Value>,
) {
    let numbers = match v8::Local::<v8::Float64Array>::try_from(args.get(0)) {
        Ok(numbers) => Some(numbers),
        Err(_) => new_numbers(scope),
    };
    let (Some(numbers), Some(state)) = (numbers, State::of(scope)) else { return };
    let Some(store) = numbers.get_backing_store() else { return };
    let mut generator = state.random.borrow_mut();
    let generator = match &mut *generator {
        Some(generator) => generator,
        none => match Generator::from_kernel() {
            Ok(seeded) => none.insert(seeded),
            Err(error) => return throw(scope, error),
        },
    };
    for number in store.chunks_exact(size_of::<f64>()) {
        for (byte, new) in number.iter().zip(generator.next_number().to_ne_bytes()) {
            byte.set(new);
        }
    }
    result.set(numbers.into());
}

/// Room for one batch. It is not the script's, so it is not taken from what the script may use.
fn new_numbers<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Float64Array>> {
    let room = vec![0; RANDOM_NUMBERS_CACHED * size_of::<f64>()];
    let store = v8::ArrayBuffer::new_backing_store_from_vec(room).make_shared();
    let buffer = v8::ArrayBuffer::with_backing_store(scope, &store);
    v8::Float64Array::new(scope, buffer, 0, RANDOM_NUMBERS_CACHED)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mcp_v8_protocol::JobLimits;

    use super::Generator;
    use crate::testing::{LIMITS, run, run_with};

    #[test]
    fn the_generator_is_xoshiro256_plus_plus() {
        let mut seed = [0; 32];
        for (at, byte) in [(0, 1), (8, 2), (16, 3), (24, 4)] {
            seed[at] = byte;
        }
        let mut generator = Generator::from_seed(seed);
        // The first numbers of the authors' own code for this state.
        for expected in [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386] {
            assert_eq!(generator.next(), expected);
        }
        let mut zero = Generator::from_seed([0; 32]);
        assert!((0..8).any(|_| zero.next_number() > 0.0), "it is stuck");
    }

    #[test]
    fn every_number_is_in_range_and_no_batch_is_handed_out_twice() {
        let ran = run("const seen = new Set(); let least = 1, most = 0, sum = 0;
             for (let i = 0; i < 100_000; i++) {
                 const n = Math.random(); seen.add(n); sum += n;
                 least = Math.min(least, n); most = Math.max(most, n);
             }
             [seen.size, least >= 0 && least < 0.01, most < 1 && most > 0.99,
              Math.abs(sum / 1e5 - 0.5) < 0.02, [...seen].every(n => Number.isInteger(n * 2 ** 53)),
              [...seen].some(n => n * 2 ** 53 % 2 === 1)]");
        assert_eq!(ran.result().as_deref(), Some("[100000,true,true,true,true,true]"));
    }

    #[test]
    fn a_batch_takes_nothing_of_what_the_script_may_use() {
        let limits = JobLimits { buffer_bytes: 0, ..LIMITS };
        let ran = run_with("Math.random() < 1", limits, |_, _| {});
        assert_eq!(ran.usage.buffer_peak_bytes, 0);
        assert_eq!(ran.result().as_deref(), Some("true"));
    }

    #[test]
    fn two_runs_draw_different_numbers() {
        let draw = || run("[Math.random(), Math.random()]").result();
        assert_ne!(draw(), draw());
    }

    #[test]
    fn it_looks_as_the_language_has_it() {
        let ran = run("const {random} = Math;
             const {writable, enumerable, configurable} = Object.getOwnPropertyDescriptor(Math, 'random');
             let construct; try { new random() } catch (e) { construct = e.name }
             [random.name, random.length, String(random), construct, writable, enumerable, configurable,
              Reflect.ownKeys(random).join(), Object.getPrototypeOf(random) === Function.prototype,
              JSON.stringify(Object.getOwnPropertyDescriptors(random)), typeof random.call(null),
              Object.keys(Math).length, Reflect.ownKeys(Math).indexOf('random') < Reflect.ownKeys(Math).indexOf('sqrt')]");
        assert_eq!(
            ran.result().as_deref(),
            Some(concat!(
                r#"["random",0,"function random() { [native code] }","TypeError",true,false,true,"#,
                r#""length,name",true,"#,
                r#""{\"length\":{\"value\":0,\"writable\":false,\"enumerable\":false,\"configurable\":true},"#,
                r#"\"name\":{\"value\":\"random\",\"writable\":false,\"enumerable\":false,\"configurable\":true}}","#,
                r#""number",0,true]"#
            ))
        );
        let ran = run("console.log(Math.random); Math.random = () => 7; Math.random()");
        assert_eq!(ran.console, "[Function: random]\n");
        assert_eq!(ran.result().as_deref(), Some("7"));
    }

    /// Replaces whatever a careless `Math.random` could come across, before its first batch.
    #[test]
    fn a_script_neither_sees_nor_disturbs_the_numbers() {
        let ran = run("const {log} = console, random = Math.random;
             const {defineProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys} = Reflect;
             const numbers = Float64Array.prototype, places = [];
             for (const object of [numbers, getPrototypeOf(numbers), ArrayBuffer.prototype, Float64Array,
                                   ArrayBuffer, Array.prototype, Object.prototype, Function.prototype]) {
                 for (const key of [...ownKeys(object), 'numbers', 'left', 'count', 'refill', 0, 1, 511, -1]) {
                     const own = getOwnPropertyDescriptor(object, key);
                     if (key !== '__proto__' && own?.configurable !== false) places.push({object, key});
                 }
             }
             let touched = 0;
             const trap = {configurable: true, get() { touched++ }, set() { touched++ }};
             globalThis.Float64Array = globalThis.ArrayBuffer = null;
             for (let i = 0, length = places.length; i < length; i++) {
                 const {object, key} = places[i];
                 defineProperty(object, key, trap);
             }
             const begun = touched;
             let sum = 0;
             for (let i = 0; i < 2000; i++) sum += random();
             const ended = touched;
             [][0];
             if (touched === ended) throw new Error('the traps do not work');
             log(begun === ended, sum > 800 && sum < 1200)");
        assert_eq!(ran.console, "true true\n", "{:?}", ran.outcome);
    }

    #[test]
    fn it_survives_where_the_stack_ends() {
        let ran = run("let stack = '';
             const deep = () => { Math.random(); deep() };
             for (let i = 0; i < 20; i++) {
                 (function shift(n) { if (n) return shift(n - 1);
                     try { deep() } catch (e) { stack += e.stack }
                     for (let n = 0; n < 100; n++) if (!(Math.random() < 1)) throw 'broken';
                 })(i);
             }
             stack.includes('script.js')");
        assert_eq!(ran.result().as_deref(), Some("true"));
    }
}
