//! Errors as `application/problem+json` (RFC 9457), with a `code`.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::observe;
use crate::error::Error;

pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, in a word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProblemCode)]
pub(super) enum Code {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    TooLarge,
    RateLimited,
    Unavailable,
    Internal,
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// Always `about:blank`: the status says the kind.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    code: Code,
    /// What went wrong, for people.
    detail: String,
    /// As in `X-Request-Id`.
    #[schema(required)]
    request_id: Option<String>,
    /// With 422: which field breaks which rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<BTreeMap<&'static str, String>>,
}

impl ProblemBody {
    fn new(status: StatusCode, code: Code, detail: String) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code,
            detail,
            request_id: observe::request_id(),
            errors: None,
        }
    }
}

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Problem(pub(super) Error);

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Problem {
    #[expect(clippy::wildcard_enum_match_arm, reason = "few kinds of error say more than the others")]
    fn into_response(self) -> Response {
        let (status, code) = match &self.0 {
            Error::Malformed(_) => (StatusCode::BAD_REQUEST, Code::BadRequest),
            Error::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, Code::BadRequest),
            Error::Unauthorized(_) => (StatusCode::UNAUTHORIZED, Code::Unauthorized),
            Error::Forbidden(_) => (StatusCode::FORBIDDEN, Code::Forbidden),
            Error::NotFound(_) => (StatusCode::NOT_FOUND, Code::NotFound),
            Error::Conflict(_) => (StatusCode::CONFLICT, Code::Conflict),
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge),
            Error::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, Code::RateLimited),
            Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Error::Unknown(_) | Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        };
        let retry_after_s = match &self.0 {
            Error::RateLimited { retry_after_s } => Some(*retry_after_s),
            Error::Unavailable(_) => Some(1),
            _ => None,
        };
        let mut body = ProblemBody::new(status, code, self.0.to_string());
        match self.0 {
            Error::Internal(inner) => tracing::error!(inner, "a request met a bug"),
            Error::Unknown(inner) => tracing::warn!(inner, "nobody knows whether a request was carried out"),
            Error::Unavailable(inner) => tracing::warn!(inner, "a request could not be served"),
            Error::Invalid(errors) => body.errors = Some(errors),
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
pub(super) fn plain(status: StatusCode, code: Code) -> Response {
    respond(status, &ProblemBody::new(status, code, status.canonical_reason().unwrap_or_default().to_owned()))
}

fn respond(status: StatusCode, body: &ProblemBody) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        // The rest of the body is not read, so nothing can follow it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
