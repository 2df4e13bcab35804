//! The internal listener: `/health` and `/metrics`, on the main thread, away from the cores.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::status::Status;

/// How long a scraper may take to send its request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Pause after the kernel refused to accept.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Answers for ever.
pub async fn serve(listener: TcpListener, status: Arc<Status>, metrics: PrometheusHandle) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REFUSED_PAUSE).await;
            continue;
        };
        let (status, metrics) = (Arc::clone(&status), metrics.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(request.uri().path(), &status, &metrics);
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_MAX)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an internal request broke off");
            }
        });
    }
}

fn answer(path: &str, status: &Status, metrics: &PrometheusHandle) -> Response<Full<Bytes>> {
    let (code, content_type, body) = match path {
        "/health" => {
            let (code, json) = status.health();
            (code, "application/json", json)
        }
        "/metrics" => (200, "text/plain; version=0.0.4", metrics.render()),
        _ => (404, "text/plain", "not found: /health and /metrics are here\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
