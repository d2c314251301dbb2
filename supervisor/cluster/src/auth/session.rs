//! Proof of the shared secret on connections between nodes.
//!
//! # Contract
//! * Both sides prove the secret before either acts on what the other sends, by a nonce of each that
//!   is new for every connection, so that neither clocks nor memory are needed:
//!
//!   ```text
//!   caller                                  called
//!     GET /raft/stream, Hello, nonce, mac ──►  refused at once when the secret is another
//!     ◄── 101, Hello, nonce, proof             over both nonces and both Hellos
//!     32 bytes: proof ───────────────────────►  over the same; only now a frame is read
//!     frames ◄───────────────────────────────► each with a MAC
//!   ```
//!
//!   The first MAC is over the caller's nonce and Hello alone: it can be an old one, and is only
//!   there so that a wrong secret is answered in words.
//! * Every frame carries a MAC ([`FRAME_MAC_BYTES`] of HMAC-SHA256) under a key of this connection
//!   and direction, over its number and its bytes. A frame that is altered, injected, left out,
//!   sent twice or out of order ends the connection ([`Tampered`]).
//! * It hides nothing: who can listen can read. For that there is TLS.

use std::io;

use ring::hmac;

use super::proof::{Mac, Nonce, Parts, fields, same};
use super::secret::{Secret, expand};
use super::{Reason, SCHEME};
use crate::hex;

/// Bytes of the MAC behind each frame: half of the hash, as RFC 2104 (5) has it at least.
pub const FRAME_MAC_BYTES: usize = 16;

/// A frame that is not the next one of whoever proved the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame {number} of this connection was altered, injected, repeated or left out on its way")]
pub struct Tampered {
    /// Counted from 0.
    pub number: u64,
}

impl Tampered {
    /// Whether this is why a stream failed.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// The MACs of frames in one direction.
#[derive(Debug, Clone)]
pub struct Seal {
    key: hmac::Key,
    /// Number of the next frame.
    next: u64,
}

impl Seal {
    fn mac(&mut self, frame: &[u8]) -> [u8; FRAME_MAC_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.next.to_le_bytes());
        context.update(frame);
        // At a million frames a second it would last for half a million years.
        self.next += 1;
        let mut mac = [0; FRAME_MAC_BYTES];
        mac.copy_from_slice(&context.sign().as_ref()[..FRAME_MAC_BYTES]);
        mac
    }

    /// Appends the MAC of the frame that begins at `from`.
    pub fn append(&mut self, bytes: &mut Vec<u8>, from: usize) {
        let mac = self.mac(&bytes[from..]);
        bytes.extend_from_slice(&mac);
    }

    /// Checks the next frame.
    ///
    /// # Errors
    /// [`Tampered`]; what comes after it is not to be trusted either.
    pub fn check(&mut self, frame: &[u8], mac: &[u8]) -> Result<(), Tampered> {
        use subtle::ConstantTimeEq;
        let number = self.next;
        if self.mac(frame).ct_eq(mac).into() { Ok(()) } else { Err(Tampered { number }) }
    }
}

/// The MACs of both directions, as one side has them.
#[derive(Debug, Clone)]
pub struct Seals {
    /// Of what it sends.
    pub sends: Seal,
    /// Of what it receives.
    pub receives: Seal,
}

/// `Authorization` of a call that wants to begin a connection.
pub fn opening(secret: &Secret, nonce: &Nonce, hello: &[u8]) -> String {
    format!("{SCHEME} mac={}", hex::encode(&opening_mac(secret, nonce, hello)))
}

fn opening_mac(secret: &Secret, nonce: &Nonce, hello: &[u8]) -> Mac {
    Parts::new(&secret.stream, "mcp-v8 stream 1 opening").part(nonce).part(hello).mac()
}

/// Checks what [`opening`] wrote.
///
/// # Errors
/// Why it is no proof.
pub fn check_opening(
    secret: &Secret,
    nonce: &Nonce,
    hello: &[u8],
    header: Option<&[u8]>,
) -> Result<(), Reason> {
    let fields = fields(header)?;
    let mac = fields.iter().find(|(key, _)| *key == "mac").map(|(_, value)| value.as_bytes());
    let mac = mac.and_then(hex::decode_array).ok_or(Reason::Malformed)?;
    if same(&opening_mac(secret, nonce, hello), &mac) { Ok(()) } else { Err(Reason::Proof) }
}

/// What both sides have said: the nonces, and the Hellos as they went over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Greeting<'a> {
    /// Of the caller.
    pub caller_nonce: &'a Nonce,
    /// Of the caller.
    pub caller_hello: &'a [u8],
    /// Of the called.
    pub called_nonce: &'a Nonce,
    /// Of the called.
    pub called_hello: &'a [u8],
}

impl Greeting<'_> {
    fn mac(&self, secret: &Secret, label: &str) -> Mac {
        Parts::new(&secret.stream, label)
            .part(self.caller_nonce)
            .part(self.caller_hello)
            .part(self.called_nonce)
            .part(self.called_hello)
            .mac()
    }

    /// How the called proves the secret.
    pub fn called_proof(&self, secret: &Secret) -> Mac {
        self.mac(secret, "mcp-v8 stream 1 called")
    }

    /// How the caller does.
    pub fn caller_proof(&self, secret: &Secret) -> Mac {
        self.mac(secret, "mcp-v8 stream 1 caller")
    }

    /// Whether this is the proof of the called.
    pub fn is_called_proof(&self, secret: &Secret, proof: &Mac) -> bool {
        same(&self.called_proof(secret), proof)
    }

    /// Whether this is the proof of the caller.
    pub fn is_caller_proof(&self, secret: &Secret, proof: &Mac) -> bool {
        same(&self.caller_proof(secret), proof)
    }

    /// The keys of the connection: from the caller to the called, and back.
    fn directions(&self, secret: &Secret) -> io::Result<(Seal, Seal)> {
        let session = self.mac(secret, "mcp-v8 stream 1 session");
        let extracted = ring::hkdf::Prk::new_less_safe(ring::hkdf::HKDF_SHA256, &session);
        let seal = |purpose: &[u8]| {
            let key = expand(&extracted, purpose);
            key.map(|key| Seal { key, next: 0 }).ok_or_else(|| io::Error::other("no session key"))
        };
        Ok((seal(b"to called")?, seal(b"to caller")?))
    }

    /// For the caller.
    ///
    /// # Errors
    /// Never in practice: when no key can be derived.
    pub fn caller_seals(&self, secret: &Secret) -> io::Result<Seals> {
        let (sends, receives) = self.directions(secret)?;
        Ok(Seals { sends, receives })
    }

    /// For the called.
    ///
    /// # Errors
    /// Never in practice: when no key can be derived.
    pub fn called_seals(&self, secret: &Secret) -> io::Result<Seals> {
        let (receives, sends) = self.directions(secret)?;
        Ok(Seals { sends, receives })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new(&[byte; 32]).unwrap()
    }

    fn greeting<'a>() -> Greeting<'a> {
        Greeting {
            caller_nonce: &[1; 16],
            caller_hello: b"caller",
            called_nonce: &[2; 16],
            called_hello: b"called",
        }
    }

    fn others<'a>() -> [Greeting<'a>; 5] {
        [
            Greeting { caller_nonce: &[3; 16], ..greeting() },
            Greeting { called_nonce: &[3; 16], ..greeting() },
            Greeting { caller_hello: b"calle", called_hello: b"rcalled", ..greeting() },
            Greeting { called_hello: b"other", ..greeting() },
            // The two sides exchanged.
            Greeting {
                caller_nonce: &[2; 16],
                caller_hello: b"called",
                called_nonce: &[1; 16],
                called_hello: b"caller",
            },
        ]
    }

    #[test]
    fn each_side_proves_the_secret_for_this_conversation_only() {
        let (ours, theirs) = (secret(1), secret(2));
        let (called, caller) = (greeting().called_proof(&ours), greeting().caller_proof(&ours));
        assert_ne!(called, caller, "one is no use as the other");
        assert!(greeting().is_called_proof(&ours, &called));
        assert!(greeting().is_caller_proof(&ours, &caller));
        assert!(!greeting().is_caller_proof(&ours, &called));
        assert!(!greeting().is_called_proof(&theirs, &called));
        for other in others() {
            assert!(!other.is_called_proof(&ours, &called), "{other:?}");
            assert!(!other.is_caller_proof(&ours, &caller), "{other:?}");
        }
    }

    #[test]
    fn a_call_with_another_secret_is_told_so_at_once() {
        let (ours, nonce) = (secret(1), [1; 16]);
        let header = opening(&ours, &nonce, b"hello");
        let check = |secret: &Secret, nonce: &Nonce, hello: &[u8], header: Option<&str>| {
            check_opening(secret, nonce, hello, header.map(str::as_bytes))
        };
        assert_eq!(check(&ours, &nonce, b"hello", Some(&header)), Ok(()));
        assert_eq!(check(&secret(2), &nonce, b"hello", Some(&header)), Err(Reason::Proof));
        assert_eq!(check(&ours, &[2; 16], b"hello", Some(&header)), Err(Reason::Proof));
        assert_eq!(check(&ours, &nonce, b"hell", Some(&header)), Err(Reason::Proof));
        assert_eq!(check(&ours, &nonce, b"hello", None), Err(Reason::Missing));
        let short = header[..header.len() - 1].to_owned();
        assert_eq!(check(&ours, &nonce, b"hello", Some(&short)), Err(Reason::Malformed));
    }

    fn sealed(seal: &mut Seal, frame: &[u8]) -> Vec<u8> {
        let mut bytes = b"before".to_vec();
        bytes.extend_from_slice(frame);
        seal.append(&mut bytes, 6);
        bytes.split_off(6)
    }

    fn opened(seal: &mut Seal, bytes: &[u8]) -> Result<(), Tampered> {
        let (frame, mac) = bytes.split_at(bytes.len() - FRAME_MAC_BYTES);
        seal.check(frame, mac)
    }

    #[test]
    fn frames_hold_in_their_order_and_direction_and_in_no_other() {
        let ours = secret(1);
        let mut caller = greeting().caller_seals(&ours).unwrap();
        let mut called = greeting().called_seals(&ours).unwrap();
        let frames: Vec<Vec<u8>> =
            (0..3_u8).map(|number| sealed(&mut caller.sends, &[number; 20])).collect();
        for frame in &frames {
            assert_eq!(opened(&mut called.receives, frame), Ok(()));
        }
        let fresh = || greeting().called_seals(&ours).unwrap().receives;
        let tampered = |number| Err(Tampered { number });
        assert_eq!(opened(&mut fresh(), &frames[1]), tampered(0), "one left out");
        let mut twice = fresh();
        assert_eq!(opened(&mut twice, &frames[0]), Ok(()));
        assert_eq!(opened(&mut twice, &frames[0]), tampered(1), "sent twice");
        let mut back = greeting().caller_seals(&ours).unwrap().receives;
        assert_eq!(opened(&mut back, &frames[0]), tampered(0), "sent back");
        for other in others() {
            let mut seal = other.called_seals(&ours).unwrap().receives;
            assert_eq!(opened(&mut seal, &frames[0]), tampered(0), "another connection");
        }
        let mut seal = greeting().called_seals(&secret(2)).unwrap().receives;
        assert_eq!(opened(&mut seal, &frames[0]), tampered(0), "another secret");
    }

    #[test]
    fn any_bit_of_a_frame_or_its_mac_that_is_turned_is_found() {
        let ours = secret(1);
        let frame = sealed(&mut greeting().caller_seals(&ours).unwrap().sends, b"length call body");
        for bit in 0..frame.len() * 8 {
            let mut bent = frame.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let mut seal = greeting().called_seals(&ours).unwrap().receives;
            assert!(opened(&mut seal, &bent).is_err(), "bit {bit}");
        }
        let mut seal = greeting().called_seals(&ours).unwrap().receives;
        assert!(seal.check(&frame, &[]).is_err(), "no MAC at all");
    }
}
