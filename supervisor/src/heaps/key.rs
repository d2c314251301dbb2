//! The key that tells a cluster's own heaps from all others.

use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Key of the codes that heaps are stored with. Whoever has it can have V8 run any code.
#[derive(Clone)]
pub struct HeapKey(hmac::Key);

/// The operating system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes for a key")]
pub struct NoEntropy;

impl HeapKey {
    /// The key of these bytes, which are secret and were drawn at random.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// Bytes for a new key.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn generate() -> Result<[u8; 32], NoEntropy> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).map_err(|_| NoEntropy)?;
        Ok(secret)
    }

    /// The code of `bytes`.
    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        let mut code = [0; 32];
        // A code is as long.
        code.iter_mut().zip(hmac::sign(&self.0, bytes).as_ref()).for_each(|(to, from)| *to = *from);
        code
    }

    /// Whether `code` is that of `bytes`. Takes as long whichever byte differs.
    pub(super) fn verify(&self, bytes: &[u8], code: &[u8]) -> bool {
        hmac::verify(&self.0, bytes, code).is_ok()
    }
}

impl fmt::Debug for HeapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeapKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::HeapKey;

    #[test]
    fn codes_are_hmac_sha256() {
        // RFC 4231 has no key of 32 bytes; this one was computed with OpenSSL.
        let key = HeapKey::new([0x0b; 32]);
        let hex: String = key.sign(b"Hi There").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7");
        assert!(key.verify(b"Hi There", &key.sign(b"Hi There")));
        assert!(!key.verify(b"Hi there", &key.sign(b"Hi There")));
        assert!(!HeapKey::new([0; 32]).verify(b"Hi There", &key.sign(b"Hi There")));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", HeapKey::new([7; 32])), "HeapKey(secret)");
    }

    #[test]
    fn new_keys_differ() {
        assert_ne!(HeapKey::generate().unwrap(), HeapKey::generate().unwrap());
    }
}
