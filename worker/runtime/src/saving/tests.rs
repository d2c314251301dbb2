//! What survives being kept, row by row as docs/sessions.md has it.

use super::SaveError;
use crate::testing::{LIMITS, Session};

/// Keeps what `make` gives in the global `k`, and looks at it in the next script and, since what has
/// been restored once is not what was made, in the one after that.
#[track_caller]
fn survives(make: &str, look: &str, expected: &str) {
    let mut session = Session::after(&format!("globalThis.k = {make}; 0"));
    assert_eq!(session.step("0").as_deref(), Some("0"), "{make}");
    assert_eq!(session.step(look).as_deref(), Some(expected), "{make}");
}

#[test]
fn globals_survive_and_what_a_module_declares_does_not() {
    let mut session = Session::after(
        "globalThis.a = 1; var b = 2; let c = 3; function d() {} class E {} export const f = 4;
         globalThis.g = () => ++c",
    );
    let seen = session.step("[typeof a, typeof b, typeof c, typeof d, typeof E, typeof f]");
    let undefined = r#""undefined","#.repeat(4);
    assert_eq!(seen.unwrap(), format!(r#"["number",{undefined}"undefined"]"#));
    // What a closure holds of a module lives on.
    assert_eq!(session.step("g()").as_deref(), Some("4"));
    assert_eq!(session.step("g()").as_deref(), Some("5"));
    assert_eq!(session.step("delete globalThis.a; typeof a").as_deref(), Some("undefined"));
    assert_eq!(session.step("typeof a").as_deref(), Some("undefined"));
}

#[test]
fn closures_and_functions() {
    survives("(n => () => ++n)(41)", "k()", "42");
    survives("((a, b) => a + b).bind(null, 1)", "k(2)", "3");
    survives("async x => (await x) * 2", "await k(4)", "8");
    survives("new Function('a', 'return a + 1')", "k(1)", "2");
    survives("(0, eval)('(function () { return 8 })')", "k()", "8");
    survives("function () { return arguments.length }", "k(1, 2)", "2");
    survives("(strings => strings)`a${1}b`", "k.raw.join()", "a,b");
}

#[test]
fn classes() {
    let class = "class A { #p = 1; static #s = 2; static { this.q = 3 } get p() { return this.#p }
                 set p(v) { this.#p = v } static s() { return A.#s } static has(o) { return #p in o } }";
    survives(class, "[new k().p, k.s(), k.q, k.has(new k), k.has({})]", "[1,2,3,true,false]");
    survives(&format!("new ({class})"), "k.p = 7; [k.p, k.constructor.has(k)]", "[7,true]");
    survives(
        "new (class B extends (class A { f() { return 'A' } }) { f() { return super.f() + 'B' } })",
        "k.f()",
        "AB",
    );
    survives("new (class extends Map { x = 1 })([[1, 2]])", "k.get(1) + k.x", "3");
    survives("new (class extends Error { name = 'Mine' })('m')", "String(k)", "Mine: m");
}

#[test]
fn collections() {
    survives(
        "new Map([[1, 'n'], ['a', {b: 1}], [globalThis.key = {}, 3], [NaN, 4]])",
        "[k.get(1), k.get('a').b, k.get(key), k.get(NaN), [...k.keys()].length]",
        r#"["n",1,3,4,4]"#,
    );
    survives(
        "new Set([1, 'a', globalThis.key = {}])",
        "[k.has('a'), k.has(key), k.has({})]",
        "[true,true,false]",
    );
    survives("new WeakMap([[globalThis.key = {}, 5]])", "[k.get(key), k.has({})]", "[5,false]");
    survives("new WeakSet([globalThis.key = {}])", "k.has(key)", "true");
    survives("new WeakRef(globalThis.key = {a: 1})", "k.deref() === key", "true");
    survives("new WeakRef({})", "k.deref() === undefined", "true");
    survives("new Map([['a', 1], ['b', 2]]).entries().drop(1)", "k.next().value", r#"["b",2]"#);
    survives(
        "new Map(Array.from({length: 5000}, (_, n) => ['k' + n, n]))",
        "k.get('k4999')",
        "4999",
    );
}

#[test]
fn arrays_and_plain_objects() {
    survives("[1, , 'x', [2.5]]", "[k.length, 1 in k, k[3][0]]", "[4,false,2.5]");
    survives("(a => (a[1e9] = 1, a))([])", "k.length", "1000000001");
    survives("Object.freeze({a: 1})", "Object.isFrozen(k)", "true");
    survives("(a => (a.a = a))({})", "k.a.a === k", "true");
    survives("Object.create(null, {x: {value: 5}})", "[k.x, Object.getPrototypeOf(k)]", "[5,null]");
    survives("Object.create({inherited: 1}, {})", "k.inherited", "1");
    survives("({get x() { return this.y }, set x(v) { this.y = v }, y: 2})", "k.x = 3; k.x", "3");
    survives(
        "Object.defineProperty({}, 'x', {value: 1, enumerable: false, writable: false})",
        "JSON.stringify(Object.getOwnPropertyDescriptor(k, 'x'))",
        r#"{"value":1,"writable":false,"enumerable":false,"configurable":false}"#,
    );
    survives(
        "Object.fromEntries(Array.from({length: 3000}, (_, n) => ['k' + n, n]))",
        "k.k2999",
        "2999",
    );
    survives("function () { return arguments }.call(null, 1, 2)", "[k.length, k[1]]", "[2,2]");
}

#[test]
fn binary_data() {
    survives("new Float64Array([1, 2.5])", "k.join()", "1,2.5");
    survives("new Uint8Array(100_000).fill(3)", "[k[99_999], k.length]", "[3,100000]");
    survives("new BigInt64Array([-1n])", "String(k[0])", "-1");
    survives("new Float16Array([1.5])", "k[0]", "1.5");
    survives(
        "new DataView(new ArrayBuffer(8), 2)",
        "k.setInt8(0, 5); [k.byteLength, k.getInt8(0)]",
        "[6,5]",
    );
    survives(
        "(b => [new Uint8Array(b), new Uint32Array(b, 4)])(new ArrayBuffer(8))",
        "k[0][4] = 7; [k[1][0], k[0].buffer === k[1].buffer]",
        "[7,true]",
    );
    survives(
        "new ArrayBuffer(8, {maxByteLength: 16})",
        "k.resize(16); [k.byteLength, k.resizable]",
        "[16,true]",
    );
    survives(
        "new Uint8Array(new ArrayBuffer(8, {maxByteLength: 16}))",
        "k.buffer.resize(12); k.length",
        "12",
    );
    survives("(b => (b.transfer(), b))(new ArrayBuffer(8))", "k.detached", "true");
}

#[test]
fn proxies_and_reflection() {
    survives("new Proxy({a: 1}, {get: (target, key) => key + '!'})", "k.foo", "foo!");
    survives("new Proxy(function () {}, {apply: () => 7})", "k()", "7");
    survives(
        "(r => (r.revoke(), r.proxy))(Proxy.revocable({}, {}))",
        "try { k.x } catch (e) { e.name }; let n; try { k.x } catch (e) { n = e.name } n",
        "TypeError",
    );
}

#[test]
fn generators_and_iterators() {
    let counter = "function* () { let i = 0; try { while (true) i += (yield i) ?? 1 } finally { globalThis.done = i } }()";
    survives(counter, "[k.next().value, k.next(5).value]", "[0,5]");
    // In the middle of its work, with a value it has been given.
    survives(
        &format!("(g => (g.next(), g.next(10), g))({counter})"),
        "[k.next().value, k.return(9).value, done]",
        "[11,9,11]",
    );
    survives(
        "(async function* () { yield 1; yield 2 })()",
        "[(await k.next()).value, (await k.next()).value]",
        "[1,2]",
    );
    survives("[1, 2, 3].values().map(x => x * 2)", "k.next().value", "2");
    survives("'ab'[Symbol.iterator]()", "[k.next().value, k.next().value]", r#"["a","b"]"#);
    survives("'aXbX'.matchAll(/X/g)", "k.next(); k.next().value.index", "3");
}

#[test]
fn promises_and_functions_that_wait() {
    survives("Promise.resolve(5)", "await k", "5");
    survives(
        "Promise.withResolvers()",
        "k.promise.then(v => globalThis.got = v); k.resolve(8); await k.promise; got",
        "8",
    );
    // One that waits for a promise goes on when that is settled, whichever script does it.
    survives(
        "(() => { const {promise, resolve} = Promise.withResolvers();
                  (async () => { globalThis.got = await promise + 1 })(); return resolve })()",
        "k(1); await null; await null; got",
        "2",
    );
    survives("Promise.reject(new Error('x')).catch(e => e.message)", "await k", "x");
    survives("new Promise(() => {})", "k instanceof Promise", "true");
}

#[test]
fn symbols_numbers_and_text() {
    survives("Symbol('a')", "[k.description, typeof k]", r#"["a","symbol"]"#);
    survives("Symbol.for('a')", "k === Symbol.for('a')", "true");
    survives("Symbol.iterator", "k === Symbol.iterator", "true");
    survives("({[globalThis.s = Symbol()]: 1})", "k[s]", "1");
    survives(
        "123456789012345678901234567890n",
        "k + 1n === 123456789012345678901234567891n",
        "true",
    );
    survives(
        "[-0, NaN, 1 / 3, 2 ** 53, -Infinity]",
        "[Object.is(k[0], -0), k[1] !== k[1], k[2] === 1 / 3, k[3], k[4] === -Infinity]",
        "[true,true,true,9007199254740992,true]",
    );
    survives("'x'.repeat(5e6) + '€'", "[k.length, k.at(-1)]", r#"[5000001,"€"]"#);
    survives("Object(1n)", "k + 1n === 2n", "true");
}

#[test]
fn dates_patterns_and_errors() {
    survives("new Date(5)", "k.getTime()", "5");
    survives("/a(?<x>b)/dgy", "k.exec('ab').groups.x + k.flags", "bdgy");
    survives(
        "(r => (r.test('aaa'), r))(/a/g)",
        "[k.lastIndex, k.test('aaa'), k.lastIndex]",
        "[1,true,2]",
    );
    survives(
        "new AggregateError([1, new TypeError('t')], 'm', {cause: 'c'})",
        "[k.message, k.errors[1].message, k.cause]",
        r#"["m","t","c"]"#,
    );
    survives("new Error('x')", "k.stack.split('\\n')[0]", "Error: x");
}

/// Where an error was made is told by the number of the script that made it.
#[test]
fn errors_know_which_script_they_are_from() {
    let mut session = Session::after("globalThis.f = () => { throw new Error('x') }; 0");
    session.step("globalThis.early = new Error('early'); 0");
    let stack = session.step("let stack; try { f() } catch (e) { stack = e.stack } stack").unwrap();
    let lines: Vec<_> = stack.lines().collect();
    assert_eq!(lines[0], "Error: x");
    assert!(lines[1].contains("script-1.js:1:30"), "{stack}");
    assert!(lines[2].contains("script-3.js:1:18"), "{stack}");
    let stack = session.step("early.stack").unwrap();
    assert!(stack.contains("script-2.js:1:20"), "{stack}");
    let (ran, _) = session.try_step("\n  f()", LIMITS, u64::MAX);
    let failure = ran.failure(mcp_v8_protocol::FailureKind::Thrown);
    assert_eq!((failure.line, failure.column), (Some(2), Some(3)), "{failure:?}");
}

#[test]
fn changes_to_what_is_built_in() {
    survives("Array.prototype.last = function () { return this.at(-1) }", "[1, 2].last()", "2");
    survives("(Object.prototype.polluted = 1)", "[{}.polluted, k]", "[1,1]");
    let mut session =
        Session::after("console.log = null; delete globalThis.setTimeout; Math.max = () => 7");
    assert_eq!(
        session.step("[console.log, typeof setTimeout, Math.max(1)]").as_deref(),
        Some(r#"[null,"undefined",7]"#)
    );
}

#[test]
fn intl_objects_are_the_same_objects() {
    let date = "Date.UTC(2024, 2, 5, 16, 7, 8, 9)";
    for (make, look) in [
        ("new Intl.DateTimeFormat('de')", format!("k.format({date})")),
        (
            "new Intl.DateTimeFormat('en-US', {dateStyle: 'full', timeStyle: 'long', timeZone: 'Asia/Tokyo'})",
            format!("k.format({date})"),
        ),
        (
            "new Intl.DateTimeFormat('en-US', {hour: 'numeric', minute: '2-digit', hour12: true, timeZoneName: 'short', timeZone: 'America/New_York'})",
            format!("k.format({date}) + k.formatRange({date}, {date} + 7e6)"),
        ),
        (
            "new Intl.DateTimeFormat('ja-JP-u-ca-japanese', {era: 'long', year: 'numeric', month: 'numeric', day: 'numeric', weekday: 'narrow', timeZone: 'UTC'})",
            format!("k.format({date})"),
        ),
        (
            "new Intl.DateTimeFormat('ar', {hour: '2-digit', hourCycle: 'h11', fractionalSecondDigits: 2, second: 'numeric', minute: 'numeric', timeZone: 'UTC'})",
            format!("k.format({date})"),
        ),
        (
            "new Intl.NumberFormat('de', {style: 'currency', currency: 'EUR'})",
            "k.format(-1234.5)".into(),
        ),
        (
            "new Intl.NumberFormat('en', {notation: 'compact', maximumSignificantDigits: 3})",
            "k.format(1234567)".into(),
        ),
        (
            "new Intl.NumberFormat('en', {style: 'unit', unit: 'kilometer-per-hour', unitDisplay: 'long', signDisplay: 'always'})",
            "k.format(1234.567)".into(),
        ),
        (
            "new Intl.NumberFormat('hi', {minimumFractionDigits: 2, maximumFractionDigits: 2, roundingIncrement: 5, roundingMode: 'floor', useGrouping: 'min2'})",
            "k.format(1234567.888)".into(),
        ),
        (
            "new Intl.NumberFormat('en', {roundingPriority: 'morePrecision', maximumSignificantDigits: 2, maximumFractionDigits: 3})",
            "k.format(1234.56789)".into(),
        ),
        (
            "new Intl.Collator('de', {sensitivity: 'base', numeric: true})",
            "[k.compare('ä', 'A'), k.compare('10', '9')]".into(),
        ),
        ("new Intl.PluralRules('ar', {type: 'cardinal'})", "k.select(3)".into()),
        (
            "new Intl.PluralRules('en', {type: 'ordinal', minimumFractionDigits: 1})",
            "[k.select(2), k.resolvedOptions().minimumFractionDigits]".into(),
        ),
        (
            "new Intl.RelativeTimeFormat('fr', {numeric: 'auto', style: 'short'})",
            "k.format(-1, 'day')".into(),
        ),
        (
            "new Intl.ListFormat('es', {type: 'disjunction', style: 'narrow'})",
            "k.format(['a', 'b', 'c'])".into(),
        ),
        (
            "new Intl.DisplayNames('de', {type: 'currency', style: 'narrow', fallback: 'none'})",
            "[k.of('USD'), k.of('QQQ')]".into(),
        ),
        (
            "new Intl.Segmenter('th', {granularity: 'word'})",
            "[...k.segment('สวัสดีชาวโลก')].length".into(),
        ),
        (
            "new Intl.Locale('zh-Hant-TW-u-ca-roc-nu-hanidec')",
            "[`${k}`, k.calendar, `${k.maximize()}`, k.numberingSystem]".into(),
        ),
        (
            "new Intl.DurationFormat('en', {style: 'digital', fractionalDigits: 2})",
            "k.format({hours: 1, minutes: 2, seconds: 3, milliseconds: 450})".into(),
        ),
        (
            "new Intl.DurationFormat('de', {style: 'narrow', hoursDisplay: 'always'})",
            "k.format({days: 2})".into(),
        ),
    ] {
        let look = format!("JSON.stringify([{look}, k.resolvedOptions?.()])");
        let mut session = Session::after(&format!("globalThis.k = {make}; 0"));
        let fresh = Session::default().step(&format!("const k = {make}; {look}"));
        assert_eq!(session.step(&look), fresh, "{make}");
        assert_eq!(session.step(&look), fresh, "{make}");
    }
    // Their identity, what hangs on them, and what was taken from them stay.
    let mut session = Session::after(
        "globalThis.k = new Intl.NumberFormat('de'); k.mine = {k}; globalThis.format = k.format;
         class Mine extends Intl.Collator { extra = 5 } globalThis.c = new Mine('sv');
         globalThis.map = new Map([[k, 1]]); 0",
    );
    assert_eq!(
        session
            .step("[k.mine.k === k, format(1.5), format === k.format, c.extra, c.compare('z', 'ö'), map.get(k)]")
            .as_deref(),
        Some(r#"[true,"1,5",true,5,-1,1]"#)
    );
}

#[test]
fn temporal_objects_are_the_same_objects() {
    for make in [
        "new Temporal.PlainDate(2024, 2, 29)",
        "new Temporal.PlainDate(-12345, 1, 1, 'hebrew')",
        "Temporal.PlainDate.from({era: 'reiwa', eraYear: 6, month: 3, day: 5, calendar: 'japanese'})",
        "new Temporal.PlainTime(1, 2, 3, 4, 5, 6)",
        "new Temporal.PlainDateTime(2024, 2, 29, 23, 59, 59, 999, 999, 999, 'buddhist')",
        "new Temporal.PlainYearMonth(2024, 2)",
        "new Temporal.PlainYearMonth(2024, 2, 'gregory', 15)",
        "new Temporal.PlainYearMonth(123456, 2)",
        "new Temporal.PlainMonthDay(2, 29)",
        "new Temporal.PlainMonthDay(2, 28, 'iso8601', 2001)",
        "Temporal.PlainMonthDay.from({monthCode: 'M05L', day: 1, calendar: 'hebrew'})",
        "new Temporal.Duration(1, -0, 0, 4, 5, 6, 7, 8, 9, 10)",
        "Temporal.Duration.from({hours: -1, seconds: -8796093022207})",
        "new Temporal.Instant(-123456789012345678n)",
        "new Temporal.ZonedDateTime(1710000000123456789n, 'America/New_York')",
        "new Temporal.ZonedDateTime(0n, '+05:30', 'chinese')",
    ] {
        let look = "JSON.stringify([k.toString({calendarName: 'always'}), `${Object.prototype.toString.call(k)}`,
                    k.era, k.monthCode, k.day, k.nanosecond, k.seconds, k.epochNanoseconds?.toString(),
                    k.negated ? `${k.negated()}` : k.add ? `${k.add({hours: 1})}` : 0])";
        let look = &if make.contains("YearMonth") {
            look.replace("{hours: 1}", "{months: 1}")
        } else {
            look.to_owned()
        };
        let mut session = Session::after(&format!("globalThis.k = {make}; 0"));
        let fresh = Session::default().step(&format!("const k = {make}; {look}"));
        assert_eq!(session.step(look), fresh, "{make}");
        assert_eq!(session.step(look), fresh, "{make}");
    }
    let mut session = Session::after(
        "class Mine extends Temporal.PlainDate { n = 1 } globalThis.k = new Mine(2024, 1, 1);
         globalThis.all = Array.from({length: 2000}, (_, day) => k.add({days: day})); 0",
    );
    assert_eq!(
        session
            .step("[k.n, k instanceof Temporal.PlainDate, `${all[1999]}`, Temporal.PlainDate.compare(k, all[0])]")
            .as_deref(),
        Some(r#"[1,true,"2029-06-22",0]"#)
    );
}

/// The collector moves and frees as it likes what was filled again.
#[test]
fn what_was_filled_again_outlives_collections() {
    let mut session = Session::after(
        "globalThis.k = Array.from({length: 300}, (_, n) =>
             n % 3 ? new Temporal.PlainDate(2000, 1, 1 + n % 28) : new Intl.NumberFormat('en', {minimumFractionDigits: n % 10})); 0",
    );
    let churn = "let kept = [];
         for (let i = 0; i < 200; i++) { kept.push(Array.from({length: 2000}, (_, n) => ({n}))); if (i % 7 === 0) kept = []; }
         k.map((o, n) => n % 3 ? `${o}` : o.format(1)).join()";
    let first = session.step(churn);
    assert_eq!(session.step(churn), first);
    assert!(first.unwrap().starts_with("1,2000-01-02,2000-01-03,1.000,"));
}

/// What cannot be kept is named with the way to it, the heap from before still serves, and letting go of
/// it is enough.
#[test]
fn what_cannot_be_kept_is_named_and_the_heap_from_before_stands() {
    let mut session = Session::after("globalThis.count = 1; 0");
    let module = "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))";
    let error = session.refused(&format!("globalThis.kept = {{deep: {module}}}; count = 2; 0"));
    let SaveError::Unsavable(what) = &error else { panic!("{error:?}") };
    assert!(what.contains("kept"), "{what}");
    assert_eq!(session.step("count").as_deref(), Some("1"));
    session.step(&format!("globalThis.kept = {module}; delete globalThis.kept; 0"));
}

#[test]
fn a_heap_of_its_bound_is_kept_and_a_byte_more_is_not() {
    let session = Session::after("globalThis.text = 'x'.repeat(100_000); 0");
    let again = |bytes_max| session.try_step("text.length", LIMITS, bytes_max).1.unwrap();
    let bytes = again(u64::MAX).unwrap().len() as u64;
    assert_eq!(again(bytes).unwrap().len() as u64, bytes);
    assert_eq!(again(bytes - 1), Err(SaveError::TooLarge { bytes_max: bytes - 1 }));
}

/// A hundred steps that leave nothing behind leave a heap of the size of the first.
#[test]
fn steps_that_leave_nothing_behind_do_not_make_a_heap_grow() {
    let mut session = Session::after("globalThis.count = 0; 0");
    session.step("count++; new Map([[{}, [1, 2, 3]]]).size");
    let first = session.bytes();
    for _ in 0..100 {
        session.step("count++; new Map([[{}, [1, 2, 3]]]).size");
    }
    assert_eq!(session.step("count").as_deref(), Some("101"));
    assert!(session.bytes() < first + first / 50, "{first} bytes became {}", session.bytes());
}

/// Rather refused than another.
#[test]
fn what_would_not_be_the_same_when_made_again_is_refused() {
    let make = "globalThis.k = new Intl.DateTimeFormat('ja-JP-u-ca-japanese',
        {era: 'long', year: 'numeric', month: 'short', day: 'numeric', weekday: 'narrow', timeZone: 'UTC'}); 0";
    let SaveError::Unsavable(what) = Session::default().refused(make) else { panic!("its size") };
    assert!(what.starts_with("an Intl.DateTimeFormat, in the global k; it would not be"), "{what}");
}

/// WebAssembly is used up with its script.
#[test]
fn web_assembly_can_be_run_and_let_go_of() {
    // (module (func (export "f") (result i32) (i32.const 7)))
    let run = "const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127,
            3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 6, 1, 4, 0, 65, 7, 11]);
        globalThis.got = (globalThis.got ?? 0) + new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.f();
        got";
    let mut session = Session::default();
    for n in 1..=5 {
        assert_eq!(session.step(run), Some((7 * n).to_string()));
    }
}
