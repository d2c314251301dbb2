//! Spans on their way to a collector: OTLP over HTTP, in protobuf.
//!
//! # Contract
//! * Nobody waits for the collector. Ended spans go into a bounded queue (the SDK's, 2048 unless
//!   `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise); what does not fit is dropped. A thread of its own
//!   empties it; the requests are made on the runtime of the server.
//! * A request ends within `OTEL_EXPORTER_OTLP_TIMEOUT` (10 s); what could not be delivered by then is
//!   dropped, counted and said now and then.
//! * [`stop`] sends what there is, within [`OTLP_FLUSH_MAX`].
//! * The endpoint is `--otlp-endpoint`, or what the variables of OpenTelemetry say; those also name the
//!   service and add headers.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter as Export,
};
use reqwest::{Client, redirect};
use tokio::runtime::Handle;

use super::limit::Limit;
use super::trace;
use crate::app::VERSION;
use crate::limits::{OTLP_ANSWER_BYTES_MAX, OTLP_FLUSH_MAX, OTLP_TIMEOUT_DEFAULT};
use crate::metrics;

/// The path of spans at an endpoint.
const PATH: &str = "/v1/traces";

/// The name of the service, unless the environment names one.
const SERVICE: &str = "mcp-v8";

/// Variables that name an endpoint.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
static FAILURES: Limit = Limit::new();

/// What is exported, and where to.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// `--otlp-endpoint`.
    pub endpoint: Option<&'a str>,
    /// `--otlp-sample`.
    pub sample: f64,
    /// The name of this node.
    pub node: &'a str,
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("{from}: {problem}")]
pub struct OtlpError {
    from: &'static str,
    problem: String,
}

/// Checks what `--otlp-endpoint` was given.
///
/// # Errors
/// What is accepted.
pub fn endpoint(text: &str) -> Result<String, String> {
    let accepted = "accepted: where a collector takes OTLP over HTTP, like http://127.0.0.1:4318";
    match reqwest::Url::parse(text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none() =>
        {
            Ok(text.to_owned())
        }
        Ok(_) => Err(accepted.to_owned()),
        Err(error) => Err(format!("{error}; {accepted}")),
    }
}

/// Checks what `--otlp-sample` was given.
///
/// # Errors
/// What is accepted.
pub fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("accepted: 0 to 1, the share of traces that begin here".to_owned()),
    }
}

/// Begins to export, if there is somewhere to. Called on the runtime that makes the requests.
///
/// # Errors
/// [`OtlpError`] for an endpoint that is none.
pub fn start(settings: &Settings<'_>) -> Result<(), OtlpError> {
    let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
    let from = match settings.endpoint {
        Some(_) => "--otlp-endpoint",
        None => match ENDPOINTS.iter().copied().find(|name| set(name)) {
            Some(name) => name,
            None => return Ok(()),
        },
    };
    let failed = |problem: String| OtlpError { from, problem };
    // Somebody may have installed one already; then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let timeout = timeout();
    let client = Client::builder().timeout(timeout).redirect(redirect::Policy::none());
    let client = client.build().map_err(|error| failed(error.to_string()))?;
    let client = OnRuntime { client, runtime: Handle::current() };
    let mut exporter =
        SpanExporter::builder().with_http().with_http_client(client).with_timeout(timeout);
    if let Some(endpoint) = settings.endpoint {
        exporter = exporter.with_endpoint(format!("{}{PATH}", endpoint.trim_end_matches('/')));
    }
    let exporter = exporter.build().map_err(|error| failed(error.to_string()))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample)));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(Counted(exporter)).build())
        .with_sampler(sampler)
        .with_resource(resource(settings.node))
        .build();
    let scope = InstrumentationScope::builder("mcp-v8").with_version(VERSION).build();
    trace::install(provider.tracer_with_scope(scope));
    // The first one stays; a process has one server.
    let _ = PROVIDER.set(provider);
    tracing::info!(from, sample = settings.sample, "traces are exported");
    Ok(())
}

/// Sends what has ended by now, for a bounded time.
pub async fn stop() {
    let Some(provider) = PROVIDER.get() else { return };
    let stopping =
        tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(OTLP_FLUSH_MAX));
    if let Ok(Err(error)) = stopping.await {
        tracing::warn!(%error, "the last spans may not have been exported");
    }
}

/// What one request may take.
fn timeout() -> Duration {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
    let given = names.iter().find_map(|name| std::env::var(name).ok()?.parse().ok());
    given.map_or(OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
}

/// Who this is: what the environment says, and what it leaves out.
fn resource(node: &str) -> Resource {
    let detected = Resource::builder().build();
    let mut builder = Resource::builder();
    let lacks = |key: &'static str| detected.get(&Key::from_static_str(key)).is_none();
    let named = detected.get(&Key::from_static_str("service.name"));
    if named.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        builder = builder.with_service_name(SERVICE);
    }
    for (key, value) in [("service.version", VERSION), ("service.instance.id", node)] {
        if lacks(key) {
            builder = builder.with_attribute(KeyValue::new(key, value.to_owned()));
        }
    }
    builder.build()
}

/// Makes requests on the runtime of the server, for a thread that has none.
#[derive(Debug)]
struct OnRuntime {
    client: Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let mut response = client.execute(request.try_into()?).await?;
            let mut answer = Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                std::mem::swap(headers, response.headers_mut());
            }
            let mut body = Vec::new();
            while let Some(piece) = response.chunk().await? {
                if body.len() + piece.len() > OTLP_ANSWER_BYTES_MAX {
                    return Err("its answer is too long".into());
                }
                body.extend_from_slice(&piece);
            }
            Ok::<_, HttpError>(answer.body(body.into())?)
        });
        sending.await?
    }
}

/// Counts what was delivered and what was not.
#[derive(Debug)]
struct Counted(SpanExporter);

impl Export for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let exported = self.0.export(batch).await;
        match &exported {
            Ok(()) => metrics::trace_spans("exported", spans),
            Err(error) => {
                metrics::trace_spans("failed", spans);
                if let Some(unsaid) = FAILURES.pass("export") {
                    tracing::warn!(%error, spans, unsaid, "spans were not exported");
                }
            }
        }
        exported
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_of_http_and_a_sample_a_share() {
        assert!(endpoint("http://127.0.0.1:4318").is_ok());
        assert!(endpoint("https://collector.example/otlp/").is_ok());
        for bad in ["", "127.0.0.1:4318", "grpc://a:4317", "http://", "http://a/?b=c"] {
            let error = endpoint(bad).unwrap_err();
            assert!(error.contains("accepted: where a collector"), "{bad}: {error}");
        }
        assert_eq!((ratio("0"), ratio("1"), ratio("0.25")), (Ok(0.0), Ok(1.0), Ok(0.25)));
        for bad in ["-0.1", "1.01", "NaN", "half", ""] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
