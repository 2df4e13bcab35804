//! Answers other than an upgrade, as `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use hyper::http::HeaderValue;
use hyper::{Response, StatusCode};

/// A request that gets no WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: u16, code: &'static str, detail: &str) -> Self {
        Self { status, code, detail: detail.to_owned(), header: None }
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not_found", "no such path: WebSockets are at /ws")
    }

    pub(super) fn upgrade_required() -> Self {
        let header = (HeaderName::from_static("sec-websocket-version"), HeaderValue::from_static("13"));
        let detail = "expected a WebSocket upgrade, version 13";
        Self { header: Some(header), ..Self::new(426, "bad_request", detail) }
    }

    pub(super) fn bad_request(detail: &str) -> Self {
        Self::new(400, "bad_request", detail)
    }

    pub(super) fn forbidden_origin() -> Self {
        Self::new(403, "forbidden", "this Origin is not allowed (HUBBUB_ALLOWED_ORIGINS)")
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(401, "unauthorized", detail)
    }

    pub(super) fn unavailable(detail: &str, retry_after_s: u32) -> Self {
        let header = (RETRY_AFTER, HeaderValue::from(retry_after_s));
        Self { header: Some(header), ..Self::new(503, "unavailable", detail) }
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        });
        let mut response = json(self.status, "application/problem+json", body.to_string());
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A response with a JSON body.
pub(super) fn json(status: u16, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
