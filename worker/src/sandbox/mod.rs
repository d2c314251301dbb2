//! How the process shuts itself in, layer by layer; the order is part of the contract.
//!
//! 1. [`Sandbox::begin`], before anything else: descriptors.
//! 2. [`Sandbox::enter`]: environment, parent, resource limits, no new privileges, Landlock,
//!    capabilities.
//! 3. V8 starts and warms up.
//! 4. [`Sandbox::seal`], last of all and before the first byte of a job: system calls.
//!
//! A layer that cannot be put on is reported, not fatal: the supervisor looks at the process from
//! outside, knows what the operator demands, and decides. Only what ties the process to its parent
//! is demanded here. Namespaces, an empty root and cgroups are for the supervisor to set up before
//! `exec`; that is not built yet.

mod allocator;
mod descriptors;
mod environment;
mod landlock;
mod parent;
mod privileges;
mod resources;
mod system_calls;

use std::fmt::Display;

use mcp_v8_protocol::{Layer, LayerReport};

pub(crate) use resources::{limit_memory, release_reserve};

/// What cannot be done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The kernel does not tie the process to its parent.
    #[error("the death of the parent cannot be watched: {0}")]
    Parent(rustix::io::Errno),
    /// The parent is gone already.
    #[error("the parent is gone")]
    Orphan,
    /// A resource limit could not be set.
    #[error("resource limit {limit} cannot be set: {error}")]
    Resource {
        /// Which one.
        limit: &'static str,
        /// Why.
        error: rustix::io::Errno,
    },
}

/// The layers so far, and whether there are to be any.
pub(crate) struct Sandbox {
    wanted: bool,
    reports: Vec<LayerReport>,
}

impl Sandbox {
    /// First of all: no descriptor but what the process was meant to have.
    pub(crate) fn begin(wanted: bool) -> Self {
        let mut sandbox = Self { wanted, reports: Vec::new() };
        sandbox.put_on(Layer::Descriptors, descriptors::close_others);
        sandbox
    }

    /// Ties the process to its parent and puts on every layer that does not hinder V8's start.
    pub(crate) fn enter(&mut self) -> Result<(), SandboxError> {
        environment::clear();
        parent::die_with_it()?;
        allocator::configure();
        resources::limit_start()?;
        self.put_on(Layer::Resources, resources::limit_all);
        self.put_on(Layer::NoNewPrivileges, privileges::gain_none);
        self.put_on(Layer::Landlock, landlock::deny_all);
        self.put_on(Layer::Capabilities, privileges::drop_capabilities);
        Ok(())
    }

    /// Puts on the last layer and tells what became of each.
    pub(crate) fn seal(mut self) -> Vec<LayerReport> {
        self.put_on(Layer::SystemCalls, system_calls::filter);
        self.reports
    }

    fn put_on<E: Display>(&mut self, layer: Layer, apply: impl FnOnce() -> Result<(), E>) {
        if self.wanted {
            let missing = apply().err().map(|error| error.to_string());
            self.reports.push(LayerReport { layer, missing });
        }
    }
}
