//! Spans of traces, where they are exported; otherwise nothing at all.
//!
//! # Contract
//! * Until [`install`] was called, and after that for traces that are not sampled, a span costs a look
//!   at a static and holds nothing.
//! * A span ends when it is dropped. What has happened already is told at once ([`Told`]), so that an
//!   execution keeps no span while it waits and runs.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use crate::metrics;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// From now on spans are exported. Once in a process.
pub(super) fn install(tracer: SdkTracer) {
    // A second one would have nobody to flush it.
    let _ = TRACER.set(tracer);
}

/// Whether spans are exported.
pub fn enabled() -> bool {
    TRACER.get().is_some()
}

/// Something that takes time.
#[derive(Debug, Default)]
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    /// None.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins one below `parent`, or as the first of a trace. It is named only if there is to be one.
    pub fn begin<N: Into<Cow<'static, str>>>(
        kind: SpanKind,
        parent: Option<&SpanContext>,
        name: impl FnOnce() -> N,
    ) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let builder = SpanBuilder::from_name(name()).with_kind(kind);
        Self(Some(Box::new(tracer.build_with_context(builder, &below(parent)))))
    }

    /// Its place in the trace, for what is done on its behalf.
    pub fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|span| span.span_context().clone())
    }

    /// Notes something about it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Notes that it failed.
    pub fn fail(&mut self, what: &'static str) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(what));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(span) = &mut self.0 {
            finish(span, None);
        }
    }
}

/// Something that has happened, as a span.
#[derive(Debug)]
pub struct Told {
    /// What it was.
    pub name: &'static str,
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What is to be known about it.
    pub attributes: Vec<KeyValue>,
    /// Why it failed, if it did.
    pub failed: Option<&'static str>,
}

impl Told {
    /// Tells of it and, as parts of it, of those.
    pub fn tell(self, parent: Option<&SpanContext>, parts: impl IntoIterator<Item = Self>) {
        let Some(tracer) = TRACER.get() else { return };
        let builder = SpanBuilder::from_name(self.name)
            .with_kind(SpanKind::Internal)
            .with_start_time(self.begun)
            .with_attributes(self.attributes);
        let mut span = tracer.build_with_context(builder, &below(parent));
        if !span.is_recording() {
            return;
        }
        if let Some(why) = self.failed {
            span.set_status(Status::error(why));
        }
        let own = span.span_context().clone();
        for part in parts {
            part.tell(Some(&own), []);
        }
        finish(&mut span, Some(self.ended));
    }
}

fn below(parent: Option<&SpanContext>) -> Context {
    match parent {
        Some(parent) => Context::new().with_remote_span_context(parent.clone()),
        None => Context::new(),
    }
}

fn finish(span: &mut SdkSpan, at: Option<SystemTime>) {
    if span.is_recording() {
        metrics::trace_spans("ended", 1);
    }
    match at {
        Some(at) => span.end_with_timestamp(at),
        None => span.end(),
    }
}
