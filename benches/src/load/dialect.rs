//! How to talk to each server over its WebSocket: what to send to get in, to join rooms and to publish, and
//! what its frames mean. Pure.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::wire::{self, Frame, Opcode};

/// A protocol on top of WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Dialect {
    /// Ours.
    Hubbub,
    /// A path for each room; text goes to everybody in it as it is.
    Room,
    /// Socket.IO 4: events `join`, `send`, `message`.
    SocketIo,
    /// NATS: a subject for each room.
    Nats,
}

/// A room to join, and after which message to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) room: u32,
    pub(super) since: Option<u64>,
}

/// What a frame meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing to do.
    Nothing,
    /// Answer with these bytes.
    Answer(Vec<u8>),
    /// All rooms are joined; so many events are replayed.
    Joined { replayed: u64 },
    /// It carries one or more messages.
    Messages,
    /// The server has stored a message of ours.
    Ack,
    /// The server sends us away, and says after how long to come back.
    Bye { after_ms: u64 },
    /// The server refused something, or closes.
    Refused(String),
}

impl Dialect {
    /// The upgrade request, and what may follow it without waiting.
    pub(super) fn hello(self, token: &str, rooms: &[Wanted]) -> Vec<u8> {
        let path = match self {
            Self::Hubbub => "/ws".to_owned(),
            Self::Room => format!("/room/{}", rooms.first().map_or(0, |wanted| wanted.room + 1)),
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket".to_owned(),
            Self::Nats => "/".to_owned(),
        };
        let mut hello = upgrade_request(&path, (self == Self::Hubbub).then_some(token)).into_bytes();
        match self {
            Self::Hubbub => wire::write(&mut hello, Opcode::Text, join(rooms).as_bytes()),
            Self::Room | Self::SocketIo | Self::Nats => {}
        }
        hello
    }

    /// Whether the upgrade alone means that the room is joined.
    pub(super) fn joins_by_upgrade(self) -> bool {
        self == Self::Room
    }

    /// Appends the frame that sends a body to a room.
    pub(super) fn publish(self, out: &mut Vec<u8>, room: u32, body: &str) {
        let room = room + 1;
        match self {
            Self::Hubbub => {
                let text = format!(r#"{{"op":"send","ref":1,"room":"{room}","body":"{body}"}}"#);
                wire::write(out, Opcode::Text, text.as_bytes());
            }
            Self::Room => wire::write(out, Opcode::Text, body.as_bytes()),
            Self::SocketIo => {
                let text = format!(r#"42["send","{room}","{body}"]"#);
                wire::write(out, Opcode::Text, text.as_bytes());
            }
            Self::Nats => {
                let text = format!("PUB room.{room} {}\r\n{body}\r\n", body.len());
                wire::write(out, Opcode::Binary, text.as_bytes());
            }
        }
    }

    /// The same with a `ref` to know the answer by, and a nonce: however often it is sent, it is stored once.
    pub(super) fn publish_once(out: &mut Vec<u8>, room: u32, body: &str, nonce: u64) {
        let room = room + 1;
        let text =
            format!(r#"{{"op":"send","ref":{nonce},"room":"{room}","body":"{body}","nonce":"{nonce}"}}"#);
        wire::write(out, Opcode::Text, text.as_bytes());
    }

    /// What a frame of the server means for a client that wants these rooms.
    pub(super) fn meaning(self, frame: &Frame<'_>, rooms: &[Wanted]) -> Meaning {
        let payload = frame.payload;
        match frame.opcode {
            Opcode::Ping => {
                let mut pong = Vec::new();
                wire::write(&mut pong, Opcode::Pong, payload);
                return Meaning::Answer(pong);
            }
            Opcode::Pong => return Meaning::Nothing,
            Opcode::Close => return Meaning::Refused(format!("closed: {}", shown(payload))),
            Opcode::Text | Opcode::Binary => {}
        }
        match self {
            Self::Hubbub => hubbub(payload),
            Self::Room => Meaning::Messages,
            Self::SocketIo => socket_io(payload, rooms),
            Self::Nats if payload.starts_with(b"INFO") => {
                Meaning::Answer(binary(subscribe(rooms).as_bytes()))
            }
            Self::Nats if payload.starts_with(b"+OK") => Meaning::Nothing,
            Self::Nats if payload.starts_with(b"PONG") => Meaning::Joined { replayed: 0 },
            Self::Nats if payload.starts_with(b"PING") => Meaning::Answer(binary(b"PONG\r\n")),
            Self::Nats if payload.starts_with(b"-ERR") => Meaning::Refused(shown(payload)),
            // Messages may stand behind any of these, so they are looked for in every frame.
            Self::Nats => Meaning::Nothing,
        }
    }
}

/// The head of a request for a WebSocket.
pub(super) fn upgrade_request(path: &str, token: Option<&str>) -> String {
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: load\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    if let Some(token) = token {
        let _ = write!(head, "Authorization: Bearer {token}\r\n");
    }
    head + "\r\n"
}

fn hubbub(payload: &[u8]) -> Meaning {
    let is =
        |op: &str| payload.strip_prefix(br#"{"op":""#).is_some_and(|rest| rest.starts_with(op.as_bytes()));
    if is("message\"") {
        Meaning::Messages
    } else if is("ack\"") {
        Meaning::Ack
    } else if is("joined\"") {
        joined(payload)
    } else if is("bye\"") {
        bye(payload)
    } else if is("error\"") {
        Meaning::Refused(shown(payload))
    } else {
        Meaning::Nothing
    }
}

fn joined(payload: &[u8]) -> Meaning {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(payload) else {
        return Meaning::Refused(shown(payload));
    };
    let rooms = event.get("rooms").and_then(|rooms| rooms.as_array()).map(Vec::as_slice).unwrap_or_default();
    // `replayed: null` tells to read history, which a measured run must not need.
    match rooms.iter().map(|room| room.get("replayed")?.as_u64()).sum() {
        Some(replayed) => Meaning::Joined { replayed },
        None => Meaning::Refused(shown(payload)),
    }
}

/// Only who leaves is polite about it.
fn bye(payload: &[u8]) -> Meaning {
    let event = serde_json::from_slice::<serde_json::Value>(payload).unwrap_or_default();
    let after_ms = event.get("reconnect_after_ms").and_then(serde_json::Value::as_u64);
    match (event.get("code").and_then(serde_json::Value::as_str), after_ms) {
        (Some("drain"), Some(after_ms)) => Meaning::Bye { after_ms },
        _ => Meaning::Refused(shown(payload)),
    }
}

fn socket_io(payload: &[u8], rooms: &[Wanted]) -> Meaning {
    if payload.starts_with(b"42") {
        return Meaning::Messages;
    }
    match payload.first() {
        Some(b'0') => Meaning::Answer(text(b"40")),
        Some(b'2') => Meaning::Answer(text(b"3")),
        // Connected: join. The acknowledgement of the last room says that all are joined.
        Some(b'4') if payload.starts_with(b"40") => {
            let mut joins = Vec::new();
            for (number, wanted) in rooms.iter().enumerate() {
                let join = format!(r#"42{number}["join","{}"]"#, wanted.room + 1);
                wire::write(&mut joins, Opcode::Text, join.as_bytes());
            }
            Meaning::Answer(joins)
        }
        Some(b'4') if payload.starts_with(b"43") => {
            let last = format!("43{}[", rooms.len().saturating_sub(1));
            if payload.starts_with(last.as_bytes()) {
                Meaning::Joined { replayed: 0 }
            } else {
                Meaning::Nothing
            }
        }
        _ => Meaning::Refused(shown(payload)),
    }
}

/// Our `join` of all rooms.
fn join(rooms: &[Wanted]) -> String {
    let mut join = r#"{"op":"join","ref":1,"rooms":["#.to_owned();
    for (number, Wanted { room, since }) in rooms.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(join, r#"{comma}{{"room":"{}""#, room + 1);
        if let Some(since) = since {
            let _ = write!(join, r#","since":"{since}""#);
        }
        join.push('}');
    }
    join + "]}"
}

/// What NATS wants to hear after its `INFO`; its `PONG` says that all rooms are joined.
fn subscribe(rooms: &[Wanted]) -> String {
    let mut text = r#"CONNECT {"verbose":false,"pedantic":false,"protocol":1}"#.to_owned();
    text.push_str("\r\n");
    for (number, wanted) in rooms.iter().enumerate() {
        let _ = write!(text, "SUB room.{} {}\r\n", wanted.room + 1, number + 1);
    }
    text + "PING\r\n"
}

fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::write(&mut frame, Opcode::Text, payload);
    frame
}

fn binary(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::write(&mut frame, Opcode::Binary, payload);
    frame
}

fn shown(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload.get(..200).unwrap_or(payload)).into_owned()
}

/// The `ref` of one of our `ack` events, where it is a number.
pub(super) fn acknowledged(payload: &[u8]) -> Option<u64> {
    let key = br#""ref":"#;
    let at = memchr::memmem::find(payload, key)? + key.len();
    let digits = payload.get(at..)?.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The id in one of our `message` events.
pub(super) fn message_id(payload: &[u8]) -> Option<u64> {
    let key = br#""id":""#;
    let at = memchr::memmem::find(payload, key)? + key.len();
    let digits = payload.get(at..)?.split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dialect: Dialect, opcode: Opcode, payload: &str, expected: &Meaning) {
        let rooms = [Wanted { room: 0, since: None }, Wanted { room: 6, since: Some(5) }];
        assert_eq!(
            dialect.meaning(&Frame { opcode, payload: payload.as_bytes() }, &rooms),
            *expected,
            "{payload}"
        );
    }

    #[test]
    fn frames_mean_what_each_protocol_says() {
        use Dialect::{Hubbub, Nats, Room, SocketIo};
        use Opcode::{Binary, Text};
        let joined = r#"{"op":"joined","ref":1,"rooms":[{"room":"1","last":"0","replayed":0},{"room":"7","last":"9","replayed":3}]}"#;
        check(Hubbub, Text, joined, &Meaning::Joined { replayed: 3 });
        let refused = r#"{"op":"joined","rooms":[{"room":"1","last":"5","replayed":null}]}"#;
        check(Hubbub, Text, refused, &Meaning::Refused(refused.to_owned()));
        check(Hubbub, Text, r#"{"op":"message","room":"1"}"#, &Meaning::Messages);
        check(Hubbub, Text, r#"{"op":"welcome"}"#, &Meaning::Nothing);
        let bye = r#"{"op":"bye","code":"drain","reconnect_after_ms":250}"#;
        check(Hubbub, Text, bye, &Meaning::Bye { after_ms: 250 });
        let bye = r#"{"op":"bye","code":"slow","reconnect_after_ms":250}"#;
        check(Hubbub, Text, bye, &Meaning::Refused(bye.to_owned()));
        check(Room, Text, "anything", &Meaning::Messages);
        check(SocketIo, Text, r#"0{"sid":"x"}"#, &Meaning::Answer(text(b"40")));
        check(SocketIo, Text, "430[]", &Meaning::Nothing);
        check(SocketIo, Text, "431[]", &Meaning::Joined { replayed: 0 });
        let subscribe = "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1}\r\nSUB room.1 1\r\nSUB room.7 2\r\nPING\r\n";
        check(Nats, Binary, "INFO {}\r\n", &Meaning::Answer(binary(subscribe.as_bytes())));
        check(Nats, Binary, "PONG\r\n", &Meaning::Joined { replayed: 0 });
        check(Room, Opcode::Close, "", &Meaning::Refused("closed: ".to_owned()));
    }

    #[test]
    fn a_join_names_every_room() {
        let rooms = [Wanted { room: 0, since: None }, Wanted { room: 6, since: Some(5) }];
        assert_eq!(join(&rooms), r#"{"op":"join","ref":1,"rooms":[{"room":"1"},{"room":"7","since":"5"}]}"#);
        assert_eq!(message_id(br#"{"op":"message","room":"1","id":"77","ts":1}"#), Some(77));
        assert_eq!(acknowledged(br#"{"op":"ack","ref":12,"room":"1","id":"77"}"#), Some(12));
        assert_eq!(acknowledged(br#"{"op":"ack","room":"1","id":"77"}"#), None);
    }
}
