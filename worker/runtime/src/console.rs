//! `console`: one line of text per call, within the job's budget.
//!
//! Once the budget is used up every further call returns at once, without looking at its
//! arguments. Nothing here throws at the script.

use std::cell::RefMut;
use std::collections::HashMap;
use std::rc::Rc;

use mcp_v8_protocol::limits::cut;
use v8::MapFnTo;

use crate::limits::{CONSOLE_GROUPS_MAX, CONSOLE_LABEL_BYTES_MAX, CONSOLE_LABELS_MAX};
use crate::state::State;
use crate::{clock, inspect};

/// Takes what a script says: console text, and artifacts.
pub trait ScriptSink {
    /// More text, in order, never longer in sum than the job's budget.
    fn write(&self, text: &str);
    /// The budget is used up; nothing more comes. Called at most once.
    fn truncated(&self);
    /// An artifact, within the bounds of [`Artifacts`](mcp_v8_protocol::Artifacts).
    fn artifact(&self, key: &str, mime_type: &str, bytes: &[u8]);
}

/// Console of one isolate.
#[derive(Default)]
pub(crate) struct Console {
    sink: Option<Rc<dyn ScriptSink>>,
    left_bytes: usize,
    truncated: bool,
    groups: usize,
    counts: HashMap<String, u64>,
    /// When each began, by the job's clock in microseconds.
    timers: HashMap<String, u64>,
}

impl Console {
    /// Gives the console a way out and a budget.
    pub(crate) fn open(&mut self, sink: Rc<dyn ScriptSink>, budget_bytes: u64) {
        self.sink = Some(sink);
        self.left_bytes = usize::try_from(budget_bytes).unwrap_or(usize::MAX);
    }

    fn is_open(&self) -> bool {
        self.sink.is_some() && !self.truncated
    }

    /// Bytes that are worth formatting: one more than the budget, to see that it does not suffice.
    fn format_bytes_max(&self) -> usize {
        self.left_bytes.saturating_add(1)
    }

    /// Lets a line out; `is_cut` when there was no room to format all of it.
    fn emit(&mut self, mut line: String, is_cut: bool) {
        let Some(sink) = self.sink.clone().filter(|_| !self.truncated) else { return };
        let over = cut(&mut line, self.left_bytes) || is_cut;
        self.left_bytes -= line.len();
        if !line.is_empty() {
            sink.write(&line);
        }
        if over {
            self.truncated = true;
            sink.truncated();
        }
    }
}

type Args<'s> = v8::FunctionCallbackArguments<'s>;
type Return<'s> = v8::ReturnValue<'s, v8::Value>;

macro_rules! methods {
    ($($name:literal => $function:ident),* $(,)?) => {
        /// Methods of `console` and their code.
        pub(crate) static METHODS: std::sync::LazyLock<Vec<(&str, v8::FunctionCallback)>> =
            std::sync::LazyLock::new(|| vec![$(($name, $function.map_fn_to())),*]);
    };
}
methods! {
    "log" => log, "debug" => log, "trace" => log, "dir" => dir, "dirxml" => log,
    "table" => dir, "info" => info, "warn" => warn, "error" => error, "exception" => error,
    "assert" => assert, "count" => count, "countReset" => count_reset,
    "group" => group, "groupCollapsed" => group, "groupEnd" => group_end,
    "time" => time, "timeLog" => time_log, "timeEnd" => time_end,
    "clear" => nothing, "profile" => nothing, "profileEnd" => nothing, "timeStamp" => nothing,
}

fn log(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    print(scope, "", &args, 0, args.length());
}

fn info(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    print(scope, "[INFO] ", &args, 0, args.length());
}

fn warn(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    print(scope, "[WARN] ", &args, 0, args.length());
}

fn error(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    print(scope, "[ERROR] ", &args, 0, args.length());
}

/// `dir` and `table` show their first argument; the others are options.
fn dir(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    print(scope, "", &args, 0, args.length().min(1));
}

fn assert(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    if args.length() > 0 && args.get(0).boolean_value(scope) {
        return;
    }
    let prefix =
        if args.length() > 1 { "[ERROR] Assertion failed: " } else { "[ERROR] Assertion failed" };
    print(scope, prefix, &args, 1, args.length());
}

fn group(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    if args.length() > 0 {
        print(scope, "", &args, 0, args.length());
    }
    with(scope, |mut console| console.groups += 1);
}

fn group_end(scope: &mut v8::PinScope<'_, '_>, _: Args<'_>, _: Return<'_>) {
    with(scope, |mut console| console.groups = console.groups.saturating_sub(1));
}

fn count(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    let label = label(scope, &args);
    let count = with(scope, |mut console| {
        if console.counts.len() >= CONSOLE_LABELS_MAX && !console.counts.contains_key(&label) {
            return None;
        }
        let count = console.counts.entry(label.clone()).or_default();
        *count += 1;
        Some(*count)
    });
    if let Some(Some(count)) = count {
        print_text(scope, format!("{label}: {count}"));
    }
}

fn count_reset(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    let label = label(scope, &args);
    with(scope, |mut console| console.counts.remove(&label));
}

fn time(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    let label = label(scope, &args);
    let now = elapsed_us(scope);
    with(scope, |mut console| {
        if console.timers.len() < CONSOLE_LABELS_MAX {
            console.timers.entry(label).or_insert(now);
        }
    });
}

fn time_log(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    let label = label(scope, &args);
    let since = with(scope, |console| console.timers.get(&label).copied()).flatten();
    print_elapsed(scope, &label, since);
}

fn time_end(scope: &mut v8::PinScope<'_, '_>, args: Args<'_>, _: Return<'_>) {
    let label = label(scope, &args);
    let since = with(scope, |mut console| console.timers.remove(&label)).flatten();
    print_elapsed(scope, &label, since);
}

fn nothing(_: &mut v8::PinScope<'_, '_>, _: Args<'_>, _: Return<'_>) {}

fn elapsed_us(isolate: &v8::Isolate) -> u64 {
    State::of(isolate).map_or(0, |state| state.elapsed_us())
}

fn print_elapsed(scope: &mut v8::PinScope<'_, '_>, label: &str, since: Option<u64>) {
    let text = match since {
        Some(since) => {
            let us = elapsed_us(scope).saturating_sub(since);
            format!("{label}: {:.3}ms", clock::milliseconds(us))
        }
        None => format!("[WARN] No such label '{label}' for console.time()"),
    };
    print_text(scope, text);
}

/// The label of `count` and `time`, as text without running any code of the script.
fn label(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> String {
    if args.length() == 0 || args.get(0).is_undefined() {
        return "default".to_owned();
    }
    let mut label = String::new();
    inspect::write_plain(scope, args.get(0), &mut label, CONSOLE_LABEL_BYTES_MAX);
    label
}

fn with<R>(isolate: &v8::Isolate, use_it: impl FnOnce(RefMut<'_, Console>) -> R) -> Option<R> {
    let state = State::of(isolate)?;
    let console = state.console.borrow_mut();
    Some(use_it(console))
}

fn print_text(isolate: &v8::Isolate, text: String) {
    with(isolate, |mut console| {
        let line = indent(text, console.groups) + "\n";
        console.emit(line, false);
    });
}

/// Bytes of the longest character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// Prints the arguments from `first` to `end`, joined by a space.
fn print(scope: &mut v8::PinScope<'_, '_>, prefix: &str, args: &Args<'_>, first: i32, end: i32) {
    let opened = with(scope, |console| {
        console.is_open().then(|| (console.format_bytes_max(), console.groups))
    });
    let Some(Some((bytes_max, groups))) = opened else { return };
    let mut line = prefix.to_owned();
    let mut is_cut = false;
    for at in first..end {
        if at > first {
            line.push(' ');
        }
        if line.len() >= bytes_max {
            break;
        }
        let left = bytes_max - line.len();
        let shortened = inspect::write_plain(scope, args.get(at), &mut line, left);
        // Values are shortened for reasons of their own as well; this one when not even one more
        // character had room.
        is_cut |= shortened && bytes_max.saturating_sub(line.len()) < CHARACTER_BYTES_MAX;
    }
    // Showing a value may have run `toJSON`, and that may have been stopped.
    if State::of(scope).is_none_or(|state| state.is_halted()) {
        return;
    }
    let mut line = indent(line, groups);
    line.push('\n');
    with(scope, |mut console| console.emit(line, is_cut));
}

fn indent(text: String, groups: usize) -> String {
    if groups == 0 {
        return text;
    }
    let indent = "  ".repeat(groups.min(CONSOLE_GROUPS_MAX));
    format!("{indent}{}", text.replace('\n', &format!("\n{indent}")))
}
