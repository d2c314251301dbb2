//! Heaps over the worker pool: from one process to the next, and what scripts do against it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::Deref;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use mcp_v8_protocol::limits::HEAP_BYTES_MAX;
use mcp_v8_protocol::{HeapEngine, Job, JobLimits};
use mcp_v8_supervisor::executions::model::{ErrorDetail, ErrorKind};
use mcp_v8_supervisor::heaps::{Engine, Heap, HeapFile, HeapKey, blob};
use mcp_v8_supervisor::limits::KILL_GRACE;
use mcp_v8_supervisor::pool::sandbox::Mode;
use mcp_v8_supervisor::pool::{HeapTask, KeptHeap, Pool, PoolSettings, Processes};
use mcp_v8_tests::binary;
use tokio_util::sync::CancellationToken;

const MIB: u64 = 1024 * 1024;
const WALL: Duration = Duration::from_secs(60);

/// Held by who has a pool, and alone by who counts processes.
static POOLS: RwLock<()> = RwLock::new(());

/// A pool, beside others of these tests.
struct Beside {
    pool: Pool,
    _held: RwLockReadGuard<'static, ()>,
}

impl Deref for Beside {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

fn start(processes: Processes) -> Beside {
    start_with("mcp-v8-worker", Mode::Required, processes)
}

fn start_with(program: &str, sandbox: Mode, processes: Processes) -> Beside {
    let held = POOLS.read().unwrap_or_else(PoisonError::into_inner);
    Beside { pool: pool(program, sandbox, processes), _held: held }
}

fn pool(program: &str, sandbox: Mode, processes: Processes) -> Pool {
    Pool::start(PoolSettings {
        worker_path: binary(program),
        idle_workers: 2,
        sandbox,
        processes,
        warm: true,
        heap_bytes: 128 * MIB,
    })
    .unwrap()
}

fn job(code: &str, heap_mb: u64) -> Job {
    let limits = JobLimits {
        heap_bytes: heap_mb * MIB,
        buffer_bytes: heap_mb * MIB,
        console_bytes: 64 * 1024,
        cpu_secs: 120,
    };
    Job {
        execution_id: "test".to_owned(),
        attempt: 1,
        code: code.to_owned().into(),
        limits,
        heap: None,
    }
}

type Kept = Result<(Option<String>, KeptHeap), ErrorDetail>;

/// Runs `code` on `base` with a heap of 128 MiB, of which 64 MiB may be kept.
async fn run(pool: &Pool, base: Option<&Heap>, code: &str) -> Kept {
    run_with(pool, base, job(code, 128), 64 * MIB, WALL).await
}

async fn run_with(
    pool: &Pool,
    base: Option<&Heap>,
    job: Job,
    bytes_max: u64,
    wall: Duration,
) -> Kept {
    let worker = pool.take_for_heap().await.unwrap();
    let task = HeapTask { base: base.cloned(), bytes_max };
    worker.run_keeping(job, task, wall, &CancellationToken::new(), |_| {}).await
}

/// The heap that `code` leaves.
async fn heap_after(pool: &Pool, code: &str) -> Heap {
    run(pool, None, code).await.unwrap().1.heap
}

/// The result of `code` on `heap`.
async fn result_on(pool: &Pool, heap: &Heap, code: &str) -> String {
    run(pool, Some(heap), code).await.unwrap().0.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heap_goes_from_process_to_process() {
    for processes in [Processes::Fork, Processes::Exec] {
        let pool = start(processes);
        let mut heap = heap_after(&pool, "globalThis.n = 0; globalThis.log = new Map()").await;
        for n in 1..=5 {
            let code = "n += 1; log.set(n, () => n); [n, log.size, log.get(1)()]";
            let (result, kept) = run(&pool, Some(&heap), code).await.unwrap();
            assert_eq!(result.unwrap(), format!("[{n},{n},{n}]"));
            assert_ne!(kept.heap.id(), heap.id());
            assert!(kept.heap.file().is_sealed());
            heap = kept.heap;
        }
        // Any heap can be gone back to, any number of times.
        let early = heap.clone();
        assert_eq!(result_on(&pool, &early, "n").await, "5");
        assert_eq!(result_on(&pool, &early, "n += 10").await, "15");
        assert_eq!(result_on(&pool, &early, "n").await, "5");
        pool.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heap_survives_being_stored() {
    let pool = start(Processes::Fork);
    let heap = heap_after(&pool, "globalThis.n = 41").await;
    let engines = pool.heap_engines().await.unwrap();
    assert_eq!(engines.accepted.last(), Some(&heap.engine().hash));
    let key = HeapKey::new(HeapKey::generate().unwrap());
    let (header, bytes) = (heap.header(&key), heap.map().unwrap().to_vec());
    let file = HeapFile::copy_of(&bytes).unwrap();
    let opened = blob::open(&key, &engines, &header, file).unwrap();
    assert_eq!(opened.id(), heap.id());
    assert_eq!(result_on(&pool, &opened, "n + 1").await, "42");
    pool.stop().await;
}

/// Workers for heaps cost what they cost only where there are heaps.
#[tokio::test(flavor = "multi_thread")]
// The others wait for it, on threads of their own.
#[allow(clippy::await_holding_lock)]
async fn without_heaps_nothing_is_started_for_them() {
    let _alone = POOLS.write().unwrap_or_else(PoisonError::into_inner);
    let pool = pool("mcp-v8-worker", Mode::Required, Processes::Fork);
    let worker = pool.take().await.unwrap();
    let done = worker.run(job("1 + 1", 128), WALL, &CancellationToken::new(), |_| {}).await;
    assert_eq!(done.unwrap().as_deref(), Some("2"));
    assert_eq!(processes_for_heaps(), 0);
    heap_after(&pool, "0").await;
    assert!(processes_for_heaps() > 0);
    pool.stop().await;
    assert_eq!(processes_for_heaps(), 0);
}

fn processes_for_heaps() -> usize {
    let ours = format!("--supervisor={}", std::process::id());
    let is_ours = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.contains(&&b"--heaps"[..]) && words.contains(&ours.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries.map(is_ours).filter(|ours| *ours).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_one_run_is_not_kept() {
    let pool = start(Processes::Fork);
    let heap = heap_after(
        &pool,
        "for (let i = 0; i < 1000; i++) Math.random(); console.count('a'); console.group();
         setTimeout(() => { globalThis.fired = true }, 5); globalThis.then = performance.now()",
    )
    .await;
    let draw = "JSON.stringify([Array.from({length: 600}, Math.random), crypto.randomUUID(),
                [...crypto.getRandomValues(new Uint8Array(16))]])";
    let (first, second) =
        (result_on(&pool, &heap, draw).await, result_on(&pool, &heap, draw).await);
    assert_ne!(first, second);
    let common =
        |text: &str| text.split(',').map(str::to_owned).collect::<std::collections::HashSet<_>>();
    let numbers = common(&first).intersection(&common(&second)).count();
    assert!(numbers < 10, "{numbers} numbers are in both");
    // A timer ends with its script, which waits for it.
    assert_eq!(result_on(&pool, &heap, "fired").await, "true");
    let clock = "const now = performance.now(); [now < 1000, Math.abs(performance.timeOrigin + now - Date.now()) < 1000]";
    assert_eq!(result_on(&pool, &heap, clock).await, "[true,true]");
    let worker = pool.take_for_heap().await.unwrap();
    let mut console = String::new();
    let task = HeapTask { base: Some(heap), bytes_max: 64 * MIB };
    let ran = worker
        .run_keeping(
            job("console.count('a'); console.log('x')", 128),
            task,
            WALL,
            &CancellationToken::new(),
            |event| {
                if let mcp_v8_supervisor::pool::ScriptEvent::Text(text) = event {
                    console.push_str(text)
                }
            },
        )
        .await;
    assert!(ran.is_ok());
    assert_eq!(console, "a: 1\nx\n");
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_leaves_no_heap() {
    let pool = start(Processes::Fork);
    let heap = heap_after(&pool, "globalThis.n = 1").await;
    for (code, kind) in [
        ("n = 2; throw new Error('no')", ErrorKind::ScriptError),
        ("n = 2; Promise.reject(1)", ErrorKind::UnhandledRejection),
        ("n = 2; await new Promise(() => {})", ErrorKind::Stalled),
        ("n = 2; ]", ErrorKind::SyntaxError),
        ("n = []; while (true) n.push(new Array(1000).fill({}))", ErrorKind::OutOfMemory),
    ] {
        let job = job(code, 32);
        let error = run_with(&pool, Some(&heap), job, 64 * MIB, WALL).await.unwrap_err();
        assert_eq!(error.kind, kind, "{code}: {}", error.message);
    }
    assert_eq!(result_on(&pool, &heap, "n").await, "1");
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_cannot_be_saved_is_named() {
    let pool = start(Processes::Fork);
    let heap = heap_after(&pool, "globalThis.n = 1").await;
    const WASM: &str = "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))";
    // (module (func (export "f")))
    const EXPORTED: &str = "new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([
        0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 4, 1, 2, 0, 11]))).exports";
    for (code, what, place) in [
        (format!("globalThis.k = {WASM}"), "a WebAssembly.Module", "in the global k;"),
        (
            format!("globalThis.k = [1, {{mine: new Map([[1, {WASM}]])}}]"),
            "a WebAssembly.Module",
            "in the global k[1].mine (an entry)",
        ),
        (format!("globalThis.k = {EXPORTED}"), "a WebAssembly.", ""),
        (format!("globalThis.k = {EXPORTED}.f"), "a WebAssembly.", ""),
        (
            format!("globalThis.k = (m => () => m)({WASM})"),
            "a WebAssembly.Module",
            "no global leads to it",
        ),
        (
            "globalThis.k = new WebAssembly.Memory({initial: 1}).buffer".to_owned(),
            "a WebAssembly.Memory",
            "",
        ),
        (
            "globalThis.k = {deep: {tag: new WebAssembly.Tag({parameters: ['i32']})}}".to_owned(),
            "a WebAssembly.Tag",
            "in the global k.deep.tag",
        ),
        (
            "globalThis.k = new Intl.Segmenter('de').segment('text')".to_owned(),
            "what Intl.Segmenter.prototype.segment returned",
            "in the global k;",
        ),
    ] {
        let begun = Instant::now();
        let error = run(&pool, Some(&heap), &code).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::HeapNotSaved, "{code}: {}", error.message);
        assert!(
            error.message.starts_with(&format!("state cannot be saved: {what}")),
            "{}",
            error.message
        );
        assert!(error.message.contains(place), "{}", error.message);
        assert!(!error.violent);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(result_on(&pool, &heap, "n").await, "1");
    // What a script is done with does not matter.
    assert_eq!(result_on(&pool, &heap, &format!("{EXPORTED}.f(); n")).await, "1");
    pool.stop().await;
}

/// Looking for what cannot be saved runs nothing of the script.
#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_heap_runs_no_code_of_the_script() {
    let pool = start(Processes::Fork);
    let traps = "globalThis.touched = [];
        const touch = name => () => { touched.push(name); throw new Error('touched ' + name) };
        const traps = {};
        for (const name of Reflect.ownKeys(Reflect)) if (typeof name === 'string') traps[name] = touch(name);
        globalThis.proxy = new Proxy(function () {}, traps);
        globalThis.getter = {get x() { return touch('getter')() }, toJSON: touch('toJSON'), valueOf: touch('valueOf'),
                             [Symbol.toPrimitive]: touch('primitive'), get then() { return touch('then')() }};
        Object.defineProperty(globalThis, 'global', {get: touch('global'), configurable: true});
        for (const key of ['value', 'get', 'set', 'describe', 'rebuild', 'locale', 'calendar', 'dateStyle', 'a sample'])
            Object.defineProperty(Object.prototype, key, {__proto__: null, get: touch(key), set: touch(key), configurable: true});
        Array.prototype[Symbol.iterator] = touch('iterator'); Function.prototype.call = touch('call');
        Object.defineProperty(Array.prototype, '0', {__proto__: null, set: touch('0'), get: touch('0'), configurable: true});
        WeakMap.prototype.get = touch('get'); Map.prototype.get = touch('get');
        globalThis.k = new Intl.NumberFormat('de'); globalThis.d = new Temporal.PlainDate(2024, 1, 1);
        0";
    let look = "delete Array.prototype[0]; for (const key in Object.prototype) delete Object.prototype[key];
                for (let i = 0; i < 9; i++) delete Object.prototype[Reflect.ownKeys(Object.prototype).at(-1)];
                `${touched.length} ${k.format(1.5)} ${d.day}`";
    let heap = heap_after(&pool, traps).await;
    assert_eq!(result_on(&pool, &heap, look).await, "0 1,5 1");
    let refused = format!("{traps}; globalThis.m = new WebAssembly.Tag({{parameters: []}}); 0");
    let error = run(&pool, None, &refused).await.unwrap_err();
    assert!(error.message.contains("in the global m;"), "{}", error.message);
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_rewrite_their_world_rewrite_only_theirs() {
    let pool = start(Processes::Fork);
    let heap = heap_after(
        &pool,
        "globalThis['mcp-v8 internals'] = {runs: 7}; globalThis.internals = 1;
         globalThis.console = {log() { throw 1 }}; Math.random = () => 4; globalThis.Intl = null;
         globalThis.Temporal = 5; globalThis.WebAssembly = {}; globalThis.FinalizationRegistry = 1;
         Object.freeze(globalThis.performance); delete globalThis.crypto; Symbol.for('mcp-v8 internals');
         Promise.prototype.then = undefined; Error.prepareStackTrace = () => { throw 2 }; 0",
    )
    .await;
    let code = "let stack; try { null.x } catch (e) { stack = e.stack }
         [Math.random(), typeof crypto, Intl, Temporal, JSON.stringify(globalThis['mcp-v8 internals']),
          stack.split('\\n')[1].trim(), typeof WebAssembly.compile]";
    assert_eq!(
        result_on(&pool, &heap, code).await,
        r#"[4,"undefined",null,5,"{\"runs\":7}","at script-2.js:1:23","undefined"]"#
    );
    // Another session knows nothing of it.
    let fresh = heap_after(&pool, "0").await;
    assert_eq!(
        result_on(&pool, &fresh, "[typeof Intl, typeof crypto, Math.random() < 1]").await,
        r#"["object","object",true]"#
    );
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heap_past_its_bound_is_refused_and_the_old_one_stands() {
    let pool = start(Processes::Fork);
    let heap = heap_after(&pool, "globalThis.n = 1").await;
    let text = "globalThis.k = Array.from({length: 30_000}, (_, i) => ({i, s: 's' + i}))";
    let buffer = "globalThis.k = new Uint8Array(10 * 1024 * 1024)";
    for code in [text, buffer] {
        let error = run_with(&pool, Some(&heap), job(code, 64), MIB, WALL).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::HeapTooLarge, "{code}: {}", error.message);
        assert_eq!(error.message, "the heap takes more than the 1048576 bytes that may be kept");
    }
    assert_eq!(result_on(&pool, &heap, "n").await, "1");
    // To the byte.
    let (_, kept) = run(&pool, Some(&heap), "0").await.unwrap();
    let bytes = kept.heap.bytes();
    let (_, kept) = run_with(&pool, Some(&heap), job("0", 128), bytes, WALL).await.unwrap();
    assert_eq!(kept.heap.bytes(), bytes);
    let error = run_with(&pool, Some(&heap), job("0", 128), bytes - 1, WALL).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::HeapTooLarge);
    // 200 MiB of one, 200 MiB of the other.
    for code in [
        "globalThis.k = Array.from({length: 200}, () => new Uint8Array(1024 * 1024).fill(7)); 0",
        "globalThis.k = []; for (let i = 0; i < 200; i++) k.push(Array.from({length: 1 << 17}, (_, n) => n + 0.5)); 0",
    ] {
        let error = run_with(&pool, Some(&heap), job(code, 512), 64 * MIB, WALL).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::HeapTooLarge, "{}", error.message);
    }
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heap_of_100_mib_of_live_objects_is_kept() {
    let pool = start(Processes::Fork);
    let code = "globalThis.k = []; for (let i = 0; i < 1_000_000; i++) k.push({i, s: 'value ' + i, a: [i]}); k.length";
    let (result, kept) = run_with(&pool, None, job(code, 512), HEAP_BYTES_MAX, WALL).await.unwrap();
    assert_eq!(result.as_deref(), Some("1000000"));
    let look = "[k.length, k[999_999].s, k[5].a[0], k.reduce((sum, o) => sum + o.i, 0)]";
    let (result, _) =
        run_with(&pool, Some(&kept.heap), job(look, 512), HEAP_BYTES_MAX, WALL).await.unwrap();
    assert_eq!(result.as_deref(), Some(r#"[1000000,"value 999999",5,499999500000]"#));
    pool.stop().await;
}

/// V8 hears nothing while it writes. The process is killed in time, and the limit is the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_heap_that_is_not_written_in_time_is_a_timeout() {
    let pool = start(Processes::Fork);
    let heap = heap_after(&pool, "globalThis.n = 1").await;
    let code =
        "globalThis.k = []; for (let i = 0; i < 1_500_000; i++) k.push({i}); console.log('ran'); 0";
    // As long as the script takes; writing takes several times that.
    let begun = Instant::now();
    run(&pool, None, "const k = []; for (let i = 0; i < 1_500_000; i++) k.push({i}); k.length")
        .await
        .unwrap();
    let wall = begun.elapsed() + Duration::from_millis(300);
    let worker = pool.take_for_heap().await.unwrap();
    let task = HeapTask { base: Some(heap.clone()), bytes_max: HEAP_BYTES_MAX };
    let (begun, mut ran) = (Instant::now(), false);
    let error = worker
        .run_keeping(job(code, 1024), task, wall, &CancellationToken::new(), |_| ran = true)
        .await
        .unwrap_err();
    let late = begun.elapsed().saturating_sub(wall);
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::TimedOut, "Execution timed out"));
    assert!(ran, "the script did not get to its end");
    assert!(late >= KILL_GRACE, "it ended by itself after {late:?}");
    assert!(late < Duration::from_secs(2), "{late:?}");
    assert_eq!(result_on(&pool, &heap, "n").await, "1");
    // Whoever gives up on it is not told of a crash either.
    let stop = CancellationToken::new();
    let worker = pool.take_for_heap().await.unwrap();
    let task = HeapTask { base: None, bytes_max: HEAP_BYTES_MAX };
    let (cancel, mut at) = (stop.clone(), None);
    let ended = worker
        .run_keeping(job(code, 1024), task, WALL, &stop, |_| {
            at = Some(Instant::now());
            cancel.cancel();
        })
        .await;
    assert!(ended.is_err());
    assert!(at.unwrap().elapsed() < Duration::from_secs(2));
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heap_of_another_build_reaches_no_worker() {
    let pool = start(Processes::Fork);
    let heap = heap_after(&pool, "0").await;
    let engine = Engine { hash: HeapEngine([1; 32]), ..heap.engine().clone() };
    let file = HeapFile::copy_of(&heap.map().unwrap()).unwrap();
    let foreign = Heap::written(file, engine).unwrap();
    let error = run(&pool, Some(&foreign), "0").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::HeapNotRestored);
    // Nor does one reach a worker that is not for that.
    let worker = pool.take().await.unwrap();
    let task = HeapTask { base: Some(heap), bytes_max: MIB };
    let error = worker
        .run_keeping(job("0", 128), task, WALL, &CancellationToken::new(), |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::HeapNotRestored);
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_side_by_side_do_not_mix() {
    let pool = start(Processes::Fork);
    let sessions = (0..16).map(|session| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut heap =
                heap_after(&pool, &format!("globalThis.id = {session}; globalThis.n = 0")).await;
            for n in 1..=20 {
                let (result, kept) = run(&pool, Some(&heap), "n += 1; [id, n]").await.unwrap();
                assert_eq!(result.unwrap(), format!("[{session},{n}]"));
                heap = kept.heap;
            }
            heap.bytes()
        })
    });
    let mut bytes = Vec::new();
    for session in sessions.collect::<Vec<_>>() {
        bytes.push(session.await.unwrap());
    }
    // A step leaves nothing behind but what the script has left.
    assert!(bytes.iter().max().unwrap() - bytes.iter().min().unwrap() < 1024, "{bytes:?}");
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lies_about_its_heap_leaves_none() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, kind, violent) in [
        ("saves-and-aborts", ErrorKind::HeapNotSaved, false),
        ("saves-and-exits", ErrorKind::HeapNotSaved, false),
        ("saves-and-prints", ErrorKind::WorkerProtocol, true),
        ("saves-nothing", ErrorKind::WorkerProtocol, true),
        ("saves-too-much", ErrorKind::WorkerProtocol, true),
        ("saves-unannounced", ErrorKind::WorkerProtocol, true),
        ("saves-and-leaves", ErrorKind::WorkerProtocol, true),
    ] {
        let program = dir.path().join(format!("hostile-{mode}"));
        std::os::unix::fs::symlink(binary("mcp-v8-hostile-worker"), &program).unwrap();
        for processes in [Processes::Fork, Processes::Exec] {
            let pool = start_with(program.to_str().unwrap(), Mode::Off, processes);
            let error = run(&pool, None, "0").await.unwrap_err();
            assert_eq!((error.kind, error.violent), (kind, violent), "{mode}: {}", error.message);
            pool.stop().await;
        }
    }
}
