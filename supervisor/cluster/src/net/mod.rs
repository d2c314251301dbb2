//! Connections between nodes.
//!
//! # Contract
//! * A connection begins as an HTTP/1.1 request (`GET /raft/stream`) to the cluster port that says
//!   who calls and to which cluster it belongs, with proof where that is demanded, and goes on as
//!   frames in both directions: many calls at once, answered in any order.
//! * Every frame has a bound that is checked before it is read; calls have deadlines; what waits to
//!   be sent is bounded.
//! * With a shared secret every frame carries a MAC; see [`crate::auth::session`].
//! * Whoever is not of this cluster, or not who the caller wants to talk to, is refused with the
//!   reason before a frame is exchanged.

pub mod ask;
pub mod client;
pub mod frame;
pub mod handshake;
pub mod message;
pub mod server;
pub mod transport;

pub use self::client::{CallError, Peer};
pub use self::handshake::{Hello, Refused};
