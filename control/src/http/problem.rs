//! Errors as `application/problem+json` (RFC 9457), with a `code`.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::Error;

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Problem(pub(super) Error);

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Problem {
    #[expect(clippy::wildcard_enum_match_arm, reason = "two kinds of error say more than the others")]
    fn into_response(self) -> Response {
        let (status, code) = match &self.0 {
            Error::Malformed(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Error::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_request"),
            Error::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Error::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Error::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Error::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let retry_after_s = match &self.0 {
            Error::RateLimited { retry_after_s } => Some(*retry_after_s),
            Error::Unavailable(_) => Some(1),
            _ => None,
        };
        let mut body = body(status, code, &self.0.to_string());
        match &self.0 {
            Error::Internal(inner) => tracing::error!(inner, "a request met a bug"),
            Error::Unavailable(inner) => tracing::warn!(inner, "a request could not be served"),
            Error::Invalid(errors) => {
                if let Some(body) = body.as_object_mut() {
                    body.insert("errors".to_owned(), json!(errors));
                }
            }
            _ => {}
        }
        let mut response = respond(status, &body);
        if let Some(retry_after_s) = retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        response
    }
}

/// An error that says no more than its status.
pub(super) fn plain(status: StatusCode, code: &str) -> Response {
    respond(status, &body(status, code, status.canonical_reason().unwrap_or_default()))
}

fn body(status: StatusCode, code: &str, detail: &str) -> Value {
    json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    })
}

fn respond(status: StatusCode, body: &Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
