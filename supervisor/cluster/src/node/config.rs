//! What a node is told when it starts.

use std::path::PathBuf;

use crate::auth::{Incomplete, NODE_FLAGS, Sources};
use crate::limits::{ADDRESS_BYTES_MAX, LOG_KEEP_ENTRIES, SNAPSHOT_ENTRIES_DEFAULT};
use crate::types::{NameError, check_name};

/// Another member, as `--peers` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Its name, when it was given.
    pub name: Option<String>,
    /// Its cluster port, `host:port`.
    pub address: String,
}

/// Intervals of Raft, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two signs of life of a leader.
    pub heartbeat: u64,
    /// Silence after which a follower stands for election, at least.
    pub election_min: u64,
    /// And at most.
    pub election_max: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat: 100, election_min: 300, election_max: 500 }
    }
}

/// Why timing flags cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The window is empty.
    #[error(
        "--election-timeout-min={min} must be below --election-timeout-max={max}: each node picks \
         its timeout between them"
    )]
    Window {
        /// `--election-timeout-min`.
        min: u64,
        /// `--election-timeout-max`.
        max: u64,
    },
    /// A follower would stand for election between two heartbeats.
    #[error(
        "--heartbeat-interval={heartbeat} must be below --election-timeout-min={min}, better a fifth \
         of it"
    )]
    Heartbeat {
        /// `--heartbeat-interval`.
        heartbeat: u64,
        /// `--election-timeout-min`.
        min: u64,
    },
    /// Zero, or so large that it must be a mistake.
    #[error("--{flag}={value}; accepted: 1 to 60000 milliseconds")]
    Range {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: u64,
    },
}

impl Timing {
    /// Checks that elections can work.
    ///
    /// # Errors
    /// [`TimingError`] naming the flags.
    pub fn check(&self) -> Result<(), TimingError> {
        for (flag, value) in [
            ("heartbeat-interval", self.heartbeat),
            ("election-timeout-min", self.election_min),
            ("election-timeout-max", self.election_max),
        ] {
            if !(1..=60_000).contains(&value) {
                return Err(TimingError::Range { flag, value });
            }
        }
        if self.election_min >= self.election_max {
            let (min, max) = (self.election_min, self.election_max);
            return Err(TimingError::Window { min, max });
        }
        if self.heartbeat >= self.election_min {
            let (heartbeat, min) = (self.heartbeat, self.election_min);
            return Err(TimingError::Heartbeat { heartbeat, min });
        }
        Ok(())
    }

    /// Whether heartbeats are rarer than a fifth of the election timeout.
    pub fn is_tight(&self) -> bool {
        self.heartbeat * 5 > self.election_min
    }
}

/// Everything a node is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// Where its store is.
    pub path: PathBuf,
    /// Where others reach its cluster port; empty for a node without one.
    pub advertise: String,
    /// The other founders; seeds for a node that is a member already.
    pub peers: Vec<Seed>,
    /// A member of a running cluster to join.
    pub join: Option<String>,
    /// Whether it stays a learner.
    pub learner: bool,
    /// Whether it runs scripts.
    pub runs_scripts: bool,
    /// Intervals.
    pub timing: Timing,
    /// Entries after which a snapshot is made.
    pub snapshot_entries: u64,
    /// By what it proves itself, and asks others to.
    pub auth: Sources,
    /// Whether it may not start without that.
    pub auth_required: bool,
}

/// Why a node cannot be what it is told to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Its name.
    #[error("--node-id: {0}")]
    Name(#[from] NameError),
    /// Its timing.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// An address.
    #[error("--{flag}: '{address}' is not host:port")]
    Address {
        /// The flag.
        flag: &'static str,
        /// What was given.
        address: String,
    },
    /// It lists itself.
    #[error("--peers lists this node itself ({0}): it names the other members only")]
    Itself(String),
    /// A peer is there twice.
    #[error("--peers names {0} twice")]
    Twice(String),
    /// Some of the files for TLS.
    #[error(transparent)]
    Tls(#[from] Incomplete),
    /// It is to prove itself and has nothing to do so by.
    #[error(
        "--cluster-auth=required, and nothing to prove who is of this cluster: give \
         --cluster-secret-file, or --cluster-tls-cert, --cluster-tls-key and --cluster-tls-ca, or \
         both"
    )]
    AuthRequired,
    /// It would found and join at once.
    #[error("--peers founds a cluster and --join enters a running one: give one of them")]
    PeersAndJoin,
}

impl Config {
    /// Of a node that has no cluster port, with the defaults.
    pub fn single(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path,
            advertise: String::new(),
            peers: Vec::new(),
            join: None,
            learner: false,
            runs_scripts: true,
            timing: Timing::default(),
            snapshot_entries: SNAPSHOT_ENTRIES_DEFAULT,
            auth: Sources::none(&NODE_FLAGS),
            auth_required: false,
        }
    }

    /// Checks what can be checked without the network.
    ///
    /// # Errors
    /// [`ConfigError`] naming the flag.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_name(&self.name)?;
        self.timing.check()?;
        self.auth.tls()?;
        if self.auth_required && self.auth.is_none() {
            return Err(ConfigError::AuthRequired);
        }
        if !self.advertise.is_empty() {
            check_address("advertise-addr", &self.advertise)?;
        }
        if let Some(join) = &self.join {
            check_address("join", join)?;
            if !self.peers.is_empty() {
                return Err(ConfigError::PeersAndJoin);
            }
        }
        for (at, peer) in self.peers.iter().enumerate() {
            check_address("peers", &peer.address)?;
            if let Some(name) = &peer.name {
                check_name(name)?;
            }
            if peer.name.as_ref() == Some(&self.name) || peer.address == self.advertise {
                return Err(ConfigError::Itself(peer.address.clone()));
            }
            let same = |other: &Seed| {
                other.address == peer.address || (other.name.is_some() && other.name == peer.name)
            };
            if self.peers[..at].iter().any(same) {
                return Err(ConfigError::Twice(peer.address.clone()));
            }
        }
        Ok(())
    }

    /// The host by which others call this node; none for one without a port.
    pub fn host(&self) -> Option<&str> {
        self.advertise.rsplit_once(':').map(|(host, _)| host)
    }

    /// Whether it is alone: no port for others.
    pub fn alone(&self) -> bool {
        self.advertise.is_empty()
    }

    /// The same for openraft.
    ///
    /// A follower of openraft first waits for the end of the leader's lease, which is the longest
    /// timeout, and then for its own: what the flags mean by one wait is about two. So it is given
    /// seven tenths, unless that leaves no room for two heartbeats.
    pub(crate) fn raft(&self) -> openraft::Config {
        let Timing { heartbeat, election_min, election_max } = self.timing;
        let shorter = |timeout: u64| timeout * 7 / 10;
        let (election_min, election_max) = if heartbeat * 2 <= shorter(election_min) {
            (shorter(election_min), shorter(election_max))
        } else {
            (election_min, election_max)
        };
        openraft::Config {
            cluster_name: "mcp-v8".to_owned(),
            heartbeat_interval: self.timing.heartbeat,
            election_timeout_min: election_min,
            election_timeout_max: election_max,
            install_snapshot_timeout: 60_000,
            max_payload_entries: 1024,
            // Entries as long as there are any: a snapshot only for who is behind the log.
            replication_lag_threshold: u64::MAX / 2,
            // The node decides; see `compact`.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: LOG_KEEP_ENTRIES,
            purge_batch_size: 256,
            backoff: "20ms 50ms 100ms ..250ms".to_owned(),
            broadcast_submitted_on_append: Some(true),
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            ..openraft::Config::default()
        }
    }
}

/// Whether a text is `host:port`.
///
/// # Errors
/// [`ConfigError::Address`] with the flag it came from.
pub fn check_address(flag: &'static str, address: &str) -> Result<(), ConfigError> {
    let error = || ConfigError::Address {
        flag,
        address: address.chars().take(ADDRESS_BYTES_MAX).collect(),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(error)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-[]:%".contains(c);
    let valid = address.len() <= ADDRESS_BYTES_MAX
        && !host.is_empty()
        && host.chars().all(plain)
        && (!host.contains(':') || host.starts_with('['))
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    if valid { Ok(()) } else { Err(error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            advertise: "10.0.0.1:4000".to_owned(),
            peers: vec![
                Seed { name: Some("node2".to_owned()), address: "10.0.0.2:4000".to_owned() },
                Seed { name: None, address: "node3:4000".to_owned() },
            ],
            ..Config::single("node1", PathBuf::new())
        }
    }

    #[test]
    fn the_guides_settings_pass_and_impossible_ones_name_their_flags() {
        assert_eq!(config().check(), Ok(()));
        assert!(config().raft().validate().is_ok());
        let cloud = Timing { heartbeat: 200, election_min: 1000, election_max: 2000 };
        assert!(cloud.check().is_ok() && !cloud.is_tight());
        assert!(Timing::default().is_tight());
        for (timing, flag) in [
            (Timing { heartbeat: 300, ..Timing::default() }, "--heartbeat-interval"),
            (Timing { election_min: 500, ..Timing::default() }, "--election-timeout-min"),
            (Timing { election_max: 60_001, ..Timing::default() }, "--election-timeout-max"),
            (Timing { heartbeat: 0, ..Timing::default() }, "--heartbeat-interval"),
        ] {
            let error = timing.check().unwrap_err().to_string();
            assert!(error.contains(flag), "{error}");
        }
    }

    #[test]
    fn proof_that_is_required_must_be_given() {
        let required = Config { auth_required: true, ..config() };
        let error = required.check().unwrap_err();
        assert!(error.to_string().contains("give --cluster-secret-file, or"), "{error}");
        let secret = Sources { secret: Some("s".into()), ..Sources::none(&NODE_FLAGS) };
        assert_eq!(Config { auth: secret, ..required.clone() }.check(), Ok(()));
        let some = Sources { cert: Some("c".into()), ..Sources::none(&NODE_FLAGS) };
        let error = Config { auth: some, ..required }.check().unwrap_err();
        assert!(matches!(error, ConfigError::Tls(_)), "{error}");
    }

    #[test]
    fn a_list_that_cannot_be_is_refused() {
        let with = |name: Option<&str>, address: &str| {
            let mut config = config();
            let name = name.map(str::to_owned);
            config.peers.push(Seed { name, address: address.to_owned() });
            config.check()
        };
        assert!(matches!(with(Some("node1"), "a:1"), Err(ConfigError::Itself(_))));
        assert!(matches!(with(None, "10.0.0.1:4000"), Err(ConfigError::Itself(_))));
        assert!(matches!(with(Some("node2"), "a:1"), Err(ConfigError::Twice(_))));
        assert!(matches!(with(None, "node3:4000"), Err(ConfigError::Twice(_))));
        for address in ["node4", "node4:", ":4000", "node4:0", "node4:65536", "a b:1", "::1:4000"] {
            assert!(matches!(with(None, address), Err(ConfigError::Address { .. })), "{address}");
        }
        assert_eq!(with(None, "[::1]:4000"), Ok(()));
        let both = Config { join: Some("a:1".to_owned()), ..config() };
        assert_eq!(both.check(), Err(ConfigError::PeersAndJoin));
    }
}
