//! Languages, results and positions, without V8.

use super::{JS_NAME, Position, TS_NAME, prepare};

fn at(line: u32, column: u32) -> Position {
    Position { line, column }
}

#[test]
fn the_last_expression_becomes_the_default_export() {
    for (source, code) in [
        ("1+1", "export default (1+1)"),
        ("a; b;", "a; export default (b);"),
        ("x, y // end", "export default (x, y) // end"),
        ("'hello'", "export default ('hello')"),
        ("'use strict'; 5;;", "'use strict'; export default (5);;"),
        ("(function () {})", "export default (0,(function () {}))"),
        ("() => 1", "export default (0,() => 1)"),
        ("(class {})", "export default (0,(class {}))"),
        ("throw null", "throw import.meta.thrown((null))"),
        ("throw a, b; 1", "throw import.meta.thrown((a, b)); export default (1)"),
        // Nothing to show.
        ("let a = 1", "let a = 1"),
        ("if (1) 2", "if (1) 2"),
        ("1; class C {}", "1; class C {}"),
        ("1; const f = 1", "1; const f = 1"),
        ("'use strict'; function f() {}", "'use strict'; function f() {}"),
        ("", ""),
        ("// only a comment", "// only a comment"),
        // The author's own choice counts.
        ("export default 1; 2", "export default 1; 2"),
        ("const a = 1; export { a as default }; 2", "const a = 1; export { a as default }; 2"),
        ("export * as default from 'x'; 2", "export * as default from 'x'; 2"),
        ("export { a as default } from 'x'; 2", "export { a as default } from 'x'; 2"),
        // Functions are there from the beginning.
        ("f()\nfunction f() {}", "export default (f())\nfunction f() {}"),
        ("1; async function* f() {}", "export default (1); async function* f() {}"),
        (
            "1; export function f() {}; export {}",
            "export default (1); export function f() {}; export {}",
        ),
    ] {
        assert_eq!(prepare(source).unwrap().code, code, "for {source}");
    }
}

#[test]
fn functions_and_classes_keep_their_text() {
    for source in [
        "function f(n) { if (n < 0) throw new RangeError('neg'); }",
        "let f = () => { throw 1 }, o = { m() { throw 1 }, get g() { throw 1 } }",
        "class C { static { throw 1 } x = () => { throw 1 }; #p() { throw 1 } }",
    ] {
        assert_eq!(prepare(source).unwrap().code, source);
    }
    assert_eq!(
        prepare("{ if (1) throw 1 }").unwrap().code,
        "{ if (1) throw import.meta.thrown((1)) }"
    );
}

#[test]
fn types_after_the_last_expression_do_not_hide_it() {
    for types in [
        "type A = 1",
        "export interface A { b: 1 }",
        "export type A = 1; export type { A as B }",
        "import type { A } from 'b'",
        "declare const a: number; declare class C {} declare enum E {} declare function f(): void",
        "declare module 'm' { const a: number } declare global { interface G {} }",
        "namespace N { export interface I {} namespace M.O { type T = 1 } }",
        "function f(): void; function f(x: 1): void; function f(x?: 1) {}",
    ] {
        let code = prepare(&format!("let x: 1 = 1; x;\n{types}")).unwrap().code;
        assert!(code.contains("export default x;"), "for {types}: {code}");
    }
    for code in ["enum E { A }", "namespace N { export const a = 1 }", "class C { a: 1 }"] {
        let code = prepare(&format!("let x: 1 = 1; x;\n{code}")).unwrap().code;
        assert!(!code.contains("export default"), "{code}");
    }
}

#[test]
fn a_source_cannot_rename_itself() {
    for (source, code) in [
        ("let a; //# sourceURL=zzz.js", "let a; //  sourceURL=zzz.js"),
        ("//@\tsourceURL=z\nlet a", "// \tsourceURL=z\nlet a"),
        ("let a = '//# sourceURL=z' // # sourceURL", "let a = '//# sourceURL=z' // # sourceURL"),
    ] {
        assert_eq!(prepare(source).unwrap().code, code);
    }
}

#[test]
fn typescript_is_tried_when_javascript_fails() {
    for (source, code) in [
        ("let x: number = 1;", "let x = 1;\n"),
        ("1 as number", "export default 1;\n"),
        ("f<string>('a'); interface I {}; type T = I", "export default (0, f)('a');\n"),
        ("import type { A } from 'b'; let a: A", "let a;\nexport {};\n"),
    ] {
        let prepared = prepare(source).unwrap();
        if source.starts_with("f<") {
            // Valid JavaScript too: two comparisons.
            continue;
        }
        assert_eq!(prepared.code, code, "for {source}");
        assert_eq!(prepared.positions.script_name(), TS_NAME);
    }
    assert_eq!(prepare("let x = 1").unwrap().positions.script_name(), JS_NAME);
}

#[test]
fn the_error_of_the_better_reading_is_reported_where_it_is() {
    for (source, position) in [
        ("let x = ;", at(1, 9)),
        ("let é = '😀'\r\nlet '😀' + = 2", at(2, 5)),
        ("type A = string;\nlet z = ;", at(2, 9)),
        ("let a: number = 1;\n\u{2028}  )", at(3, 3)),
    ] {
        let error = prepare(source).unwrap_err();
        assert_eq!(error.position, Some(position), "for {source:?}: {}", error.message);
    }
    assert!(prepare("const a = <div/>;").is_err(), "no JSX");
}

#[test]
fn inserted_text_moves_no_position() {
    let source = "let a = 1;\n  foo(a); bar(\n a); // x";
    let prepared = prepare(source).unwrap();
    assert_eq!(prepared.code, "let a = 1;\n  foo(a); export default (bar(\n a)); // x");
    let map = |line, column| prepared.positions.map(at(line, column));
    assert_eq!(map(1, 5), at(1, 5));
    assert_eq!(map(2, 3), at(2, 3));
    assert_eq!(map(2, 27), at(2, 11), "the b of bar");
    assert_eq!(map(2, 15), at(2, 11), "inside what was inserted");
    assert_eq!(map(3, 2), at(3, 2));
    assert_eq!(map(3, 4), at(3, 4), "behind the closing parenthesis");
    assert_eq!(map(3, 7), at(3, 6));
    assert_eq!(
        prepared.positions.map_text("at f (script.js:2:27) in script.js:3:7 x script.js:9"),
        "at f (script.js:2:11) in script.js:3:6 x script.js:9"
    );
}

#[test]
fn both_insertions_on_one_line_are_undone() {
    let prepared = prepare("f(x) /* é */ ; /* y */").unwrap();
    assert_eq!(prepared.code, "export default (f(x)) /* é */ ; /* y */");
    assert_eq!(prepared.positions.map(at(1, 17)), at(1, 1));
    assert_eq!(prepared.positions.map(at(1, 19)), at(1, 3));
    assert_eq!(prepared.positions.map(at(1, 23)), at(1, 6));
}

#[test]
fn many_insertions_are_undone_at_once() {
    let count = 50_000;
    let source = "{throw 1}".repeat(count);
    let prepared = prepare(&source).unwrap();
    let inserted = (prepared.code.len() - source.len()) / count;
    for at_throw in (0..count).rev() {
        let compiled = at(1, (at_throw * (9 + inserted)) as u32 + 2);
        assert_eq!(prepared.positions.map(compiled), at(1, at_throw as u32 * 9 + 2));
    }
}

#[test]
fn typescript_positions_lead_back_through_types_and_insertions() {
    let source = "interface A { b: string }\n\nfunction f(x: number): void {\n  boom(x as any);\n}\nf(1 as number)";
    let prepared = prepare(source).unwrap();
    let compiled = |needle: &str| {
        let offset = prepared.code.find(needle).unwrap();
        prepared.positions.map(Position::of_offset(&prepared.code, offset))
    };
    assert_eq!(compiled("boom"), at(4, 3));
    assert_eq!(compiled("x);"), at(4, 8));
    assert_eq!(compiled("f(1"), at(6, 1));
}
