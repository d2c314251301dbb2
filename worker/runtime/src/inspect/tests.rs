//! Expression by expression: what `console.log` makes of it.

use crate::testing::{LIMITS, run, run_with};

/// Expression and expected text. Each is shown in a fresh line of one script.
const SHOWN: &[(&str, &str)] = &[
    // Strings as they are, but quoted inside something.
    (r#""text""#, "text"),
    (r#"["a\"b\n\u0001é😀"]"#, r#"["a\"b\n\u0001é😀"]"#),
    // JSON can show these.
    ("({a: 1, b: [1, 2]})", r#"{"a":1,"b":[1,2]}"#),
    ("[]", "[]"),
    ("({})", "{}"),
    ("[null, true, false, 1.5, -1e21]", "[null,true,false,1.5,-1e+21]"),
    ("({'with space': {}, 1: 2})", r#"{"1":2,"with space":{}}"#),
    ("new Date(0)", r#""1970-01-01T00:00:00.000Z""#),
    ("new Date(-62198755200001)", r#""-000002-12-31T23:59:59.999Z""#),
    ("new Date(Date.UTC(2024, 1, 29, 12, 34, 56, 7))", r#""2024-02-29T12:34:56.007Z""#),
    ("new Date(8.64e15)", r#""+275760-09-13T00:00:00.000Z""#),
    ("({toJSON() { return {as: this.constructor.name}; }})", r#"{"as":"Object"}"#),
    // JSON cannot.
    ("undefined", "undefined"),
    ("null", "null"),
    ("NaN", "NaN"),
    ("[Infinity, -Infinity, -0, 0]", "[Infinity,-Infinity,-0,0]"),
    ("10n", "10n"),
    ("[-12345678901234567890n]", "[-12345678901234567890n]"),
    ("1n << 100000n", "[BigInt of 100032 bits]"),
    ("new Date(NaN)", "Invalid Date"),
    ("({a: undefined})", r#"{"a":undefined}"#),
    ("new Map([['a', 1], [{}, new Map()]])", r#"Map(2) {"a" => 1, {} => Map(0) {}}"#),
    ("new Set([1, 'a', [2]])", r#"Set(3) {1, "a", [2]}"#),
    ("[1, , 3, , , 6]", "[1,<1 empty item>,3,<2 empty items>,6]"),
    ("new Array(5)", "[<5 empty items>]"),
    ("(a => (a[4294967294] = 1, a))([])", "[… 4294967295 more]"),
    ("Symbol('s')", "Symbol(s)"),
    ("({[Symbol.iterator]: 1})", "{[Symbol(Symbol.iterator)]:1}"),
    ("function f() {}", "[Function: f]"),
    ("(() => {})", "[Function (anonymous)]"),
    ("Map", "[Function: Map]"),
    ("class X {}", "[class X]"),
    ("(() => class {})()", "[class (anonymous)]"),
    ("Object.assign(function g() {}, {a: 1})", r#"[Function: g] {"a":1}"#),
    ("new (class Point { x = 1 })", r#"Point {"x":1}"#),
    ("new (class List extends Array {})(2)", "List(2) [<2 empty items>]"),
    ("Object.create(null)", "[Object: null prototype] {}"),
    ("/a\\/b/gimsuyd", "/a\\/b/dgimsuy"),
    ("[/\\u20ac€/v]", "[/\\u20ac€/v]"),
    ("new Uint8Array([1, 2, 3])", "Uint8Array(3) [1,2,3]"),
    ("new BigInt64Array([1n])", "BigInt64Array(1) [1n]"),
    ("new ArrayBuffer(8)", "ArrayBuffer(8 bytes)"),
    ("(b => (b.transfer(), b))(new ArrayBuffer(8))", "ArrayBuffer(0 bytes, detached)"),
    ("new DataView(new ArrayBuffer(4))", "DataView(4 bytes)"),
    ("Promise.resolve({a: 1})", r#"Promise {<fulfilled>: {"a":1}}"#),
    ("new Promise(() => {})", "Promise {<pending>}"),
    ("(p => (p.catch(() => {}), p))(Promise.reject(1))", "Promise {<rejected>: 1}"),
    ("new Number(4)", "[Number]"),
    ("new WeakMap()", "WeakMap {<items unknown>}"),
    ("new WeakSet()", "WeakSet {<items unknown>}"),
    ("(o => (o.self = o, o.list = [o], o))({})", r#"{"self":[Circular],"list":[[Circular]]}"#),
    ("(o => [o, o])({a: 1})", r#"[{"a":1},{"a":1}]"#),
    // Never runs the script's code.
    (
        "({get a() { throw 1 }, set b(v) {}, get c() { throw 1 }, set c(v) {}})",
        r#"{"a":[Getter],"b":[Setter],"c":[Getter/Setter]}"#,
    ),
    ("new Proxy({a: 1}, new Proxy({}, {get() { throw 1 }}))", r#"Proxy {"a":1}"#),
    ("new Proxy(() => {}, {})", "Proxy [Function (anonymous)]"),
    ("(r => (r.revoke(), r.proxy))(Proxy.revocable({}, {}))", "Proxy <revoked>"),
    ("Object.create(new Proxy({}, {get() { throw 1 }, getPrototypeOf() { throw 1 }}))", "{}"),
    ("({toJSON() { throw 1 }})", r#"{"toJSON":[Function: toJSON]}"#),
    ("({get toJSON() { throw 1 }})", r#"{"toJSON":[Getter]}"#),
    // Errors.
    ("(e => (e.stack = 'Error: m\\n    at here', e))(new Error('m'))", "Error: m\n    at here"),
    ("(e => (delete e.stack, e))(new TypeError('m'))", "[TypeError: m]"),
    ("(e => (delete e.stack, e.code = 5, e))(new Error('m'))", r#"[Error: m] {"code":5}"#),
    (
        "(e => (Object.defineProperty(e, 'stack', {__proto__: null, get() { throw 1 }}), e))(new Error('m'))",
        "[Error: m]",
    ),
    (
        "(e => (Object.defineProperty(e, 'message', {__proto__: null, get() { throw 1 }}), delete e.stack, e))(new Error('m'))",
        "[Error]",
    ),
    (
        "(e => (delete e.stack, e))(new Error('m', {cause: 'why'}))",
        "[Error: m]\n  [cause]: \"why\"",
    ),
];

fn show_all(prologue: &str) {
    let lines: String =
        SHOWN.iter().map(|(expression, _)| format!("log({expression});\n")).collect();
    let ran = run(&format!("const log = console.log;\n{prologue}\n{lines}"));
    let expected: String = SHOWN.iter().map(|(_, text)| format!("{text}\n")).collect();
    let console = ran.console.clone();
    assert_eq!(ran.result(), None);
    // Line by line, so that a failure names its expression.
    let mut rest = console.as_str();
    for (expression, text) in SHOWN {
        let expected = format!("{text}\n");
        let shown = &rest[..rest.floor_char_boundary(expected.len())];
        assert_eq!(shown, expected, "for {expression}");
        rest = &rest[shown.len()..];
    }
    assert_eq!(console, expected);
}

#[test]
fn values_are_shown_as_listed() {
    show_all("");
}

#[test]
fn a_script_that_overwrites_everything_changes_nothing() {
    show_all(
        "const bad = () => { throw new Error('disturbed') };
         for (const key of ['value', 'get', 'writable', 'toString', 'valueOf'])
           Object.defineProperty(Object.prototype, key, {__proto__: null, get: bad, set() {}});
         JSON.stringify = JSON.parse = bad;
         Object.getOwnPropertyDescriptor = Object.keys = Reflect.ownKeys = bad;
         Date.prototype.toISOString = Date.prototype.toString = bad;
         Symbol.prototype.toString = Function.prototype.toString = RegExp.prototype.toString = bad;
         Object.defineProperty(RegExp.prototype, 'flags', {__proto__: null, get: bad});
         Object.defineProperty(RegExp.prototype, 'global', {__proto__: null, get: bad});
         Map.prototype.entries = Set.prototype.values = bad;
         globalThis.console = globalThis.Error.prepareStackTrace = bad;",
    );
}

#[test]
fn depth_items_and_bytes_are_bounded() {
    let ran = run("let deep = 1; for (let i = 0; i < 1000; i++) deep = [deep]; console.log(deep);
                   console.log(new Array(10_001).fill(1)); console.log(new Set(Array(10_002).keys()));
                   console.log(new Uint8Array(10_003)); console.log(Array(1e9));
                   console.log(Object.fromEntries(Array(10_004).keys().map(i => ['k' + i, 0])))");
    let lines: Vec<_> = ran.console.lines().collect();
    assert_eq!(lines[0], format!("{}[…]{}", "[".repeat(24), "]".repeat(24)));
    assert!(lines[1].ends_with(",1,… 1 more]"), "{}", &lines[1][lines[1].len() - 30..]);
    assert!(lines[2].ends_with(", 9999, … 2 more}"), "{}", &lines[2][lines[2].len() - 30..]);
    assert!(lines[3].ends_with(",0,… 3 more]"), "{}", &lines[3][lines[3].len() - 30..]);
    assert_eq!(lines[4], "[… 1000000000 more]");
    assert!(lines[5].ends_with(",… 4 more}"), "{}", &lines[5][lines[5].len() - 30..]);
}

#[test]
fn a_result_is_cut_at_its_bound_and_marked() {
    let text = run("'é'.repeat(1024 * 1024)");
    let mcp_v8_protocol::Outcome::Completed { result, result_truncated } = text.outcome else {
        panic!("{text:?}");
    };
    assert!(result_truncated);
    assert_eq!(result.unwrap().len(), 1024 * 1024);
    let exact = run("'x'.repeat(1024 * 1024)");
    let mcp_v8_protocol::Outcome::Completed { result_truncated, .. } = exact.outcome else {
        panic!("{exact:?}");
    };
    assert!(!result_truncated, "at the bound nothing is lost");
}

#[test]
fn errors_show_their_stack_and_causes() {
    let ran = run("const e = new Error('outer', {cause: new TypeError('inner')});
console.log(e);
e.name = 'Renamed'; console.log(e);
console.log([new AggregateError([1], 'all')])");
    assert_eq!(
        ran.console,
        "Error: outer\n    at script.js:1:11\n  [cause]: TypeError: inner\n    at script.js:1:38\n\
         Renamed: outer\n    at script.js:1:11\n  [cause]: TypeError: inner\n    at script.js:1:38\n\
         [AggregateError: all\n    at script.js:4:14\n  [errors]: [1]]\n"
    );
}

#[test]
fn methods_of_console_have_their_form() {
    let ran = run("console.log('a', 1); console.debug('b'); console.trace('c'); console.info('d');
        console.warn('e', {}); console.error('f'); console.log();
        console.group('G'); console.log('in\\nside'); console.groupEnd(); console.groupEnd();
        console.assert(true, 'no'); console.assert(false); console.assert(0, 'why');
        console.count(); console.count(); console.count('x'); console.countReset(); console.count();
        console.table([{a: 1}], ['a']); console.dir({b: 2}, {depth: 0}); console.timeEnd('none')");
    assert_eq!(
        ran.console,
        "a 1\nb\nc\n[INFO] d\n[WARN] e {}\n[ERROR] f\n\nG\n  in\n  side\n\
         [ERROR] Assertion failed\n[ERROR] Assertion failed: why\n\
         default: 1\ndefault: 2\nx: 1\ndefault: 1\n[{\"a\":1}]\n{\"b\":2}\n\
         [WARN] No such label 'none' for console.time()\n"
    );
}

#[test]
fn the_budget_cuts_within_a_character_and_says_so_once() {
    let limits = mcp_v8_protocol::JobLimits { console_bytes: 10, ..LIMITS };
    let ran =
        run_with("console.log('ab'); console.log('éééé'); console.log('x'); 7", limits, |_, _| {});
    assert_eq!(ran.console, "ab\nééé");
    assert!(ran.truncated);
    assert_eq!(ran.result().as_deref(), Some("7"));

    let exact = run_with("console.log('123456789')", limits, |_, _| {});
    assert_eq!(exact.console, "123456789\n");
    assert!(!exact.truncated, "at the bound nothing is lost");
}

#[test]
fn console_costs_nothing_once_its_budget_is_used_up() {
    let ran =
        run("for (let i = 0; i < 2e6; i++) console.log('line', i, {get x() { throw 1 }}); 'on'");
    assert!(ran.truncated);
    assert_eq!(ran.console.len(), 1 << 20);
    assert_eq!(ran.result().as_deref(), Some("on"));
}
