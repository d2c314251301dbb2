//! The corpus of hostile scripts in `tests/security/scripts/`: one file per attack, each with what
//! must come of it.
//!
//! The head of a file is its contract, in comments that this test reads:
//!
//! ```text
//! // What it tries, in a sentence.
//! // expect: completed "the result"          the result is this text
//! // expect: completed /regex/               or matches; the same for `failed`
//! // expect: failed script_error /regex/     the kind, and the error text
//! // expect: one of timed_out, out_of_memory any of these kinds; `completed` is one too
//! // output: /regex/                         optional: what was printed
//! // limits: heap=16 timeout=1               optional: MiB, seconds
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mcp_v8_tests::{Server, anonymous_memory_bytes};
use regex::Regex;
use serde_json::{Value, json};

/// Scripts there are at least, so that a corpus that was not found is not a success.
const SCRIPTS_MIN: usize = 80;

/// Limits of a script that names none.
const TIMEOUT_SECS_DEFAULT: u64 = 1;
const HEAP_MB_DEFAULT: u64 = 32;

/// P4: an answer comes at the latest so long after the limit.
const ANSWER_AFTER_LIMIT_MAX: Duration = Duration::from_millis(250);

/// What a loaded machine may add: starting a worker, and an answer of megabytes.
const LOADED_MACHINE_SLACK: Duration = Duration::from_millis(750);

/// Memory the supervisor may gain: outputs and results that it keeps, a megabyte each for some.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What must come of a script.
struct Expectation {
    /// `completed` or error kinds.
    outcomes: Vec<String>,
    text: Text,
    output: Option<Regex>,
    timeout: Duration,
    heap_mb: u64,
}

/// What the result or the error text must be.
enum Text {
    Any,
    Is(String),
    Matches(Regex),
}

impl Text {
    fn parse(text: &str) -> Self {
        match text {
            "" => Self::Any,
            quoted if quoted.starts_with('"') => Self::Is(serde_json::from_str(quoted).unwrap()),
            slashed => Self::Matches(regex(slashed)),
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(expected) => text == expected,
            Self::Matches(regex) => regex.is_match(text),
        }
    }
}

/// The expression between slashes.
fn regex(slashed: &str) -> Regex {
    let inner = slashed.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    Regex::new(inner.unwrap_or_else(|| panic!("not between slashes: {slashed}"))).unwrap()
}

impl Expectation {
    fn parse(code: &str) -> Self {
        let field = |name: &str| {
            let mut comments = code.lines().filter_map(|line| line.strip_prefix("// "));
            comments.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let expect = field("expect").expect("an `// expect:` line");
        let (outcomes, text) = if let Some(any) = expect.strip_prefix("one of ") {
            (any.split(", ").map(str::to_owned).collect(), "")
        } else if let Some(failed) = expect.strip_prefix("failed ") {
            let (kind, text) = failed.split_once(' ').expect("a kind and an expression");
            (vec![kind.to_owned()], text)
        } else {
            let text = expect.strip_prefix("completed").expect("completed, failed or one of");
            (vec!["completed".to_owned()], text.trim_start())
        };
        let limit = |name: &str, default: u64| {
            let limits = field("limits").unwrap_or_default().split_whitespace();
            let mut values = limits.filter_map(|limit| limit.strip_prefix(name)?.strip_prefix('='));
            values.next().map_or(default, |value| value.parse().unwrap())
        };
        Self {
            outcomes,
            text: Text::parse(text),
            output: field("output").map(regex),
            timeout: Duration::from_secs(limit("timeout", TIMEOUT_SECS_DEFAULT)),
            heap_mb: limit("heap", HEAP_MB_DEFAULT),
        }
    }

    /// What is wrong with an answer that took so long, if anything is.
    fn complaint(&self, answer: &Value, took: Duration) -> Option<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (outcome, said) = match answer["status"].as_str() {
            Some("completed") => ("completed".to_owned(), text(&answer["result"])),
            _ => (text(&answer["error_detail"]["kind"]), text(&answer["error"])),
        };
        if !self.outcomes.contains(&outcome) || !self.text.fits(&said) {
            return Some(format!("{outcome} after {took:?}: {said:.2000}"));
        }
        let output = text(&answer["output"]);
        if self.output.as_ref().is_some_and(|expected| !expected.is_match(&output)) {
            return Some(format!("printed {output:.2000?}"));
        }
        let max = self.timeout + ANSWER_AFTER_LIMIT_MAX + LOADED_MACHINE_SLACK;
        (took > max).then(|| format!("{outcome} only after {took:?}"))
    }
}

fn corpus() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("security/scripts");
    let mut files: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= SCRIPTS_MIN, "{} scripts in {}", files.len(), dir.display());
    files
}

/// P4 and P5: whatever a script tries has its typed answer in time, harms nobody and crashes nothing.
#[tokio::test]
async fn every_script_of_the_corpus_ends_as_it_must_and_the_next_one_runs() {
    let server = Server::start(&["--sandbox=required"]).await;
    assert_eq!(server.run("1+1").await["result"], "2");
    let memory = anonymous_memory_bytes(server.pid());
    let mut complaints = String::new();
    for file in corpus() {
        let name = file.file_name().unwrap().to_string_lossy();
        let code = std::fs::read_to_string(&file).unwrap();
        let expectation = Expectation::parse(&code);
        let begun = Instant::now();
        let answer = server
            .run_with(json!({
                "code": code,
                "execution_timeout_secs": expectation.timeout.as_secs(),
                "heap_memory_max_mb": expectation.heap_mb,
            }))
            .await;
        let took = begun.elapsed();
        if let Some(complaint) = expectation.complaint(&answer, took) {
            writeln!(complaints, "{name}: {complaint}").unwrap();
        }
        let after = server.run("1+1").await;
        if after["result"] != "2" {
            writeln!(complaints, "{name}: after it 1+1 was {after}").unwrap();
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
    // A worker that had died of any of them would have been counted there.
    assert_eq!(server.json("/api/quarantine").await, json!({ "entries": [] }));
    let growth = anonymous_memory_bytes(server.pid()).saturating_sub(memory);
    assert!(growth <= GROWTH_BYTES_MAX, "the supervisor grew by {growth} bytes from {memory}");
    server.assert_serves().await;
}

#[test]
fn an_expectation_is_read_as_it_is_written() {
    let read =
        Expectation::parse("// Tries.\n// expect: completed \"a\\\"b\"\n// limits: heap=16\n1");
    assert_eq!(read.outcomes, ["completed"]);
    assert!(read.text.fits("a\"b") && !read.text.fits("a"));
    assert_eq!((read.heap_mb, read.timeout), (16, Duration::from_secs(TIMEOUT_SECS_DEFAULT)));
    let read = Expectation::parse("// expect: failed script_error /^a.c$/\n// output: /x/");
    assert_eq!(read.outcomes, ["script_error"]);
    assert!(read.text.fits("abc") && !read.text.fits("abcd"));
    let failed = |text: &str, output: &str| {
        let detail = json!({ "kind": "script_error" });
        json!({ "status": "failed", "error_detail": detail, "error": text, "output": output })
    };
    assert!(read.complaint(&failed("abc", "x"), Duration::ZERO).is_none());
    assert!(read.complaint(&failed("abd", "x"), Duration::ZERO).is_some());
    assert!(read.complaint(&failed("abc", "y"), Duration::ZERO).is_some());
    let max = read.timeout + ANSWER_AFTER_LIMIT_MAX + LOADED_MACHINE_SLACK;
    assert!(read.complaint(&failed("abc", "x"), max).is_none());
    assert!(read.complaint(&failed("abc", "x"), max + Duration::from_millis(1)).is_some());
    let read = Expectation::parse("// expect: one of timed_out, completed\n// limits: timeout=3");
    assert_eq!(read.outcomes, ["timed_out", "completed"]);
    assert_eq!((read.heap_mb, read.timeout), (HEAP_MB_DEFAULT, Duration::from_secs(3)));
}
