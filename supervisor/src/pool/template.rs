//! One template process: its start, and the children it forks.
//!
//! # Contract
//! * A template is a worker program that runs no script. Its sandbox is judged as any worker's
//!   before it makes a child, and its first child's before that child gets a job; what the kernel
//!   hands from parent to child (system call filters, capabilities, namespaces, limits) needs no
//!   second look.
//! * Its children are our own children: waited for and killed by pidfd, whatever becomes of the
//!   template.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_v8_protocol::{FromWorker, Layer, Ready, ToWorker};
use rustix::io::ioctl_fionbio;
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;

use super::attribution::describe;
use super::channel::Channel;
use super::error::{StartError, Violation};
use super::group::Leaf;
use super::lineage::{Faults, Lineage};
use super::process::Process;
use super::sandbox::{self, Judgement, Mode};
use super::spawner::Spawned;
use super::state::TemplateState;
use super::worker::{Worker, engines_of, name};
use crate::heaps::Engines;
use crate::limits::{FORK_DEADLINE, START_DEADLINE, TEMPLATE_AGE_MAX, TEMPLATE_FORKS_MAX};

/// How often the first child is looked at until it has sealed itself.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// A template that is ready.
#[derive(Debug)]
pub struct Template {
    process: Process,
    channel: Channel,
    lineage: Arc<Lineage>,
    v8_version: Arc<str>,
    sandbox: Arc<Judgement>,
    engines: Option<Engines>,
    mode: Mode,
    started: Instant,
    forks: u64,
    /// The control group of the child that is being made.
    group: Option<Leaf>,
    reapers: TaskTracker,
}

/// Why a template makes no more children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worn {
    /// It has made as many as one may.
    Forks,
    /// It is as old as one may be.
    Age,
    /// A child died of a fault or broke the protocol.
    Fault,
}

impl Worn {
    /// The label it is counted under.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forks => "forks",
            Self::Age => "age",
            Self::Fault => "fault",
        }
    }
}

impl Template {
    /// Takes over a child that has just been spawned and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`]; the process is gone then.
    pub async fn start(
        spawned: Spawned,
        mode: Mode,
        faults: Arc<Faults>,
        reapers: TaskTracker,
    ) -> Result<Self, StartError> {
        let Spawned { pid, pidfd, socket, group } = spawned;
        let process = Process::new(pid, pidfd, reapers.clone()).map_err(StartError::Spawn)?;
        let process = process.in_group(group);
        let socket = UnixStream::from_std(socket).map_err(StartError::Spawn)?;
        let mut template = Self {
            process,
            channel: Channel::new(socket),
            lineage: Arc::new(Lineage::new(faults)),
            v8_version: "".into(),
            sandbox: Arc::default(),
            engines: None,
            mode,
            started: Instant::now(),
            forks: 0,
            group: None,
            reapers,
        };
        let begun = tokio::time::timeout(START_DEADLINE, template.begin())
            .await
            .unwrap_or(Err(StartError::Deadline));
        match begun {
            Ok(()) => Ok(template),
            Err(error) => {
                template.end().await;
                Err(error)
            }
        }
    }

    async fn begin(&mut self) -> Result<(), StartError> {
        let ready = self.ready().await?;
        if self.mode != Mode::Off {
            let seen = sandbox::judge(&ready.sandbox, self.process.pid());
            if self.mode == Mode::Required && !seen.missing.is_empty() {
                return Err(StartError::Sandbox(seen.missing));
            }
            self.sandbox = Arc::new(seen);
        }
        self.engines = engines_of(&ready);
        self.v8_version = ready.v8_version.into();
        Ok(())
    }

    async fn ready(&mut self) -> Result<Ready, StartError> {
        let mut fatal = None;
        loop {
            match self.channel.next().await {
                Ok(Some(FromWorker::Ready(ready))) => {
                    // First of all, so that it ends with the lineage whatever is wrong with the rest.
                    if ready.holder {
                        let pidfd = self.channel.descriptor().map_err(StartError::Protocol)?;
                        // Its number is nobody's business: it is only ever ended.
                        let holder = Process::new(0, pidfd, self.reapers.clone());
                        self.lineage.hold(holder.map_err(StartError::Spawn)?);
                    }
                    if ready.worker_version != env!("CARGO_PKG_VERSION") {
                        return Err(StartError::Version { theirs: ready.worker_version });
                    }
                    return Ok(ready);
                }
                Ok(Some(FromWorker::Fatal(words))) if fatal.is_none() => fatal = Some(words),
                Ok(Some(other)) => {
                    return Err(StartError::Protocol(Violation::Unexpected(name(&other))));
                }
                Ok(None) => {
                    let exit = self.process.wait().await;
                    return Err(StartError::Died { exit: describe(exit), fatal });
                }
                Err(violation) => return Err(StartError::Protocol(violation)),
            }
        }
    }

    /// Ends it and returns when it is gone. It finishes the fork it is at, if it is at one, so that
    /// every child it ever made is heard of and reaped.
    pub async fn end(mut self) {
        let heard = async {
            self.channel.close().await;
            // A template that breaks the protocol in the end is killed all the same.
            while let Ok(Some(message)) = self.channel.next().await {
                let pid = match message {
                    FromWorker::Forked(forked) => forked.pid,
                    FromWorker::Ready(Ready { holder: true, .. }) => 0,
                    _ => continue,
                };
                if let Ok(pidfd) = self.channel.descriptor() {
                    // Dropped, and with that killed and reaped; its group is free then.
                    let process = Process::new(pid, pidfd, self.reapers.clone());
                    let _ = process.map(|process| process.in_group(self.group.take()));
                }
                if pid != 0 {
                    let _ = self.channel.descriptor();
                }
            }
        };
        let _ = tokio::time::timeout(FORK_DEADLINE, heard).await;
        self.process.kill();
        self.process.wait().await;
    }

    /// What there is to see of it.
    pub fn state(&self, now: Instant, next_ready: bool) -> TemplateState {
        let age_secs = now.duration_since(self.started).as_secs();
        TemplateState { age_secs, forks: self.forks, next_ready }
    }

    /// Why it should make no more children, if it should not.
    pub fn worn(&self, now: Instant) -> Option<Worn> {
        worn(self.lineage.is_distrusted(now), self.forks, now.duration_since(self.started))
    }

    /// Makes a child, ready for its job, in a control group of its own if one is given.
    ///
    /// # Errors
    /// [`StartError`]; the template is of no use after it.
    pub async fn fork(&mut self, group: Option<Leaf>) -> Result<Worker, StartError> {
        self.group = group;
        let forked = tokio::time::timeout(FORK_DEADLINE, self.try_fork()).await;
        forked.unwrap_or(Err(StartError::Fork("it took too long".to_owned())))
    }

    async fn try_fork(&mut self) -> Result<Worker, StartError> {
        let gone = |error: std::io::Error| StartError::Fork(error.to_string());
        match self.group.as_ref().and_then(Leaf::directory) {
            None => self.channel.send(&ToWorker::Fork { own_group: false }).await.map_err(gone)?,
            Some(directory) => {
                let fork = ToWorker::Fork { own_group: true };
                self.channel.send_with(&fork, directory).await.map_err(gone)?;
            }
        }
        let forked = match self.channel.next().await.map_err(StartError::Protocol)? {
            Some(FromWorker::Forked(forked)) => forked,
            Some(FromWorker::Fatal(fatal)) => return Err(StartError::Fork(fatal.message)),
            Some(other) => return Err(StartError::Protocol(Violation::Unexpected(name(&other)))),
            None => return Err(StartError::Fork("the template has ended".to_owned())),
        };
        let pidfd = self.channel.descriptor().map_err(StartError::Protocol)?;
        let process =
            Process::new(forked.pid, pidfd, self.reapers.clone()).map_err(StartError::Spawn)?;
        let group = self.group.take();
        let is_first = self.forks == 0;
        let refused = forked.group_refused.map(std::io::Error::from_raw_os_error).or_else(|| {
            let missed =
                is_first && group.as_ref().is_some_and(|one| one.is_missed_by(process.pid()));
            missed.then(|| std::io::Error::other("its first one began elsewhere"))
        });
        let process = match (group, refused) {
            (Some(group), Some(error)) => {
                group.refuse(&error);
                process
            }
            (group, _) => process.in_group(group),
        };
        let socket = self.channel.descriptor().map_err(StartError::Protocol)?;
        ioctl_fionbio(&socket, true).map_err(|error| StartError::Spawn(error.into()))?;
        let socket = UnixStream::from_std(socket.into()).map_err(StartError::Spawn)?;
        self.forks += 1;
        if is_first && self.sandbox.is_on(Layer::SystemCalls) {
            self.look_at_first_child(&process).await?;
        }
        Ok(Worker::forked(
            process,
            socket,
            Arc::clone(&self.v8_version),
            Arc::clone(&self.sandbox),
            self.engines.clone(),
            Arc::clone(&self.lineage),
        ))
    }

    /// Waits until the child has put on the filter that only children have.
    async fn look_at_first_child(&self, child: &Process) -> Result<(), StartError> {
        let filters = sandbox::filters(self.process.pid());
        loop {
            let seen = sandbox::filters(child.pid());
            match seen {
                None if child.has_ended() => {
                    return Err(StartError::Fork("the first child has ended".to_owned()));
                }
                // Sealed, it hides itself; and this host's /proc hides from a server that is not
                // root what does so (`hidepid`).
                None => return Ok(()),
                seen if seen > filters => return Ok(()),
                // The deadline of the fork ends this.
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}

fn worn(distrusted: bool, forks: u64, age: Duration) -> Option<Worn> {
    if distrusted {
        Some(Worn::Fault)
    } else if forks >= TEMPLATE_FORKS_MAX {
        Some(Worn::Forks)
    } else if age >= TEMPLATE_AGE_MAX {
        Some(Worn::Age)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_worn_at_its_bounds_and_after_a_fault() {
        let young = Duration::ZERO;
        assert_eq!(worn(false, TEMPLATE_FORKS_MAX - 1, young), None);
        assert_eq!(worn(false, TEMPLATE_FORKS_MAX, young), Some(Worn::Forks));
        assert_eq!(worn(false, 0, TEMPLATE_AGE_MAX - Duration::from_nanos(1)), None);
        assert_eq!(worn(false, 0, TEMPLATE_AGE_MAX), Some(Worn::Age));
        assert_eq!(worn(true, 0, young), Some(Worn::Fault));
    }
}
