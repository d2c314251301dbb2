//! The supervisor: one per node. It owns the listeners, the executions and the worker processes,
//! and never runs a script itself.
//!
//! Architecture invariant: this crate never depends on `v8`. Code that the supervisor does not need
//! is not in its address space, and nothing a script does can reach it but bytes on a socket.

pub mod access;
pub mod allocator;
pub mod app;
pub mod artifacts;
pub mod ask;
pub mod cli;
pub mod docs;
pub mod exec;
pub mod executions;
pub mod failpoints;
pub mod heaps;
pub mod http;
pub mod limits;
pub mod mcp;
pub mod metrics;
pub mod observe;
pub mod operate;
pub mod overview;
pub mod pool;
pub mod reference;
pub mod requests;
pub mod rest_client;
pub mod server;
pub mod service;
pub mod sessions;
pub mod stop;
pub mod waiting;
