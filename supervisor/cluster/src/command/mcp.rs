//! Commands about sessions of the Model Context Protocol: connections of clients that any node goes on
//! with. What scripts leave from call to call are other [sessions](super::sessions).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A client has begun a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenMcpSession {
    /// Id of this command.
    pub id: Uuid,
    /// The session's id.
    pub session: String,
    /// What the client said of itself: the parameters of its `initialize`, as JSON.
    pub client: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Sessions were used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseMcpSessions {
    /// Their ids.
    pub sessions: Vec<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// A client has ended its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseMcpSession {
    /// The session's id.
    pub session: String,
}

/// Ends sessions that were not used for long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireMcpSessions {
    /// Those that were last used before this, in milliseconds since 1970.
    pub before_ms: u64,
}
