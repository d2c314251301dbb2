//! Whole scripts: results, errors and their places, timers, rejections, limits, stops.

use std::thread;
use std::time::{Duration, Instant};

use mcp_v8_protocol::{FailureKind, JobLimits};

use crate::testing::{LIMITS, run, run_with};

#[track_caller]
fn assert_result(code: &str, expected: Option<&str>) {
    assert_eq!(run(code).result().as_deref(), expected, "for {code}");
}

/// Kind, message, line and column.
type Expected<'a> = (FailureKind, &'a str, Option<(u32, u32)>);

#[track_caller]
fn assert_failure(code: &str, (kind, message, place): Expected<'_>) {
    let failure = run(code).failure(kind);
    assert_eq!(failure.message, message, "for {code}");
    assert_eq!(failure.line.zip(failure.column), place, "for {code}");
}

#[test]
fn the_result_is_the_default_export_or_the_last_expression() {
    assert_result("1+1", Some("2"));
    assert_result("'use this'", Some("use this"));
    assert_result("const x = {a: [1]}; x", Some(r#"{"a":[1]}"#));
    assert_result("export default 'e'; 'l'", Some("e"));
    assert_result("await 1; 'after'", Some("after"));
    assert_result("let p = Promise.resolve(Promise.resolve([1])); p", Some("[1]"));
    assert_result("new Promise(r => setTimeout(r, 5, 'late'))", Some("late"));
    assert_result("async () => {}", Some("[Function (anonymous)]"));
    assert_result("main();\nfunction main() { return 42 }", Some("42"));
    assert_result(
        "function f(n) { if (n < 0) throw new RangeError('neg'); return n * 2 }
         eval('(' + f + ')')(4) + f.toString().length",
        Some("78"),
    );
    for nothing in ["", " \n", "// c", "undefined", "let x = 1", "Promise.resolve()", "void 0"] {
        assert_result(nothing, None);
    }
}

#[test]
fn typescript_runs() {
    assert_result(
        "enum E { A = 4 } namespace N { export const q = 2 }
         class C { constructor(private z: number) {} get(): number { return this.z } }
         const t = <T,>(x: T) => x;
         [E.A, E[4], N.q, new C(3).get(), t<number>(1)!] satisfies unknown[]",
        Some(r#"[4,"A",2,3,1]"#),
    );
    assert_result("let n: number = 7; n; interface Later {} ", Some("7"));
}

#[test]
fn failures_name_message_and_place() {
    use FailureKind::{Stalled, Syntax, Thrown, UnhandledRejection};
    let cases: &[(&str, Expected<'_>)] = &[
        ("\n  throw new TypeError('bad')", (Thrown, "TypeError: bad", Some((2, 9)))),
        ("await 0;\n throw new Error('late')", (Thrown, "Error: late", Some((2, 8)))),
        (
            "({}).a.b",
            (Thrown, "TypeError: Cannot read properties of undefined (reading 'b')", Some((1, 8))),
        ),
        (
            "let q: any = {};\nq.x.y",
            (Thrown, "TypeError: Cannot read properties of undefined (reading 'y')", Some((2, 5))),
        ),
        (
            "type A = 1;\n\nfunction f(x: A): never {\n  throw new Error('ts')\n}\nf(1)",
            (Thrown, "Error: ts", Some((4, 9))),
        ),
        ("throw null", (Thrown, "Uncaught null", Some((1, 7)))),
        ("\nlet x: any = 'text';\n  throw x", (Thrown, r#"Uncaught "text""#, Some((3, 9)))),
        ("await 0; throw {a: 1}", (Thrown, r#"Uncaught {"a":1}"#, Some((1, 16)))),
        // Places are those of frames, not what the script writes where frames are shown.
        (
            "\n\nthrow new Error('see script.js:99:5')",
            (Thrown, "Error: see script.js:99:5", Some((3, 7))),
        ),
        (
            "const o = {\n 'script.js:55:5'() { throw new Error('m') } }\no['script.js:55:5']()",
            (Thrown, "Error: m", Some((2, 29))),
        ),
        (
            "const e = new Error('w');\ne.stack = '    at script.js:77:7';\nthrow e",
            (Thrown, "Error: w", Some((3, 7))),
        ),
        (
            "const e = new Error('d');\nObject.defineProperty(e, 'stack', {value: 'script.js:7:7'});\nthrow e",
            (Thrown, "Error: d", Some((1, 11))),
        ),
        ("throw Object.freeze(new Error('f'))", (Thrown, "Error: f", Some((1, 21)))),
        (
            "\neval(\"throw new Error('v')\\n//# sourceURL=script.js\")",
            (Thrown, "Error: v", Some((2, 1))),
        ),
        ("if (1) {\n throw 1 }", (Thrown, "Uncaught 1", Some((2, 8)))),
        // Where a function throws what is no error is not known.
        ("function f() { throw 1 } f()", (Thrown, "Uncaught 1", None)),
        ("\nthrow new Error('n')\n//# sourceURL=zzz.js", (Thrown, "Error: n", Some((2, 7)))),
        ("\nthrow null\n//# sourceURL=zzz.js", (Thrown, "Uncaught null", Some((2, 7)))),
        ("type A = 1;\nthrow null\n//# sourceURL=z", (Thrown, "Uncaught null", Some((2, 7)))),
        ("try { throw 1 } catch {} throw 2, 3", (Thrown, "Uncaught 3", Some((1, 32)))),
        ("throw new Proxy({}, {})", (Thrown, "Uncaught Proxy {}", Some((1, 7)))),
        ("setTimeout(() => {\n throw 'timer' })", (Thrown, r#"Uncaught "timer""#, Some((2, 2)))),
        (
            "queueMicrotask(() => { throw new Error('micro') })",
            (Thrown, "Error: micro", Some((1, 30))),
        ),
        ("Promise.reject(new Error('r'))", (UnhandledRejection, "Error: r", Some((1, 16)))),
        (
            "async function f() {\n  await 1;\n  throw 42 }\nf()",
            (UnhandledRejection, "Uncaught 42", Some((3, 3))),
        ),
        ("let x = ;", (Syntax, "SyntaxError: Unexpected token", Some((1, 9)))),
        (
            "let x; let x",
            (Syntax, "SyntaxError: Identifier 'x' has already been declared", Some((1, 12))),
        ),
        (
            "1;\nimport a from 'fs'; a",
            (Syntax, "Cannot import \"fs\": scripts have no modules to import from", Some((2, 15))),
        ),
        (
            "await import('x')",
            (
                Thrown,
                "TypeError: Cannot import \"x\": scripts have no modules to import from",
                Some((1, 1)),
            ),
        ),
        (
            "1;\n  await new Promise(() => {})",
            (
                Stalled,
                "The top-level await at line 2, column 3 waits for a promise that can never settle: no timer and no other work is left",
                Some((2, 3)),
            ),
        ),
    ];
    for (code, expected) in cases {
        assert_failure(code, *expected);
    }
}

#[test]
fn hostile_thrown_values_run_no_code() {
    let traps = "new Proxy({}, {get: t, has: t, ownKeys: t, getPrototypeOf: t, getOwnPropertyDescriptor: t})";
    let trap = "const t = () => { console.log('ran'); throw 'trap' };";
    for thrown in [
        traps,
        "{toString: t, valueOf: t, [Symbol.toPrimitive]: t}",
        "Object.defineProperty(new Error('m'), 'message', {get: t})",
        "Object.setPrototypeOf(new Error('m'), new Proxy(Error.prototype, {get: t, getPrototypeOf: t, getOwnPropertyDescriptor: t}))",
    ] {
        for code in [
            format!("{trap} throw ({thrown})"),
            format!("{trap} Promise.reject({thrown})"),
            format!("{trap} await 1; throw ({thrown})"),
        ] {
            let ran = run(&code);
            assert_eq!(ran.console, "", "for {code}");
            assert!(matches!(ran.outcome, mcp_v8_protocol::Outcome::Failed(_)), "for {code}");
        }
    }
}

#[test]
fn stacks_are_in_the_users_source_for_the_script_too() {
    assert_result(
        "function f() { return new Error('m').stack }\n f()",
        Some("Error: m\n    at f (script.js:1:23)\n    at script.js:2:2"),
    );
    assert_result(
        "interface I {}\nclass K { m(): string { return new Error('m').stack! } }\nnew K().m()",
        Some("Error: m\n    at K.m (script.ts:2:32)\n    at script.ts:3:9"),
    );
    let failure = run(
        "function deep(n: number): void { if (n) deep(n - 1); else throw new Error('x') }\ndeep(2)",
    )
    .failure(FailureKind::Thrown);
    assert_eq!(
        failure.stack.as_deref(),
        Some(
            "Error: x\n    at deep (script.ts:1:65)\n    at deep (script.ts:1:41)\n    at deep (script.ts:1:41)\n    at script.ts:2:1"
        )
    );
}

#[test]
fn timers_fire_by_due_time_then_in_order() {
    let ran = run("
        const log = console.log;
        setTimeout(log, 100, 'later'); setTimeout(log, 0, 'a', 1); setTimeout(log, -5, 'b'); setTimeout(log, NaN, 'c');
        const gone = setTimeout(log, 1, 'never'); clearTimeout(gone); clearTimeout(gone); clearTimeout(); clearTimeout({});
        let n = 0;
        const every = setInterval(() => { log('tick', ++n); if (n === 3) clearInterval(every); }, 2);
        setTimeout(() => { Promise.resolve().then(() => log('micro')); setTimeout(log, 0, 'nested'); }, 200);
        setTimeout(log, 400, 'last');
        queueMicrotask(() => log('first'));
        setTimeout(function () { log(this === undefined || this === globalThis) }, 300);
        [typeof gone, every > 0, Number.isInteger(every)]");
    assert_eq!(
        ran.console,
        "first\na 1\nb\nc\ntick 1\ntick 2\ntick 3\nlater\nmicro\nnested\ntrue\nlast\n"
    );
    assert_eq!(ran.result().as_deref(), Some(r#"["number",true,true]"#));
}

#[test]
fn a_failure_ends_the_timers() {
    let ran = run("setTimeout(() => console.log('late'), 5); setTimeout(() => { throw 1 }, 0)");
    assert_eq!(ran.console, "");
    ran.failure(FailureKind::Thrown);
}

#[test]
fn wrong_callbacks_and_too_many_timers_are_errors_to_catch() {
    assert_result(
        "const name = f => { try { f() } catch (e) { return e.name + ': ' + e.message } };
         const ids = [];
         const full = name(() => { for (;;) ids.push(setTimeout(() => {}, 1e9)) });
         ids.forEach(clearTimeout);
         [name(() => setTimeout('code')), name(() => queueMicrotask(1)), full].join('; ')",
        Some(
            "TypeError: setTimeout: the callback must be a function; \
             TypeError: queueMicrotask: the callback must be a function; \
             RangeError: setTimeout: 100000 timers are pending",
        ),
    );
}

#[test]
fn a_rejection_handled_within_its_turn_is_no_failure() {
    assert_result(
        "const p = Promise.reject(1); await null; p.catch(() => {}); 'fine'",
        Some("fine"),
    );
    assert_result(
        "const all = Array.from({length: 2000}, async () => { throw 1 }); (await Promise.allSettled(all)).length",
        Some("2000"),
    );
    run("const p = Promise.reject(1); setTimeout(() => p.catch(() => {}), 1)")
        .failure(FailureKind::UnhandledRejection);
}

#[test]
fn scripts_find_no_shared_memory_and_no_blocking_wait() {
    assert_result("typeof SharedArrayBuffer", Some("undefined"));
    assert_result("typeof Atomics.waitAsync", Some("undefined"));
    assert_result(
        "const shared = new WebAssembly.Memory({shared: true, initial: 1, maximum: 1}).buffer;
         let refused; try { Atomics.wait(new Int32Array(shared), 0, 0, 1) } catch (e) { refused = e.name }
         [Object.hasOwn(Object.getPrototypeOf(shared), 'constructor'), refused]",
        Some(r#"[false,"TypeError"]"#),
    );
    assert_result("import.meta.url", Some("file:///script.js"));
    assert_result("Object.keys(globalThis).length", Some("0"));
}

#[test]
fn recursion_without_end_can_be_caught() {
    assert_result(
        "let m; try { (function f() { f() })() } catch (e) { m = e.name } m",
        Some("RangeError"),
    );
    let failure = run("function f() { f() } f()").failure(FailureKind::Thrown);
    assert_eq!(failure.message, "RangeError: Maximum call stack size exceeded");
}

#[test]
fn a_full_heap_fails_in_the_words_clients_know() {
    for code in [
        "let a = []; for (;;) a = [a, a, 1]",
        "const a = []; for (;;) a.push({})",
        "let a = []; try { for (;;) a.push([1]) } catch { 'caught' } finally { a = null }",
    ] {
        let limits = JobLimits { heap_bytes: 16 << 20, ..LIMITS };
        let failure = run_with(code, limits, |_, _| {}).failure(FailureKind::OutOfMemory);
        assert_eq!(
            failure.message,
            "Out of memory: V8 heap limit exceeded. Try increasing heap_memory_max_mb."
        );
    }
}

#[test]
fn buffers_past_their_limit_are_errors_to_catch() {
    let ran = run("const name = n => { try { return new ArrayBuffer(n).byteLength } catch (e) { return e.name } };
         [name(2 ** 31), name(1 << 20), name(65 << 20)]");
    assert_eq!(ran.usage.buffer_peak_bytes, 1 << 20);
    assert_eq!(ran.result().as_deref(), Some(r#"["RangeError",1048576,"RangeError"]"#));
    let many = run(
        "const keep = []; try { for (;;) keep.push(new Uint8Array(1 << 20)) } catch (e) { keep.length }",
    );
    assert_eq!(many.usage.buffer_peak_bytes, 64 << 20);
    many.result();
}

#[test]
fn a_stop_ends_whatever_the_script_does() {
    for code in [
        "for (;;) {}",
        "for (;;) await null",
        "for (;;) { try { for (;;) {} } catch {} finally { for (;;) {} } }",
        "/(a+)+$/.test('a'.repeat(60) + 'b')",
        "setTimeout(() => {}, 1e9)",
        "await new Promise(r => setTimeout(r, 1e9))",
        "function f() { queueMicrotask(f) } f()",
        "function f() { Promise.resolve().then(f) } f()",
        "console.log({toJSON() { for (;;); }})",
        "setInterval(() => { for (;;); }, 1)",
        "for (;;) { try { (function f() { f() })() } catch {} }",
        "Array.from({length: 1e9}, (_, i) => i & 1)",
        "({then() { for (;;); }}); await {then() { for (;;); }}",
        "throw {get x() { return 1 }, toJSON() { for (;;); }}",
    ] {
        let started = Instant::now();
        let begun = format!("console.log('begun'); {code}");
        let ran = run_with(&begun, LIMITS, |stopper, begun| {
            thread::spawn(move || {
                begun.recv().unwrap();
                stopper.stop();
            });
        });
        assert_eq!(ran.console, "begun\n", "for {code}");
        ran.failure(FailureKind::Stopped);
        assert!(started.elapsed() < Duration::from_secs(20), "for {code}");
    }
}

#[test]
fn a_stop_before_the_script_begins_holds() {
    let ran = run_with("console.log('ran')", LIMITS, |stopper, _| stopper.stop());
    assert_eq!(ran.console, "");
    ran.failure(FailureKind::Stopped);
}
