//! From an accepted socket to a WebSocket, or to an answer that says why not.
//!
//! [`http`] reads the request and [`request`] decides, both pure. A client that is let in gets the upgrade and its
//! `welcome` in one write, later, by its connection; bytes that it sent right behind its request go along as
//! `early`. Everybody else gets an answer and is left.
//!
//! hyper over the runtime's poll interface did this first, for half as much CPU again and with buffers that
//! outlived the handshake; see `benches/RESULTS.md`.

mod answer;
mod http;
mod request;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use hubbub_common::config::Shared;
use hubbub_common::proxy_header;
use monoio::io::AsyncWriteRentExt as _;
use monoio::net::TcpStream;
use rustix::net::{Shutdown, shutdown};

use crate::admission::{AddressSeat, TooMany};
use crate::core::socket::{descriptor, receive};
use crate::session::Identity;
use answer::Refusal;
use http::Request;

/// After how many seconds a refused client should try again.
const RETRY_AFTER_S: u32 = 2;
/// The same where another of its connections has to end first.
const RETRY_LATER_S: u32 = 10;

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

    /// Holds the place of one more connection from an address.
    fn seat(&self, address: IpAddr) -> Result<Option<AddressSeat>, TooMany>;

    /// Who stands behind a token.
    fn authenticate(&self, token: String) -> impl Future<Output = Result<Identity, AuthError>>;

    /// Status and JSON of `/health`.
    fn health(&self) -> (u16, String);

    /// An answer was given with this HTTP status.
    fn answered(&self, status: u16);
}

/// A client that has its WebSocket.
pub(crate) struct Upgraded {
    /// The answer to its request, not sent yet.
    pub(crate) answer: Vec<u8>,
    /// What came behind the request.
    pub(crate) early: Box<[u8]>,
    pub(crate) identity: Identity,
    /// Of the client, also behind proxies.
    pub(crate) address: IpAddr,
    /// Its place among those of its address.
    pub(crate) seat: Option<AddressSeat>,
}

/// What a request wants.
enum Wish {
    Health { with_body: bool },
    WebSocket { token: String, answer: Vec<u8>, address: IpAddr, seat: Option<AddressSeat> },
}

/// Reads a request and answers it; gives the stream back when that was an upgrade.
pub(crate) async fn perform(
    stream: TcpStream,
    peer: SocketAddr,
    settings: &Shared,
    gate: &impl Gate,
    buffer: &RefCell<Box<[u8]>>,
) -> Option<(TcpStream, Upgraded)> {
    let mut unread = Vec::new();
    let wish = loop {
        stream.readable(false).await.ok()?;
        let mut buffer = buffer.borrow_mut();
        let received = match receive(descriptor(&stream), &mut buffer).ok()? {
            Some(0) => return None,
            Some(received) => buffer.get(..received)?,
            None => continue,
        };
        let wish = if unread.is_empty() {
            read(received, peer, settings, gate)
        } else {
            unread.extend_from_slice(received);
            read(&unread, peer, settings, gate)
        };
        match wish {
            Ok(Some((wish, used))) => {
                if unread.is_empty() {
                    unread.extend_from_slice(received.get(used..).unwrap_or_default());
                } else {
                    unread.drain(..used);
                }
                break Ok(wish);
            }
            Ok(None) if unread.is_empty() => unread.extend_from_slice(received),
            Ok(None) => {}
            Err(refusal) => break Err(refusal),
        }
    };
    let refusal = match wish {
        Ok(Wish::WebSocket { token, answer, address, seat }) => match gate.authenticate(token).await {
            // A drain may have begun, or the last place been taken, while the token was looked up.
            Ok(identity) => match gate.admit() {
                Ok(()) => {
                    gate.answered(101);
                    return Some((
                        stream,
                        Upgraded { answer, early: unread.into(), identity, address, seat },
                    ));
                }
                Err(busy) => refuse_busy(busy),
            },
            Err(AuthError::Bad(reason)) => Refusal::unauthorized(reason),
            Err(error @ AuthError::Unavailable) => Refusal::unavailable(&error.to_string(), RETRY_AFTER_S),
        },
        Ok(Wish::Health { with_body }) => {
            let (status, body) = gate.health();
            gate.answered(status);
            let mut answer = answer::response(status, "application/json", None, &body);
            if !with_body {
                answer.truncate(answer.len() - body.len());
            }
            leave(stream, answer, buffer).await;
            return None;
        }
        Err(refusal) => refusal,
    };
    gate.answered(refusal.status);
    leave(stream, refusal.response(), buffer).await;
    None
}

/// Looks at what came so far; gives the wish and the bytes of its request.
fn read(
    bytes: &[u8],
    peer: SocketAddr,
    settings: &Shared,
    gate: &impl Gate,
) -> Result<Option<(Wish, usize)>, Refusal> {
    let Some((peer, before)) = client(bytes, peer, settings)? else { return Ok(None) };
    let request = bytes.get(before..).unwrap_or_default();
    let decided = http::parse(request, |request, used| {
        decide(request, peer, settings, gate).map(|wish| (wish, before + used))
    })?;
    decided.transpose()
}

/// Who is on the other side, and how many bytes a proxy took to say so; `None` while it has not said.
fn client(bytes: &[u8], peer: SocketAddr, settings: &Shared) -> Result<Option<(SocketAddr, usize)>, Refusal> {
    if !settings.proxy_protocol || !settings.trusts(peer.ip()) {
        return Ok(Some((peer, 0)));
    }
    let found = proxy_header::parse(bytes).map_err(|error| Refusal::bad_request(&error.to_string()))?;
    Ok(found.map(|found| (found.client.unwrap_or(peer), found.bytes)))
}

fn decide(
    request: &Request<'_>,
    peer: SocketAddr,
    settings: &Shared,
    gate: &impl Gate,
) -> Result<Wish, Refusal> {
    if request.path == "/health" {
        return match request.method {
            "GET" | "HEAD" => Ok(Wish::Health { with_body: request.method == "GET" }),
            _ => Err(Refusal::method_not_allowed()),
        };
    }
    let checked = request::check(request, &settings.allowed_origins)?;
    gate.admit().map_err(refuse_busy)?;
    let address = request::client_address(peer.ip(), request, settings);
    let seat = gate.seat(address).map_err(|TooMany| {
        Refusal::rate_limited("this address has as many connections as it may", RETRY_LATER_S)
    })?;
    let answer = answer::switching_protocols(checked.key, checked.names_subprotocol);
    Ok(Wish::WebSocket { token: checked.token, answer, address, seat })
}

fn refuse_busy(busy: Busy) -> Refusal {
    let detail = match busy {
        Busy::Draining => "this gateway is leaving: try another one",
        Busy::Full => "this gateway holds as many connections as it may",
    };
    Refusal::unavailable(detail, RETRY_AFTER_S)
}

/// Answers, then waits for the client to close: a socket closed over unread bytes would take the answer back.
async fn leave(mut stream: TcpStream, answer: Vec<u8>, buffer: &RefCell<Box<[u8]>>) {
    let (written, _) = stream.write_all(answer).await;
    if written.is_err() || shutdown(descriptor(&stream), Shutdown::Write).is_err() {
        return;
    }
    while stream.readable(false).await.is_ok() {
        if matches!(receive(descriptor(&stream), &mut buffer.borrow_mut()), Ok(Some(0)) | Err(_)) {
            return;
        }
    }
}
