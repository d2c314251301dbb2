//! Who may use the server, and for whom each request is.
//!
//! # Contract
//! * With `--jwks-url` every request has a token, but those for [what is open](OPEN); every other path
//!   is closed, also one that does not exist. Without it everybody is one [`Principal`].
//! * A route learns from here for whom it is asked ([`Caller`]), and has no other way to learn it.
//! * What a token is refused for is said as RFC 6750 has it.

mod bucket;
mod jwks;
mod key;
pub mod limit;
mod principal;
mod refusal;
mod token;

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use self::jwks::Jwks;
pub use self::jwks::Source;
pub use self::key::Algorithm;
pub use self::principal::Principal;
use self::refusal::Refusal;
use self::token::TokenError;
pub use self::token::{Granted, Rules};
use crate::http::ApiError;
use crate::metrics;

/// Where RFC 9728 has it that clients learn whom to ask for a token.
pub const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

/// Paths that are open to everybody: health, numbers, and texts that are the same for all. With GET and
/// HEAD only.
pub const OPEN: &[&str] = &[
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/raft/status",
    // The page asks for a token and for everything it shows.
    "/console",
    "/docs",
    "/llms.txt",
    "/api-doc/openapi.json",
    METADATA_PATH,
    // Where the resource's own path follows.
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-protected-resource/sse",
];

/// What the operator has decided.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the keys are.
    pub source: Source,
    /// What tokens have to be.
    pub rules: Rules,
    /// The URL that clients know this server's MCP by.
    pub resource: Option<String>,
}

/// Who may use the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access {
    tokens: Option<Arc<Tokens>>,
}

#[derive(Debug)]
struct Tokens {
    jwks: Arc<Jwks>,
    rules: Rules,
    resource: Option<String>,
}

impl Access {
    /// Everybody.
    pub fn everybody() -> Self {
        Self { tokens: None }
    }

    /// Whoever has a token. Fetches the keys; whoever comes before they are known is told to come
    /// again.
    ///
    /// # Errors
    /// A sentence about keys that will never be there.
    pub async fn start(settings: Settings) -> Result<Self, String> {
        let Settings { source, rules, resource } = settings;
        let jwks = Jwks::start(source).await?;
        if rules.audiences.is_empty() {
            tracing::warn!(
                "tokens for any audience are accepted: give --jwt-audience, or whoever gets a token \
                 of one of these users for another service can use it here"
            );
        }
        if rules.issuers.is_empty() {
            tracing::warn!(
                "tokens of any issuer that the keys have signed are accepted; see --jwt-issuer"
            );
        }
        Ok(Self { tokens: Some(Arc::new(Tokens { jwks, rules, resource })) })
    }

    /// Why nobody can be let in, if that is so.
    pub fn not_ready(&self) -> Option<String> {
        self.tokens.as_ref()?.jwks.keys().err()
    }

    /// Publishes the gauges.
    pub fn publish_gauges(&self) {
        if let Some(age) = self.tokens.as_ref().and_then(|tokens| tokens.jwks.age()) {
            metrics::keys_age(age);
        }
    }

    /// What RFC 9728 has clients learn, if the operator has named this resource.
    pub fn metadata(&self) -> Option<serde_json::Value> {
        let tokens = self.tokens.as_ref()?;
        let resource = tokens.resource.as_ref()?;
        Some(serde_json::json!({
            "resource": resource,
            "authorization_servers": tokens.rules.issuers,
            "bearer_methods_supported": ["header"],
            "resource_name": "mcp-v8",
        }))
    }
}

impl Tokens {
    /// For whom a request with these headers is.
    async fn granted(&self, headers: &HeaderMap) -> Result<Granted, Refusal> {
        let token = bearer(headers)?;
        let unverified = token::parse(token, &self.rules)?;
        let mut asked = false;
        loop {
            let keys = match self.jwks.keys() {
                Ok(keys) => keys,
                // They may be there by now.
                Err(_) if !std::mem::replace(&mut asked, true) && self.jwks.wanted().await => {
                    continue;
                }
                Err(problem) => return Err(Refusal::NoKeys(problem)),
            };
            match unverified.verify(&keys, &self.rules, now()) {
                // The issuer may have new ones.
                Err(TokenError::UnknownKey(_) | TokenError::WhichKey)
                    if !std::mem::replace(&mut asked, true) && self.jwks.wanted().await => {}
                judged => return Ok(judged?),
            }
        }
    }

    /// Where clients learn whom to ask for a token (RFC 9728, section 3.1).
    fn metadata_url(&self) -> Option<String> {
        let resource = reqwest::Url::parse(self.resource.as_ref()?).ok()?;
        let mut url = resource.clone();
        url.set_path(&format!("{METADATA_PATH}{}", resource.path().trim_end_matches('/')));
        Some(url.into())
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The token of a request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(first), None) = (given.next(), given.next()) else {
        return Err(match headers.contains_key(header::AUTHORIZATION) {
            true => Refusal::Malformed("there is more than one Authorization header"),
            false => Refusal::NoToken,
        });
    };
    let text = first.to_str().map_err(|_| Refusal::Malformed("Authorization is not ASCII"))?;
    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::NoToken);
    }
    let token = token.trim_start();
    if token.is_empty() {
        return Err(Refusal::Malformed("there is no token behind Bearer"));
    }
    Ok(token)
}

fn is_open(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && OPEN.contains(&path)
}

/// The middleware: lets requests in, and says for whom they are.
pub async fn check(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let granted = match &access.tokens {
        None => Granted::EVERYBODY,
        Some(_) if is_open(request.method(), request.uri().path()) => {
            return next.run(request).await;
        }
        Some(tokens) => match tokens.granted(request.headers()).await {
            Ok(granted) => granted,
            Err(refusal) => {
                metrics::access_refused(refusal.reason());
                return refusal.answer(tokens.metadata_url().as_deref());
            }
        },
    };
    // Nobody behind this has a use for it.
    request.headers_mut().remove(header::AUTHORIZATION);
    request.extensions_mut().insert(granted);
    next.run(request).await
}

/// For whom a request is that has passed [`check`].
pub fn granted(parts: &Parts) -> Option<Granted> {
    parts.extensions.get().copied()
}

/// For whom a request is.
#[derive(Debug, Clone, Copy)]
pub struct Caller(pub Principal);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // A route that is open has no caller; that is a fault of ours.
        let unknown =
            || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the caller is not known");
        granted(parts).map(|granted| Self(granted.principal)).ok_or_else(unknown)
    }
}

/// That a request is of an operator.
#[derive(Debug, Clone, Copy)]
pub struct Operator;

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        match granted(parts) {
            Some(Granted { operator: true, .. }) => Ok(Self),
            _ => {
                metrics::access_refused("no_operator");
                Err(Refusal::NoOperator.answer(None).into_response())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<String, &'static str> {
        let name = header::AUTHORIZATION;
        let headers = values
            .iter()
            .map(|value| (name.clone(), value.parse().unwrap()))
            .collect::<HeaderMap>();
        bearer(&headers).map(str::to_owned).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn a_token_comes_in_one_header_behind_bearer() {
        assert_eq!(of(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(of(&["bearer   abc "]), Ok("abc".to_owned()));
        assert_eq!(of(&[]), Err("no_token"));
        assert_eq!(of(&["Basic abc"]), Err("no_token"));
        assert_eq!(of(&["Bearerabc"]), Err("no_token"));
        assert_eq!(of(&["Bearer"]), Err("request"));
        assert_eq!(of(&["Bearer  "]), Err("request"));
        assert_eq!(of(&["Bearer a", "Bearer b"]), Err("request"));
    }

    #[test]
    fn open_is_what_is_named_and_nothing_that_looks_like_it() {
        for path in OPEN {
            assert!(is_open(&Method::GET, path) && is_open(&Method::HEAD, path));
            assert!(!is_open(&Method::POST, path) && !is_open(&Method::DELETE, path));
        }
        for path in
            ["/mcp", "/api/exec", "/livez/", "//livez", "/livez/../api/executions", "/Livez"]
        {
            assert!(!is_open(&Method::GET, path), "{path}");
        }
    }
}
