//! How a worker process shuts itself in, layer by layer; the order is part of the contract.
//!
//! 1. [`Sandbox::begin`], before anything else: descriptors.
//! 2. [`Sandbox::enter`]: environment, parent, an unprivileged user, namespaces, an empty root,
//!    resource limits, no new privileges, Landlock, capabilities.
//! 3. V8 starts and warms up.
//! 4. [`Sandbox::seal`], last of all and before the first byte of a job: system calls.
//!
//! A [template](Role::Template) goes the same way and is left with the few calls it needs to
//! [fork](Forker). Each of its children is born with every layer and gives up those calls as well
//! ([`Child::seal`]) before it reads the first byte of its job.
//!
//! A layer that cannot be put on is reported, not fatal: the supervisor looks at the process from
//! outside, knows what the operator demands, and decides. Only what ties the process to its parent
//! is demanded here.

mod descriptors;
mod environment;
mod fork;
mod landlock;
pub mod limits;
mod mappings;
mod namespaces;
mod parent;
mod passing;
mod privileges;
mod resources;
mod root;
mod system_calls;
mod user;

use std::fmt::Display;

use mcp_v8_protocol::{Layer, LayerReport};

use crate::mappings::Mappings;
use crate::parent::Parent;

pub use fork::{Birth, Child, ForkError, Forked, Forker};
pub use passing::{receive_with, send_with};
pub use resources::{limit_memory, limit_processor, release_reserve};

/// What cannot be done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
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

/// What the process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It runs one job itself.
    Single,
    /// It runs none; it forks a child for each.
    Template,
}

/// What its jobs are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// They are gone when they end.
    Scripts,
    /// They leave their heap behind: they are handed files in memory and write to one.
    Heaps,
}

/// The layers so far, and whether there are to be any.
#[derive(Debug)]
pub struct Sandbox {
    wanted: bool,
    role: Role,
    purpose: Purpose,
    supervisor: Option<u32>,
    /// Children are born in control groups of their own.
    own_groups: bool,
    /// Children are in a process namespace of their own.
    own_processes: bool,
    parent: Option<Parent>,
    mappings: Option<Mappings>,
    reports: Vec<LayerReport>,
}

impl Sandbox {
    /// First of all: no descriptor but what the process was meant to have.
    pub fn begin(wanted: bool, role: Role, purpose: Purpose) -> Self {
        let mut sandbox = Self {
            wanted,
            role,
            purpose,
            supervisor: None,
            own_groups: false,
            own_processes: false,
            parent: None,
            mappings: None,
            reports: Vec::new(),
        };
        sandbox.put_on(Layer::Descriptors, descriptors::close_others);
        sandbox
    }

    /// Says which process is to be the parent. Should that one be gone before [`enter`](Self::enter),
    /// the process would otherwise tie itself to whoever adopted it.
    #[must_use]
    pub fn of_supervisor(self, supervisor: Option<u32>) -> Self {
        Self { supervisor, ..self }
    }

    /// Says that children are to be born in control groups of their own, which are not below this
    /// process's: it then stays in the namespace of groups it is in.
    #[must_use]
    pub fn with_own_groups(self, own_groups: bool) -> Self {
        Self { own_groups, ..self }
    }

    /// Ties the process to its parent and puts on every layer that does not hinder V8's start.
    ///
    /// # Errors
    /// [`SandboxError`]: what cannot be done without.
    pub fn enter(&mut self) -> Result<(), SandboxError> {
        environment::clear();
        let parent = Parent::find(self.supervisor)?;
        parent.die_with_it()?;
        resources::limit_start()?;
        resources::be_killed_first();
        // Its own table of mappings is out of reach once the root is empty.
        if self.role == Role::Template {
            self.mappings = Some(Mappings::open());
        }
        self.put_on(Layer::User, user::become_nobody);
        // A change of user has the kernel forget it.
        parent.die_with_it()?;
        self.parent = Some(parent);
        let (role, own_groups) = (self.role, self.own_groups);
        let mut own_processes = false;
        self.put_on(Layer::Namespaces, || namespaces::enter(role, own_groups, &mut own_processes));
        self.own_processes = own_processes;
        if self.is_on(Layer::Namespaces) {
            self.put_on(Layer::Root, root::pivot_to_nothing);
        } else if self.wanted {
            let missing = Some("it takes a mount namespace".to_owned());
            self.reports.push(LayerReport { layer: Layer::Root, missing });
        }
        let purpose = self.purpose;
        self.put_on(Layer::Resources, || resources::limit_all(purpose));
        self.put_on(Layer::NoNewPrivileges, || {
            privileges::gain_none()?;
            if role == Role::Single { privileges::hide() } else { Ok(()) }
        });
        self.put_on(Layer::Landlock, landlock::deny_all);
        self.put_on(Layer::Capabilities, privileges::drop_capabilities);
        Ok(())
    }

    /// Puts on the last layer of a [`Role::Single`] process and tells what became of each.
    pub fn seal(mut self) -> Vec<LayerReport> {
        let purpose = self.purpose;
        self.put_on(Layer::SystemCalls, || system_calls::filter_single(purpose));
        self.reports
    }

    /// Puts on the last layer of a [`Role::Template`] process; tells what became of each, and how
    /// to fork.
    ///
    /// # Errors
    /// [`ForkError`]: this host does not let a template fork.
    pub fn seal_template(mut self) -> Result<(Vec<LayerReport>, Forker), ForkError> {
        let purpose = self.purpose;
        let mut forker = Forker::new(self.wanted, purpose, self.mappings.take())?;
        self.put_on(Layer::SystemCalls, system_calls::filter_template);
        if !self.is_on(Layer::SystemCalls) {
            forker.leave_calls_open();
        }
        if self.own_processes
            && let Some(parent) = self.parent.take()
        {
            forker.hold_namespace(parent.into_pidfd())?;
        }
        Ok((self.reports, forker))
    }

    fn is_on(&self, layer: Layer) -> bool {
        self.reports.iter().any(|report| report.layer == layer && report.missing.is_none())
    }

    fn put_on<E: Display>(&mut self, layer: Layer, apply: impl FnOnce() -> Result<(), E>) {
        if self.wanted {
            let missing = apply().err().map(|error| error.to_string());
            self.reports.push(LayerReport { layer, missing });
        }
    }
}
