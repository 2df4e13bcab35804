//! Servers that Hubbub is compared with do what makes them comparable. Only those that need no packages are tested.

use futures_util::{SinkExt as _, Stream, StreamExt as _};
use hubbub_benches::peers::{Dialect, Kind, Peer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::EVENT_MAX;

/// Enough that several come in one read, and some in two.
const MESSAGES: usize = 2_000;

type Socket = WebSocketStream<TcpStream>;

async fn join(peer: &Peer, room: u32) -> Socket {
    let mut request = format!("ws://{}/room/{room}", peer.address()).into_client_request().unwrap();
    // The floors have the answer to this one only.
    request.headers_mut().insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
    let stream = TcpStream::connect(peer.address()).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

/// Of lengths that have every form of head that is in use.
fn texts(name: &str) -> Vec<String> {
    let lengths = [0, 50, 100, 300].into_iter().cycle();
    (0..MESSAGES)
        .zip(lengths)
        .map(|(number, length)| format!("{name}{number}{}", "ü".repeat(length)))
        .collect()
}

/// Sends these and gets them back. It does both at once: sockets do not hold all of them.
async fn talk(socket: &mut Socket, texts: &[String], pad: &str) {
    let (mut out, mut back) = socket.split();
    let send = async {
        for text in texts {
            out.feed(Message::text(text)).await.unwrap();
        }
        out.flush().await.unwrap();
    };
    tokio::join!(send, listen(&mut back, texts, pad));
}

/// Gets these, in this order and nothing between them.
async fn listen(
    socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    texts: &[String],
    pad: &str,
) {
    for text in texts {
        let frame = timeout(EVENT_MAX, socket.next()).await.expect("a message should come");
        assert_eq!(frame.unwrap().unwrap(), Message::text(format!("{text}{pad}")));
    }
}

/// Two in a room and one in another get what was sent there and nothing else.
async fn serves_rooms(kind: Kind, pad: &str) {
    let peer = Peer::start_padded(kind, Some(0), pad.len()).unwrap();
    assert_eq!((peer.kind(), peer.dialect()), (kind, Dialect::Room));
    assert_eq!((peer.pids().len(), peer.helper_pids().len()), (1, 0));
    let (mut ada, mut bob, mut eve) = (join(&peer, 1).await, join(&peer, 1).await, join(&peer, 2).await);
    let [one, two, other] = ["one", "two", "other"].map(texts);
    tokio::join!(talk(&mut ada, &one, pad), listen(&mut bob, &one, pad), talk(&mut eve, &other, pad));
    tokio::join!(talk(&mut bob, &two, pad), listen(&mut ada, &two, pad));
    bob.close(None).await.unwrap();
    tokio::join!(talk(&mut ada, &one, pad), talk(&mut eve, &other, pad));
}

#[tokio::test]
async fn tungstenite_serves_rooms() {
    serves_rooms(Kind::Tungstenite, "").await;
}

#[tokio::test]
async fn floors_serve_rooms() {
    serves_rooms(Kind::FloorSend, "").await;
    serves_rooms(Kind::FloorUring, "").await;
}

#[tokio::test]
async fn floors_pad_what_they_send() {
    serves_rooms(Kind::FloorSend, "   ").await;
    serves_rooms(Kind::FloorUring, "   ").await;
}

#[test]
fn names_are_read_back() {
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.name()), Some(kind));
    }
    assert_eq!(Kind::parse("nginx"), None);
}
