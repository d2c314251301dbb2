//! The template in use and the one after it.
//!
//! # Contract
//! * There is one template in use and one more that is ready or being made, so that a renewal costs
//!   no one a wait.
//! * A template is renewed after [`TEMPLATE_FORKS_MAX`](crate::limits::TEMPLATE_FORKS_MAX) children,
//!   after [`TEMPLATE_AGE_MAX`](crate::limits::TEMPLATE_AGE_MAX), and at once after a child died of a
//!   fault or broke the protocol.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::error::StartError;
use super::group::{Leaf, Leaves};
use super::lineage::Faults;
use super::sandbox::Mode;
use super::spawner::Spawner;
use super::state::TemplateState;
use super::template::Template;
use super::worker::Worker;
use crate::metrics;

/// Makes workers by forking templates.
#[derive(Debug)]
pub struct Templates {
    spawner: Spawner,
    mode: Mode,
    /// Control groups for what is forked, where there are such.
    groups: Option<Arc<Leaves>>,
    faults: Arc<Faults>,
    reapers: TaskTracker,
    state: Mutex<State>,
    /// What was seen of it last, for those who look while it is in use.
    seen: parking_lot::Mutex<Option<TemplateState>>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Template>,
    next: Option<JoinHandle<Result<Template, StartError>>>,
}

impl Templates {
    /// Makes none yet.
    pub fn new(
        spawner: Spawner,
        mode: Mode,
        groups: Option<Arc<Leaves>>,
        reapers: TaskTracker,
    ) -> Self {
        Self {
            spawner,
            mode,
            groups,
            faults: Arc::default(),
            reapers,
            state: Mutex::default(),
            seen: parking_lot::Mutex::default(),
        }
    }

    /// Makes a worker.
    ///
    /// # Errors
    /// [`StartError`]. The next call begins with another template.
    pub async fn fork(&self) -> Result<Worker, StartError> {
        let group = self.group().await;
        let mut state = self.state.lock().await;
        if let Some(template) = &state.current
            && let Some(worn) = template.worn(Instant::now())
        {
            metrics::template_renewed(worn.as_str());
            tracing::debug!(reason = worn.as_str(), "template renewed");
            self.retire(state.current.take());
        }
        if state.current.is_none() {
            let made = match state.next.take() {
                // An error of this kind is the runtime's end.
                Some(making) => making.await.unwrap_or(Err(StartError::Deadline)),
                None => self.make().await,
            };
            state.current = Some(made?);
        }
        let Some(template) = &mut state.current else { return Err(StartError::Deadline) };
        let forked = template.fork(group).await;
        if forked.is_err() {
            self.retire(state.current.take());
        } else if state.next.is_none() {
            state.next = Some(tokio::spawn(self.make()));
        }
        forked
    }

    /// A control group for one worker. Without one a worker runs as well, within its other bounds.
    async fn group(&self) -> Option<Leaf> {
        let groups = self.groups.as_ref().filter(|groups| groups.refused().is_none())?;
        if let Some(group) = groups.take() {
            return Some(group);
        }
        let groups = Arc::clone(groups);
        tokio::task::spawn_blocking(move || groups.make()).await.ok()?.ok()
    }

    /// The template in use, if there is one; as it was a moment ago while it makes a worker.
    pub fn seen(&self) -> Option<TemplateState> {
        let mut seen = self.seen.lock();
        if let Ok(state) = self.state.try_lock() {
            let next_ready = state.next.as_ref().is_some_and(JoinHandle::is_finished);
            let current = state.current.as_ref();
            *seen = current.map(|template| template.state(Instant::now(), next_ready));
        }
        *seen
    }

    /// Ends both templates, in the background: what tracks the reaping knows when.
    pub async fn stop(&self) {
        let State { current, next } = std::mem::take(&mut *self.state.lock().await);
        self.retire(current);
        if let Some(making) = next {
            self.reapers.spawn(async move {
                if let Ok(Ok(template)) = making.await {
                    template.end().await;
                }
            });
        }
    }

    fn retire(&self, template: Option<Template>) {
        if let Some(template) = template {
            self.reapers.spawn(template.end());
        }
    }

    fn make(&self) -> impl Future<Output = Result<Template, StartError>> + Send + 'static {
        let (spawner, mode) = (self.spawner.clone(), self.mode);
        let (faults, reapers) = (Arc::clone(&self.faults), self.reapers.clone());
        async move {
            let begun = Instant::now();
            let spawned = spawner.spawn().await.map_err(StartError::Spawn)?;
            let template = Template::start(spawned, mode, faults, reapers).await?;
            metrics::template_started(begun.elapsed());
            Ok(template)
        }
    }
}
