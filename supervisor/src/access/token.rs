//! Bearer tokens: JSON Web Tokens (RFC 7519) in compact form, verified as RFC 8725 asks.
//!
//! # Contract
//! * What a token claims is not looked at before its signature is verified, with a key and by an
//!   algorithm that the operator allows.
//! * A token without an end of its validity, or without a subject, is none. A claim of another type
//!   than it should be makes a token malformed; it is never taken for one that is not there.
//! * An error says what is wrong in words that fit a header (RFC 6750, section 3), and nothing of what
//!   the token has in it but the name of its key and its algorithm.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::key::{Algorithm, Key};
use super::principal::Principal;
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_NAMED_CHARS_MAX};

/// What tokens have to be.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Issuers, one of which a token names; none: any.
    pub issuers: Vec<String>,
    /// Audiences, one of which a token is for; none: any.
    pub audiences: Vec<String>,
    /// Algorithms that tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// By how many seconds clocks may differ.
    pub leeway_secs: u64,
    /// The scope of operators; none: nobody is one.
    pub operator_scope: Option<String>,
}

/// Whom a token is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The caller.
    pub principal: Principal,
    /// Whether it may do what concerns all callers.
    pub operator: bool,
}

impl Granted {
    /// Where there are no tokens.
    pub const EVERYBODY: Self = Self { principal: Principal::EVERYBODY, operator: true };
}

/// What is wrong with a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is too long.
    #[error("the token has {0} bytes; accepted: up to {TOKEN_BYTES_MAX}")]
    TooLong(usize),
    /// It is no JSON Web Token in compact form, or a claim is of another type than it should be.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Its algorithm is not allowed.
    #[error("the token is signed with '{0}', which is not accepted here")]
    Algorithm(String),
    /// It asks for something to be understood that is not.
    #[error("the token has critical header parameters (crit), none of which is understood here")]
    Critical,
    /// Its key is not known.
    #[error("the token is signed with key '{0}', which the key set does not have")]
    UnknownKey(String),
    /// It does not say with which key it is signed, and there is not just one.
    #[error("the token names no key (kid), and the key set does not have exactly one for it")]
    WhichKey,
    /// Its signature is not that of its key.
    #[error("the signature of the token is wrong")]
    Signature,
    /// It has no end.
    #[error("the token has no expiry (exp)")]
    NoExpiry,
    /// It is over.
    #[error("the token has expired")]
    Expired,
    /// It does not count yet.
    #[error("the token is not valid yet (nbf)")]
    NotYet,
    /// It is of somebody else.
    #[error("the token is of another issuer (iss)")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience (aud)")]
    Audience,
    /// It is nobody's.
    #[error("the token has no subject (sub)")]
    NoSubject,
}

impl TokenError {
    /// In a word, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong(_) | Self::Malformed(_) | Self::Critical => "malformed",
            Self::Algorithm(_) => "algorithm",
            Self::UnknownKey(_) | Self::WhichKey => "unknown_key",
            Self::Signature => "signature",
            Self::NoExpiry | Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::NoSubject => "subject",
        }
    }
}

/// A token before its signature is verified.
#[derive(Debug)]
pub struct Unverified<'a> {
    /// The algorithm it says it is signed with; one that is allowed.
    pub algorithm: Algorithm,
    /// The key it says it is signed with.
    pub kid: Option<String>,
    signed: &'a [u8],
    payload: &'a str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Claims, as far as they matter here.
#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<OneOrMore>,
    exp: Option<f64>,
    nbf: Option<f64>,
    scope: Option<OneOrMore>,
    scp: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// What a stranger has sent, as it may be shown in a header.
fn shown(text: &str) -> String {
    let plain =
        |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '\'') { c } else { '?' };
    text.chars().take(TOKEN_NAMED_CHARS_MAX).map(plain).collect()
}

/// Reads a token as far as it takes to verify its signature.
///
/// # Errors
/// [`TokenError`].
pub fn parse<'a>(token: &'a str, rules: &Rules) -> Result<Unverified<'a>, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong(token.len()));
    }
    let mut pieces = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (pieces.next(), pieces.next(), pieces.next(), pieces.next())
    else {
        return Err(TokenError::Malformed("it does not have three parts"));
    };
    let bytes = |text| {
        URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed("it is not base64url"))
    };
    let header: Header = serde_json::from_slice(&bytes(header)?)
        .map_err(|_| TokenError::Malformed("its header is no JSON object with alg"))?;
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    let allowed = rules.algorithms.iter().find(|allowed| allowed.name() == header.alg);
    let algorithm = *allowed.ok_or_else(|| TokenError::Algorithm(shown(&header.alg)))?;
    let signature = bytes(signature)?;
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed).as_bytes();
    Ok(Unverified { algorithm, kid: header.kid, signed, payload, signature })
}

impl Unverified<'_> {
    /// Verifies the token with one of these keys and reads what it says, at this time in seconds since
    /// 1970.
    ///
    /// # Errors
    /// [`TokenError`]; [`TokenError::UnknownKey`] and [`TokenError::WhichKey`] may be otherwise with
    /// newer keys.
    pub fn verify(&self, keys: &[Key], rules: &Rules, now: f64) -> Result<Granted, TokenError> {
        let mut candidates = keys
            .iter()
            .filter(|key| key.suits(self.algorithm) && (self.kid.is_none() || key.kid == self.kid));
        let signed = match (&self.kid, candidates.next(), candidates.next()) {
            (Some(kid), None, _) => return Err(TokenError::UnknownKey(shown(kid))),
            (None, Some(one), None) => self.is_by(one),
            (None, ..) => return Err(TokenError::WhichKey),
            (Some(_), Some(first), second) => {
                // Keys of one name: whichever it is.
                self.is_by(first) || second.into_iter().chain(candidates).any(|key| self.is_by(key))
            }
        };
        if !signed {
            return Err(TokenError::Signature);
        }
        let payload = URL_SAFE_NO_PAD
            .decode(self.payload)
            .map_err(|_| TokenError::Malformed("it is not base64url"))?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| {
            TokenError::Malformed("its claims are no JSON object as RFC 7519 has it")
        })?;
        judge(&claims, rules, now)
    }

    fn is_by(&self, key: &Key) -> bool {
        key.has_signed(self.algorithm, self.signed, &self.signature)
    }
}

fn judge(claims: &Claims, rules: &Rules, now: f64) -> Result<Granted, TokenError> {
    // Exact for all times that matter.
    let leeway = rules.leeway_secs as f64;
    let expiry = claims.exp.ok_or(TokenError::NoExpiry)?;
    if now >= expiry + leeway {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|not_before| now + leeway < not_before) {
        return Err(TokenError::NotYet);
    }
    let issuer = claims.iss.as_deref().unwrap_or_default();
    if !rules.issuers.is_empty() && !rules.issuers.iter().any(|known| known == issuer) {
        return Err(TokenError::Issuer);
    }
    let audiences = claims.aud.as_ref().map(OneOrMore::all).unwrap_or_default();
    if !rules.audiences.is_empty() && !audiences.iter().any(|one| rules.audiences.contains(one)) {
        return Err(TokenError::Audience);
    }
    let subject = claims.sub.as_deref().filter(|subject| !subject.is_empty());
    let principal = Principal::of(issuer, subject.ok_or(TokenError::NoSubject)?);
    let operator = rules.operator_scope.as_deref().is_some_and(|wanted| {
        let scopes = [&claims.scope, &claims.scp].into_iter().flatten().flat_map(OneOrMore::all);
        scopes.flat_map(|scopes| scopes.split(' ')).any(|scope| scope == wanted)
    });
    Ok(Granted { principal, operator })
}

#[cfg(test)]
mod tests;
