//! From the user's text to what V8 compiles: language, types, and where the result comes from.
//!
//! The text is read as a JavaScript module first, because that needs no rewriting. What does not
//! parse is read as TypeScript, whose types are stripped. The value of a final expression statement
//! becomes the module's default export, by text put around it, so that it can be read from the
//! module's namespace.
//!
//! The parser recurses as deeply as the source nests and has no bound of its own. It runs on the
//! main thread of a process that serves one job, where running out of stack is a fault the process
//! answers before it ends; [`is_preparing`] tells that fault from others.

mod edits;
mod position;
mod prepare;
mod typescript;

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use position::{Insertion, Mapping, Position, PositionMap, units};
pub(crate) use prepare::{Prepared, SyntaxError};

/// What V8 and stack traces call a JavaScript source.
pub(crate) const JS_NAME: &str = "script.js";

/// What V8 and stack traces call a TypeScript source.
pub(crate) const TS_NAME: &str = "script.ts";

/// What is said of a source that nests deeper than can be parsed.
pub const NESTED_TOO_DEEPLY: &str = "SyntaxError: the source is nested too deeply";

static PREPARING: AtomicBool = AtomicBool::new(false);

/// Whether a source is being parsed: if the process runs out of native stack now, the source is
/// nested too deeply. Safe to ask from a signal handler.
pub fn is_preparing() -> bool {
    PREPARING.load(Ordering::Relaxed)
}

/// Prepares the user's source.
///
/// # Errors
/// [`SyntaxError`] when it is neither JavaScript nor TypeScript.
pub(crate) fn prepare(source: &str) -> Result<Prepared, SyntaxError> {
    PREPARING.store(true, Ordering::Relaxed);
    let prepared = prepare::prepare(source);
    PREPARING.store(false, Ordering::Relaxed);
    prepared
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
