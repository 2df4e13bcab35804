//! From an accepted socket to a WebSocket, or to an answer that says why not.
//!
//! hyper reads the request and writes the answer; [`request`] decides. The shell runs in a task of its own,
//! so that none of its state stays with the connection. Bytes that a client sent right behind its request
//! come back as `early`.

mod answer;
mod request;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty, Full};
use hubbub_common::config::Shared;
use hubbub_common::protocol::SUBPROTOCOL;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName};
use hyper::http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use monoio::io::{IntoCompIo as _, IntoPollIo as _};
use monoio::net::TcpStream;
use monoio_compat::hyper::{MonoioIo, MonoioTimer};

use crate::session::Identity;
use answer::Refusal;

/// How long a client may take to send its request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How long everything before the upgrade may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const REQUEST_BYTES_MAX: usize = 8_192;
/// After how many seconds a refused client should try again.
const RETRY_AFTER_S: u32 = 2;

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// It is not good.
    #[error("{0}")]
    Bad(&'static str),
    /// Nobody can say now.
    #[error("login sessions can't be looked up now")]
    Unavailable,
}

/// Why nobody new is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// The gateway is leaving.
    Draining,
    /// It holds as many connections as it may.
    Full,
}

/// What the handshake asks its core.
pub(crate) trait Gate {
    /// Whether there is room for one more connection.
    fn admit(&self) -> Result<(), Busy>;

    /// Who stands behind a token.
    fn authenticate(&self, token: String) -> impl Future<Output = Result<Identity, AuthError>>;

    /// Status and JSON of `/health`.
    fn health(&self) -> (u16, String);

    /// An answer was given with this HTTP status.
    fn answered(&self, status: u16);
}

/// A client that has its WebSocket.
pub(crate) struct Upgraded {
    pub(crate) stream: TcpStream,
    /// What came behind the request.
    pub(crate) early: Bytes,
    pub(crate) identity: Identity,
    /// Of the client, also behind proxies.
    pub(crate) address: IpAddr,
}

type Answer = Response<Either<Full<Bytes>, Empty<Bytes>>>;

/// Reads requests until one is upgraded; `None` when the connection ends without.
pub(crate) async fn perform(
    stream: TcpStream,
    peer: SocketAddr,
    settings: &Shared,
    gate: &impl Gate,
) -> Option<Upgraded> {
    let admitted: Rc<RefCell<Option<(Identity, IpAddr)>>> = Rc::default();
    let service = service_fn(|request: Request<Incoming>| {
        let admitted = Rc::clone(&admitted);
        async move {
            let address = request::client_address(peer.ip(), request.headers(), settings);
            let answer = match answer(request, settings, gate).await {
                Ok((answer, Some(identity))) => {
                    *admitted.borrow_mut() = Some((identity, address));
                    answer
                }
                Ok((answer, None)) => answer,
                Err(refusal) => {
                    let mut response = refusal.response();
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    response.map(Either::Left)
                }
            };
            gate.answered(answer.status().as_u16());
            Ok::<_, Infallible>(answer)
        }
    });
    let io = MonoioIo::new(stream.into_poll_io().ok()?);
    let connection = http1::Builder::new()
        .timer(MonoioTimer)
        .header_read_timeout(REQUEST_MAX)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(io, service)
        .without_shutdown();
    let parts = monoio::time::timeout(HANDSHAKE_MAX, pin!(connection)).await.ok()?.ok()?;
    let (identity, address) = admitted.borrow_mut().take()?;
    let stream = parts.io.inner().into_comp_io().ok()?;
    Some(Upgraded { stream, early: parts.read_buf, identity, address })
}

async fn answer(
    mut request: Request<Incoming>,
    settings: &Shared,
    gate: &impl Gate,
) -> Result<(Answer, Option<Identity>), Refusal> {
    if request.uri().path() == "/health" {
        let (status, body) = gate.health();
        return Ok((answer::json(status, "application/json", body).map(Either::Left), None));
    }
    let checked =
        request::check(request.method(), request.uri(), request.headers(), &settings.allowed_origins)?;
    gate.admit().map_err(|busy| {
        let detail = match busy {
            Busy::Draining => "this gateway is leaving: try another one",
            Busy::Full => "this gateway holds as many connections as it may",
        };
        Refusal::unavailable(detail, RETRY_AFTER_S)
    })?;
    let identity = gate.authenticate(checked.token).await.map_err(|error| match error {
        AuthError::Bad(reason) => Refusal::unauthorized(reason),
        AuthError::Unavailable => Refusal::unavailable(&error.to_string(), RETRY_AFTER_S),
    })?;
    let (mut response, _) = fastwebsockets::upgrade::upgrade(&mut request)
        .map_err(|_| Refusal::bad_request("expected a WebSocket upgrade"))?;
    if checked.names_subprotocol {
        let name = HeaderName::from_static("sec-websocket-protocol");
        response.headers_mut().insert(name, HeaderValue::from_static(SUBPROTOCOL));
    }
    Ok((response.map(Either::Right), Some(identity)))
}
