//! The replicated state of mcp-v8.
//!
//! ```text
//!   executions, sessions, heaps           (the supervisor)
//!          │ propose(Command)  ▲ Observer, reads
//!   ┌──────▼───────────────────┴──┐
//!   │ node     Raft, bootstrap, membership, leases, forwarding
//!   │ net      connections between nodes
//!   │ auth     who may use them
//!   │ state    apply(Command): deterministic
//!   │ store    sled, fdatasync, snapshots
//!   │ backup   the state in a file, and a new cluster of it
//!   └─────────────────────────────┘
//! ```
//!
//! # Architecture invariants
//! * State changes only in [`state::apply`], which reads no clock, no randomness and no I/O besides
//!   its own rows.
//! * Nothing is acknowledged that is not on the disks of a majority ([`store`]).
//! * Where proof is asked for, nothing is done for a caller that has given none ([`auth`]).

pub mod auth;
pub mod backup;
pub mod codec;
pub mod command;
pub mod hex;
pub mod http;
pub mod limits;
pub mod net;
pub mod node;
pub mod principal;
pub mod state;
pub mod store;
pub mod types;
