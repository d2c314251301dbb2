//! DNS-rebinding guard: which hosts and origins a request may name.
//!
//! # Contract
//! * A request that a browser made (it carries `Origin` or a `Sec-Fetch-*` header, or it reads from `/api` and calls
//!   itself a browser: over plain HTTP they send neither when a page reads from where it comes from) must
//!   name a loopback host or one of `--allowed-hosts`, and a loopback origin or one of
//!   `--allowed-origins`; else 403. A page that rebinds its name to this server's address is
//!   stopped here.
//! * Other requests are held to `--allowed-hosts` only when the operator gave it, so that a proxy
//!   may pass on whatever name it was called by.
//! * A page of an allowed origin may read the answers (CORS).
//! * Health and metrics are answered to anybody: probes call by address.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// How the `User-Agent` of every browser begins.
const BROWSER: &[u8] = b"Mozilla/";

/// Hosts and origins that are allowed besides loopback.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    rules: Arc<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    /// A guard with the operator's lists; `*` in a list opens it.
    pub fn new(hosts: &[String], origins: &[String]) -> Self {
        let clean = |list: &[String]| {
            list.iter().map(|entry| entry.trim().trim_end_matches('/').to_lowercase()).collect()
        };
        Self { rules: Arc::new(Rules { hosts: clean(hosts), origins: clean(origins) }) }
    }

    /// Why a request with these headers is refused, if it is.
    fn refuse(&self, authority: Option<&str>, headers: &HeaderMap, reads: bool) -> Option<String> {
        let rules = &self.rules;
        let origin =
            headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("(unreadable)"));
        let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let browser = origin.is_some()
            || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
            || reads && agent.starts_with(BROWSER);
        if browser || !rules.hosts.is_empty() {
            let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
            let host = host.or(authority).unwrap_or_default().to_lowercase();
            if !rules.host_allowed(&host) {
                return Some(format!(
                    "host '{host}' is not allowed; the operator can allow it with --allowed-hosts"
                ));
            }
        }
        let origin = origin?.to_lowercase();
        if rules.origin_allowed(&origin) {
            return None;
        }
        Some(format!(
            "origin '{origin}' is not allowed; the operator can allow it with --allowed-origins"
        ))
    }
}

impl Rules {
    fn host_allowed(&self, host: &str) -> bool {
        let name = host_name(host);
        is_loopback(name)
            || self.hosts.iter().any(|entry| entry == "*" || entry == host || entry == name)
    }

    fn origin_allowed(&self, origin: &str) -> bool {
        if self.origins.iter().any(|entry| entry == "*" || entry == origin) {
            return true;
        }
        origin.split_once("://").is_some_and(|(scheme, host)| {
            scheme.starts_with("http") && is_loopback(host_name(host))
        })
    }
}

/// The name in `name`, `name:port`, `[v6]` or `[v6]:port`.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The middleware.
pub async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let exempt = matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics");
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().path().starts_with("/api/");
    if let Some(reason) = guard.refuse(authority, request.headers(), reads)
        && !exempt
    {
        return ApiError::new(StatusCode::FORBIDDEN, reason).into_response();
    }
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    share_with(&mut response, origin, preflight);
    response
}

/// Lets a page of an allowed origin read the answer (Fetch standard, CORS protocol).
fn share_with(response: &mut Response, origin: HeaderValue, preflight: bool) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let exposed =
        HeaderValue::from_static("Mcp-Session-Id, Retry-After, X-Request-Id, WWW-Authenticate");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    if preflight {
        let methods = HeaderValue::from_static("GET, POST, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let accepted = HeaderValue::from_static(
            "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Mcp-Method, \
             Mcp-Name, Mcp-Protocol-Version, Mcp-Session-Id, Traceparent, Tracestate, X-Request-Id",
        );
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, accepted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(guard: &Guard, headers: &[(&'static str, &str)]) -> bool {
        allowed_to(guard, headers, false)
    }

    fn allowed_to(guard: &Guard, headers: &[(&'static str, &str)], read: bool) -> bool {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        guard.refuse(None, &headers.collect(), read).is_none()
    }

    /// Of a page whose name now stands for this server's address, over plain HTTP.
    #[test]
    fn a_page_that_reads_from_where_it_comes_from_is_a_browser_by_its_name() {
        let guard = Guard::default();
        let page = [("host", "evil.example:3000"), ("user-agent", "Mozilla/5.0 (X11; Linux)")];
        assert!(!allowed_to(&guard, &page, true));
        assert!(allowed_to(&guard, &page, false), "a client of MCP may be built of a browser");
        let at_home = [("host", "localhost:3000"), page[1]];
        assert!(allowed_to(&guard, &at_home, true));
        let program = [page[0], ("user-agent", "curl/8")];
        assert!(allowed_to(&guard, &program, true));
        let named = Guard::new(&["evil.example".to_owned()], &[]);
        assert!(allowed_to(&named, &page, true));
    }

    #[test]
    fn without_lists_any_host_may_be_named_unless_a_browser_names_it() {
        let guard = Guard::default();
        assert!(allowed(&guard, &[("host", "mcp_cluster")]));
        assert!(allowed(&guard, &[("host", "10.0.0.1:3000")]));
        assert!(!allowed(&guard, &[("host", "evil.example"), ("origin", "http://evil.example")]));
        assert!(!allowed(&guard, &[("host", "evil.example"), ("sec-fetch-site", "same-origin")]));
        assert!(!allowed(&guard, &[("host", "127.0.0.1:3000"), ("origin", "http://evil.example")]));
        assert!(!allowed(&guard, &[("host", "localhost"), ("origin", "null")]));
        assert!(allowed(
            &guard,
            &[("host", "localhost:3000"), ("origin", "http://localhost:5173")]
        ));
        assert!(allowed(&guard, &[("host", "[::1]:3000"), ("origin", "http://[::1]")]));
        assert!(!allowed(
            &guard,
            &[("host", "localhost.evil.example"), ("origin", "http://localhost.evil.example")]
        ));
    }

    #[test]
    fn lists_bind_everybody_and_a_star_opens() {
        let hosts = ["App.example:8080".to_owned(), "api.example".to_owned()];
        let guard = Guard::new(&hosts, &["https://app.example/".to_owned()]);
        assert!(allowed(&guard, &[("host", "app.example:8080")]));
        assert!(allowed(&guard, &[("host", "api.example:1")]));
        assert!(!allowed(&guard, &[("host", "app.example:1")]));
        assert!(allowed(&guard, &[("host", "localhost:3000")]));
        assert!(allowed(&guard, &[("host", "api.example"), ("origin", "https://app.example")]));
        assert!(!allowed(&guard, &[("host", "api.example"), ("origin", "http://app.example")]));
        let open = Guard::new(&["*".to_owned()], &["*".to_owned()]);
        assert!(allowed(&open, &[("host", "any"), ("origin", "http://any.example")]));
    }
}
