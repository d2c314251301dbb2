//! Somebody who gives tokens to test with: keys made on the spot, and where they are published.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The issuer in the tokens.
pub const ISSUER: &str = "https://issuer.example";
/// The audience in the tokens.
pub const AUDIENCE: &str = "mcp-v8-test";
/// All that tokens may be signed with.
pub const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A key of each kind.
pub struct Signer {
    name: String,
    random: SystemRandom,
    ed: Ed25519KeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    rsa: Option<RsaKeyPair>,
}

impl Signer {
    /// New keys, whose names begin so; without one for RSA, which takes a moment to make.
    pub fn new(name: &str) -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ec = |how| {
            let key = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(how, key.as_ref(), &random).unwrap()
        };
        Self {
            name: name.to_owned(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            rsa: None,
            random,
        }
    }

    /// With one for RSA.
    pub fn with_rsa(mut self) -> Self {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
            .args(["-outform", "DER"])
            .output()
            .expect("these tests need openssl");
        // As PKCS #8, or by itself (RFC 8017), which depends on the version of openssl.
        let key =
            RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout));
        self.rsa = Some(key.unwrap());
        self
    }

    /// Their public halves, as a JSON Web Key Set.
    pub fn set(&self) -> String {
        let kid = |kind: &str| format!("{}-{kind}", self.name);
        let ec = |kind: &str, crv: &str, key: &EcdsaKeyPair| {
            let point = &key.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({"kty": "EC", "crv": crv, "kid": kid(kind), "x": b64(x), "y": b64(y)})
        };
        let mut keys = vec![
            json!({"kty": "OKP", "crv": "Ed25519", "kid": kid("EdDSA"), "x": b64(self.ed.public_key())}),
            ec("ES256", "P-256", &self.p256),
            ec("ES384", "P-384", &self.p384),
        ];
        if let Some(rsa) = &self.rsa {
            let public = RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public());
            let (n, e) = (b64(public.n), b64(public.e));
            keys.push(json!({"kty": "RSA", "kid": kid("RSA"), "use": "sig", "n": n, "e": e}));
        }
        json!({ "keys": keys }).to_string()
    }

    /// The header of a token that is signed with this algorithm.
    pub fn header(&self, algorithm: &str) -> Value {
        let kind = if algorithm.starts_with(['R', 'P']) { "RSA" } else { algorithm };
        json!({"alg": algorithm, "kid": format!("{}-{kind}", self.name), "typ": "JWT"})
    }

    /// A token of a subject that is good for ten minutes.
    pub fn token(&self, subject: &str) -> String {
        self.sign(&self.header("EdDSA"), &claims(subject))
    }

    /// A token with this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let bytes = signed.as_bytes();
        let ec = |key: &EcdsaKeyPair| key.sign(&self.random, bytes).unwrap().as_ref().to_vec();
        let rsa = |how: &'static dyn RsaEncoding| {
            let key = self.rsa.as_ref().expect("a key for RSA");
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(how, &self.random, bytes, &mut signature).unwrap();
            signature
        };
        let signature = match header["alg"].as_str().unwrap() {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "ES256" => ec(&self.p256),
            "ES384" => ec(&self.p384),
            _ => self.ed.sign(bytes).as_ref().to_vec(),
        };
        format!("{signed}.{}", b64(signature))
    }
}

/// Claims of a subject.
pub fn claims(subject: &str) -> Value {
    json!({"iss": ISSUER, "sub": subject, "aud": AUDIENCE, "exp": now() + 600})
}

/// What the endpoint does with a request.
#[derive(Debug, Clone)]
enum Answer {
    Set(String),
    Status(u16),
    Silence,
}

/// Where keys are published.
pub struct Endpoint {
    /// Where.
    pub url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Endpoint {
    /// On loopback, with this set.
    pub async fn start(set: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Answer::Set(set)));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, counted) = (Arc::clone(&answer), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (answer, counted) = (answers.lock().unwrap().clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    let (status, body) = match answer {
                        Answer::Set(set) => (200, set),
                        Answer::Status(status) => (status, String::new()),
                        Answer::Silence => return std::future::pending().await,
                    };
                    let length = body.len();
                    // Whoever asked may have gone. A redirection leads back here.
                    let _ = stream
                        .write_all(
                            format!(
                                "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nlocation: /\r\n\
                                 connection: close\r\n\r\n{body}"
                            )
                            .as_bytes(),
                        )
                        .await;
                });
            }
        });
        Self { url: format!("http://{address}/jwks.json"), answer, asked, serving }
    }

    /// Publishes another set.
    pub fn publish(&self, set: String) {
        *self.answer.lock().unwrap() = Answer::Set(set);
    }

    /// Answers with this status instead.
    pub fn fail(&self, status: u16) {
        *self.answer.lock().unwrap() = Answer::Status(status);
    }

    /// Takes requests and does not answer.
    pub fn be_silent(&self) {
        *self.answer.lock().unwrap() = Answer::Silence;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The flags by which a server takes these tokens.
pub fn flags(jwks: &str) -> Vec<String> {
    vec![
        format!("--jwks-url={jwks}"),
        format!("--jwt-issuer={ISSUER}"),
        format!("--jwt-audience={AUDIENCE}"),
    ]
}
