//! Proof of the shared secret in requests to the cluster port and in their answers.
//!
//! # Contract
//! * A request carries a nonce and, unless it is for an open route, `Authorization`:
//!
//!   ```text
//!   x-mcp-v8-nonce: <32 hexadecimal digits>
//!   Authorization: MCP-V8-HMAC-SHA256 to=<uuid>, time=<milliseconds since 1970>, mac=<64 digits>
//!   ```
//!
//!   `to` is `instance` in the `/raft/status` of whoever is asked: a proof for one process is none
//!   for another, nor for the same node after a restart. The MAC is over method, path with query,
//!   `to`, time, nonce and the SHA-256 of the body.
//! * An answer carries `x-mcp-v8-proof`, a MAC over the request (its method, path, `to`, nonce and
//!   body), the status code and the body: it is by somebody who has the secret, and to this request.
//!   Answers of routes that ask for proof carry one only once the request has given it.
//! * MACs are HMAC-SHA256 (RFC 2104) over the parts, each behind its length (8 bytes, little
//!   endian), the first of them a label; they are compared in constant time.

use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::Reason;
use super::secret::Secret;
use crate::hex;
use crate::limits::AUTHORIZATION_BYTES_MAX;

/// The scheme of `Authorization`, and of the answer that asks for it.
pub const SCHEME: &str = "MCP-V8-HMAC-SHA256";
/// The header with the nonce of whoever sends it.
pub const NONCE: &str = "x-mcp-v8-nonce";
/// The header with the proof of an answer.
pub const PROOF: &str = "x-mcp-v8-proof";

/// Chosen at random for one request, by its sender.
pub type Nonce = [u8; 16];
/// A MAC as it goes over the wire.
pub type Mac = [u8; 32];
/// A request, as the proof of its answer has it: [`Signed::asked`].
pub type Asked = [u8; 32];

/// A new nonce.
///
/// # Errors
/// When the system has no random numbers.
pub fn nonce() -> std::io::Result<Nonce> {
    let mut nonce = Nonce::default();
    let filled = SystemRandom::new().fill(&mut nonce);
    filled.map_err(|_| std::io::Error::other("the system gives no random numbers"))?;
    Ok(nonce)
}

/// A MAC over parts, each behind its length so that none can be taken for part of another.
pub(super) struct Parts(hmac::Context);

impl Parts {
    pub fn new(key: &hmac::Key, label: &str) -> Self {
        Self(hmac::Context::with_key(key)).part(label.as_bytes())
    }

    pub fn part(mut self, part: &[u8]) -> Self {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    pub fn mac(self) -> Mac {
        let mut mac = Mac::default();
        mac.copy_from_slice(self.0.sign().as_ref());
        mac
    }
}

/// Whether two MACs are the same, without telling where they differ by the time it takes.
pub(super) fn same(one: &Mac, other: &Mac) -> bool {
    one.ct_eq(other).into()
}

/// What a request says about itself in `Authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Which process it is for.
    pub to: Uuid,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: u64,
    mac: Mac,
}

/// What a MAC of a request is over.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, with the query if it has one.
    pub path: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// Its nonce.
    pub nonce: &'a Nonce,
}

impl Signed<'_> {
    fn mac(&self, secret: &Secret, to: Uuid, time_ms: u64) -> Mac {
        Parts::new(&secret.request, "mcp-v8 request 1")
            .part(self.method.as_bytes())
            .part(self.path.as_bytes())
            .part(to.as_bytes())
            .part(&time_ms.to_le_bytes())
            .part(self.nonce)
            .part(digest(&SHA256, self.body).as_ref())
            .mac()
    }

    /// `Authorization` of this request to that process, made at `time_ms`.
    pub fn authorization(&self, secret: &Secret, to: Uuid, time_ms: u64) -> String {
        let mac = hex::encode(&self.mac(secret, to, time_ms));
        format!("{SCHEME} to={to}, time={time_ms}, mac={mac}")
    }

    /// The digest of this request to that process; to whoever it is, for an open route.
    pub fn asked(&self, to: Option<Uuid>) -> Asked {
        let mut hash = ring::digest::Context::new(&SHA256);
        let to = to.unwrap_or_default();
        let body = digest(&SHA256, self.body);
        let parts: [&[u8]; 6] = [
            b"mcp-v8 asked 1",
            self.method.as_bytes(),
            self.path.as_bytes(),
            to.as_bytes(),
            self.nonce,
            body.as_ref(),
        ];
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut asked = Asked::default();
        asked.copy_from_slice(hash.finish().as_ref());
        asked
    }

    /// Whether the claim is of somebody who has the secret, and about this request.
    pub fn proven_by(&self, claim: &Claim, secret: &Secret) -> bool {
        same(&self.mac(secret, claim.to, claim.time_ms), &claim.mac)
    }
}

impl Claim {
    /// Reads `Authorization`, if there is one.
    ///
    /// # Errors
    /// [`Reason::Missing`] or [`Reason::Malformed`].
    pub fn read(header: Option<&[u8]>) -> Result<Self, Reason> {
        let fields = fields(header)?;
        let field = |name| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let read = || {
            Some(Self {
                to: Uuid::try_parse(field("to")?).ok()?,
                time_ms: field("time")?.parse().ok()?,
                mac: hex::decode_array(field("mac")?.as_bytes())?,
            })
        };
        read().ok_or(Reason::Malformed)
    }
}

/// The fields of `Authorization`.
pub(super) fn fields(header: Option<&[u8]>) -> Result<Vec<(&str, &str)>, Reason> {
    let header = header.ok_or(Reason::Missing)?;
    if header.len() > AUTHORIZATION_BYTES_MAX {
        return Err(Reason::Malformed);
    }
    let text = std::str::from_utf8(header).map_err(|_| Reason::Malformed)?;
    // Another scheme is no proof at all: a password, or a token for the port of clients.
    let (scheme, rest) = text.split_once(' ').ok_or(Reason::Missing)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(Reason::Missing);
    }
    rest.split(',')
        .map(|field| field.trim().split_once('='))
        .collect::<Option<_>>()
        .ok_or(Reason::Malformed)
}

/// Proof of an answer to this request.
pub fn answer_mac(secret: &Secret, asked: &Asked, status: u16, body: &[u8]) -> Mac {
    Parts::new(&secret.answer, "mcp-v8 answer 2")
        .part(asked)
        .part(&status.to_le_bytes())
        .part(body)
        .mac()
}

/// Whether an answer is of somebody who has the secret, and to this request.
pub fn answer_proven(
    secret: &Secret,
    asked: &Asked,
    status: u16,
    body: &[u8],
    proof: Option<&[u8]>,
) -> bool {
    let proof = proof.and_then(hex::decode_array);
    proof.is_some_and(|proof| same(&answer_mac(secret, asked, status, body), &proof))
}

/// Proof of a file that answers this request: of its SHA-256 in hexadecimal, so that it can be sent
/// while it is read.
pub fn file_mac(secret: &Secret, asked: &Asked, sha256: &str) -> Mac {
    Parts::new(&secret.answer, "mcp-v8 file 1").part(asked).part(sha256.as_bytes()).mac()
}

/// Whether a file is of somebody who has the secret, and for this request.
pub fn file_proven(secret: &Secret, asked: &Asked, sha256: &str, proof: Option<&[u8]>) -> bool {
    let proof = proof.and_then(hex::decode_array);
    proof.is_some_and(|proof| same(&file_mac(secret, asked, sha256), &proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 1_800_000_000_000;
    const NONCE: Nonce = [7; 16];

    fn secret(byte: u8) -> Secret {
        Secret::new(&[byte; 32]).unwrap()
    }

    fn join<'a>() -> Signed<'a> {
        Signed { method: "POST", path: "/raft/join", body: b"{}", nonce: &NONCE }
    }

    fn claim(header: &str) -> Claim {
        Claim::read(Some(header.as_bytes())).unwrap()
    }

    #[test]
    fn a_proof_holds_for_its_request_and_for_no_other() {
        let (ours, to) = (secret(1), Uuid::from_u128(1));
        let claim = claim(&join().authorization(&ours, to, TIME));
        assert_eq!((claim.to, claim.time_ms), (to, TIME));
        assert!(join().proven_by(&claim, &ours));
        assert!(!join().proven_by(&claim, &secret(2)), "another secret");
        let others = [
            Signed { method: "GET", ..join() },
            Signed { path: "/raft/leave", ..join() },
            Signed { path: "/raft/join?x", ..join() },
            Signed { body: b"{ }", ..join() },
            Signed { nonce: &[8; 16], ..join() },
        ];
        for other in others {
            assert!(!other.proven_by(&claim, &ours), "{other:?}");
        }
        assert!(!join().proven_by(&Claim { to: Uuid::from_u128(2), ..claim }, &ours));
        assert!(!join().proven_by(&Claim { time_ms: TIME + 1, ..claim }, &ours));
        for bit in 0..256 {
            let mut bent = claim;
            bent.mac[bit / 8] ^= 1 << (bit % 8);
            assert!(!join().proven_by(&bent, &ours), "bit {bit}");
        }
    }

    #[test]
    fn the_mac_is_what_the_contract_says() {
        // Computed with Python's hmac and hashlib after the text above.
        let header = join().authorization(&secret(b's'), Uuid::from_u128(1), TIME);
        assert_eq!(
            header,
            "MCP-V8-HMAC-SHA256 to=00000000-0000-0000-0000-000000000001, time=1800000000000, \
             mac=8aa64c8f199c14d36e788be04bc20c6d688442a2c0d7d2c9ce3557d2ab3694c5"
        );
        let asked = join().asked(Some(Uuid::from_u128(1)));
        let mac = answer_mac(&secret(b's'), &asked, 200, b"{}");
        assert_eq!(
            hex::encode(&mac),
            "dbb35ad3a3ffffb3bf9ac8e8bb7e373d13e5dc293c4a2d4972295acba22ec0a9"
        );
    }

    #[test]
    fn a_header_that_is_missing_or_malformed_is_told_apart() {
        assert_eq!(Claim::read(None), Err(Reason::Missing));
        for other in ["Bearer abc", "Basic dXNlcg==", "", SCHEME] {
            assert_eq!(Claim::read(Some(other.as_bytes())), Err(Reason::Missing), "{other}");
        }
        let good = join().authorization(&secret(1), Uuid::from_u128(1), TIME);
        for bad in [
            good.replace("to=", "from="),
            good.replace("time=18", "time=x"),
            good.replace("mac=", "mac=0"),
            format!("{good}, x"),
            format!("{SCHEME} "),
            format!("{good}, {}", "x=y, ".repeat(AUTHORIZATION_BYTES_MAX)),
        ] {
            assert_eq!(Claim::read(Some(bad.as_bytes())), Err(Reason::Malformed), "{bad}");
        }
        let room = AUTHORIZATION_BYTES_MAX - good.len() - 4;
        let longest = format!("{good}, x={}", "y".repeat(room));
        assert_eq!(longest.len(), AUTHORIZATION_BYTES_MAX);
        assert!(Claim::read(Some(longest.as_bytes())).is_ok());
        assert_eq!(Claim::read(Some(format!("{longest}y").as_bytes())), Err(Reason::Malformed));
        assert_eq!(Claim::read(Some(b"MCP-V8-HMAC-SHA256 \xff")), Err(Reason::Malformed));
    }

    #[test]
    fn an_answer_is_proven_for_its_request_status_and_body() {
        let ours = secret(1);
        let to = Some(Uuid::from_u128(1));
        let asked = join().asked(to);
        let proof = hex::encode(&answer_mac(&ours, &asked, 200, b"{}"));
        let proof = Some(proof.as_bytes());
        assert!(answer_proven(&ours, &asked, 200, b"{}", proof));
        assert!(!answer_proven(&ours, &asked, 200, b"{ }", proof));
        assert!(!answer_proven(&ours, &asked, 201, b"{}", proof));
        assert!(!answer_proven(&secret(2), &asked, 200, b"{}", proof));
        assert!(!answer_proven(&ours, &asked, 200, b"{}", None));
        assert!(!answer_proven(&ours, &asked, 200, b"{}", Some(b"00")));
        // One to another request, which somebody may have sent with our nonce.
        let others = [
            Signed { nonce: &[8; 16], ..join() }.asked(to),
            Signed { method: "GET", ..join() }.asked(to),
            Signed { path: "/raft/status", ..join() }.asked(to),
            Signed { body: b"", ..join() }.asked(to),
            join().asked(None),
        ];
        for other in others {
            assert!(!answer_proven(&ours, &other, 200, b"{}", proof));
        }
    }

    #[test]
    fn a_file_is_proven_for_its_request_and_is_no_short_answer() {
        let ours = secret(1);
        let asked = join().asked(None);
        let proof = hex::encode(&file_mac(&ours, &asked, "aa"));
        let proof = Some(proof.as_bytes());
        assert!(file_proven(&ours, &asked, "aa", proof));
        assert!(!file_proven(&ours, &asked, "ab", proof));
        assert!(!file_proven(&ours, &[8; 32], "aa", proof));
        assert!(!file_proven(&secret(2), &asked, "aa", proof));
        assert!(!file_proven(&ours, &asked, "aa", None));
        assert!(!answer_proven(&ours, &asked, 200, b"aa", proof));
    }
}
