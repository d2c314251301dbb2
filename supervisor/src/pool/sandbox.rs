//! What keeps a worker in, judged from outside.
//!
//! # Contract
//! * A worker tells which layers it put on; what the kernel shows of them is read from
//!   `/proc/PID/status` and `/proc/PID/ns` and not taken on trust. A worker that lacks a property
//!   gets no job under [`Mode::Required`].
//! * *Required* is by property, not by mechanism: no privileges, no files (an empty root or
//!   Landlock), no network (an empty network namespace or no system call for it), bounded memory.
//!   So it also holds inside containers, which forbid some of the mechanisms.

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
                 lsm=) or user namespaces (sysctl user.max_user_namespaces), and a container must \
                 not forbid their system calls"
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

/// What each property takes: one of the layers.
const NEEDS: &[(Property, &[Layer])] = &[
    (Property::Privileges, &[Layer::NoNewPrivileges]),
    (Property::Privileges, &[Layer::Capabilities]),
    (Property::Privileges, &[Layer::SystemCalls]),
    (Property::Files, &[Layer::Landlock, Layer::Root]),
    (Property::Network, &[Layer::SystemCalls, Layer::Namespaces]),
    (Property::Memory, &[Layer::Resources]),
];

/// The sandbox of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Each layer that was tried: on, or why not.
    pub layers: BTreeMap<&'static str, Option<String>>,
    /// The properties that do not hold.
    pub missing: Vec<Missing>,
}

impl Judgement {
    /// Whether a layer was put on, as far as can be seen.
    pub fn is_on(&self, layer: Layer) -> bool {
        matches!(self.layers.get(layer.as_str()), Some(None))
    }
}

/// Judges a worker by what it claims and by the kernel's record of it.
pub fn judge(claims: &[LayerReport], pid: u32) -> Judgement {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    judge_seen(claims, &status, shared_namespace(pid))
}

/// How many system call filters a process has put on, while it exists.
pub fn filters(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "Seccomp_filters").parse().ok()
}

/// Namespaces that a worker has for itself. That of processes is for what a template forks.
const NAMESPACES: &[&str] = &["user", "mnt", "net", "ipc", "uts"];

/// A namespace that the process has in common with this one. What cannot be seen is not known to
/// be: a server that is not root may not look at a worker that hides itself.
fn shared_namespace(pid: u32) -> Option<&'static str> {
    let shared = |name: &&str| {
        let theirs = std::fs::read_link(format!("/proc/{pid}/ns/{name}"));
        let ours = std::fs::read_link(format!("/proc/self/ns/{name}"));
        matches!((theirs, ours), (Ok(theirs), Ok(ours)) if theirs == ours)
    };
    NAMESPACES.iter().copied().find(shared)
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim).unwrap_or_default()
}

fn judge_seen(
    claims: &[LayerReport],
    status: &str,
    shared_namespace: Option<&'static str>,
) -> Judgement {
    let field = |name: &str| field(status, name);
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
    let users = field("Uid");
    let root = users.split_whitespace().any(|user| user == "0");
    refute(Layer::User, !root && !users.is_empty(), format!("Uid: {users}"));
    let shared = shared_namespace.unwrap_or_default();
    refute(Layer::Namespaces, shared.is_empty(), format!("it shares our {shared} namespace"));
    refute(Layer::Root, shared.is_empty(), format!("it shares our {shared} namespace"));

    let missing = NEEDS
        .iter()
        .filter_map(|(property, any_of)| {
            let why = any_of.iter().map(|layer| match layers.get(layer) {
                Some(None) => None,
                Some(Some(why)) => Some(format!("{} is not on: {why}", layer.as_str())),
                None => Some(format!("{} was not tried", layer.as_str())),
            });
            // None as soon as one of them is on.
            let why = why.collect::<Option<Vec<_>>>()?.join(", and ");
            Some(Missing { property: *property, why })
        })
        .collect();
    let layers = layers.into_iter().map(|(layer, why)| (layer.as_str(), why)).collect();
    Judgement { layers, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED: &str = "Uid:\t65534\t65534\t65534\t65534\nCapInh:\t0000000000000000\n\
        CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n\
        NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

    fn claims() -> Vec<LayerReport> {
        Layer::ALL.into_iter().map(|layer| LayerReport { layer, missing: None }).collect()
    }

    fn without(layers: &[Layer]) -> Vec<LayerReport> {
        let why = |layer| layers.contains(&layer).then(|| "no".to_owned());
        Layer::ALL.into_iter().map(|layer| LayerReport { layer, missing: why(layer) }).collect()
    }

    fn missing(claims: &[LayerReport], status: &str) -> Vec<Property> {
        let seen = judge_seen(claims, status, None);
        let mut properties: Vec<_> = seen.missing.iter().map(|missing| missing.property).collect();
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
        assert_eq!(missing(&claims(), &not_filtered), [Property::Privileges]);
        let capable = SEALED.replace("CapEff:\t0000000000000000", "CapEff:\t0000000000000400");
        assert_eq!(missing(&claims(), &capable), [Property::Privileges]);
        let gaining = SEALED.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0");
        assert_eq!(missing(&claims(), &gaining), [Property::Privileges]);
        assert_eq!(missing(&claims(), ""), [Property::Privileges]);
    }

    #[test]
    fn layers_that_no_property_needs_are_looked_at_as_well() {
        let root = SEALED.replace("Uid:\t65534", "Uid:\t0");
        let seen = judge_seen(&claims(), &root, Some("net"));
        assert_eq!(seen.missing, []);
        for (layer, why) in
            [("user", "Uid: 0"), ("namespaces", "our net namespace"), ("root", "our net namespace")]
        {
            let said = seen.layers[layer].as_deref().unwrap();
            assert!(said.contains(why), "{layer}: {said}");
        }
    }

    #[test]
    fn a_property_is_missing_when_none_of_its_layers_is_on() {
        for (layers, properties) in [
            (vec![Layer::Landlock], vec![]),
            (vec![Layer::Root], vec![]),
            (vec![Layer::Landlock, Layer::Root], vec![Property::Files]),
            (vec![Layer::Namespaces, Layer::Root], vec![]),
            (vec![Layer::SystemCalls], vec![Property::Privileges]),
            (
                vec![Layer::SystemCalls, Layer::Namespaces],
                vec![Property::Privileges, Property::Network],
            ),
            (vec![Layer::Resources], vec![Property::Memory]),
            (vec![Layer::User, Layer::Descriptors], vec![]),
        ] {
            assert_eq!(missing(&without(&layers), SEALED), properties, "{layers:?}");
            let untried: Vec<_> =
                claims().into_iter().filter(|claim| !layers.contains(&claim.layer)).collect();
            assert_eq!(missing(&untried, SEALED), properties, "untried: {layers:?}");
        }
    }

    #[test]
    fn a_missing_property_says_why_and_what_to_do() {
        let failed = without(&[Layer::Landlock, Layer::Root]);
        let text = judge_seen(&failed, SEALED, None).missing[0].to_string();
        assert!(
            text.starts_with("files: landlock is not on: no, and root is not on: no (the kernel"),
            "{text}"
        );
    }
}
