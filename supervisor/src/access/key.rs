//! Public keys of tokens, as a JSON Web Key Set has them (RFC 7517, RFC 7518, RFC 8037).
//!
//! # Contract
//! * Only keys of asymmetric algorithms are taken; a key that is symmetric, not for signatures, too
//!   weak, or of a kind that is not known is passed over.
//! * A key verifies what its own kind verifies: a token can not have it taken for another, and where the
//!   key names its algorithm, for no other algorithm.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;

use crate::limits::{JWKS_KEYS_MAX, RSA_BYTES_MAX, RSA_BYTES_MIN};

/// How a token may be signed. There is no symmetric one, and none without a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// With SHA-384.
    Rs384,
    /// With SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// With SHA-384.
    Ps384,
    /// With SHA-512.
    Ps512,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// ECDSA over P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// As tokens name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("accepted: {names}; tokens without a signature or with a shared secret are not")
        })
    }
}

/// A key that signatures are verified with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// The only algorithm it is for, if it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set, and how many were passed over.
///
/// # Errors
/// What is wrong with a set that is none, has too many keys, or has keys and none of use.
pub fn parse_set(json: &[u8]) -> Result<(Vec<Key>, usize), String> {
    let set: Set = serde_json::from_slice(json)
        .map_err(|error| format!("it is no JSON Web Key Set ({{\"keys\": […]}}): {error}"))?;
    let all = set.keys.len();
    if all > JWKS_KEYS_MAX {
        return Err(format!("it has {all} keys; accepted: up to {JWKS_KEYS_MAX}"));
    }
    let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::from_jwk).collect();
    if keys.is_empty() && all > 0 {
        return Err(format!(
            "none of its {all} keys is of use; accepted: RSA keys of 2048 to 8192 bits, EC keys on \
             P-256 or P-384, Ed25519 keys, for signatures"
        ));
    }
    let passed_over = all - keys.len();
    Ok((keys, passed_over))
}

impl Key {
    /// `None` for a key that is of no use here.
    fn from_jwk(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let for_signatures = jwk.used_for.as_deref().is_none_or(|used_for| used_for == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures {
            return None;
        }
        let algorithm = jwk.alg.as_deref().map(Algorithm::from_str).transpose().ok()?;
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let point = |size: usize| {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            // Uncompressed, as SEC 1 has it.
            (x.len() == size && y.len() == size).then(|| [&[4][..], &x, &y].concat())
        };
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let number = |text| {
                    let bytes = bytes(text)?;
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    Some(bytes[zeros..].to_vec())
                };
                let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
                if !(RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&n.len()) {
                    return None;
                }
                Material::Rsa { n, e }
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => {
                Material::Ed25519(bytes(&jwk.x).filter(|key| key.len() == 32)?)
            }
            _ => return None,
        };
        let key = Self { kid: jwk.kid, algorithm, material };
        // One that contradicts itself is of no use either.
        algorithm.is_none_or(|algorithm| key.suits(algorithm)).then_some(key)
    }

    /// Whether what is signed with this algorithm can be verified with this key.
    pub fn suits(&self, algorithm: Algorithm) -> bool {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return false;
        }
        match self.material {
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    /// Whether this key has signed that.
    pub fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.suits(algorithm) {
            return false;
        }
        let verified = |how: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(how, key).verify(message, signature).is_ok()
        };
        match (&self.material, algorithm.rsa()) {
            (Material::Rsa { n, e }, Some(parameters)) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            (Material::Rsa { .. }, None) => false,
            (Material::P256(key), _) => verified(&ECDSA_P256_SHA256_FIXED, key),
            (Material::P384(key), _) => verified(&ECDSA_P384_SHA384_FIXED, key),
            (Material::Ed25519(key), _) => verified(&ED25519, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rsa(bytes: usize) -> Value {
        json!({"kty": "RSA", "kid": "r", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(vec![0xff; bytes])})
    }

    fn with(mut jwk: Value, name: &str, value: Value) -> Value {
        jwk[name] = value;
        jwk
    }

    fn taken(jwk: Value) -> Option<Key> {
        Key::from_jwk(jwk)
    }

    #[test]
    fn a_key_is_for_its_own_kind_of_signature_only() {
        let key = taken(rsa(RSA_BYTES_MIN)).unwrap();
        let suits = |key: &Key| {
            Algorithm::ALL
                .into_iter()
                .filter(|how| key.suits(*how))
                .map(Algorithm::name)
                .collect::<Vec<_>>()
        };
        assert_eq!(suits(&key), ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
        let key = taken(with(rsa(RSA_BYTES_MIN), "alg", json!("PS256"))).unwrap();
        assert_eq!(suits(&key), ["PS256"]);
        let coordinate = |size| URL_SAFE_NO_PAD.encode(vec![1; size]);
        let ec = |crv, size| json!({"kty": "EC", "crv": crv, "x": coordinate(size), "y": coordinate(size)});
        assert_eq!(suits(&taken(ec("P-256", 32)).unwrap()), ["ES256"]);
        assert_eq!(suits(&taken(ec("P-384", 48)).unwrap()), ["ES384"]);
        let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": coordinate(32)});
        assert_eq!(suits(&taken(okp).unwrap()), ["EdDSA"]);
        assert!(taken(ec("P-256", 31)).is_none() && taken(ec("P-521", 66)).is_none());
    }

    #[test]
    fn keys_that_are_weak_shared_or_for_something_else_are_passed_over() {
        assert!(taken(rsa(RSA_BYTES_MIN - 1)).is_none(), "too short");
        assert!(taken(rsa(RSA_BYTES_MAX)).is_some());
        assert!(taken(rsa(RSA_BYTES_MAX + 1)).is_none(), "too long");
        let good = || rsa(RSA_BYTES_MIN);
        assert!(taken(json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"})).is_none());
        for (name, value) in [
            ("use", json!("enc")),
            ("key_ops", json!(["encrypt"])),
            ("alg", json!("HS256")),
            ("alg", json!("none")),
            ("alg", json!("ES256")),
            ("kid", json!(7)),
            ("n", json!("not base64url!")),
        ] {
            assert!(taken(with(good(), name, value.clone())).is_none(), "{name}: {value}");
        }
        assert!(taken(with(good(), "use", json!("sig"))).is_some());
        assert!(taken(with(good(), "key_ops", json!(["verify"]))).is_some());
    }

    #[test]
    fn a_set_has_keys_up_to_the_bound_and_not_one_past_it() {
        let set = |count| json!({"keys": vec![rsa(RSA_BYTES_MIN); count]}).to_string();
        assert_eq!(parse_set(set(JWKS_KEYS_MAX).as_bytes()).unwrap().0.len(), JWKS_KEYS_MAX);
        let error = parse_set(set(JWKS_KEYS_MAX + 1).as_bytes()).unwrap_err();
        assert!(error.contains("accepted: up to"), "{error}");
        // All keys were taken back.
        assert_eq!(parse_set(b"{\"keys\":[]}").unwrap(), (vec![], 0));
        assert!(
            parse_set(b"{\"keys\":[{\"kty\":\"oct\"}]}").unwrap_err().contains("none of its 1")
        );
        assert!(parse_set(b"<html>").unwrap_err().contains("no JSON Web Key Set"));
    }

    #[test]
    fn only_asymmetric_algorithms_have_names() {
        for name in ["none", "None", "HS256", "HS512", "rs256", "", "ES512"] {
            assert!(Algorithm::from_str(name).unwrap_err().contains("RS256, RS384"), "{name}");
        }
    }
}
