//! What an operator sees of the work: log lines, traces, and the ids that tie them together.
//!
//! # Contract
//! * Every request has a [`RequestId`], which is in its answer, and an [`Origin`]: that id, and the
//!   place in a trace that it was sent from. Both go with the work to its end, to other nodes too where
//!   a message between nodes has room for them.
//! * An execution is one line when it is accepted and one when it has ended ([`story`]), and a span with
//!   its phases as children where traces are exported ([`trace`]).
//! * Neither holds code, console text, results, error messages of scripts, or anything that proves who
//!   somebody is.
//! * What a caller can cause at will is said so often and then counted ([`limit`]).
//! * Without `--otlp-endpoint` no span is made and nothing is kept for one.

pub mod limit;
pub mod logs;
mod origin;
pub mod otlp;
pub mod story;
pub mod trace;

pub use self::origin::{CalledFor, Origin, RequestId};
