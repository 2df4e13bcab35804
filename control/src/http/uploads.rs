//! `/uploads`.

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION,
};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hubbub_common::ids::UploadId;
use serde::Deserialize;
use serde_json::json;
use std::net::SocketAddr;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::extract::{Json, LoggedIn, Path, Query};
use super::problem::Problem;
use crate::app::App;
use crate::error::Error;
use crate::uploads::links::Proof;
use crate::uploads::{self, disposition};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// A file opened as a page of its own runs nothing and is of no origin.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
/// The bytes of an upload never change.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

#[derive(Deserialize)]
pub(super) struct Announce {
    file_name: String,
    content_type: String,
    size: u64,
}

pub(super) async fn announce(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Site(site): Site,
    Json(body): Json<Announce>,
) -> Result<(StatusCode, axum::Json<serde_json::Value>), Problem> {
    let (upload, link) =
        uploads::announce(&app, &caller, body.file_name, &body.content_type, body.size).await?;
    let put_url = if link.starts_with('/') { format!("{site}{link}") } else { link };
    let answer = json!({
        "id": upload.id,
        "put_url": put_url,
        "headers": { "content-type": upload.content_type.as_str() },
        "url": format!("{site}/api/v1/uploads/{}", upload.id),
    });
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

pub(super) async fn get(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<UploadId>,
) -> Result<Response, Problem> {
    let link = uploads::link(&app, &caller, id).await?;
    // A browser that shows the same image again soon asks nobody.
    let cache = format!("private, max-age={}", app.config.uploads.link_life.as_secs() / 2);
    Ok((StatusCode::TEMPORARY_REDIRECT, [(LOCATION, link), (CACHE_CONTROL, cache)]).into_response())
}

pub(super) async fn put(
    State(app): State<App>,
    Path(id): Path<UploadId>,
    Query(proof): Query<Proof>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let sent_type = text(&headers, CONTENT_TYPE);
    let sent_size = text(&headers, CONTENT_LENGTH).and_then(|size| size.parse().ok());
    uploads::put(&app, id, &proof, sent_type, sent_size, body.into_data_stream()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn read(
    State(app): State<App>,
    Path(id): Path<UploadId>,
    Query(proof): Query<Proof>,
    request: Request,
) -> Result<Response, Problem> {
    let (upload, path) = uploads::read(&app, id, &proof).await?;
    let served = ServeFile::new(path).oneshot(request).await;
    let mut response = served.map_err(|error| Error::Unavailable(error.to_string()))?.map(Body::new);
    if response.status() == StatusCode::NOT_FOUND {
        return Err(Problem(Error::NotFound("upload")));
    }
    let value = |text: &str| HeaderValue::try_from(text).map_err(|error| Error::Internal(error.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value(upload.content_type.served_as())?);
    headers.insert(CONTENT_DISPOSITION, value(&disposition(&upload))?);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CACHE_CONTROL, FOR_EVER);
    Ok(response)
}

/// Scheme and host under which the client knows this server.
pub(super) struct Site(String);

impl FromRequestParts<App> for Site {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let host = text(&parts.headers, HOST).and_then(|host| host.parse::<Authority>().ok());
        let host = host.ok_or_else(|| Error::Malformed("a Host header is needed".to_owned()))?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let is_behind_proxy = peer.is_some_and(|ConnectInfo(peer)| app.config.shared.trusts(peer.ip()));
        let is_tls = is_behind_proxy && text(&parts.headers, FORWARDED_PROTO) == Some("https");
        Ok(Self(format!("{}://{host}", if is_tls { "https" } else { "http" })))
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
