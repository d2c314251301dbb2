//! P3: nothing shared between neighbours. One server with room for one script at a time runs a
//! script that leaves something behind and one that looks for it, in turn and many times over, so
//! that the second would get whatever process, isolate or context there was to be used again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_tests::Server;
use serde_json::Value;

/// How often the two scripts take turns.
const ROUNDS: usize = 10;

async fn server() -> Server {
    Server::start(&["--max-concurrent-executions=1"]).await
}

/// Runs `leave` and `look` in turn. Whatever becomes of the first, the second completes with
/// `expected` as its result every time, the first one included.
#[track_caller]
fn assert_unseen(leave: &str, look: &str, expected: &str) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let server = server().await;
        for round in 0..ROUNDS {
            let answer = server.run(look).await;
            assert_eq!(answer["result"], expected, "{place}, round {round}: {answer}");
            // A script that looks at once after it has left something does find it.
            let both = format!("{leave}\n{{}}\n{look}");
            let answer = server.run(&both).await;
            assert_eq!(answer["status"], "completed", "{place}: {answer}");
            assert_ne!(answer["result"], expected, "{place}: it leaves nothing: {answer}");
        }
    }
}

fn text(answer: &Value) -> &str {
    answer["result"].as_str().unwrap_or_else(|| panic!("no result: {answer}"))
}

#[tokio::test]
async fn math_random_goes_its_own_way_in_every_execution() {
    let server = server().await;
    let mut first = HashSet::new();
    for _ in 0..200 {
        let answer = server.run("Array.from({ length: 4 }, Math.random)").await;
        let numbers: Vec<f64> = serde_json::from_str(text(&answer)).unwrap();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)), "{numbers:?}");
        assert!(numbers.windows(2).any(|pair| pair[0] != pair[1]), "{numbers:?}");
        assert!(first.insert(numbers[0].to_bits()), "{} came twice", numbers[0]);
    }
}

#[tokio::test]
async fn crypto_gives_every_execution_other_bytes() {
    let server = server().await;
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let code = "[crypto.getRandomValues(new BigUint64Array(2)).join(), crypto.randomUUID()]";
        let answer = server.run(code).await;
        let [bytes, uuid]: [String; 2] = serde_json::from_str(text(&answer)).unwrap();
        assert!(seen.insert(bytes) && seen.insert(uuid), "{answer} came before");
    }
}

#[tokio::test]
async fn time_begins_with_the_execution_and_is_coarse() {
    let server = server().await;
    for _ in 0..ROUNDS {
        let (began, began_unix) = (Instant::now(), SystemTime::now());
        let code = "const read = [performance.now()];
             while (read.length < 20) {
                 const now = performance.now();
                 if (now !== read.at(-1)) read.push(now);
             }
             [performance.timeOrigin, ...read]";
        let answer = server.run(code).await;
        let took = began.elapsed();
        let mut read: Vec<f64> = serde_json::from_str(text(&answer)).unwrap();
        let origin = read.remove(0);
        for ms in &read {
            assert_eq!((ms * 10.0).round() / 10.0, *ms, "it is no multiple of 100 µs");
        }
        assert!(read.is_sorted(), "{read:?}");
        // Older than the request would be the time of the process.
        assert!(read[19] <= took.as_secs_f64() * 1000.0, "{read:?} in {took:?}");
        let before = began_unix.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let after = before + took + Duration::from_millis(5);
        let expected = before.as_secs_f64() * 1000.0 - 5.0..after.as_secs_f64() * 1000.0;
        assert!(expected.contains(&origin), "{origin} is not in {expected:?}");
    }
}

#[tokio::test]
async fn there_is_no_shared_memory_and_no_finer_clock() {
    let server = server().await;
    let code = "const shared = new WebAssembly.Memory({ shared: true, initial: 1, maximum: 1 }).buffer;
         let waited; try { Atomics.wait(new Int32Array(shared), 0, 0, 1) } catch (e) { waited = e.name }
         const coarse = Array.from({ length: 1000 },
             () => Temporal.Now.instant().epochNanoseconds % 100_000n === 0n).every(is => is);
         const none = ['SharedArrayBuffer', 'Worker', 'ShadowRealm', 'process', 'Deno', 'require', 'gc']
             .filter(name => name in globalThis);
         [none.length, typeof Atomics.waitAsync, shared.constructor === Object,
          waited, coarse, Object.keys(globalThis).length].join()";
    for _ in 0..ROUNDS {
        let answer = server.run(code).await;
        assert_eq!(answer["result"], "0,undefined,true,TypeError,true,0", "{answer}");
    }
}

#[tokio::test]
async fn globals_of_one_are_absent_in_the_next() {
    assert_unseen(
        "globalThis.left = 1; (0, eval)('var leftToo = 1; let lexical = 1'); delete globalThis.escape;",
        "[typeof left, typeof leftToo, typeof lexical, typeof escape].join()",
        "undefined,undefined,undefined,function",
    )
    .await;
}

#[tokio::test]
async fn prototypes_patched_by_one_are_intact_in_the_next() {
    assert_unseen(
        "Array.prototype.left = Object.prototype.left = 1;
         String.prototype.trim = Array.prototype.map = Math.random = JSON.stringify = () => 7;
         console.log = crypto.randomUUID = () => 8;
         Object.getPrototypeOf(function* () {}).left = 1; Object.setPrototypeOf(Map.prototype, null);",
        "[[].left, ({}).left, ' a '.trim(), [1].map(String)[0], Math.random() < 1, JSON.stringify([]),
          String(console.log()), crypto.randomUUID().length, (function* () {}).left,
          Object.getPrototypeOf(Map.prototype) === Object.prototype].join()",
        ",,a,1,true,[],undefined,36,,true",
    )
    .await;
}

#[tokio::test]
async fn timers_left_behind_never_fire_in_the_next() {
    let server = server().await;
    for round in 0..ROUNDS {
        let leave =
            "setInterval(() => console.log('left'), 1); setTimeout(() => { throw 'left' }, 2);
             await new Promise(done => setTimeout(done, 1)); throw 'end'";
        let answer = server.run(leave).await;
        assert_eq!(answer["status"], "failed", "{answer}");
        let look = "const id = setTimeout(() => {}, 0);
             await new Promise(done => setTimeout(done, 20)); console.log('looked'); id";
        let answer = server.run(look).await;
        assert_eq!(answer["output"], "looked\n", "round {round}: {answer}");
        assert_eq!(answer["result"], "1", "round {round}: ids begin anew: {answer}");
    }
}

#[tokio::test]
async fn import_meta_and_modules_are_those_of_one_execution() {
    assert_unseen(
        "import.meta.left = 1; import.meta.url = 'left'; Object.prototype.meta = import.meta;
         import('left').catch(() => {});",
        "[import.meta.left, import.meta.url, typeof ({}).meta, Object.keys(import.meta)].join()",
        ",file:///script.js,undefined,url",
    )
    .await;
}

#[tokio::test]
async fn the_console_begins_afresh() {
    let server = server().await;
    let look = "console.log('flat'); console.count('label'); console.countReset('none');
         console.timeEnd('label'); console.groupEnd();";
    let fresh = server.run(look).await["output"].clone();
    assert_eq!(fresh, "flat\nlabel: 1\n[WARN] No such label 'label' for console.time()\n");
    let leave =
        "console.group('group'); console.group(); console.count('label'); console.time('label');";
    for round in 0..ROUNDS {
        let answer = server.run(leave).await;
        assert_eq!(answer["output"], "group\n    label: 1\n", "{answer}");
        let answer = server.run(look).await;
        assert_eq!(answer["output"], fresh, "round {round}: {answer}");
        let both = server.run(&format!("{leave} {look}")).await;
        assert!(both["output"].as_str().unwrap().contains("label: 2\n    label: 0."), "{both}");
    }
}

#[tokio::test]
async fn settings_of_error_are_those_of_one_execution() {
    assert_unseen(
        "Error.stackTraceLimit = 0; Error.prepareStackTrace = () => 'left';",
        "[Error.stackTraceLimit, typeof Error.prepareStackTrace,
          new Error('e').stack.includes('script.js')].join()",
        "10,undefined,true",
    )
    .await;
}

#[tokio::test]
async fn the_last_match_of_regexp_is_that_of_one_execution() {
    assert_unseen(
        "/(l)(eft)/.exec('it is left here');",
        "[RegExp.$1, RegExp.$2, RegExp.lastMatch, RegExp.input, RegExp['$`'], RegExp[\"$'\"]].join()",
        ",,,,,",
    )
    .await;
}

#[tokio::test]
async fn registered_symbols_find_nothing_of_another_execution() {
    assert_unseen(
        "Object.prototype[Symbol.for('left')] = globalThis[Symbol.for('left')] = 1;
         Object.defineProperty(Symbol.prototype, 'description', { value: 'left' });",
        "[({})[Symbol.for('left')], globalThis[Symbol.for('left')], Symbol.for('new').description].join()",
        ",,new",
    )
    .await;
}

#[tokio::test]
async fn intl_has_its_defaults_in_every_execution() {
    let server = server().await;
    let look = "[new Intl.DateTimeFormat().resolvedOptions(), new Intl.NumberFormat().resolvedOptions(),
          new Intl.Collator().resolvedOptions(), (1234.5).toLocaleString(), Temporal.Now.timeZoneId(),
          new Date(0).toLocaleString(), ['b', 'a', 'A'].sort(new Intl.Collator().compare).join()]";
    let fresh = server.run(look).await["result"].clone();
    assert!(fresh.as_str().unwrap().contains("locale"), "{fresh}");
    let leave = "const options = Intl.DateTimeFormat.prototype.resolvedOptions;
         Intl.DateTimeFormat.prototype.resolvedOptions = () => 'left';
         Intl.Collator = class { compare() { return 0 } resolvedOptions() { return 'left' } };
         Number.prototype.toLocaleString = () => 'left';
         new Intl.DateTimeFormat('de', { timeZone: 'Asia/Tokyo' }).format(); new Intl.NumberFormat('ar').format(1);";
    for round in 0..ROUNDS {
        let both = server.run(&format!("{leave} {look}")).await;
        assert_eq!(both["status"], "completed", "{both}");
        assert_ne!(both["result"], fresh, "it leaves nothing: {both}");
        let answer = server.run(look).await;
        assert_eq!(answer["result"], fresh, "round {round}: {answer}");
    }
}
