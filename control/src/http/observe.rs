//! What happens around every request: an id, a log line, metrics, a time limit, security headers.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use hubbub_common::metrics as names;

use super::{REQUEST_MAX, problem};
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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

/// Names, times and counts a request.
pub(super) async fn request(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = format!("{:016x}", hubbub_common::entry::new_origin());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("file", MatchedPath::as_str).to_owned();
    let is_tls = request.headers().get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let began = app.clock.elapsed();
    let mut response = next.run(request).await;
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
    if is_tls {
        let a_year = HeaderValue::from_static("max-age=31536000");
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, a_year);
    }
    response
}

/// Answers 503 to what takes too long.
pub(super) async fn time_limit(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(REQUEST_MAX, next.run(request)).await;
    answer.unwrap_or_else(|_| problem::plain(StatusCode::SERVICE_UNAVAILABLE, "unavailable"))
}

/// Tells browsers to be strict.
pub(super) async fn security_headers(
    State(page_policy): State<HeaderValue>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // Files of users bring a stricter one.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(page_policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
