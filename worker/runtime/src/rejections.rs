//! Promises that were rejected while nobody was listening.
//!
//! V8 reports each rejection without a handler, and takes it back when a handler comes later. What
//! is left when the microtasks of a turn have run fails the script. Where it happened can only be
//! asked while V8 reports it.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroI32;

use mcp_v8_protocol::{Failure, FailureKind};

use crate::errors;
use crate::source::Position;
use crate::state::State;

/// A rejected promise without a handler.
pub(crate) struct Rejection {
    promise: v8::Global<v8::Promise>,
    reason: v8::Global<v8::Value>,
    /// Where the rejection came from, in the user's source.
    position: Option<Position>,
}

/// The rejections of one isolate in the order they happened.
#[derive(Default)]
pub(crate) struct Rejections {
    pending: BTreeMap<u64, Rejection>,
    // Handlers may come in any order and in great number, so they are found by hash.
    by_hash: HashMap<NonZeroI32, Vec<u64>>,
    next: u64,
}

impl Rejections {
    fn add(&mut self, hash: NonZeroI32, rejection: Rejection) {
        self.pending.insert(self.next, rejection);
        self.by_hash.entry(hash).or_default().push(self.next);
        self.next += 1;
    }

    fn remove(&mut self, promise: v8::Local<'_, v8::Promise>) -> Option<Rejection> {
        let hash = promise.get_identity_hash();
        let keys = self.by_hash.get_mut(&hash)?;
        let at = keys.iter().position(|key| {
            self.pending.get(key).is_some_and(|rejection| rejection.promise == promise)
        })?;
        let key = keys.swap_remove(at);
        if keys.is_empty() {
            self.by_hash.remove(&hash);
        }
        self.pending.remove(&key)
    }
}

/// V8's report of a rejection, or that one has found its handler.
pub(crate) unsafe extern "C" fn on_reject(report: v8::PromiseRejectMessage<'_>) {
    // SAFETY: V8 calls this inside a context, with live handles.
    v8::callback_scope!(unsafe let scope, &report);
    let Some(state) = State::of(scope) else { return };
    if state.is_halted() {
        return;
    }
    let promise = report.get_promise();
    match report.get_event() {
        v8::PromiseRejectEvent::PromiseRejectWithNoHandler => {
            let Some(reason) = report.get_value() else { return };
            let context = scope.get_current_context();
            let scope = &mut v8::ContextScope::new(scope, context);
            let message = v8::Exception::create_message(scope, reason);
            let position = errors::position_of(scope, &state, message);
            let rejection = Rejection {
                promise: v8::Global::new(scope, promise),
                reason: v8::Global::new(scope, reason),
                position,
            };
            state.rejections.borrow_mut().add(promise.get_identity_hash(), rejection);
        }
        v8::PromiseRejectEvent::PromiseHandlerAddedAfterReject => {
            state.rejections.borrow_mut().remove(promise);
        }
        v8::PromiseRejectEvent::PromiseRejectAfterResolved
        | v8::PromiseRejectEvent::PromiseResolveAfterResolved => {}
    }
}

/// Takes the rejection of `promise` out, because somebody answers for it.
pub(crate) fn take_position(
    state: &State,
    promise: v8::Local<'_, v8::Promise>,
) -> Option<Position> {
    state.rejections.borrow_mut().remove(promise)?.position
}

/// The failure of the first rejection that found no handler.
pub(crate) fn first_failure(scope: &mut v8::PinScope<'_, '_>, state: &State) -> Option<Failure> {
    let rejection = state.rejections.borrow_mut().pending.pop_first()?.1;
    let reason = v8::Local::new(scope, &rejection.reason);
    let mut failure = errors::describe(scope, state, FailureKind::UnhandledRejection, reason, None);
    errors::set_position(&mut failure, rejection.position);
    Some(failure)
}
