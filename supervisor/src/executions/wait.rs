//! Waiting for an execution, and giving up on one.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Executions;
use super::execution::{Execution, StopCause};
use super::submit::{SubmitError, check_range};
use crate::limits::WAIT_SECS_MAX;

/// How long a call is willing to wait.
#[derive(Debug, Clone, Copy)]
pub struct Wait(Duration);

impl Wait {
    /// At most `secs` seconds; `field` is named in the error.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] past [`WAIT_SECS_MAX`].
    pub fn seconds(field: &'static str, secs: u64) -> Result<Self, SubmitError> {
        check_range(field, secs, 0, WAIT_SECS_MAX, " seconds")?;
        Ok(Self(Duration::from_secs(secs)))
    }

    /// The time.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// Waits for something, as long as this call is willing to and the server lets it.
    pub async fn bound(self, executions: &Executions, waiting: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            // Either way the caller looks at what there is.
            _ = tokio::time::timeout(self.0, waiting) => {}
            () = executions.waits_ended() => {}
        }
    }

    /// Waits for the end of an execution.
    pub async fn until_finished(self, executions: &Executions, execution: &Execution) {
        self.bound(executions, execution.finished()).await;
    }

    /// Waits until an execution has console text beyond byte `seen`, or has ended.
    pub async fn until_output(self, executions: &Executions, execution: &Execution, seen: u64) {
        let waiting = async {
            let mut changed = execution.subscribe();
            while !execution.ended() && execution.output_bytes() <= seen {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        self.bound(executions, waiting).await;
    }
}

/// Cancels an execution when dropped: its only caller has gone away.
#[derive(Debug)]
pub struct CancelOnDrop {
    armed: Option<(Executions, Arc<Execution>)>,
    /// Has a server that stops wait for what becomes of it.
    _held: TaskTrackerToken,
}

impl CancelOnDrop {
    /// An armed guard.
    pub fn new(executions: &Executions, execution: &Arc<Execution>) -> Self {
        let _held = executions.shared.cancels.token();
        Self { armed: Some((executions.clone(), Arc::clone(execution))), _held }
    }

    /// Lets the execution be.
    pub fn disarm(mut self) {
        self.armed = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some((executions, execution)) = self.armed.take() {
            // One that has ended needs no cancelling.
            let _ = executions.stop(&execution, StopCause::Cancelled);
        }
    }
}
