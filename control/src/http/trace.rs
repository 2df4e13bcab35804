//! A span for each request that is traced.
//!
//! Whoever is trusted with `X-Request-Id` may also say of which trace a request is a part (`traceparent`), and so that it is
//! traced; strangers may not, or they would choose what is collected. Spans name methods, routes and ids of requests, never
//! paths, queries, headers or bodies.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use hubbub_common::traces;
use opentelemetry::Context;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _};

/// A request is here; nothing where it is not traced.
pub(super) fn begin(request: &Request, is_proxied: bool, route: &str, id: &str) -> Option<Context> {
    traces::tracer()?;
    let begun_by = if is_proxied { traces::begun_by(request) } else { Context::new() };
    let method = known(request.method());
    traces::root(
        &begun_by,
        SpanKind::Server,
        || format!("{method} {route}"),
        || {
            vec![
                traces::attribute("http.request.method", method),
                traces::attribute("http.route", route.to_owned()),
                traces::attribute("hubbub.request_id", id.to_owned()),
            ]
        },
    )
}

/// It is answered.
pub(super) fn end(context: &Context, status: StatusCode) {
    let span = context.span();
    span.set_attribute(traces::attribute("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_status(Status::error(status.canonical_reason().unwrap_or_default()));
    }
    span.end();
}

/// What clients make up is no name for a span.
fn known(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    const NAMES: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
    let place = KNOWN.iter().position(|known| known == method);
    place.and_then(|place| NAMES.get(place)).copied().unwrap_or("_OTHER")
}
