//! Each refusal, at its bound and one past it.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::access::key::parse_set;

const NOW: f64 = 1_800_000_000.0;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of each of two kinds.
struct Signer {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
        Self {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(how, ec.as_ref(), &random).unwrap(),
            random,
        }
    }

    fn keys(&self) -> Vec<Key> {
        let point = self.ec.public_key().as_ref();
        let set = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(self.ed.public_key())},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": b64(&point[1..33]), "y": b64(&point[33..])},
        ]});
        parse_set(set.to_string().as_bytes()).unwrap().0
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = match header["alg"].as_str() {
            Some("ES256") => {
                self.ec.sign(&self.random, signed.as_bytes()).unwrap().as_ref().to_vec()
            }
            _ => self.ed.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", b64(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "EdDSA", "kid": "ed"}), claims)
    }
}

fn rules() -> Rules {
    Rules {
        issuers: vec!["https://i.example".to_owned(), "https://j.example".to_owned()],
        audiences: vec!["v8".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        leeway_secs: 60,
        operator_scope: Some("operate".to_owned()),
    }
}

fn claims() -> Value {
    json!({"iss": "https://i.example", "sub": "alice", "aud": "v8", "exp": NOW + 100.0})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn check(token: &str, keys: &[Key]) -> Result<Granted, TokenError> {
    let rules = rules();
    parse(token, &rules)?.verify(keys, &rules, NOW)
}

#[test]
fn a_token_says_who_its_caller_is() {
    let signer = Signer::new();
    let keys = signer.keys();
    let alice = Principal::of("https://i.example", "alice");
    for header in [
        json!({"alg": "EdDSA", "kid": "ed", "typ": "JWT"}),
        json!({"alg": "ES256", "kid": "ec"}),
        // The only key of its kind needs no name.
        json!({"alg": "ES256"}),
    ] {
        let granted = check(&signer.sign(&header, &claims()), &keys).unwrap();
        assert_eq!(granted, Granted { principal: alice, operator: false }, "{header}");
    }
    let scopes = [("scope", json!("a operate")), ("scp", json!(["operate"]))];
    for (name, value) in scopes {
        assert!(check(&signer.token(&with(name, value)), &keys).unwrap().operator);
    }
    assert!(!check(&signer.token(&with("scope", json!("operated"))), &keys).unwrap().operator);
}

#[test]
fn times_count_with_the_leeway_at_their_bounds_and_not_one_second_past_them() {
    let signer = Signer::new();
    let keys = signer.keys();
    let at = |name, time: f64| check(&signer.token(&with(name, json!(time))), &keys).map(drop);
    assert_eq!(at("exp", NOW - 59.0), Ok(()));
    assert_eq!(at("exp", NOW - 60.0), Err(TokenError::Expired));
    assert_eq!(at("nbf", NOW + 60.0), Ok(()));
    assert_eq!(at("nbf", NOW + 61.0), Err(TokenError::NotYet));
    // A fraction of a second is a time as well.
    assert_eq!(at("exp", NOW - 59.5), Ok(()));
}

#[test]
fn claims_that_are_wrong_missing_or_of_another_type_are_refused() {
    let signer = Signer::new();
    let keys = signer.keys();
    let malformed = || TokenError::Malformed("its claims are no JSON object as RFC 7519 has it");
    for (name, value, expected) in [
        ("exp", Value::Null, TokenError::NoExpiry),
        ("exp", json!("1900000000"), malformed()),
        ("nbf", json!("0"), malformed()),
        ("iss", Value::Null, TokenError::Issuer),
        ("iss", json!("https://k.example"), TokenError::Issuer),
        ("iss", json!(["https://i.example"]), malformed()),
        ("aud", Value::Null, TokenError::Audience),
        ("aud", json!("other"), TokenError::Audience),
        ("aud", json!(["other", "V8"]), TokenError::Audience),
        ("aud", json!({"v8": 1}), malformed()),
        ("sub", Value::Null, TokenError::NoSubject),
        ("sub", json!(""), TokenError::NoSubject),
        ("sub", json!(7), malformed()),
    ] {
        let refused = check(&signer.token(&with(name, value.clone())), &keys).unwrap_err();
        assert_eq!(refused, expected, "{name}: {value}");
    }
    for (name, value) in [
        ("iss", json!("https://j.example")),
        ("aud", json!(["other", "v8"])),
        ("nbf", Value::Null),
        ("iat", json!("whatever")),
    ] {
        assert!(check(&signer.token(&with(name, value)), &keys).is_ok(), "{name}");
    }
}

#[test]
fn keys_algorithms_and_signatures_are_what_they_must_be() {
    let (signer, other) = (Signer::new(), Signer::new());
    let keys = signer.keys();
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
    let by = |header: &Value| check(&signer.sign(header, &claims()), &keys).unwrap_err();
    assert_eq!(by(&header("EdDSA", "new")), TokenError::UnknownKey("new".to_owned()));
    // A key is not taken for one of another kind.
    assert_eq!(by(&header("EdDSA", "ec")), TokenError::UnknownKey("ec".to_owned()));
    assert_eq!(by(&header("none", "ed")), TokenError::Algorithm("none".to_owned()));
    assert_eq!(by(&header("HS256", "ed")), TokenError::Algorithm("HS256".to_owned()));
    assert_eq!(by(&header("eddsa", "ed")), TokenError::Algorithm("eddsa".to_owned()));
    assert_eq!(by(&header("a\"\n\\é", "ed")), TokenError::Algorithm("a????".to_owned()));
    assert_eq!(by(&json!({"alg": "EdDSA", "kid": "ed", "crit": ["exp"]})), TokenError::Critical);
    assert_eq!(check(&other.token(&claims()), &keys), Err(TokenError::Signature));
    let two: Vec<Key> = keys.iter().cloned().chain(other.keys()).collect();
    let unnamed = signer.sign(&json!({"alg": "EdDSA"}), &claims());
    assert_eq!(check(&unnamed, &two), Err(TokenError::WhichKey));
    // Two keys of one name: either will do.
    assert!(check(&other.token(&claims()), &two).is_ok());
    let rules = Rules { algorithms: vec![Algorithm::Es256], ..rules() };
    assert_eq!(
        parse(&signer.token(&claims()), &rules).map(drop),
        Err(TokenError::Algorithm("EdDSA".to_owned()))
    );
}

#[test]
fn what_is_changed_cut_off_or_padded_is_refused() {
    let signer = Signer::new();
    let keys = signer.keys();
    let token = signer.token(&claims());
    assert!(check(&token, &keys).is_ok());
    let pieces: Vec<&str> = token.split('.').collect();
    let forged = b64(with("sub", json!("bob")).to_string());
    for changed in [
        format!("{}.{forged}.{}", pieces[0], pieces[2]),
        format!("{}.{}.", pieces[0], pieces[1]),
        format!("{}.{}", pieces[0], pieces[1]),
        format!("{token}."),
        format!("{token}="),
        format!("{token}.{}", pieces[2]),
        format!(" {token}"),
        String::new(),
        "..".to_owned(),
    ] {
        assert!(check(&changed, &keys).is_err(), "{changed}");
    }
    for at in 0..token.len() {
        assert!(check(&token[..at], &keys).is_err(), "cut at {at}");
    }
    // Two algorithms in one header.
    let twice = b64("{\"alg\":\"none\",\"alg\":\"EdDSA\",\"kid\":\"ed\"}");
    assert!(matches!(
        check(&format!("{twice}.{}.{}", pieces[1], pieces[2]), &keys),
        Err(TokenError::Malformed(_))
    ));
}

#[test]
fn a_token_may_be_as_long_as_the_bound_and_not_one_byte_longer() {
    let long = |bytes: usize| parse(&"x".repeat(bytes), &rules()).map(drop);
    assert_eq!(long(TOKEN_BYTES_MAX + 1), Err(TokenError::TooLong(TOKEN_BYTES_MAX + 1)));
    assert!(matches!(long(TOKEN_BYTES_MAX), Err(TokenError::Malformed(_))));
}
