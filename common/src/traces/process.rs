//! The tracer of this process, and spans around futures.
//!
//! Where nothing is traced, all of it is a look at a static that is empty.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::context::FutureExt as _;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{HeaderExtractor, Request};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use super::TraceSettings;
use super::collector::{ANSWER_MAX, Collector};
use crate::settings::{SettingError, TRACES_URL};

/// How long the last spans may take at the end.
const CLOSE_MAX: Duration = Duration::from_secs(2);

struct Process {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

static PROCESS: OnceLock<Process> = OnceLock::new();

/// Traces from now on, if the settings want it. Call once.
pub fn start(
    settings: Option<&TraceSettings>,
    service: &'static str,
    server_id: &str,
) -> Result<(), SettingError> {
    let Some(TraceSettings { url, ratio }) = settings else { return Ok(()) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(url))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{url}/v1/traces"))
        .with_timeout(ANSWER_MAX)
        .build()
        .map_err(|error| SettingError { name: TRACES_URL.name, problem: error.to_string() })?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.instance.id", server_id.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(*ratio))))
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer("hubbub");
    tracing::info!(url, ratio, "traces go to a collector");
    // A second call changes nothing.
    let _ = PROCESS.set(Process { provider, tracer });
    Ok(())
}

/// Hands over what has not been handed over yet; to be called at the end.
pub fn close() {
    if let Some(process) = PROCESS.get()
        && let Err(error) = process.provider.shutdown_with_timeout(CLOSE_MAX)
    {
        tracing::debug!(%error, "the last traces are lost");
    }
}

/// Makes spans, if anything is traced.
pub fn tracer() -> Option<&'static SdkTracer> {
    PROCESS.get().map(|process| &process.tracer)
}

/// What a span says of what it stands for. Nothing secret, and nothing that people wrote.
pub fn attribute(key: &'static str, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(key, value)
}

/// The span from which a request was made (W3C Trace Context), if it says so.
pub fn begun_by<B>(request: &Request<B>) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(request.headers()))
}

/// Makes a span for what begins here or was begun by somebody else, if it is to be traced. It ends with the context.
pub fn root(
    begun_by: &Context,
    kind: SpanKind,
    name: impl FnOnce() -> String,
    attributes: impl FnOnce() -> Vec<KeyValue>,
) -> Option<Context> {
    let tracer = tracer()?;
    let span = SpanBuilder::from_name(name()).with_kind(kind).with_attributes(attributes());
    let span = tracer.build_with_context(span, begun_by);
    span.is_recording().then(|| begun_by.with_span(span))
}

/// Does something that belongs to what is being traced, if it is, under a span of its own.
pub async fn child<T>(
    kind: SpanKind,
    name: &'static str,
    attributes: impl FnOnce() -> Vec<KeyValue>,
    work: impl Future<Output = T>,
) -> T {
    let around = tracer().map(|tracer| (tracer, Context::current()));
    match around {
        Some((tracer, parent)) if parent.span().is_recording() => {
            let span = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes());
            let span = tracer.build_with_context(span, &parent);
            work.with_context(parent.with_span(span)).await
        }
        Some(_) | None => work.await,
    }
}
