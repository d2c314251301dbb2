//! Whether a node stands still.

use super::Node;

impl Node {
    /// Returns once the thread of Raft, and Raft's main loop if there is one yet, have had a turn: at
    /// once unless they stand still. Says nothing about how the cluster is.
    pub async fn take_turn(&self) {
        let node = self.clone();
        let turn = async move {
            if let Some(raft) = node.raft() {
                // One that has failed has ended; who waits for that is told elsewhere.
                let _ = raft.with_raft_state(|_| ()).await;
            }
        };
        // It is lost only with the runtime, when the node has stopped.
        let _ = self.inner.handle.spawn(turn).await;
    }
}
