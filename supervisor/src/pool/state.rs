//! What the pool is doing, for people who look.
//!
//! # Contract
//! * Reads counters and what is known already: no system call, and nobody who wants a worker waits for
//!   it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::slots::{Shared, Source};
use super::{Health, Pool, Purpose};

/// The workers of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolState {
    /// How worker processes come to be: `fork` or `exec`.
    pub processes: String,
    /// The kinds of workers there are: for scripts, and once there was a script that keeps its heap, for
    /// those.
    pub kinds: Vec<KindState>,
    /// What keeps them in.
    pub sandbox: SandboxState,
}

/// Workers of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KindState {
    /// What their jobs are: `scripts`, or `heaps` for scripts that keep their heap.
    pub jobs: String,
    /// Workers that are ready and wait for a script.
    pub idle: u64,
    /// As many as are kept ready.
    pub idle_max: u64,
    /// `starting` until the first is ready, `ready`, or `broken` while they do not start.
    pub breaker: String,
    /// Why they do not start.
    pub problem: Option<String>,
    /// The process they are forked from; null where there is none.
    pub template: Option<TemplateState>,
}

/// A process that workers are forked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateState {
    /// Seconds since it was started.
    pub age_secs: u64,
    /// Workers it has made.
    pub forks: u64,
    /// Whether the next one is ready.
    pub next_ready: bool,
}

/// What keeps workers in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxState {
    /// What the operator demands: `required`, `best-effort` or `off`.
    pub mode: String,
    /// Layers: null when on, else why not. Empty until the first worker has started, and when it is off.
    pub layers: BTreeMap<String, Option<String>>,
    /// What does not hold for want of layers, and what to do about it.
    pub missing: Vec<String>,
}

fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl Pool {
    /// What it is doing.
    pub fn state(&self) -> PoolState {
        let idle_max = self.settings.idle_workers as u64;
        let mut kinds = vec![kind(&self.shared, Purpose::Scripts, idle_max)];
        kinds.extend(self.heaps.get().map(|heaps| kind(heaps, Purpose::Heaps, idle_max)));
        let judgement = self.sandbox().unwrap_or_default();
        let layers = judgement.layers.into_iter();
        PoolState {
            processes: word(&self.settings.processes),
            kinds,
            sandbox: SandboxState {
                mode: word(&self.settings.sandbox),
                layers: layers.map(|(layer, why)| (layer.to_owned(), why)).collect(),
                missing: judgement.missing.iter().map(ToString::to_string).collect(),
            },
        }
    }
}

fn kind(shared: &Shared, purpose: Purpose, idle_max: u64) -> KindState {
    let (breaker, problem) = match shared.breaker.subscribe().borrow().clone() {
        Health::Starting => ("starting", None),
        Health::Ready => ("ready", None),
        Health::Broken(reason) => ("broken", Some(reason)),
    };
    let jobs = match purpose {
        Purpose::Scripts => "scripts",
        Purpose::Heaps => "heaps",
    };
    KindState {
        jobs: jobs.to_owned(),
        idle: shared.idle.load(Ordering::Relaxed) as u64,
        idle_max,
        breaker: breaker.to_owned(),
        problem,
        template: match &shared.source {
            Source::Fork(templates) => templates.seen(),
            Source::Exec(_) => None,
        },
    }
}
