//! The web client, embedded in the binary.
//!
//! Pages name their files below the hash of them all, so browsers keep those for ever and ask for the page alone; modules
//! name each other relatively, and stay below the same hash.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::extract::Request;
use axum::handler::HandlerWithoutStateExt as _;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::Router;
use rust_embed::{Embed, EmbeddedFile};
use tower_http::compression::CompressionLayer;

use super::problem::{self, Problem};
use crate::error::Error;

#[derive(Embed)]
#[folder = "web/"]
#[exclude = "test/*"]
#[exclude = "node_modules/*"]
#[exclude = "*.json"]
#[exclude = "*.md"]
struct Web;

/// Below it: the hash of all files, then a file.
const ASSETS: &str = "assets/";
/// By address: the chat, and the page for operators.
const PAGES: [(&str, &str); 2] = [("", "index.html"), ("ops", "ops.html")];
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Asked for again each time, and mostly answered with "not modified".
const ASK_AGAIN: &str = "no-cache";

/// The files, in short form for who takes it. What the API says of secrets is never compressed together with what a
/// stranger chose.
pub(super) fn files() -> Router {
    Router::new().fallback_service(file.into_service()).layer(CompressionLayer::new())
}

async fn file(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return problem::plain(StatusCode::METHOD_NOT_ALLOWED, problem::Code::BadRequest);
    }
    let known = request.headers().get(IF_NONE_MATCH);
    let path = request.uri().path().trim_start_matches('/');
    let page = PAGES.iter().find(|(address, _)| *address == path);
    let path = page.map_or(path, |(_, file)| file);
    let (hash, name) = path
        .strip_prefix(ASSETS)
        .and_then(|rest| rest.split_once('/'))
        .map_or((None, path), |(hash, name)| (Some(hash), name));
    let Some(file) = Web::get(name) else { return Problem(Error::NotFound("path")).into_response() };
    if PAGES.iter().any(|(_, file)| *file == name) {
        return respond_page(name, &file, known);
    }
    // A page of another version, from before an upgrade or from a neighbour, gets what there is, and does not keep it.
    let is_current = hash.is_some_and(|hash| hash == hash_of_all());
    let tag = format!("W/\"{:016x}\"", short(&file.metadata.sha256_hash()));
    respond(name, file.data.into_owned(), &tag, if is_current { FOR_EVER } else { ASK_AGAIN }, known)
}

/// A page, with the addresses of its files filled in.
fn respond_page(name: &str, file: &EmbeddedFile, known: Option<&HeaderValue>) -> Response {
    let hash = hash_of_all();
    let page = String::from_utf8_lossy(&file.data).replace("\"./", &format!("\"/{ASSETS}{hash}/"));
    respond(name, page.into_bytes(), &format!("W/\"{hash}\""), ASK_AGAIN, known)
}

fn respond(
    name: &str,
    body: Vec<u8>,
    tag: &str,
    cache: &'static str,
    known: Option<&HeaderValue>,
) -> Response {
    let content_type = mime_guess::from_path(name).first_or_octet_stream().to_string();
    let content_type = if content_type.starts_with("text/") {
        format!("{content_type}; charset=utf-8")
    } else {
        content_type
    };
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, cache.to_owned()), (ETAG, tag.to_owned())];
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, body).into_response()
    }
}

/// Changes with any file. Cheap: the hash of each was made when it was embedded.
fn hash_of_all() -> String {
    let mut names: Vec<_> = Web::iter().collect();
    names.sort_unstable();
    let mut hasher = DefaultHasher::new();
    for name in names {
        let hash = Web::get(&name).map(|file| file.metadata.sha256_hash());
        (name, hash).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn short(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |tag, byte| tag << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::header::CONTENT_ENCODING;
    use tower::ServiceExt as _;

    async fn get(path: &str, header: Option<(&str, &str)>) -> Response {
        let mut request = Request::get(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        files().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn text(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn browsers_keep_what_pages_name_and_ask_for_pages() {
        for (address, start) in [("/", "/app.js"), ("/ops", "/ops.js")] {
            let page = get(address, None).await;
            assert_eq!(page.headers()[CACHE_CONTROL], ASK_AGAIN);
            assert!(page.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
            let tag = page.headers()[ETAG].to_str().unwrap().to_owned();
            let page = text(page).await;
            assert!(!page.contains("\"./"), "{page}");
            let script = page.split('"').find(|part| part.ends_with(start)).unwrap();
            let kept = get(script, None).await;
            assert_eq!(kept.status(), StatusCode::OK);
            assert_eq!(kept.headers()[CACHE_CONTROL], FOR_EVER);
            assert!(kept.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/javascript"));
            let again = get(address, Some(("if-none-match", &tag))).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        }
    }

    #[tokio::test]
    async fn the_files_of_another_version_are_not_kept() {
        let other = get("/assets/0123456789abcdef/app.js", None).await;
        assert_eq!(other.status(), StatusCode::OK);
        assert_eq!(other.headers()[CACHE_CONTROL], ASK_AGAIN);
        assert_eq!(get("/assets/0123456789abcdef/no.js", None).await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn files_are_compressed_for_who_takes_it() {
        let plain = get("/app.js", None).await;
        assert_eq!(plain.headers().get(CONTENT_ENCODING), None);
        let short = get("/app.js", Some(("accept-encoding", "gzip"))).await;
        assert_eq!(short.headers()[CONTENT_ENCODING], "gzip");
    }

    #[tokio::test]
    async fn what_only_developers_need_is_not_served() {
        for path in ["/package.json", "/README.md", "/test/package.json", "/test/ids.test.js"] {
            assert_eq!(get(path, None).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
