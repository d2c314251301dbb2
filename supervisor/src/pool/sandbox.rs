//! What keeps a worker in, judged from outside.
//!
//! # Contract
//! * A worker tells which layers it put on; what the kernel shows of them is read from
//!   `/proc/PID/status` and not taken on trust. A worker that lacks a property gets no job under
//!   [`Mode::Required`].
//! * *Required* is by property, not by mechanism: no privileges, no files, no network, bounded
//!   memory.

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use mcp_v8_protocol::{Layer, LayerReport};

/// What the operator demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mode {
    /// Every property holds, or the server does not start.
    #[default]
    Required,
    /// What the host allows; what is missing is logged and shown in /readyz.
    BestEffort,
    /// None: scripts that break out of V8 have the rights of this server.
    Off,
}

/// What the sandbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// No privileges and no way to gain any.
    Privileges,
    /// No files.
    Files,
    /// No network.
    Network,
    /// Bounded memory.
    Memory,
}

impl Property {
    fn as_str(self) -> &'static str {
        match self {
            Self::Privileges => "privileges",
            Self::Files => "files",
            Self::Network => "network",
            Self::Memory => "memory",
        }
    }

    /// What an operator can do about it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Privileges | Self::Network => {
                "the kernel needs seccomp filters (CONFIG_SECCOMP_FILTER), and a container must not \
                 forbid seccomp(2)"
            }
            Self::Files => {
                "the kernel needs Landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK, `landlock` among \
                 lsm=), and a container must not forbid its system calls"
            }
            Self::Memory => "setrlimit(2) must be allowed",
        }
    }
}

/// A property that does not hold, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The property.
    pub property: Property,
    /// Which layer is not on, and what it says.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.property.as_str(), self.why, self.property.remedy())
    }
}

/// The sandbox of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Each layer that was tried: on, or why not.
    pub layers: BTreeMap<&'static str, Option<String>>,
    /// The properties that do not hold.
    pub missing: Vec<Missing>,
}

/// Judges a worker by what it claims and by the kernel's record of it.
pub fn judge(claims: &[LayerReport], pid: u32) -> Judgement {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    judge_status(claims, &status)
}

fn judge_status(claims: &[LayerReport], status: &str) -> Judgement {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    let empty = |set: &str| u64::from_str_radix(field(set), 16) == Ok(0);
    let mut layers: BTreeMap<Layer, Option<String>> =
        claims.iter().map(|claim| (claim.layer, claim.missing.clone())).collect();
    let mut refute = |layer, holds: bool, seen: String| {
        if let Some(missing @ None) = layers.get_mut(&layer)
            && !holds
        {
            *missing = Some(format!("the worker says it is on, the kernel says {seen}"));
        }
    };
    let seccomp = field("Seccomp");
    refute(Layer::SystemCalls, seccomp == "2", format!("Seccomp: {seccomp}"));
    let privileges = field("NoNewPrivs");
    refute(Layer::NoNewPrivileges, privileges == "1", format!("NoNewPrivs: {privileges}"));
    let none = ["CapEff", "CapPrm", "CapInh", "CapAmb"].into_iter().all(empty);
    refute(Layer::Capabilities, none, format!("CapEff: {}", field("CapEff")));

    let needs = [
        (Property::Privileges, Layer::NoNewPrivileges),
        (Property::Privileges, Layer::Capabilities),
        (Property::Privileges, Layer::SystemCalls),
        (Property::Files, Layer::Landlock),
        (Property::Network, Layer::SystemCalls),
        (Property::Memory, Layer::Resources),
    ];
    let missing = needs
        .into_iter()
        .filter_map(|(property, layer)| {
            let why = match layers.get(&layer) {
                Some(None) => return None,
                Some(Some(why)) => format!("{} is not on: {why}", layer.as_str()),
                None => format!("{} was not tried", layer.as_str()),
            };
            Some(Missing { property, why })
        })
        .collect();
    let layers = layers.into_iter().map(|(layer, why)| (layer.as_str(), why)).collect();
    Judgement { layers, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED: &str = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    fn claims() -> Vec<LayerReport> {
        [
            Layer::Descriptors,
            Layer::Resources,
            Layer::NoNewPrivileges,
            Layer::Landlock,
            Layer::Capabilities,
            Layer::SystemCalls,
        ]
        .into_iter()
        .map(|layer| LayerReport { layer, missing: None })
        .collect()
    }

    fn missing(claims: &[LayerReport], status: &str) -> Vec<Property> {
        let mut properties: Vec<_> =
            judge_status(claims, status).missing.iter().map(|missing| missing.property).collect();
        properties.dedup();
        properties
    }

    #[test]
    fn a_worker_that_is_sealed_lacks_nothing() {
        assert_eq!(missing(&claims(), SEALED), []);
    }

    #[test]
    fn what_the_kernel_does_not_confirm_is_missing() {
        let not_filtered = SEALED.replace("Seccomp:\t2", "Seccomp:\t0");
        assert_eq!(missing(&claims(), &not_filtered), [Property::Privileges, Property::Network]);
        let capable = SEALED.replace("CapEff:\t0000000000000000", "CapEff:\t0000000000000400");
        assert_eq!(missing(&claims(), &capable), [Property::Privileges]);
        let gaining = SEALED.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0");
        assert_eq!(missing(&claims(), &gaining), [Property::Privileges]);
        assert_eq!(missing(&claims(), ""), [Property::Privileges, Property::Network]);
    }

    #[test]
    fn a_layer_that_was_not_put_on_or_not_tried_costs_its_property() {
        for (layer, property) in
            [(Layer::Landlock, Property::Files), (Layer::Resources, Property::Memory)]
        {
            let mut failed = claims();
            for claim in failed.iter_mut().filter(|claim| claim.layer == layer) {
                claim.missing = Some("no".to_owned());
            }
            assert_eq!(missing(&failed, SEALED), [property]);
            let untried: Vec<_> =
                claims().into_iter().filter(|claim| claim.layer != layer).collect();
            assert_eq!(missing(&untried, SEALED), [property]);
        }
    }

    #[test]
    fn a_missing_property_says_why_and_what_to_do() {
        let mut failed = claims();
        failed[3].missing = Some("the kernel does not have it".to_owned());
        let text = judge_status(&failed, SEALED).missing[0].to_string();
        assert!(
            text.starts_with("files: landlock is not on: the kernel does not have it (the"),
            "{text}"
        );
    }
}
