//! Who may use the cluster port, and how nodes and operators show that they may.
//!
//! # Contract
//! * A shared secret proves requests and answers ([`proof`]) and every frame of a connection between
//!   nodes ([`session`]); it hides nothing. Certificates of one authority, mutual TLS ([`tls`]), do
//!   the same and hide all. Both may be given; then both are asked for.
//! * With neither, whoever reaches the cluster port can join and remove nodes; connections between
//!   nodes are taken from the addresses of members only (`node::neighbours`).
//! * Whoever is refused is told why, counted, and logged at a bounded rate ([`Refusals`]).

pub mod proof;
mod refusals;
mod secret;
pub mod session;
pub mod tls;
mod unproven;
mod window;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use parking_lot::Mutex;
use uuid::Uuid;

pub use self::proof::SCHEME;
use self::proof::{Claim, Signed};
pub use self::refusals::{REASONS, Reason, Refusal, Refusals};
pub use self::secret::{Secret, SecretError};
use self::tls::{Tls, TlsError, TlsFiles};
pub use self::unproven::{Place, Unproven};
use self::window::{Window, WindowError};

/// The names of the flags that name files, without `--`.
#[derive(Debug, PartialEq, Eq)]
pub struct Flags {
    /// Of the secret.
    pub secret: &'static str,
    /// Of the certificate.
    pub cert: &'static str,
    /// Of its key.
    pub key: &'static str,
    /// Of the authority.
    pub ca: &'static str,
}

/// Of a node.
pub const NODE_FLAGS: Flags = Flags {
    secret: "cluster-secret-file",
    cert: "cluster-tls-cert",
    key: "cluster-tls-key",
    ca: "cluster-tls-ca",
};

/// Of `mcp-v8 cluster`.
pub const OPERATOR_FLAGS: Flags =
    Flags { secret: "secret-file", cert: "tls-cert", key: "tls-key", ca: "tls-ca" };

/// What the operator gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// How the flags are called.
    pub flags: &'static Flags,
    /// A file with the shared secret.
    pub secret: Option<PathBuf>,
    /// A certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The authority.
    pub ca: Option<PathBuf>,
}

/// Why what was given proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Some of the three files for TLS.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
}

/// Some of the three files for TLS are given, and not all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{given} is given and --{missing} is not: TLS needs --{}, --{} and --{}", .flags.cert, .flags.key, .flags.ca)]
pub struct Incomplete {
    given: &'static str,
    missing: &'static str,
    flags: &'static Flags,
}

impl Sources {
    /// Nothing.
    pub fn none(flags: &'static Flags) -> Self {
        Self { flags, secret: None, cert: None, key: None, ca: None }
    }

    /// Whether there is nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::none(self.flags)
    }

    /// The files for TLS, if they are given.
    ///
    /// # Errors
    /// [`Incomplete`] when some are.
    pub fn tls(&self) -> Result<Option<TlsFiles>, Incomplete> {
        let Flags { cert, key, ca, .. } = *self.flags;
        if let (Some(cert), Some(key), Some(ca)) = (&self.cert, &self.key, &self.ca) {
            let (cert, key, ca) = (cert.clone(), key.clone(), ca.clone());
            return Ok(Some(TlsFiles { cert, key, ca }));
        }
        let all = [(cert, &self.cert), (key, &self.key), (ca, &self.ca)];
        let first = |is: bool| all.iter().find(|(_, file)| file.is_some() == is);
        match (first(true), first(false)) {
            (Some((given, _)), Some((missing, _))) => {
                Err(Incomplete { given, missing, flags: self.flags })
            }
            _ => Ok(None),
        }
    }
}

/// How a node or an operator proves itself.
#[derive(Debug, Default)]
pub struct Credentials {
    /// The shared secret.
    pub secret: Option<Secret>,
    /// Certificates.
    pub tls: Option<Tls>,
}

impl Credentials {
    /// Reads the files. `host` is the name or address by which other nodes call this one, if any
    /// do. Blocks.
    ///
    /// # Errors
    /// [`AuthError`] naming the file and what would be accepted.
    pub fn load(sources: &Sources, host: Option<&str>) -> Result<Self, AuthError> {
        let flags = sources.flags;
        let tls = sources.tls()?.map(|files| Tls::load(files, flags, host)).transpose()?;
        let secret = sources.secret.as_ref();
        let secret = secret.map(|path| Secret::read(flags.secret, path)).transpose()?;
        Ok(Self { secret, tls })
    }

    /// `none`, `secret`, `mtls` or `mtls+secret`.
    pub fn method(&self) -> &'static str {
        match (&self.tls, &self.secret) {
            (None, None) => "none",
            (None, Some(_)) => "secret",
            (Some(_), None) => "mtls",
            (Some(_), Some(_)) => "mtls+secret",
        }
    }
}

/// Milliseconds since 1970, by the system's clock.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Who made a connection to the cluster port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// From where; an IPv4 address as such.
    pub ip: IpAddr,
    /// Whether it showed a certificate of our authority.
    pub certified: bool,
}

/// What the cluster port asks of callers.
#[derive(Debug)]
pub struct Auth {
    /// What this node proves itself by; the same is asked of others.
    pub credentials: Credentials,
    /// Of this process, at random: what was proven to another one does not count here.
    pub instance: Uuid,
    /// What was refused.
    pub refusals: Refusals,
    /// Calls that begin a connection and have not proven the secret yet.
    pub unproven: Unproven,
    window: Mutex<Window>,
}

impl Auth {
    /// With these.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            instance: Uuid::new_v4(),
            refusals: Refusals::default(),
            unproven: Unproven::default(),
            window: Mutex::default(),
        }
    }

    /// A refusal for a reason found in a proof, in words.
    pub fn refusal(&self, reason: Reason) -> Refusal {
        let problem = match reason {
            Reason::Missing => {
                "this cluster's nodes share a secret, and the request carries no proof of it; \
                 accepted: nodes started with --cluster-secret-file, and `mcp-v8 cluster` with \
                 --secret-file"
            }
            Reason::Malformed => "the proof of the secret cannot be read",
            Reason::Instance => {
                "the proof is for another node, or for this one before it was started again; take \
                 `instance` from /raft/status for `to`"
            }
            _ => {
                "the proof is not by this node's secret, or not of this request: give all nodes and \
                 operators the same --cluster-secret-file"
            }
        };
        Refusal::new(reason, problem)
    }

    /// Whether a request that has this claim may come from somebody who has the secret; its body is
    /// not looked at yet.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_claim(&self, authorization: Option<&[u8]>) -> Result<Claim, Refusal> {
        let claim = Claim::read(authorization).map_err(|reason| self.refusal(reason))?;
        if claim.to != self.instance {
            return Err(self.refusal(Reason::Instance));
        }
        Ok(claim)
    }

    /// Whether a request is of somebody who has the secret, made now, and new.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_request(
        &self,
        secret: &Secret,
        claim: &Claim,
        signed: &Signed<'_>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if !signed.proven_by(claim, secret) {
            return Err(self.refusal(Reason::Proof));
        }
        let taken = self.window.lock().take(now_ms, claim.time_ms, *signed.nonce);
        taken.map_err(|error| {
            let reason = match error {
                WindowError::Clock { .. } => Reason::Clock,
                WindowError::Replayed => Reason::Replayed,
                WindowError::Full => Reason::Busy,
            };
            Refusal::new(reason, error.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> (Auth, Secret) {
        let secret = Secret::new(&[1; 32]).unwrap();
        (Auth::new(Credentials { secret: Some(secret.clone()), tls: None }), secret)
    }

    #[test]
    fn a_request_counts_once_for_one_process_and_now() {
        let ((auth, secret), now) = (auth(), 1_800_000_000_000);
        let nonce = [1; 16];
        let signed = Signed { method: "POST", path: "/raft/join", body: b"{}", nonce: &nonce };
        let check = |auth: &Auth, header: &str, now| {
            let claim = auth.check_claim(Some(header.as_bytes()))?;
            auth.check_request(&secret, &claim, &signed, now)
        };
        let header = signed.authorization(&secret, auth.instance, now);
        let reason = |result: Result<(), Refusal>| result.unwrap_err().reason;
        assert_eq!(check(&auth, &header, now), Ok(()));
        assert_eq!(reason(check(&auth, &header, now)), Reason::Replayed);
        let (restarted, _) = self::auth();
        assert_eq!(reason(check(&restarted, &header, now)), Reason::Instance);
        let other = Secret::new(&[2; 32]).unwrap();
        let wrong = signed.authorization(&other, auth.instance, now);
        assert_eq!(reason(check(&auth, &wrong, now)), Reason::Proof);
        let old = signed.authorization(&secret, auth.instance, now - 3_600_000);
        let refusal = check(&auth, &old, now).unwrap_err();
        assert_eq!(refusal.reason, Reason::Clock);
        assert!(refusal.problem.contains("3600.000 s behind"), "{refusal}");
    }

    #[test]
    fn a_wrong_proof_does_not_use_up_a_nonce() {
        let ((auth, secret), now) = (auth(), 1_800_000_000_000);
        let nonce = [1; 16];
        let signed = Signed { method: "POST", path: "/", body: b"", nonce: &nonce };
        let other = Signed { body: b"other", ..signed };
        let header = signed.authorization(&secret, auth.instance, now);
        let claim = auth.check_claim(Some(header.as_bytes())).unwrap();
        assert!(auth.check_request(&secret, &claim, &other, now).is_err());
        assert!(auth.check_request(&secret, &claim, &signed, now).is_ok());
    }

    #[test]
    fn some_of_the_files_for_tls_are_not_enough_and_the_missing_one_is_named() {
        let file = || Some(PathBuf::from("x"));
        let none = Sources::none(&NODE_FLAGS);
        assert!(none.is_none() && none.tls() == Ok(None));
        let all = Sources { cert: file(), key: file(), ca: file(), ..none.clone() };
        assert!(all.tls().unwrap().is_some());
        for (sources, missing) in [
            (Sources { cert: None, ..all.clone() }, "--cluster-tls-cert is not"),
            (Sources { key: None, ..all.clone() }, "--cluster-tls-key is not"),
            (Sources { ca: None, ..all.clone() }, "--cluster-tls-ca is not"),
            (Sources { ca: file(), ..none.clone() }, "--cluster-tls-cert is not"),
        ] {
            let error = sources.tls().unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }
}
