//! The web client, embedded in the binary.

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::problem::{self, Problem};
use crate::error::Error;

#[derive(Embed)]
#[folder = "web/"]
#[exclude = "test/*"]
#[exclude = "*.json"]
#[exclude = "*.md"]
struct Web;

pub(super) async fn file(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return problem::plain(StatusCode::METHOD_NOT_ALLOWED, problem::Code::BadRequest);
    }
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = Web::get(path) else { return Problem(Error::NotFound("path")).into_response() };
    respond(path, file, request.headers().get(IF_NONE_MATCH))
}

/// Files are asked for again each time, and mostly answered with "not modified".
fn respond(path: &str, file: EmbeddedFile, known: Option<&HeaderValue>) -> Response {
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{:016x}\"", hash.iter().take(8).fold(0u64, |tag, byte| tag << 8 | u64::from(*byte)));
    let content_type = mime_guess::from_path(path).first_or_octet_stream().to_string();
    let content_type = if content_type.starts_with("text/") {
        format!("{content_type}; charset=utf-8")
    } else {
        content_type
    };
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache".to_owned()), (ETAG, tag.clone())];
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, file.data.into_owned()).into_response()
    }
}
