//! Bad input and bad scripts: a clear, typed error, the server unharmed, the next script served.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use mcp_v8_protocol::limits::CODE_BYTES_MAX;
use mcp_v8_tests::Server;
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn post_raw(server: &Server, body: Vec<u8>) -> (StatusCode, Value) {
    let request = server.post("/api/exec?wait=60").header("content-type", "text/plain").body(body);
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn post_json(server: &Server, body: &str) -> (StatusCode, Value) {
    let request = server
        .post("/api/exec?wait=60")
        .header("content-type", "application/json")
        .body(body.to_owned());
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_refusal_names_the_field_and_what_is_accepted() {
    let server = Server::start(&[]).await;
    for (body, expected) in [
        ("{}", "missing field `code`"),
        ("{\"code\": \"\"}", "`code` is empty"),
        ("{\"code\": 1}", "`code`: invalid type: integer `1`, expected a string"),
        ("{\"coed\": \"1\"}", "unknown field `coed`"),
        ("{\"code\": \"1\"", "EOF while parsing"),
        ("{\"code\": \"1\"} x", "trailing characters"),
        ("[]", "body"),
        (
            "{\"code\":\"1\",\"heap_memory_max_mb\":7}",
            "`heap_memory_max_mb` is 7; accepted: 8 to 4096",
        ),
        ("{\"code\":\"1\",\"heap_memory_max_mb\":\"8\"}", "`heap_memory_max_mb`"),
        ("{\"code\":\"1\",\"execution_timeout_secs\":301}", "accepted: 1 to 300 seconds"),
        ("{\"code\":\"1\",\"heap\":\"ff\"}", "`heap` is not the hash of a heap; accepted: 64"),
        (
            "{\"code\":\"1\",\"session\":7}",
            "`session`: invalid type: integer `7`, expected a string",
        ),
    ] {
        let (status, answer) = post_json(&server, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(expected), "{body}: {answer}");
    }
    let (status, answer) = post_raw(&server, b"'ok' + '\xff'".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["error"].as_str().unwrap().contains("not valid UTF-8 at byte 8"), "{answer}");
    for (path, expected) in [
        ("/api/executions?limit=0", "accepted: 1 to 1000"),
        ("/api/executions?limit=x", "limit"),
        ("/api/executions?cursor=x", "cursor"),
        ("/api/executions/nonsense", "Execution 'nonsense' not found"),
        ("/api/executions/nonsense/output", "Execution 'nonsense' not found"),
        ("/api/nothing", "no such route"),
    ] {
        let answer = server.json(path).await;
        assert!(answer["error"].as_str().unwrap().contains(expected), "{path}: {answer}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn code_at_16_mib_runs_and_one_byte_more_is_refused() {
    let server = Server::start(&[]).await;
    let code = |bytes: usize| {
        let mut code = b"7//".to_vec();
        code.resize(bytes, b'x');
        code
    };
    let (status, answer) = post_raw(&server, code(CODE_BYTES_MAX)).await;
    assert_eq!((status, &answer["result"]), (StatusCode::OK, &json!("7")), "{answer}");
    let (status, answer) = post_raw(&server, code(CODE_BYTES_MAX + 1)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["error"].as_str().unwrap().contains("16777217 bytes"), "{answer}");
    server.assert_serves().await;
}

/// What a hostile script must come back with.
struct Case {
    code: &'static str,
    kind: &'static [&'static str],
    message: &'static str,
}

const CASES: &[Case] = &[
    Case { code: "const = 1", kind: &["syntax_error"], message: "SyntaxError" },
    Case { code: "import fs from 'node:fs'", kind: &["syntax_error"], message: "node:fs" },
    Case { code: "while(true){}", kind: &["timed_out"], message: "Execution timed out" },
    Case { code: "for(;;) await null", kind: &["timed_out"], message: "Execution timed out" },
    Case {
        code: "try { for(;;) {} } finally { for(;;) {} }",
        kind: &["timed_out"],
        message: "Execution timed out",
    },
    Case {
        code: "/(a+)+$/.test('a'.repeat(60) + 'b')",
        kind: &["timed_out"],
        message: "Execution timed out",
    },
    Case { code: "setInterval(() => {}, 1)", kind: &["timed_out"], message: "Execution timed out" },
    Case { code: "new Array(1e9).fill(0)", kind: &["out_of_memory"], message: "Out of memory" },
    Case {
        code: "let a = []; for (;;) a = [a, new Array(1000).fill(0)]",
        kind: &["out_of_memory"],
        message: "Out of memory: V8 heap limit exceeded. Try increasing heap_memory_max_mb.",
    },
    Case { code: "new ArrayBuffer(2 * 1024 ** 3)", kind: &["script_error"], message: "RangeError" },
    // Memory that V8 does not count.
    Case {
        code: "for (;;) setTimeout(() => {}, 1e6, ...new Array(60000))",
        kind: &["out_of_memory"],
        message: "Out of memory",
    },
    Case {
        code: "new ArrayBuffer(1, { maxByteLength: 2 ** 33 }).resize(2 ** 32)",
        kind: &["script_error"],
        message: "RangeError",
    },
    Case {
        code: "const all = []; for (;;) all.push(new WebAssembly.Memory({ initial: 1000 }))",
        kind: &["out_of_memory", "script_error"],
        message: "",
    },
    Case {
        code: "let s = 'x'; for (;;) s += s",
        kind: &["script_error", "out_of_memory"],
        message: "",
    },
    Case {
        code: "function f() { return f() + 1 } f()",
        kind: &["script_error"],
        message: "RangeError: Maximum call stack size exceeded",
    },
    Case { code: "await new Promise(() => {})", kind: &["stalled"], message: "await" },
    Case { code: "\n throw null", kind: &["script_error"], message: "null" },
    Case {
        code: "throw new Proxy({}, { get() { throw 1 }, ownKeys() { throw 2 }, getPrototypeOf() { throw 3 } })",
        kind: &["script_error"],
        message: "",
    },
    Case {
        code: "Promise.reject(new Error('nobody cares'))",
        kind: &["unhandled_rejection"],
        message: "nobody cares",
    },
];

#[tokio::test]
async fn every_bad_script_has_its_typed_error_in_time_and_harms_nobody() {
    let server = Server::start(&["--execution-timeout=4", "--heap-memory-max=64"]).await;
    for Case { code, kind, message } in CASES {
        let begun = Instant::now();
        let answer = server.run(code).await;
        let took = begun.elapsed();
        let detail = &answer["error_detail"];
        let seen = detail["kind"].as_str().unwrap_or_default();
        assert!(kind.contains(&seen), "{code}: {answer}");
        assert!(detail["message"].as_str().unwrap().contains(message), "{code}: {answer}");
        assert!(!answer["error"].as_str().unwrap().is_empty(), "{code}: {answer}");
        assert!(took < Duration::from_secs(10), "{code} took {took:?}");
        server.assert_serves().await;
    }
}

#[tokio::test]
async fn a_stalled_await_is_told_at_once_and_where() {
    let server = Server::start(&["--execution-timeout=60"]).await;
    let begun = Instant::now();
    let answer = server.run("const a = 1;\n  await new Promise(() => {});").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "not at the deadline");
    assert_eq!(answer["error_detail"]["kind"], "stalled", "{answer}");
    assert_eq!(answer["error_detail"]["line"], 2, "{answer}");
}

#[tokio::test]
async fn errors_have_lines_of_the_users_own_source() {
    let server = Server::start(&[]).await;
    let javascript = "const a = 1;\nfunction f() {\n  throw new TypeError('here');\n}\nf();";
    let typescript = "interface A {\n  b: number;\n}\nconst a: A = { b: 1 };\nfunction f(x: A): never {\n  throw new TypeError('here');\n}\nf(a);";
    for (code, line, column) in [(javascript, 3, 9), (typescript, 6, 9)] {
        let answer = server.run(code).await;
        let detail = &answer["error_detail"];
        assert_eq!(
            (&detail["line"], &detail["column"]),
            (&json!(line), &json!(column)),
            "{answer}"
        );
        assert_eq!(detail["message"], "TypeError: here");
        assert!(detail["stack"].as_str().unwrap().contains("at f ("), "{answer}");
    }
}

#[tokio::test]
async fn a_console_flood_is_cut_with_a_notice_and_the_script_goes_on() {
    let server = Server::start(&["--execution-timeout=60"]).await;
    for code in [
        "for (let i = 0; i < 1e7; i++) console.log('line', i); 'the end'",
        "console.log('x'.repeat(100 * 1024 * 1024)); 'the end'",
    ] {
        let answer = server.run_with(json!({ "code": code, "heap_memory_max_mb": 512 })).await;
        assert_eq!(answer["result"], "the end", "{code}: {}", answer["error"]);
        let output = answer["output"].as_str().unwrap();
        assert!(output.ends_with("the script went on]\n"), "{}", &output[output.len() - 200..]);
        assert!((1_000_000..1_050_000).contains(&output.len()), "{} bytes", output.len());
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn hostile_globals_disturb_neither_the_answer_nor_the_next_script() {
    let server = Server::start(&[]).await;
    for code in [
        "const log = console.log; globalThis.console = null; globalThis.JSON = null; log({a: [1]}); 'ok'",
        "globalThis.Promise = class { constructor() { throw 1 } }; await null; console.log({a: [1]}); 'ok'",
        "Object.defineProperty(Object.prototype, 'a', { get() { throw 1 } }); console.log({a: [1]}); 'ok'",
        "Array.prototype[Symbol.iterator] = null; Array.prototype.push = null; Map.prototype.get = null; console.log({a: [1]}); 'ok'",
        "Object.defineProperty(Object.prototype, 'toJSON', { get() { throw 1 } }); console.log({a: [1]}); 'ok'",
    ] {
        let answer = server.run(code).await;
        assert_eq!(answer["result"], "ok", "{code}: {answer}");
        assert_eq!(answer["output"], "{\"a\":[1]}\n", "{code}: {answer}");
        let next = server.run("console.log(JSON.stringify({a: [1]}), typeof Promise)").await;
        assert_eq!(next["output"], "{\"a\":[1]} function\n");
    }
}
