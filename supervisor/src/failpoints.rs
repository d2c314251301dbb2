//! Points on the way of an execution at which a test ends the server, as if its power had gone.
//!
//! # Contract
//! * In debug builds the process kills itself at the point that the environment variable
//!   `MCP_V8_KILL_AT` names. In release builds there are no such points.
//! * Only executions that keep their heap pass them.

/// A point on the way of an execution, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The call is here; nothing is committed.
    Received,
    /// The submission is committed.
    Submitted,
    /// A worker is about to get the job.
    Dispatched,
    /// The worker has ended; what it left is in memory.
    Ran,
    /// The heap is durable on this disk.
    Stored,
    /// The heap is durable on a majority.
    Spread,
    /// The outcome is committed; nobody has heard of it.
    Completed,
}

impl Point {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Received,
        Self::Submitted,
        Self::Dispatched,
        Self::Ran,
        Self::Stored,
        Self::Spread,
        Self::Completed,
    ];

    /// The name of the point.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Submitted => "submitted",
            Self::Dispatched => "dispatched",
            Self::Ran => "ran",
            Self::Stored => "stored",
            Self::Spread => "spread",
            Self::Completed => "completed",
        }
    }

    /// Passes the point.
    pub fn pass(self) {
        #[cfg(debug_assertions)]
        if std::env::var("MCP_V8_KILL_AT").is_ok_and(|name| name == self.name()) {
            tracing::error!(point = self.name(), "killed by a test");
            // A process may always end itself.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }
}
