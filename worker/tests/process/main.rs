//! The worker binary over a socket pair, as the supervisor uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod groups;
mod harness;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;

use harness::{LIMITS, Worker, run, run_with};
use mcp_v8_protocol::limits::{ARTIFACT_CHUNK_BYTES_MAX, CONSOLE_CHUNK_BYTES_MAX};
use mcp_v8_protocol::{FailureKind, Fatal, FatalKind, FromWorker, Hello, JobLimits, ToWorker};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn one_and_one_is_two() {
    let run = run("1+1");
    assert_eq!(run.completed().as_deref(), Some("2"));
    assert!(run.status.success());
}

#[test]
fn a_ready_worker_introduces_itself_and_has_one_thread() {
    let mut worker = Worker::spawn();
    let FromWorker::Ready(ready) = worker.receive().unwrap() else { panic!("not ready") };
    assert_eq!(ready.pid, worker.id());
    assert_eq!(ready.worker_version, env!("CARGO_PKG_VERSION"));
    assert!(ready.v8_version.starts_with("15.2."), "{}", ready.v8_version);
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap();
    assert!(status.contains("Threads:\t1\n"), "it may be forked:\n{status}");
}

#[test]
fn typescript_failures_come_in_the_users_terms() {
    let run =
        run("interface A {}\nfunction f(x: A): never {\n  throw new RangeError('no')\n}\nf({})");
    let failure = run.failed(FailureKind::Thrown);
    assert_eq!(failure.message, "RangeError: no");
    assert_eq!((failure.line, failure.column), (Some(3), Some(9)));
    assert_eq!(
        failure.stack.as_deref(),
        Some("RangeError: no\n    at f (script.ts:3:9)\n    at script.ts:5:1")
    );
}

#[test]
fn console_text_arrives_while_the_script_runs() {
    let mut worker = Worker::ready();
    worker.job("console.log('early'); for (;;);", LIMITS);
    assert_eq!(worker.receive(), Some(FromWorker::Console("early\n".to_owned())));
    worker.stop();
    worker.finish().failed(FailureKind::Stopped);
}

#[test]
fn an_artifact_leaves_in_pieces_behind_the_text_before_it() {
    let most = ARTIFACT_CHUNK_BYTES_MAX;
    let run = run(&format!(
        "console.log('before'); artifact('big', 'a/b', 'x'.repeat(2 * {most} + 1));
         artifact('none', 'a/b', ''); console.log('after')"
    ));
    assert_eq!(run.console, "before\nafter\n");
    let shapes: Vec<_> = run
        .artifacts
        .iter()
        .map(|(head, pieces)| {
            (head.key.as_str(), head.bytes, pieces.iter().map(Vec::len).collect::<Vec<_>>())
        })
        .collect();
    let big = 2 * most as u64 + 1;
    assert_eq!(shapes, [("big", big, vec![most, most, 1]), ("none", 0, vec![])]);
}

#[test]
fn console_text_keeps_order_and_is_cut_at_its_budget() {
    let limits = JobLimits { console_bytes: 300_000, ..LIMITS };
    let run = run_with("for (let i = 0; i < 1e6; i++) console.log('line €', i); 'end'", limits);
    assert_eq!(run.completed().as_deref(), Some("end"));
    assert!(run.truncated);
    assert!(run.console.len() <= 300_000 && run.console.len() > 300_000 - 4);
    for (at, line) in run.console.lines().take(10_000).enumerate() {
        assert_eq!(line, format!("line € {at}"));
    }
    assert!(run.longest_chunk <= CONSOLE_CHUNK_BYTES_MAX);
}

#[test]
fn ten_million_lines_and_one_of_100_mib_pass_through_the_budget() {
    let limits = JobLimits { heap_bytes: 256 << 20, ..LIMITS };
    for code in [
        "for (let i = 0; i < 1e7; i++) console.log('line ' + i); 'on'",
        "console.log('x'.repeat(100 * 1024 * 1024)); 'on'",
    ] {
        let run = run_with(code, limits);
        assert_eq!(run.completed().as_deref(), Some("on"), "for {code}");
        assert!(run.truncated);
        assert_eq!(run.console.len(), 1 << 20);
    }
}

#[test]
fn a_script_waits_for_a_supervisor_that_does_not_read_and_is_stopped_all_the_same() {
    let limits = JobLimits { console_bytes: 16 << 20, ..LIMITS };
    let mut worker = Worker::ready();
    // Many times what a socket buffers.
    worker.job(
        "const line = 'x'.repeat(1 << 20); for (let i = 0; i < 8; i++) console.log(line);
         setTimeout(() => {}, 1e9)",
        limits,
    );
    worker.stop();
    let run = worker.finish();
    run.failed(FailureKind::Stopped);
    let mut worker = Worker::ready();
    worker.job("for (;;) console.log('x'.repeat(1000))", limits);
    worker.hang_up();
    assert!(worker.wait().success());
}

#[test]
fn stop_ends_every_kind_of_loop() {
    for code in [
        "console.log('go'); while (true) {}",
        "console.log('go'); for (;;) await null",
        "console.log('go'); /(a+)+$/.test('a'.repeat(60) + 'b')",
        "console.log('go'); setTimeout(() => {}, 1e9)",
        "console.log('go'); for (;;) { try { for (;;) {} } catch {} finally { for (;;) {} } }",
        "console.log('go'); function f() { queueMicrotask(f) } f()",
    ] {
        let mut worker = Worker::ready();
        worker.job(code, LIMITS);
        assert_eq!(worker.receive(), Some(FromWorker::Console("go\n".to_owned())), "for {code}");
        worker.stop();
        let run = worker.finish();
        run.failed(FailureKind::Stopped);
        assert!(run.status.success(), "for {code}");
    }
}

#[test]
fn memory_without_end_is_reported_as_out_of_memory() {
    for code in [
        "let a = []; for (;;) a = [a, a, 1]",
        "const a = []; for (;;) a.push({})",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, i)",
        "new Array(1e9).fill(0)",
        "const a = []; for (;;) a.push('x'.repeat(1e6) + a.length)",
        "let t = Promise.resolve(); for (;;) t = t.then(() => {})",
        "'a'.repeat(2 ** 28).replace(/a/g, 'bb').length",
        "Array.from({length: 1e8}, (_, i) => [i])",
    ] {
        let run = run(code);
        match (&run.fatal, &run.done) {
            (Some(Fatal { kind: FatalKind::OutOfMemory, .. }), None) => {}
            (None, Some(_)) => {
                let failure = run.failed(FailureKind::OutOfMemory);
                assert_eq!(
                    failure.message,
                    "Out of memory: V8 heap limit exceeded. Try increasing heap_memory_max_mb."
                );
            }
            other => panic!("{other:?} for {code}"),
        }
    }
}

#[test]
fn what_is_too_large_for_one_value_is_an_error_to_catch() {
    for code in [
        "let e; try { new ArrayBuffer(2 ** 31) } catch (x) { e = x } e.name",
        "let e; try { let s = 'x'; for (;;) s += s } catch (x) { e = x } e.name",
        "let e; try { (function f() { f() })() } catch (x) { e = x } e.name",
        "let e; try { new Array(-1) } catch (x) { e = x } e.name",
    ] {
        assert_eq!(run(code).completed().as_deref(), Some("RangeError"), "for {code}");
    }
}

#[test]
fn source_nested_too_deeply_is_a_syntax_error() {
    let mib16 = 16 * 1024 * 1024;
    for code in [
        "[".repeat(mib16),
        "!".repeat(mib16 - 1) + "1",
        "(".repeat(1 << 20) + &")".repeat(1 << 20),
        "`${".repeat(1 << 20),
        "a=>".repeat(1 << 20) + "1",
        "let x: ".to_owned() + &"A<".repeat(1 << 20),
        "f".to_owned() + &"()".repeat(1 << 18),
    ] {
        let run = run(&code);
        let failure = run.failed(FailureKind::Syntax);
        assert_eq!(
            failure.message,
            "SyntaxError: the source is nested too deeply",
            "{}",
            &code[..9]
        );
        assert!(run.status.success());
    }
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    assert_eq!(run(&format!("{deep}.length")).completed().as_deref(), Some("1"));
}

#[test]
fn a_large_dense_source_is_read_whatever_the_language() {
    let mib4 = 4 * 1024 * 1024;
    for (head, body) in [("", "a=>1;"), ("let a:number=1;", "a=1;"), ("let a:number=1;", "{}")] {
        let code = head.to_owned() + &body.repeat((mib4 - head.len()) / body.len());
        // Too much for V8's heap, perhaps, but not for reading it.
        let limits = JobLimits { heap_bytes: 512 << 20, ..LIMITS };
        run_with(&code, limits).completed();
    }
}

#[test]
fn a_source_too_large_for_the_memory_is_out_of_memory() {
    // Stands for far more code than it is.
    let run = run(&"enum a{}".repeat(1 << 20));
    let failure = run.failed(FailureKind::OutOfMemory);
    assert_eq!(
        failure.message,
        "Out of memory: the source needs more memory than the script may have"
    );
    assert!(run.status.success());
}

#[test]
fn memory_that_v8_does_not_count_is_reported_as_out_of_memory() {
    for code in [
        "for (let i = 0; i < 1e5; i++) setTimeout(() => {}, 1e6, ...new Array(60000))",
        "console.log('begun'); for (let i = 0; i < 1e5; i++) setTimeout(() => {}, 1e6, ...new Array(6000))",
    ] {
        let run = run(code);
        run.fatal_of(FatalKind::OutOfMemory);
        // Of its signal, where V8 aborted; by itself, where our own code did.
        assert!(!run.status.success(), "for {code}");
        assert_eq!(run.console.is_empty(), !code.starts_with("console"), "for {code}");
    }
}

#[test]
fn values_nested_too_deeply_are_shown_in_part() {
    let run = run("let a = []; for (let i = 0; i < 1e6; i++) a = [a]; console.log(a); a");
    assert_eq!(run.console.trim_end(), run.completed().unwrap());
}

#[test]
fn another_heap_limit_rebuilds_the_isolate() {
    let small = JobLimits { heap_bytes: 8 << 20, ..LIMITS };
    let code = "const a = []; for (let i = 0; i < 5e5; i++) a.push({i}); a.length";
    run_with(code, small).failed(FailureKind::OutOfMemory);
    assert_eq!(run(code).completed().as_deref(), Some("500000"));
}

#[test]
fn the_end_of_the_stream_ends_the_process() {
    // Before Hello, before the job, while printing. What runs without a word is the supervisor's to
    // kill; and its death kills.
    let mut worker = Worker::spawn_silent();
    worker.hang_up();
    assert!(worker.wait().success());
    let mut worker = Worker::ready();
    worker.hang_up();
    assert!(worker.wait().success());
    let mut worker = Worker::ready();
    worker.job("console.log(1); for (;;) console.log('x'.repeat(1000))", LIMITS);
    worker.receive().unwrap();
    worker.hang_up();
    assert!(worker.wait().success());
}

#[test]
fn what_is_no_message_or_out_of_order_is_answered_and_fatal() {
    let hello = ToWorker::Hello(Hello { heap_bytes: 64 << 20, isolate: true });
    let mut garbage = Worker::spawn_silent();
    garbage.stream().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(garbage.finish().fatal_of(FatalKind::Worker).contains("cannot be understood"));

    let mut fork_first = Worker::spawn_silent();
    fork_first.send(&ToWorker::Fork { own_group: false });
    assert!(fork_first.finish().fatal_of(FatalKind::Worker).contains("Fork came where Hello"));

    let mut hello_twice = Worker::ready();
    hello_twice.send(&hello);
    assert!(hello_twice.finish().fatal_of(FatalKind::Worker).contains("Hello came where Job"));

    let mut tiny_heap = Worker::spawn_silent();
    tiny_heap.send(&ToWorker::Hello(Hello { heap_bytes: 1, isolate: true }));
    assert!(tiny_heap.finish().fatal_of(FatalKind::Worker).contains("too small"));
}

#[test]
fn signals_kill_and_are_told_apart() {
    for signal in [Signal::KILL, Signal::SEGV, Signal::ABORT] {
        let mut worker = Worker::ready();
        worker.job("console.log(1); for (;;);", LIMITS);
        worker.receive().unwrap();
        kill_process(Pid::from_raw(worker.id() as i32).unwrap(), signal).unwrap();
        assert_eq!(worker.receive(), None);
        assert_eq!(worker.wait().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn started_by_hand_it_says_what_it_is() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mcp-v8-worker"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("started by mcp-v8, not by hand"), "{text}");
}
