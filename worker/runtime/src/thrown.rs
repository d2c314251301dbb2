//! Where values were thrown that know no place themselves.
//!
//! `throw null` at the top of a module leaves no trace in V8: the module's promise is rejected by
//! native code, when the frames are gone and the record of the throw with them. So `throw …` outside
//! of functions and classes is compiled as `throw import.meta.thrown((…))`, which notes the value
//! and the place, and hands the value back. What a function throws that is no error, and nothing
//! but the module's promise catches, has no place.

use crate::source::Position;
use crate::state::State;

/// Name of the function in `import.meta`.
pub(crate) const NAME: &str = "thrown";

/// What goes before and after the expression of a `throw`. The inner parentheses keep `a, b` one
/// argument.
pub(crate) const CALL: (&str, &str) = ("import.meta.thrown((", "))");

/// The last value the module threw itself, and where.
pub(crate) struct Thrown {
    value: v8::Global<v8::Value>,
    position: Option<Position>,
}

/// `import.meta.thrown(value)`.
pub(crate) fn note<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: v8::FunctionCallbackArguments<'s>,
    mut result: v8::ReturnValue<'s, v8::Value>,
) {
    let value = args.get(0);
    result.set(value);
    let Some(state) = State::of(scope) else { return };
    let position = top_of_stack(scope, &state);
    let value = v8::Global::new(scope, value);
    state.thrown.replace(Some(Thrown { value, position }));
}

/// Where `value` was thrown, if it was the last one noted.
pub(crate) fn position_of(
    scope: &mut v8::PinScope<'_, '_>,
    state: &State,
    value: v8::Local<'_, v8::Value>,
) -> Option<Position> {
    let thrown = state.thrown.borrow();
    let thrown = thrown.as_ref()?;
    let noted = v8::Local::new(scope, &thrown.value);
    if noted.same_value(value) { thrown.position } else { None }
}

/// The place of the innermost frame, if it is the user's.
fn top_of_stack(scope: &mut v8::PinScope<'_, '_>, state: &State) -> Option<Position> {
    let trace = v8::StackTrace::current_stack_trace(scope, 1)?;
    let frame = trace.get_frame(scope, 0)?;
    let positions = state.positions();
    let name = frame.get_script_name(scope)?.to_rust_string_lossy(scope);
    if name != positions.script_name() {
        return None;
    }
    let line = u32::try_from(frame.get_line_number()).ok()?;
    let column = u32::try_from(frame.get_column()).ok()?;
    Some(positions.map(Position { line, column }))
}
