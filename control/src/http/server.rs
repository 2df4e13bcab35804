//! Accepting connections, and the limits that hold before a handler sees a request: how many connections, how long
//! and how large a request's head, and who is believed about the client's address.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hubbub_common::proxy_header::{self, HEADER_BYTES_MAX};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::config::Config;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8_192;
/// Bytes of a request's head; past it 431.
const HEAD_BYTES_MAX: usize = 16_384;
/// Headers of a request; past it 431.
const HEADERS_MAX: usize = 64;
/// How long a proxy may take to say for whom it connects.
const PROXY_HEADER_MAX: Duration = Duration::from_secs(5);
/// Pause after the kernel refused to accept, for want of files most likely.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way get to finish at the end.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);

/// Serves until `stopped`, then lets what is under way finish.
pub async fn serve(listener: TcpListener, routes: Router, config: &Config, stopped: impl Future) {
    let settings = &config.shared;
    // From the end of the request before it.
    let head_max = config.request_max * 2;
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            _ = &mut stopped => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connections can't be accepted");
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            }
        };
        // Answers are written whole: waiting for more to send with them only delays them.
        let _ = stream.set_nodelay(true);
        let is_announced = settings.proxy_protocol && settings.trusts(peer.ip());
        let (routes, watcher) = (routes.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            if is_announced {
                match tokio::time::timeout(PROXY_HEADER_MAX, read_proxy_header(stream, peer)).await {
                    Ok(Some((stream, client))) => answer(stream, client, head_max, routes, watcher).await,
                    Ok(None) | Err(_) => tracing::debug!(%peer, "a proxy sent no PROXY header"),
                }
            } else {
                answer(stream, peer, head_max, routes, watcher).await;
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
}

/// Answers the requests of one connection.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: SocketAddr,
    head_max: Duration,
    routes: Router,
    watcher: Watcher,
) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(client));
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_max)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%client, %error, "a connection broke off");
    }
}

/// Takes the PROXY header off the front of a connection: gives what comes after it, and the client that it names.
async fn read_proxy_header(
    mut stream: TcpStream,
    peer: SocketAddr,
) -> Option<(impl AsyncRead + AsyncWrite + Unpin + Send + 'static, SocketAddr)> {
    let mut read = Vec::with_capacity(HEADER_BYTES_MAX);
    loop {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        if let Some(found) = proxy_header::parse(&read).ok()? {
            let request = Cursor::new(read.split_off(found.bytes));
            let (reader, writer) = stream.into_split();
            let stream = tokio::io::join(request.chain(reader), writer);
            return Some((stream, found.client.unwrap_or(peer)));
        }
    }
}
