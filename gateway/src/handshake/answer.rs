//! What goes back to a client: the upgrade, or why there is none, as `application/problem+json` (RFC 9457).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hubbub_common::protocol::SUBPROTOCOL;
use hyper::StatusCode;
use sha1::{Digest as _, Sha1};

/// Appended to the key before it is hashed (RFC 6455 section 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that gets no WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) detail: String,
    /// A header line of its own.
    pub(super) header: Option<String>,
}

impl Refusal {
    fn new(status: u16, code: &'static str, detail: &str) -> Self {
        Self { status, code, detail: detail.to_owned(), header: None }
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not_found", "no such path: WebSockets are at /ws")
    }

    pub(super) fn upgrade_required() -> Self {
        let header = Some("Sec-WebSocket-Version: 13".to_owned());
        Self { header, ..Self::new(426, "bad_request", "expected a WebSocket upgrade, version 13") }
    }

    pub(super) fn bad_request(detail: &str) -> Self {
        Self::new(400, "bad_request", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let header = Some("Allow: GET, HEAD".to_owned());
        Self { header, ..Self::new(405, "bad_request", "only GET and HEAD are served here") }
    }

    pub(super) fn head_too_large() -> Self {
        Self::new(431, "too_large", "the request's head is too large")
    }

    pub(super) fn forbidden_origin() -> Self {
        Self::new(403, "forbidden", "this Origin is not allowed (HUBBUB_ALLOWED_ORIGINS)")
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(401, "unauthorized", detail)
    }

    pub(super) fn unavailable(detail: &str, retry_after_s: u32) -> Self {
        Self::new(503, "unavailable", detail).retry_after(retry_after_s)
    }

    pub(super) fn rate_limited(detail: &str, retry_after_s: u32) -> Self {
        Self::new(429, "rate_limited", detail).retry_after(retry_after_s)
    }

    fn retry_after(self, seconds: u32) -> Self {
        Self { header: Some(format!("Retry-After: {seconds}")), ..self }
    }

    pub(super) fn response(&self) -> Vec<u8> {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": reason(self.status),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        });
        response(self.status, "application/problem+json", self.header.as_deref(), &body.to_string())
    }
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

/// A response after which the connection ends.
pub(super) fn response(status: u16, content_type: &str, header: Option<&str>, body: &str) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n",
        reason(status),
        body.len()
    );
    if let Some(header) = header {
        let _ = write!(head, "{header}\r\n");
    }
    (head + "\r\n" + body).into_bytes()
}

/// Accepts the upgrade (RFC 6455 section 4.2.2). The subprotocol is named only to a client that offered some.
pub(super) fn switching_protocols(key: &str, names_subprotocol: bool) -> Vec<u8> {
    let accept = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let mut head = String::with_capacity(192);
    head.push_str("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    STANDARD.encode_string(accept, &mut head);
    if names_subprotocol {
        head.push_str("\r\nSec-WebSocket-Protocol: ");
        head.push_str(SUBPROTOCOL);
    }
    head.push_str("\r\n\r\n");
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_gets_its_answer() {
        let answer = String::from_utf8(switching_protocols("dGhlIHNhbXBsZSBub25jZQ==", true)).unwrap();
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(answer.ends_with("Sec-WebSocket-Protocol: hubbub.v1.json\r\n\r\n"));
    }
}
