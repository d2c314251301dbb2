//! Commands about code that kills workers.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A worker died of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDied {
    /// Id of this command.
    pub id: Uuid,
    /// SHA-256 of the script's code.
    pub code: [u8; 32],
    /// How it died, for people.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Forgets the deaths of a code, which is accepted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetDeaths {
    /// Id of this command.
    pub id: Uuid,
    /// SHA-256 of the code.
    pub code: [u8; 32],
    /// When that was asked for, in milliseconds since 1970.
    pub at_ms: u64,
}
