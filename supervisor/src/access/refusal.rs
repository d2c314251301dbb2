//! Why somebody is not let in, as RFC 6750 has it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::token::TokenError;
use crate::http::ApiError;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It has no token.
    #[error("a token is needed: Authorization: Bearer TOKEN")]
    NoToken,
    /// Its token cannot be found.
    #[error("{0}; accepted: Authorization: Bearer TOKEN")]
    Malformed(&'static str),
    /// Its token is none, or not any more.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody's token can be verified.
    #[error("unavailable: no token can be verified now; try again in a moment")]
    NoKeys(String),
    /// Its token is not an operator's.
    #[error("this is for operators: it concerns all callers")]
    NoOperator,
}

impl Refusal {
    /// In a word, for metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Malformed(_) => "request",
            Self::Token(error) => error.reason(),
            Self::NoKeys(_) => "no_keys",
            Self::NoOperator => "no_operator",
        }
    }

    /// What the caller hears; `metadata` is where it learns whom to ask for a token.
    pub(super) fn answer(&self, metadata: Option<&str>) -> Response {
        let (status, code) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, None),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, Some("invalid_request")),
            Self::Token(_) => (StatusCode::UNAUTHORIZED, Some("invalid_token")),
            Self::NoOperator => (StatusCode::FORBIDDEN, Some("insufficient_scope")),
            // What is wrong with our keys is in our log.
            Self::NoKeys(_) => {
                return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, self.to_string())
                    .into_response();
            }
        };
        let mut challenge = "Bearer realm=\"mcp-v8\"".to_owned();
        if let Some(code) = code {
            // All our sentences are of characters that may be between quotes there.
            challenge.push_str(&format!(", error=\"{code}\", error_description=\"{self}\""));
        }
        if let Some(url) = metadata {
            challenge.push_str(&format!(", resource_metadata=\"{url}\""));
        }
        let mut response = ApiError::new(status, self.to_string()).into_response();
        let challenge =
            HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer"));
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_said_in_a_header_that_clients_can_read() {
        for refusal in [
            Refusal::NoToken,
            Refusal::Malformed("there is no token behind Bearer"),
            Refusal::Token(TokenError::Expired),
            Refusal::Token(TokenError::UnknownKey("k?".to_owned())),
            Refusal::Token(TokenError::TooLong(99_999)),
            Refusal::NoOperator,
        ] {
            let text = refusal.to_string();
            // RFC 6750, section 3: %x20-21 / %x23-5B / %x5D-7E.
            let fits = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
            assert!(text.chars().all(fits), "{text}");
            let answer = refusal.answer(Some("https://v8.example/.well-known/x"));
            let header = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
            assert!(header.starts_with("Bearer realm="), "{header}");
            assert!(header.ends_with("resource_metadata=\"https://v8.example/.well-known/x\""));
            assert_eq!(header.contains("error="), !matches!(refusal, Refusal::NoToken));
        }
        let answer = Refusal::NoKeys("secret".to_owned()).answer(None);
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key(header::RETRY_AFTER));
    }
}
