//! The way to the collector: OTLP over HTTP, with a client that blocks, on the exporter's own thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long one request may take.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer, which says no more than what was refused.
const ANSWER_BYTES_MAX: u64 = 65_536;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Collector {
    agent: Agent,
    is_away: AtomicBool,
}

impl Collector {
    /// At this URL; certificates are those that the system trusts.
    pub(super) fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(ANSWER_MAX));
        let config = if url.starts_with("https://") { config.tls_config(tls()) } else { config };
        Self { agent: config.build().into(), is_away: AtomicBool::new(false) }
    }

    fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, mut body) = self.agent.run(request.map(|body| body.to_vec()))?.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }

    /// Says so, once for each change.
    fn note(&self, problem: Option<&str>) {
        if self.is_away.swap(problem.is_some(), Ordering::Relaxed) == problem.is_some() {
            return;
        }
        match problem {
            Some(problem) => {
                tracing::warn!(problem, "the collector takes no traces: they are lost until it does");
            }
            None => tracing::info!("the collector takes traces again"),
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.ask(request);
        let problem = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("HTTP {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        self.note(problem.as_deref());
        Ok(answer?)
    }
}

fn tls() -> TlsConfig {
    // What can't be read vouches for nobody; a collector that needed it is then refused.
    let found = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = found.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build()
}
