//! Accepting sockets: one listener per core, the kernel spreads clients among them (`SO_REUSEPORT`).
//!
//! `accept` is never raced against anything: a dropped accept would leak the socket that it got. One that is called off
//! says whether it got one all the same.

use std::os::fd::AsRawFd as _;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use monoio::net::TcpListener;

use crate::config::Config;
use crate::connection;
use crate::core::Core;
use crate::core::socket::Socket;
use crate::handshake;

/// Pause while no handshake may begin, or none is accepted at all.
const CROWDED_PAUSE: Duration = Duration::from_millis(5);
/// Pause after the kernel refused to accept, for want of files most likely.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever.
pub(crate) async fn accept(core: Rc<Core>, config: Arc<Config>, listener: TcpListener) {
    let mut refused = false;
    loop {
        while !core.reads() || !core.greetings.borrow_mut().has_room(core.clock.elapsed().as_secs()) {
            monoio::time::sleep(CROWDED_PAUSE).await;
        }
        let (stream, peer) = match listener.cancelable_accept(core.hand_over.cancel_handle()).await {
            Ok(accepted) => accepted,
            // Called off.
            Err(_) if !core.reads() => continue,
            Err(error) => {
                if !std::mem::replace(&mut refused, true) {
                    tracing::error!(core = core.id, %error, "sockets can't be accepted");
                }
                monoio::time::sleep(REFUSED_PAUSE).await;
                continue;
            }
        };
        if std::mem::take(&mut refused) {
            tracing::info!(core = core.id, "sockets are accepted again");
        }
        let (core, config) = (Rc::clone(&core), Arc::clone(&config));
        monoio::spawn(async move {
            let greeting =
                core.greetings.borrow_mut().begin(stream.as_raw_fd(), core.clock.elapsed().as_secs());
            let handshake = handshake::perform(stream, peer, &config.shared, &*core, &core.receive_buffer);
            let upgraded = AssertUnwindSafe(handshake).catch_unwind().await;
            core.greetings.borrow_mut().end(greeting);
            match upgraded {
                Ok(Some((stream, upgraded))) => connection::begin(&core, Socket::new(stream), upgraded),
                Ok(None) => {}
                Err(_) => tracing::error!(%peer, "a handshake panicked"),
            }
        });
    }
}
