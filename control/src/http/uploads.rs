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
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;
use utoipa::ToSchema;

use super::extract::{Json, Known, Path, Query};
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

#[derive(Deserialize, ToSchema)]
#[schema(as = UploadDraft)]
pub(super) struct Announce {
    /// For whoever saves it; no slashes and control characters, at most 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    file_name: String,
    /// One of the types that `HUBBUB_UPLOADS_TYPES` takes.
    #[schema(example = "image/png")]
    content_type: String,
    /// Bytes, at most `HUBBUB_UPLOADS_BYTES_MAX`.
    #[schema(minimum = 1)]
    size: u64,
}

/// Where to send the file.
#[derive(Serialize, ToSchema)]
#[schema(as = UploadLink)]
pub(super) struct Announced {
    id: UploadId,
    /// `PUT` the bytes there, while it is good.
    put_url: String,
    /// To be sent with them.
    headers: BTreeMap<&'static str, String>,
    /// To be named in messages.
    url: String,
}

/// Announce a file
///
/// Its bytes go to `put_url`, by `PUT` with `headers`; then messages can name `url`. What no message names is removed after
/// `HUBBUB_UPLOADS_UNUSED_SECONDS`.
#[utoipa::path(
    post,
    path = "/uploads",
    operation_id = "announce_upload",
    tag = "uploads",
    request_body = Announce,
    responses((status = 201, body = Announced)),
)]
pub(super) async fn announce(
    State(app): State<App>,
    Known(caller): Known,
    Site(site): Site,
    Json(body): Json<Announce>,
) -> Result<(StatusCode, axum::Json<Announced>), Problem> {
    let (upload, link) =
        uploads::announce(&app, &caller, body.file_name, &body.content_type, body.size).await?;
    let put_url = if link.starts_with('/') { format!("{site}{link}") } else { link };
    let answer = Announced {
        id: upload.id,
        put_url,
        headers: BTreeMap::from([("content-type", upload.content_type.to_string())]),
        url: format!("{site}/api/v1/uploads/{}", upload.id),
    };
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

/// Where a file can be read
///
/// For whoever is logged in and knows the id.
#[utoipa::path(
    get,
    path = "/uploads/{id}",
    operation_id = "get_upload",
    tag = "uploads",
    params(("id" = UploadId, Path)),
    responses((status = 307, description = "To a signed URL, good for a short while", headers(("location" = String)))),
)]
pub(super) async fn file(
    State(app): State<App>,
    Known(caller): Known,
    Path(id): Path<UploadId>,
) -> Result<Response, Problem> {
    let link = uploads::link(&app, &caller, id).await?;
    // A browser that shows the same image again soon asks nobody.
    let cache = format!("private, max-age={}", app.config.uploads.link_life.as_secs() / 2);
    Ok((StatusCode::TEMPORARY_REDIRECT, [(LOCATION, link), (CACHE_CONTROL, cache)]).into_response())
}

/// Send a file to the control plane's own disk
///
/// The address comes from `POST /uploads`; where files are kept in a bucket, this path does not exist.
#[utoipa::path(
    put,
    path = "/api/v1/uploads/{id}/content",
    operation_id = "send_file",
    tag = "uploads",
    security(()),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "Of the type and size that were announced"),
    params(("id" = UploadId, Path), Proof),
    responses(
        (status = 204, description = "It is stored"),
        (status = 403, description = "The link is not valid, or has expired"),
        (status = 409, description = "The file is there already"),
    ),
)]
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

/// Read a file from the control plane's own disk
///
/// The address comes from `GET /uploads/{id}`. Ranges are understood.
#[utoipa::path(
    get,
    path = "/api/v1/uploads/{id}/content",
    operation_id = "read_file",
    tag = "uploads",
    security(()),
    params(("id" = UploadId, Path), Proof),
    responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "*/*"),
        (status = 206, description = "A part of it", body = Vec<u8>, content_type = "*/*"),
        (status = 304, description = "Not modified"),
        (status = 403, description = "The link is not valid, or has expired"),
        (status = 416, description = "There is no such part", body = (), content_type = "*/*"),
    ),
)]
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
