//! A collector of traces: takes OTLP over HTTP as protobuf, on loopback, and keeps what comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;
use tokio::net::TcpListener;

/// A span that came.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// What it is called.
    pub name: String,
    /// The trace, in hexadecimal digits.
    pub trace_id: String,
    /// The span.
    pub span_id: String,
    /// The span that it is a part of; empty for the first of a trace.
    pub parent_id: String,
    /// `tracestate`.
    pub state: String,
    /// When it began and ended, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// Whether it says that it failed.
    pub failed: bool,
    /// What is said about it.
    pub attributes: HashMap<String, String>,
    /// What is said about whose it is.
    pub resource: HashMap<String, String>,
}

/// A running collector.
#[derive(Debug, Clone)]
pub struct Collector {
    /// For `--otlp-endpoint`.
    pub url: String,
    spans: Arc<Mutex<Vec<Arrived>>>,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    /// One that listens there.
    pub fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::default();
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, spans }
    }

    /// All that has come.
    pub fn spans(&self) -> Vec<Arrived> {
        self.spans.lock().unwrap().clone()
    }

    /// What has come of a trace.
    pub fn trace(&self, trace_id: &str) -> Vec<Arrived> {
        self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn texts(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    attributes.into_iter().map(|one| (one.key, text(one.value))).collect()
}

async fn take(
    State(spans): State<Arc<Mutex<Vec<Arrived>>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for group in request.resource_spans {
        let resource =
            texts(group.resource.map(|resource| resource.attributes).unwrap_or_default());
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.lock().unwrap().push(Arrived {
                name: span.name,
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_id: hex(&span.parent_span_id),
                state: span.trace_state,
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
                failed: span.status.is_some_and(|status| status.code == 2),
                attributes: texts(span.attributes),
                resource: resource.clone(),
            });
        }
    }
    StatusCode::OK
}
