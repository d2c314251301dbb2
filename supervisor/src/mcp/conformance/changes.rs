//! Tools and prompts that are said to have changed, and who wants to hear of it.

use rmcp::service::SubscriptionContext;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Changes that a listener may be behind.
const BEHIND_MAX: usize = 16;

#[derive(Debug, Clone, Copy)]
enum Change {
    Tools,
    Prompts,
}

/// Those who listen.
#[derive(Debug)]
pub(super) struct Changes(broadcast::Sender<Change>);

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND_MAX))
    }
}

impl Changes {
    /// The tools have changed.
    pub(super) fn tools(&self) {
        // Nobody need listen.
        let _ = self.0.send(Change::Tools);
    }

    /// The prompts have changed.
    pub(super) fn prompts(&self) {
        let _ = self.0.send(Change::Prompts);
    }

    /// Tells of changes until the subscription ends.
    pub(super) async fn tell(&self, subscription: &SubscriptionContext) {
        let mut changes = self.0.subscribe();
        loop {
            let change = tokio::select! {
                () = subscription.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(change) => change,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                },
            };
            // The library keeps back what was not asked for.
            let told = match change {
                Change::Tools => subscription.sink().notify_tool_list_changed().await,
                Change::Prompts => subscription.sink().notify_prompt_list_changed().await,
            };
            if let Err(error) = told {
                tracing::debug!(%error, "a change was not told");
            }
        }
    }
}
