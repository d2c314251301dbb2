//! What the children of one template have in common, and when they are given up.
//!
//! # Contract
//! * A child that died of a fault, or broke the protocol, may have learned something about the memory
//!   layout it shares with its siblings. From then on no sibling gets a job: idle ones are ended,
//!   running ones finish.
//! * The process that holds the children's process namespace lives until the last child and the
//!   template are done.

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::process::Process;

/// One template and its children.
#[derive(Debug, Default)]
pub struct Lineage {
    distrusted: CancellationToken,
    holder: Mutex<Option<Process>>,
}

impl Lineage {
    /// Takes over the process that holds the namespace. It is killed and reaped with the lineage.
    pub fn hold(&self, holder: Process) {
        *self.holder.lock() = Some(holder);
    }

    /// A child ended as an attack on it may end.
    pub fn distrust(&self) {
        self.distrusted.cancel();
    }

    /// Whether a child has ended so.
    pub fn is_distrusted(&self) -> bool {
        self.distrusted.is_cancelled()
    }

    /// Returns when a child has ended so.
    pub async fn distrusted(&self) {
        self.distrusted.cancelled().await;
    }
}
