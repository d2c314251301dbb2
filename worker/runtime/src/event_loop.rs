//! Drives a module to its end: microtasks, then rejections, then timers, until nothing is left.

use mcp_v8_protocol::{Failure, FailureKind};

use crate::module::{self, Evaluating};
use crate::state::State;
use crate::{engine, errors, rejections, thrown, timers};

/// Runs until nothing is left to run.
///
/// # Errors
/// The first failure: a thrown value, a rejection nobody handles, an `await` that cannot end. When
/// the script was halted the caller knows better why.
pub(crate) fn run(
    scope: &mut v8::PinScope<'_, '_>,
    state: &State,
    evaluating: &Evaluating<'_>,
) -> Result<(), Failure> {
    loop {
        scope.perform_microtask_checkpoint();
        check_turn(scope, state, evaluating)?;
        if engine::pump_tasks(scope) {
            continue;
        }
        let next_due = state.timers.borrow().next_due();
        let Some(due) = next_due else { break };
        state.stopper().sleep_until(due);
        if state.is_halted() {
            return Err(halted());
        }
        v8::scope!(let scope, scope);
        v8::tc_scope!(let scope, scope);
        timers::fire_next(scope, state);
        if scope.has_caught() {
            if scope.has_terminated() {
                return Err(halted());
            }
            return Err(module::caught(scope, state, FailureKind::Thrown));
        }
    }
    match evaluating.promise.state() {
        v8::PromiseState::Pending => Err(stalled(scope, state, evaluating)),
        v8::PromiseState::Fulfilled | v8::PromiseState::Rejected => Ok(()),
    }
}

/// Whether the script may go on after a turn.
fn check_turn(
    scope: &mut v8::PinScope<'_, '_>,
    state: &State,
    evaluating: &Evaluating<'_>,
) -> Result<(), Failure> {
    if state.is_halted() {
        return Err(halted());
    }
    if let Some(failure) = state.uncaught.borrow_mut().take() {
        return Err(failure);
    }
    if evaluating.promise.state() == v8::PromiseState::Rejected {
        let reason = evaluating.promise.result(scope);
        let mut failure = errors::describe(scope, state, FailureKind::Thrown, reason, None);
        if failure.line.is_none() {
            let rejected_at = rejections::take_position(state, evaluating.promise);
            let thrown_at = thrown::position_of(scope, state, reason);
            errors::set_position(&mut failure, rejected_at.or(thrown_at));
        }
        return Err(failure);
    }
    match rejections::first_failure(scope, state) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn stalled(
    scope: &mut v8::PinScope<'_, '_>,
    state: &State,
    evaluating: &Evaluating<'_>,
) -> Failure {
    let messages = evaluating.module.get_stalled_top_level_await_message(scope);
    let position =
        messages.first().and_then(|(_, message)| errors::position_of(scope, state, *message));
    let place = match position {
        Some(position) => format!(" at line {}, column {}", position.line, position.column),
        None => String::new(),
    };
    let mut failure = errors::failure(
        FailureKind::Stalled,
        format!(
            "The top-level await{place} waits for a promise that can never settle: \
             no timer and no other work is left"
        ),
    );
    errors::set_position(&mut failure, position);
    failure
}

/// Stands for a failure the caller replaces by the reason of the halt.
fn halted() -> Failure {
    errors::failure(FailureKind::Stopped, "Stopped")
}
