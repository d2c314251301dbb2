//! `/console`: a page for people that shows what the routes of REST say, and changes nothing.
//!
//! # Contract
//! * One file, with its style and its script in it; nothing is fetched but from this server's own
//!   routes, by GET.
//! * The page needs no token, for it says nothing by itself. What it asks for does, where tokens are
//!   asked for.
//! * A browser runs that one script and no other, whatever texts the page shows: the policy names it by
//!   its hash, and forbids making HTML of texts (`require-trusted-types-for`).

use std::sync::LazyLock;

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The page.
const PAGE: &str = include_str!("../../assets/console.html");

/// What the page may do.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash_of("script"),
        hash_of("style"),
    );
    // Of ASCII; without a policy the page would not be safe, so that it may do nothing then.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// What stands between the tags of the only element of this name.
fn inline(element: &str) -> &'static str {
    let begin = PAGE.find(&format!("<{element}>")).map(|at| at + element.len() + 2);
    let end = PAGE.find(&format!("</{element}>"));
    begin.zip(end).and_then(|(begin, end)| PAGE.get(begin..end)).unwrap_or_default()
}

/// As a policy names it (CSP 3, 2.3.1).
fn hash_of(element: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inline(element))))
}

/// The console: a page that shows the cluster, executions, sessions and workers
#[utoipa::path(
    get, path = "/console", tag = "server",
    responses((status = 200, body = String, content_type = "text/html"))
)]
pub async fn console() -> Response {
    let fixed = |name: HeaderName, value| (name, HeaderValue::from_static(value));
    let headers = [
        fixed(header::CONTENT_TYPE, "text/html; charset=utf-8"),
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::X_FRAME_OPTIONS, "DENY"),
        fixed(header::REFERRER_POLICY, "no-referrer"),
        fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // Another release has another page.
        fixed(header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
    ];
    (headers, PAGE).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_one_script_and_the_one_style_by_their_hashes() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
            assert_eq!(PAGE.matches(&format!("</{element}>")).count(), 1, "{element}");
            assert!(inline(element).len() > 1000, "{element}");
        }
        let policy = POLICY.to_str().unwrap();
        // The digest of what a browser takes for the element, made in another way.
        let script = PAGE.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, script.as_bytes());
        assert!(policy.contains(&format!("script-src 'sha256-{}';", STANDARD.encode(digest))));
        assert!(!policy.contains("unsafe") && policy.starts_with("default-src 'none';"));
    }

    #[test]
    fn the_page_names_nothing_outside_itself_and_makes_no_html_of_texts() {
        for reference in ["src=", "url(", "@import", "import(", "<base", "<iframe", "<object"] {
            assert!(!PAGE.contains(reference), "{reference}");
        }
        // Links of the page lead to places in it; its icon is empty.
        for href in PAGE.split("href=\"").skip(1) {
            let target = href.split('"').next().unwrap();
            assert!(target.starts_with('#') || target.starts_with("data:"), "{target}");
        }
        let script = inline("script");
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script.contains(sink), "{sink}");
        }
        assert!(!script.contains("method"), "what names no method is a GET");
        let urls: Vec<_> = script.match_indices("://").map(|(at, _)| &script[..at]).collect();
        let names_svg = |before: &&str| before.ends_with("http");
        assert!(urls.iter().all(names_svg) && urls.len() == 1, "only the name of SVG: {urls:?}");
    }

    #[tokio::test]
    async fn it_may_be_neither_framed_nor_taken_for_anything_else() {
        let response = console().await;
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
    }
}
