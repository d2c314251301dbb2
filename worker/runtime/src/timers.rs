//! `setTimeout`, `setInterval` and their ends.
//!
//! Timers fire one at a time, by due time and then in the order they were set. Callbacks get their
//! extra arguments and no `this`.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::errors;
use crate::limits::{TIMER_DELAY_MS_MAX, TIMERS_MAX};
use crate::state::State;

/// When a timer fires: its due time, then its place in line.
type Due = (Instant, u64);

struct Timer {
    id: u32,
    callback: v8::Global<v8::Function>,
    args: Vec<v8::Global<v8::Value>>,
    /// Set for intervals.
    every: Option<Duration>,
}

/// Pending timers of one isolate.
#[derive(Default)]
pub(crate) struct Timers {
    queue: BTreeMap<Due, Timer>,
    due_by_id: HashMap<u32, Due>,
    next_id: u32,
    next_place: u64,
    /// The interval whose callback is running, unless it has cleared itself.
    running: Option<u32>,
}

impl Timers {
    /// When the next timer is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((due, _), _)| *due)
    }

    fn push(&mut self, delay: Duration, timer: Timer) {
        let due = (Instant::now() + delay, self.next_place);
        self.next_place += 1;
        self.due_by_id.insert(timer.id, due);
        self.queue.insert(due, timer);
    }

    fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let entry = self.queue.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let timer = entry.remove();
        self.due_by_id.remove(&timer.id);
        self.running = timer.every.map(|_| timer.id);
        Some(timer)
    }

    fn clear(&mut self, id: u32) {
        if let Some(due) = self.due_by_id.remove(&id) {
            self.queue.remove(&due);
        }
        if self.running == Some(id) {
            self.running = None;
        }
    }

    fn new_id(&mut self) -> u32 {
        loop {
            self.next_id = self.next_id % (i32::MAX as u32) + 1;
            let id = self.next_id;
            if !self.due_by_id.contains_key(&id) && self.running != Some(id) {
                return id;
            }
        }
    }
}

/// `setTimeout(callback, delay, ...args)`.
pub(crate) fn set_timeout(
    scope: &mut v8::PinScope<'_, '_>,
    args: v8::FunctionCallbackArguments<'_>,
    result: v8::ReturnValue<'_, v8::Value>,
) {
    set(scope, &args, result, "setTimeout", false);
}

/// `setInterval(callback, delay, ...args)`.
pub(crate) fn set_interval(
    scope: &mut v8::PinScope<'_, '_>,
    args: v8::FunctionCallbackArguments<'_>,
    result: v8::ReturnValue<'_, v8::Value>,
) {
    set(scope, &args, result, "setInterval", true);
}

/// `clearTimeout(id)` and `clearInterval(id)`; unknown ids are ignored.
pub(crate) fn clear(
    scope: &mut v8::PinScope<'_, '_>,
    args: v8::FunctionCallbackArguments<'_>,
    _: v8::ReturnValue<'_, v8::Value>,
) {
    let value = args.get(0);
    if !value.is_number() && !value.is_string() {
        return;
    }
    if let (Some(id), Some(state)) = (value.uint32_value(scope), State::of(scope)) {
        state.timers.borrow_mut().clear(id);
    }
}

fn set(
    scope: &mut v8::PinScope<'_, '_>,
    args: &v8::FunctionCallbackArguments<'_>,
    mut result: v8::ReturnValue<'_, v8::Value>,
    name: &str,
    repeat: bool,
) {
    let Ok(callback) = v8::Local::<v8::Function>::try_from(args.get(0)) else {
        errors::throw_type_error(scope, &format!("{name}: the callback must be a function"));
        return;
    };
    let delay = if args.length() > 1 {
        // May run the script's own `valueOf`, and throw what that throws.
        let Some(delay) = args.get(1).number_value(scope) else { return };
        delay
    } else {
        0.0
    };
    let Some(state) = State::of(scope) else { return };
    let mut timers = state.timers.borrow_mut();
    if timers.queue.len() >= TIMERS_MAX {
        drop(timers);
        errors::throw_range_error(scope, &format!("{name}: {TIMERS_MAX} timers are pending"));
        return;
    }
    // NaN and negative delays are none at all; an interval always lets time pass.
    let delay_ms = if delay >= 0.0 { delay.min(TIMER_DELAY_MS_MAX).trunc() } else { 0.0 };
    let delay_ms = if repeat { delay_ms.max(1.0) } else { delay_ms };
    let delay = Duration::from_millis(delay_ms as u64);
    let id = timers.new_id();
    let timer = Timer {
        id,
        callback: v8::Global::new(scope, callback),
        args: (2..args.length()).map(|at| v8::Global::new(scope, args.get(at))).collect(),
        every: repeat.then_some(delay),
    };
    timers.push(delay, timer);
    result.set_uint32(id);
}

/// Fires the first due timer; says whether there was one. What its callback throws is left in the
/// caller's `TryCatch`.
pub(crate) fn fire_next(scope: &mut v8::PinScope<'_, '_>, state: &State) -> bool {
    let Some(timer) = state.timers.borrow_mut().pop_due(Instant::now()) else { return false };
    let callback = v8::Local::new(scope, &timer.callback);
    let args: Vec<_> = timer.args.iter().map(|arg| v8::Local::new(scope, arg)).collect();
    let this = v8::undefined(scope);
    let _ = callback.call(scope, this.into(), &args);
    let mut timers = state.timers.borrow_mut();
    if let Some(every) = timer.every
        && timers.running.take() == Some(timer.id)
    {
        timers.push(every, timer);
    }
    true
}
