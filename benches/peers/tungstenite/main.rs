//! A room server on tokio and tokio-tungstenite, as their users write it: `peer-tungstenite ADDRESS`.
//!
//! A task for each connection, a channel to each; every text of a client goes to all with the same path, the sender
//! included.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{SinkExt as _, StreamExt as _};
use slab::Slab;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// The library's default of 128 KiB is for few connections with much to say.
const READ_BUFFER_BYTES: usize = 4 * 1_024;

#[derive(Debug, Default)]
struct Room(Mutex<Slab<UnboundedSender<Utf8Bytes>>>);

impl Room {
    fn members(&self) -> MutexGuard<'_, Slab<UnboundedSender<Utf8Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, text: &Utf8Bytes) {
        for (_, member) in &*self.members() {
            // One that has gone leaves by itself.
            let _ = member.send(text.clone());
        }
    }
}

type Rooms = Arc<Mutex<HashMap<String, Arc<Room>>>>;

/// A connection's place in its room, left when dropped.
#[derive(Debug)]
struct Seat {
    room: Arc<Room>,
    key: usize,
    inbox: UnboundedReceiver<Utf8Bytes>,
}

impl Seat {
    fn take(rooms: &Rooms, name: &str) -> Self {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Arc::clone(rooms.entry(name.to_owned()).or_default());
        let (outbox, inbox) = unbounded_channel();
        let key = room.members().insert(outbox);
        Self { room, key, inbox }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.members().remove(self.key);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).ok_or_else(|| io::Error::other("peer-tungstenite ADDRESS"))?;
    let listener = TcpListener::bind(address).await?;
    let rooms = Rooms::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let rooms = Arc::clone(&rooms);
        tokio::spawn(async move {
            match serve(stream, &rooms).await {
                Ok(()) | Err(Error::ConnectionClosed) => {}
                Err(error) => eprintln!("{error}"),
            }
        });
    }
}

async fn serve(stream: TcpStream, rooms: &Rooms) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let mut seat = None;
    // Taken before the answer leaves.
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let join = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        seat = Some(Seat::take(rooms, request.uri().path()));
        Ok(response)
    };
    let mut socket = accept_hdr_async_with_config(stream, join, Some(config)).await?;
    let Some(mut seat) = seat else { return Ok(()) };
    loop {
        tokio::select! {
            message = socket.next() => match message.transpose()? {
                Some(Message::Text(text)) => seat.room.send(&text),
                Some(_) => {}
                None => return Ok(()),
            },
            Some(text) = seat.inbox.recv() => {
                socket.feed(Message::Text(text)).await?;
                while let Ok(text) = seat.inbox.try_recv() {
                    socket.feed(Message::Text(text)).await?;
                }
                socket.flush().await?;
            }
        }
    }
}
