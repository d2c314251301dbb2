//! Measures `Math.random`: V8's own, in a context without our globals, and the one that scripts get.
//!
//! ```sh
//! cargo run --release -p mcp-v8-runtime --example random
//! ```

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use mcp_v8_protocol::{Job, JobLimits, Outcome};
use mcp_v8_runtime::{Runtime, ScriptSink, bake};
use v8::MapFnTo;

/// Marks the time twice, calls `Math.random` 1 time, 10^4 times and 10^8 times, and marks it after
/// each. Every loop is a function of its own, so each is interpreted at first, as a script's is.
const SCRIPT: &str = "
    const mark = globalThis.mark ?? (() => console.log(''));
    const cold = () => { let s = 0; for (let i = 0; i < 1e4; i++) s += Math.random(); return s };
    const hot = () => { let s = 0; for (let i = 0; i < 1e8; i++) s += Math.random(); return s };
    mark();
    mark();
    const first = Math.random();
    mark();
    const few = cold();
    mark();
    const many = hot();
    mark();
    const all = first + few + many;
    if (!(all > 4.9e7 && all < 5.1e7)) throw new Error('the mean is not a half');
";

/// Runs of each, of which the median counts.
const RUNS: usize = 9;

thread_local! {
    static MARKS: RefCell<Vec<Instant>> = const { RefCell::new(Vec::new()) };
}

fn mark() {
    MARKS.with_borrow_mut(|marks| marks.push(Instant::now()));
}

fn mark_native(
    _: &mut v8::PinScope<'_, '_>,
    _: v8::FunctionCallbackArguments<'_>,
    _: v8::ReturnValue<'_, v8::Value>,
) {
    mark();
}

struct Marker;

impl ScriptSink for Marker {
    fn write(&self, _: &str) {
        mark();
    }

    fn truncated(&self) {}

    fn artifact(&self, _: &str, _: &str, _: &[u8]) {}
}

type Failed = Box<dyn Error + Send + Sync>;

fn own() -> Result<(), Failed> {
    let isolate = &mut v8::Isolate::new(v8::CreateParams::default());
    v8::scope!(let scope, isolate);
    let context = v8::Context::new(scope, v8::ContextOptions::default());
    let scope = &mut v8::ContextScope::new(scope, context);
    let function = v8::Function::builder_raw(mark_native.map_fn_to()).build(scope).ok_or("mark")?;
    let key = v8::String::new(scope, "mark").ok_or("mark")?;
    context.global(scope).set(scope, key.into(), function.into());
    let code = v8::String::new(scope, SCRIPT).ok_or("the script is too long")?;
    let script = v8::Script::compile(scope, code, None).ok_or("the script does not compile")?;
    script.run(scope).ok_or("the script failed")?;
    Ok(())
}

fn ours(snapshot: &'static [u8]) -> Result<(), Failed> {
    let limits = JobLimits {
        heap_bytes: 64 << 20,
        buffer_bytes: 64 << 20,
        console_bytes: 1 << 10,
        cpu_secs: 600,
    };
    let mut runtime = Runtime::new(snapshot, limits.heap_bytes)?;
    runtime.warm_up();
    runtime.warm_up_loops();
    let job = Job {
        execution_id: String::new(),
        attempt: 1,
        code: SCRIPT.to_owned().into(),
        limits,
        heap: None,
    };
    match runtime.run(&job, Rc::new(Marker)).outcome {
        Outcome::Completed { .. } => Ok(()),
        Outcome::Failed(failure) => Err(failure.message.into()),
    }
}

/// The time between the marks of one run.
fn steps() -> Vec<Duration> {
    let marks = MARKS.take();
    marks.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn print(name: &str, mut runs: Vec<Vec<Duration>>) {
    let mut median = |step: usize| {
        runs.sort_by_key(|run| run[step]);
        runs[runs.len() / 2][step].as_secs_f64() * 1e9
    };
    println!(
        "{name:8} first call {:8.0} ns   10^4 calls, cold {:6.1} ns each   10^8 calls {:5.2} ns each",
        median(1),
        median(2) / 1e4,
        median(3) / 1e8
    );
}

fn main() -> Result<(), Failed> {
    mcp_v8_runtime::initialize();
    // In a thread of its own: a thread that has made a snapshot is left alone.
    let snapshot = thread::spawn(bake).join().map_err(|_| "baking panicked")??;
    let snapshot: &'static [u8] = Box::leak(snapshot.into_boxed_slice());
    let (mut of_v8, mut of_us) = (Vec::new(), Vec::new());
    // Alternating, so that what the machine does besides disturbs both alike.
    for _ in 0..RUNS {
        own()?;
        of_v8.push(steps());
        ours(snapshot)?;
        of_us.push(steps());
    }
    print("V8's", of_v8);
    print("ours", of_us);
    Ok(())
}
