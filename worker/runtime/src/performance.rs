//! `performance.now()` and `performance.timeOrigin`, and the clock behind `Temporal.Now`.
//!
//! Time is that of the job, not of the process, which may have been made long before. All clocks a
//! script has are coarse: `Date` has milliseconds in V8 itself; these, and the timers of the
//! console, have steps of [`CLOCK_RESOLUTION_US`](crate::limits::CLOCK_RESOLUTION_US).

use std::ffi::c_void;

use crate::clock;
use crate::state::State;

/// `performance.now()`: milliseconds since the job began.
pub(crate) fn now(
    scope: &mut v8::PinScope<'_, '_>,
    _: v8::FunctionCallbackArguments<'_>,
    mut result: v8::ReturnValue<'_, v8::Value>,
) {
    let us = State::of(scope).map_or(0, |state| state.elapsed_us());
    result.set_double(clock::milliseconds(us));
}

/// The getter of `performance.timeOrigin`: when the job began, in milliseconds since 1970.
pub(crate) fn time_origin(
    scope: &mut v8::PinScope<'_, '_>,
    _: v8::FunctionCallbackArguments<'_>,
    mut result: v8::ReturnValue<'_, v8::Value>,
) {
    let us = State::of(scope).map_or(0, |state| state.origin_us());
    result.set_double(clock::milliseconds(us));
}

unsafe extern "C" {
    /// `v8::Context::SetTemporalHostSystemUTCEpochNanosecondsCallback`, which the bindings leave
    /// out. Without it `Temporal.Now` reads the clock to the microsecond.
    #[link_name = "_ZN2v87Context48SetTemporalHostSystemUTCEpochNanosecondsCallbackEPFlNS_5LocalIS0_EEE"]
    fn set_temporal_clock(
        context: *const v8::Context,
        callback: unsafe extern "C" fn(v8::Local<'_, v8::Context>) -> i64,
    );
}

/// Gives `Temporal.Now` of a context the coarse clock.
pub(crate) fn make_temporal_coarse(context: v8::Local<'_, v8::Context>) {
    // SAFETY: a method of the context, which is live as the handle is, with the arguments V8
    // declares for it; bindings and V8 are pinned to one version, and the linker finds the method
    // by a name that spells out their types. The callback takes a handle the way all V8's do.
    unsafe { set_temporal_clock(&raw const *context, temporal_now_ns) }
}

/// The address of that clock, which V8 keeps on the heap.
pub(crate) fn temporal_clock() -> *mut c_void {
    temporal_now_ns as *mut c_void
}

unsafe extern "C" fn temporal_now_ns(_: v8::Local<'_, v8::Context>) -> i64 {
    i64::try_from(clock::coarse(clock::unix_us())).unwrap_or(0).saturating_mul(1000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::testing::run;

    #[track_caller]
    fn assert_result(code: &str, expected: &str) {
        assert_eq!(run(code).result().as_deref(), Some(expected), "for {code}");
    }

    /// Reads a clock, in units of its resolution, until it has ticked often enough.
    fn ticks(read: &str, steps: usize) -> String {
        format!(
            "const seen = [{read}];
             while (seen.length < {steps}) {{
                 const now = {read};
                 if (now < seen.at(-1)) throw new Error('it goes back');
                 if (now !== seen.at(-1)) seen.push(now);
             }}
             seen.every(Number.isInteger)"
        )
    }

    #[test]
    fn now_has_steps_of_100_us_and_goes_on() {
        // Tenths of a millisecond are no doubles, but each is the double that is nearest to one.
        let tenths = "(now => Math.round(now * 10) / 10 === now ? Math.round(now * 10) : NaN)";
        assert_result(&ticks(&format!("{tenths}(performance.now())"), 50), "true");
        assert_result(&ticks("Date.now()", 5), "true");
        assert_result(&ticks("new Date().getTime()", 5), "true");
    }

    #[test]
    fn temporal_has_no_finer_clock() {
        let of = |time: &str| {
            format!(
                "(t => (t.millisecond * 1000 + t.microsecond + t.nanosecond / 1000) / 100)({time})"
            )
        };
        for now in ["plainTimeISO()", "plainDateTimeISO('UTC')", "zonedDateTimeISO()"] {
            let code = format!(
                "const tick = () => {}; let last = tick(), steps = 0, whole = true;
                 while (steps < 50) {{ const now = tick(); if (now !== last) steps++; last = now; whole &&= Number.isInteger(now) }}
                 whole",
                of(&format!("Temporal.Now.{now}"))
            );
            assert_result(&code, "true");
        }
        let ns = "(ns => ns % 100_000n ? NaN : Number(ns / 100_000n))(Temporal.Now.instant().epochNanoseconds)";
        assert_result(&ticks(ns, 50), "true");
        assert_result(
            "const before = Date.now(), now = Temporal.Now.instant().epochMilliseconds, after = Date.now();
             before <= now && now <= after",
            "true",
        );
    }

    #[test]
    fn console_timers_are_as_coarse() {
        let ran = run("for (let i = 0; i < 200; i++) {
                 console.time('t'); for (let n = 0; n < i * 100; n++) Math.sqrt(n);
                 if (i % 2) console.timeLog('t'); console.timeEnd('t');
             }");
        assert_eq!(ran.console.lines().count(), 300);
        for line in ran.console.lines() {
            let ms = line.strip_prefix("t: ").and_then(|line| line.strip_suffix("00ms")).unwrap();
            assert!(ms.parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }

    #[test]
    fn the_origin_is_when_the_job_began() {
        assert_result(
            "const before = Date.now(), now = performance.timeOrigin + performance.now(), after = Date.now();
             const {get, set, enumerable} = Object.getOwnPropertyDescriptor(performance, 'timeOrigin');
             let refused; try { performance.timeOrigin = 1 } catch (e) { refused = e.name }
             [before - 1 <= now, now <= after + 1, get.name, typeof set, enumerable, refused,
              performance.timeOrigin === performance.timeOrigin, performance.now.name,
              Object.prototype.toString.call(performance), performance.timeOrigin < before + 1]",
            r#"[true,true,"get timeOrigin","undefined",true,"TypeError",true,"now","[object Performance]",true]"#,
        );
    }

    /// Counting in one thread what another one does would be the finest clock of all.
    #[test]
    fn there_is_no_second_thread_to_make_a_clock_of() {
        assert_result(
            "['Worker', 'SharedWorker', 'ShadowRealm', 'SharedArrayBuffer', 'postMessage', 'MessageChannel',
              'setImmediate', 'requestIdleCallback', 'gc'].filter(name => name in globalThis).length
              + typeof Atomics.waitAsync",
            "0undefined",
        );
        // Shared memory of WebAssembly can be made, but waiting for somebody to change it cannot.
        assert_result(
            "const module = new WebAssembly.Module(new Uint8Array([
                 0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7f, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1,
                 7, 5, 1, 1, 0x66, 0, 0, 10, 14, 1, 12, 0,
                 // memory.atomic.wait32 of address 0 for as long as it is 0
                 0x41, 0, 0x41, 0, 0x42, 0x7f, 0xfe, 1, 2, 0, 0x0b]));
             let refused; try { new WebAssembly.Instance(module).exports.f() } catch (e) { refused = `${e}` }
             refused",
            "RuntimeError: Atomics.wait cannot be called in this context",
        );
    }
}
