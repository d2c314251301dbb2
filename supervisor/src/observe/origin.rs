//! Where work comes from: the id of its request, and its place in a trace.
//!
//! # Contract
//! * A caller's `X-Request-Id` is taken if it has 1 to [`REQUEST_ID_BYTES_MAX`] bytes of letters, digits
//!   and `-._~:/+=@`; anything else gets an id of ours, a UUID.
//! * `traceparent` and `tracestate` are read as W3C Trace Context, level 1, says: a `traceparent` that
//!   is not valid, or that is there twice, counts as none, and `tracestate` with it; a `tracestate` that
//!   is not valid is left out alone.

use std::sync::Arc;

use axum::http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::{REQUEST_ID_BYTES_MAX, TRACESTATE_BYTES_MAX};

/// The header of an id, in requests and answers.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The id of a request. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new one.
    pub fn made() -> Self {
        let mut buffer = Uuid::encode_buffer();
        Self(Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut buffer)))
    }

    /// This one, if it is fit to be one.
    pub fn accept(text: &str) -> Option<Self> {
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(&byte);
        let accepted =
            !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.bytes().all(fit);
        accepted.then(|| Self(Arc::from(text)))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a piece of work comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The id of the request.
    pub request_id: RequestId,
    /// The span that it belongs to.
    pub parent: Option<SpanContext>,
}

impl Origin {
    /// Of something that no request asked for by a name.
    pub fn made() -> Self {
        Self { request_id: RequestId::made(), parent: None }
    }

    /// Of a request with these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(REQUEST_ID_HEADER).and_then(RequestId::accept);
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(one), None) => one.to_str().ok().and_then(|one| {
                let mut states = headers.get_all(TRACESTATE).iter();
                // Several headers of that name are one list.
                let state = match (states.next(), states.next()) {
                    (Some(one), None) => one.to_str().map(str::to_owned).ok(),
                    (None, _) => None,
                    _ => {
                        let all = headers.get_all(TRACESTATE).iter();
                        let all: Result<Vec<_>, _> = all.map(|value| value.to_str()).collect();
                        all.map(|all| all.join(",")).ok()
                    }
                };
                parse(one, state.as_deref())
            }),
            _ => None,
        };
        Self { request_id: request_id.unwrap_or_else(RequestId::made), parent }
    }

    /// The same with the place in a trace that a message names in its own metadata, if it does.
    pub fn or_parent(self, traceparent: Option<&str>, tracestate: Option<&str>) -> Self {
        match traceparent.and_then(|text| parse(text, tracestate)) {
            Some(parent) => Self { parent: Some(parent), ..self },
            None => self,
        }
    }

    /// The id of the trace, for log lines.
    pub fn trace_id(&self) -> Option<String> {
        self.parent.as_ref().map(|parent| parent.trace_id().to_string())
    }
}

/// Reads a `traceparent` with its `tracestate`.
fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let lower_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut fields = traceparent.trim_matches([' ', '\t']).splitn(5, '-');
    let (version, trace, span, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    // Later versions may have more fields, which are nothing to us.
    let more = fields.next().is_some();
    let sound = lower_hex(version, 2)
        && version != "ff"
        && !(version == "00" && more)
        && lower_hex(trace, 32)
        && lower_hex(span, 16)
        && lower_hex(flags, 2);
    if !sound {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        tracestate
            .filter(|text| text.len() <= TRACESTATE_BYTES_MAX)
            .and_then(|text| text.parse().ok())
            .unwrap_or(TraceState::NONE),
    );
    context.is_valid().then_some(context)
}

/// An [`Origin`] on its way to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledFor {
    request_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

impl From<&Origin> for CalledFor {
    fn from(origin: &Origin) -> Self {
        let parent = origin.parent.as_ref();
        let traceparent = parent.map(|parent| {
            let flags = parent.trace_flags().to_u8();
            format!("00-{}-{}-{flags:02x}", parent.trace_id(), parent.span_id())
        });
        let tracestate = parent.map(|parent| parent.trace_state().header());
        Self {
            request_id: origin.request_id.as_str().to_owned(),
            traceparent,
            tracestate: tracestate.filter(|text| !text.is_empty()),
        }
    }
}

impl CalledFor {
    /// What another node says, if it is fit to be said here.
    pub fn accept(&self) -> Option<Origin> {
        let request_id = RequestId::accept(&self.request_id)?;
        let origin = Origin { request_id, parent: None };
        Some(origin.or_parent(self.traceparent.as_deref(), self.tracestate.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn origin(headers: &[(&str, &str)]) -> Origin {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Origin::of(&map)
    }

    #[test]
    fn an_id_passes_at_its_bound_and_is_replaced_one_past_it_or_with_other_characters() {
        let id = |text: &str| origin(&[(REQUEST_ID_HEADER, text)]).request_id.as_str().to_owned();
        let longest = "a".repeat(REQUEST_ID_BYTES_MAX);
        assert_eq!(id(&longest), longest);
        assert_eq!(id("Root=1-67891233-abcdef:/x.y~z+@_"), "Root=1-67891233-abcdef:/x.y~z+@_");
        let longer = "a".repeat(REQUEST_ID_BYTES_MAX + 1);
        for bad in [longer.as_str(), "", "a b", "a\"b", "a\tb", "é", "a\\n"] {
            let made = id(bad);
            assert!(made != bad && Uuid::try_parse(&made).is_ok(), "{bad:?} became {made}");
        }
        assert_ne!(id(""), id(""));
    }

    #[test]
    fn a_valid_traceparent_is_continued_with_its_state() {
        let found = origin(&[
            ("traceparent", PARENT),
            ("tracestate", "one=1,two=2"),
            ("tracestate", "three=3"),
        ]);
        let parent = found.parent.unwrap();
        assert_eq!(parent.trace_id().to_string(), TRACE);
        assert_eq!(parent.span_id().to_string(), "b7ad6b7169203331");
        assert!(parent.is_sampled() && parent.is_remote());
        assert_eq!(parent.trace_state().header(), "one=1,two=2,three=3");
        let unchosen = PARENT.replace("-01", "-02");
        let other = origin(&[("traceparent", unchosen.as_str())]).parent.unwrap();
        assert!(!other.is_sampled());
        let later = format!("cc{}-what-ever", &PARENT[2..]);
        assert!(origin(&[("traceparent", later.as_str())]).parent.is_some(), "a later version");
        // The state alone is left out.
        let parent = origin(&[("traceparent", PARENT), ("tracestate", "no state")]).parent.unwrap();
        assert_eq!(parent.trace_state().header(), "");
    }

    #[test]
    fn what_is_no_traceparent_counts_as_none() {
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            &PARENT[..54],
            format!("{PARENT}-00").as_str(),
            format!("{PARENT}-").as_str(),
            format!("ff{}", &PARENT[2..]).as_str(),
            PARENT.to_uppercase().as_str(),
            PARENT.replace(TRACE, &zeros).as_str(),
            PARENT.replace("b7ad6b7169203331", &zeros[..16]).as_str(),
            PARENT.replace("-01", "-1").as_str(),
            PARENT.replace("00-", "+0-").as_str(),
            PARENT.replace("-01", "-0g").as_str(),
        ] {
            let found = origin(&[("traceparent", bad), ("tracestate", "one=1")]);
            assert!(found.parent.is_none(), "{bad}");
        }
        assert!(origin(&[("tracestate", "one=1")]).parent.is_none());
        assert!(origin(&[("traceparent", PARENT), ("traceparent", PARENT)]).parent.is_none());
    }

    #[test]
    fn an_origin_comes_out_at_another_node_as_it_went_in() {
        let sent =
            origin(&[(REQUEST_ID_HEADER, "abc"), ("traceparent", PARENT), ("tracestate", "one=1")]);
        let json = serde_json::to_string(&CalledFor::from(&sent)).unwrap();
        let got = serde_json::from_str::<CalledFor>(&json).unwrap().accept().unwrap();
        assert_eq!(got.request_id, sent.request_id);
        assert_eq!(got.parent, sent.parent);
        let bad = CalledFor { request_id: "a b".into(), traceparent: None, tracestate: None };
        assert!(bad.accept().is_none());
    }
}
