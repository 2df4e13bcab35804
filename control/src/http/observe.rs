//! What happens around every request: an id, a log line, metrics, a time limit, security headers.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hubbub_common::metrics as names;
use opentelemetry::trace::FutureExt as _;
use tracing::Instrument as _;

use super::problem::Problem;
use super::trace;
use crate::app::App;
use crate::error::Error;
use crate::rate::{self, Left};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// Characters of a request's id that a proxy made.
const REQUEST_ID_MAX: usize = 64;

/// What the page may do: it loads nothing but its own files and images that messages name, talks to its own host and
/// the store of uploads, where that is another, and is framed by nobody.
pub(super) fn page_policy(uploads: Option<&str>) -> HeaderValue {
    let uploads = uploads.unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data: https: {uploads}; \
         connect-src 'self' {uploads}; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    );
    // An origin was checked to be one; without it the text is ours.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

tokio::task_local! {
    static ID: String;
}

/// The id of the request that is being answered.
pub(super) fn request_id() -> Option<String> {
    ID.try_with(Clone::clone).ok()
}

/// The id that a proxy of ours gave a request, or a new one.
fn name(request: &Request, is_proxied: bool) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = |id: &&str| (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(allowed);
    let given = request.headers().get(REQUEST_ID).filter(|_| is_proxied);
    let given = given.and_then(|id| id.to_str().ok()).filter(fits);
    given.map_or_else(|| format!("{:016x}", hubbub_common::entry::new_origin()), str::to_owned)
}

/// Names, times and counts a request.
pub(super) async fn request(State(app): State<App>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let is_proxied = peer.is_some_and(|ConnectInfo(peer)| app.config.shared.trusts(peer.ip()));
    let id = name(&request, is_proxied);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("file", MatchedPath::as_str).to_owned();
    let is_tls = is_proxied && request.headers().get(FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let began = app.clock.elapsed();
    let span = tracing::info_span!("request", id);
    let traced = trace::begin(&request, is_proxied, &route, &id);
    let answer = rate::watched(ID.scope(id.clone(), next.run(request))).instrument(span);
    let (mut response, limits) = match traced {
        None => answer.await,
        Some(context) => {
            let answered = answer.with_context(context.clone()).await;
            trace::end(&context, answered.0.status());
            answered
        }
    };
    let took = app.clock.elapsed().saturating_sub(began);
    let status = response.status().as_u16();
    tracing::debug!(%method, route, status, request = id, ms = took.as_millis(), "request");
    let labels = [("method", method.to_string()), ("route", route)];
    metrics::histogram!(names::REQUEST_SECONDS.name, &labels).record(took);
    let [method, route] = labels;
    metrics::counter!(names::REQUESTS.name, &[method, route, ("status", status.to_string())]).increment(1);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    add_limits(response.headers_mut(), &limits);
    if is_tls {
        let a_year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, a_year);
    }
    response
}

/// What is left of the limits that a request counted for, as draft-ietf-httpapi-ratelimit-headers-11 has it.
fn add_limits(headers: &mut HeaderMap, limits: &[Left]) {
    if limits.is_empty() {
        return;
    }
    let policies =
        limits.iter().map(|Left { limit, .. }| format!("\"{}\";q={};w=60", limit.name, limit.per_minute));
    let left =
        limits.iter().map(|left| format!("\"{}\";r={};t={}", left.limit.name, left.remaining, left.reset_s));
    for (field, values) in [(RATE_LIMIT_POLICY, policies.collect::<Vec<_>>()), (RATE_LIMIT, left.collect())] {
        if let Ok(value) = HeaderValue::try_from(values.join(", ")) {
            headers.insert(field, value);
        }
    }
}

/// Ends what takes too long. Whether it was done is known only where there was nothing to do.
pub(super) async fn time_limit(State(most): State<Duration>, request: Request, next: Next) -> Response {
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match tokio::time::timeout(most, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) if only_reads => {
            Problem(Error::Unavailable("a request took too long".to_owned())).into_response()
        }
        Err(_) => Problem(Error::Unknown("a request took too long".to_owned())).into_response(),
    }
}

/// Tells browsers to be strict.
pub(super) async fn security_headers(
    State(page_policy): State<HeaderValue>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !is_part_of_page(headers) {
        // Files of users bring a stricter one.
        headers.entry(CONTENT_SECURITY_POLICY).or_insert(page_policy);
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
        headers
            .insert(PERMISSIONS_POLICY, HeaderValue::from_static("camera=(), geolocation=(), microphone=()"));
    }
    // What the API answers is for who asked; files say for themselves how long they keep.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Scripts and styles obey the policy of the page that loads them; opened by themselves they are text. The page has so
/// many that headers without a use would be a third of its first load.
fn is_part_of_page(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.starts_with("text/javascript") || content_type.starts_with("text/css")
}
