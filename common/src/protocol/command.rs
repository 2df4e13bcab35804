//! What clients ask, parsed strictly.
//!
//! Parsing is one pass over the text into borrowed fields; a second, slower pass happens only for a request
//! that is refused, to find the `ref` that the error has to echo. Unknown fields are ignored, so that a newer
//! client can talk to an older gateway.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{ErrorCode, MessageKind, Ref, Refusal};
use crate::ids::{MessageId, RoomId};
use crate::limits::{EMOJI_BYTES_MAX, JOIN_ROOMS_MAX, NONCE_BYTES_MAX};

/// One room of a `join`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Join {
    /// Which room.
    pub room: RoomId,
    /// Replay what came after this event.
    pub since: Option<MessageId>,
}

/// The fields of a `send`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send<'a> {
    /// Where to.
    pub room: RoomId,
    /// 1 byte at least; the upper bound is a setting and checked by the session.
    pub body: Cow<'a, str>,
    /// Makes the send idempotent.
    pub nonce: Option<Cow<'a, str>>,
    /// `text` or `image`.
    pub kind: MessageKind,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
}

/// Every operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the protocol page")]
pub enum Command<'a> {
    Join { reference: Option<Ref>, rooms: Vec<Join> },
    Leave { reference: Option<Ref>, rooms: Vec<RoomId> },
    Send { reference: Option<Ref>, send: Send<'a> },
    Edit { reference: Option<Ref>, room: RoomId, id: MessageId, body: Cow<'a, str> },
    Delete { reference: Option<Ref>, room: RoomId, id: MessageId },
    React { reference: Option<Ref>, room: RoomId, id: MessageId, emoji: Cow<'a, str>, on: bool },
    Typing { room: RoomId },
    Read { room: RoomId, id: MessageId },
    Presence { reference: Option<Ref>, room: RoomId },
    Ping { reference: Option<Ref> },
}

/// The words of `op`.
pub const OPS: [&str; 10] =
    ["join", "leave", "send", "edit", "delete", "react", "typing", "read", "presence", "ping"];

/// What is written as an object and nothing else: a derived struct takes a list of its fields, too.
struct Object<T>(T);

impl<'a, T: Deserialize<'a>> Deserialize<'a> for Object<T> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'a, T: Deserialize<'a>> Visitor<'a> for OfMap<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<M: MapAccess<'a>>(self, map: M) -> Result<T, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

/// A string that borrows from the request where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    op: Text<'a>,
    #[serde(rename = "ref", borrow)]
    reference: Option<&'a RawValue>,
    room: Option<RoomId>,
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<Text<'a>>,
    #[serde(borrow)]
    nonce: Option<Text<'a>>,
    kind: Option<MessageKind>,
    reply_to: Option<MessageId>,
    id: Option<MessageId>,
    #[serde(borrow)]
    emoji: Option<Text<'a>>,
    on: Option<bool>,
}

impl<'a> Command<'a> {
    /// Parses one text message.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let Object(fields): Object<Fields<'a>> =
            serde_json::from_str(text).map_err(|error| explain(text, &error))?;
        let reference = match fields.reference {
            None => None,
            Some(raw) => Some(Ref::new(raw).ok_or_else(|| {
                Refusal::new(
                    None,
                    ErrorCode::BadRequest,
                    "ref: expected a number, or a string of at most 64 bytes",
                )
            })?),
        };
        fields.command(reference.clone()).map_err(|refusal| Refusal { reference, ..refusal })
    }
}

impl<'a> Fields<'a> {
    fn command(self, reference: Option<Ref>) -> Result<Command<'a>, Refusal> {
        Ok(match self.op.0.as_ref() {
            "join" => {
                let rooms: Vec<Object<Join>> = list(self.rooms)?;
                Command::Join { reference, rooms: rooms.into_iter().map(|Object(join)| join).collect() }
            }
            "leave" => Command::Leave { reference, rooms: list(self.rooms)? },
            "send" => Command::Send { reference, send: self.send()? },
            "edit" => Command::Edit {
                reference,
                room: need(self.room, "room")?,
                id: need(self.id, "id")?,
                body: filled(self.body, "body", usize::MAX)?,
            },
            "delete" => {
                Command::Delete { reference, room: need(self.room, "room")?, id: need(self.id, "id")? }
            }
            "react" => Command::React {
                reference,
                room: need(self.room, "room")?,
                id: need(self.id, "id")?,
                emoji: filled(self.emoji, "emoji", EMOJI_BYTES_MAX)?,
                on: need(self.on, "on")?,
            },
            "typing" => Command::Typing { room: need(self.room, "room")? },
            "read" => Command::Read { room: need(self.room, "room")?, id: need(self.id, "id")? },
            "presence" => Command::Presence { reference, room: need(self.room, "room")? },
            "ping" => Command::Ping { reference },
            _ => {
                return Err(Refusal::new(
                    None,
                    ErrorCode::UnknownOp,
                    format!("op: expected one of {}", OPS.join(", ")),
                ));
            }
        })
    }

    fn send(self) -> Result<Send<'a>, Refusal> {
        let kind = self.kind.unwrap_or_default();
        if kind == MessageKind::System {
            return Err(bad("kind: system messages come from the server"));
        }
        Ok(Send {
            room: need(self.room, "room")?,
            body: filled(self.body, "body", usize::MAX)?,
            nonce: self.nonce.map(|nonce| filled(Some(nonce), "nonce", NONCE_BYTES_MAX)).transpose()?,
            kind,
            reply_to: self.reply_to,
        })
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(None, ErrorCode::BadRequest, message)
}

fn need<T>(field: Option<T>, name: &str) -> Result<T, Refusal> {
    field.ok_or_else(|| bad(format!("{name}: missing")))
}

fn filled<'a>(field: Option<Text<'a>>, name: &str, bytes_max: usize) -> Result<Cow<'a, str>, Refusal> {
    let text = need(field, name)?.0;
    match text.len() {
        0 => Err(bad(format!("{name}: empty"))),
        // Postgres can't store it, and no text needs it.
        _ if text.contains('\0') => Err(bad(format!("{name}: U+0000 is not allowed"))),
        len if len > bytes_max => Err(bad(format!("{name}: longer than {bytes_max} bytes"))),
        _ => Ok(text),
    }
}

fn list<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<Vec<T>, Refusal> {
    let rooms: Vec<T> =
        serde_json::from_str(need(raw, "rooms")?.get()).map_err(|error| bad(format!("rooms: {error}")))?;
    match rooms.len() {
        0 => Err(bad("rooms: empty")),
        len if len > JOIN_ROOMS_MAX => Err(bad(format!("rooms: more than {JOIN_ROOMS_MAX}"))),
        _ => Ok(rooms),
    }
}

/// Names what is wrong with a text that did not parse, with its `ref` where that can still be read.
fn explain(text: &str, error: &serde_json::Error) -> Refusal {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(rename = "ref", borrow)]
        reference: Option<&'a RawValue>,
    }
    let is_object = text.trim_ascii_start().starts_with('{');
    match error.classify() {
        Category::Data if is_object => {
            let reference =
                serde_json::from_str::<Probe<'_>>(text).ok().and_then(|p| p.reference.and_then(Ref::new));
            Refusal::new(reference, ErrorCode::BadRequest, error.to_string())
        }
        Category::Data | Category::Syntax | Category::Eof | Category::Io => {
            Refusal::new(None, ErrorCode::BadJson, format!("expected one JSON object: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_op_parses_and_each_mistake_has_its_code() {
        let good = [
            r#"{"op":"join","ref":1,"rooms":[{"room":"1"},{"room":"2","since":"7"}]}"#,
            r#"{"op":"leave","rooms":["1"]}"#,
            r#"{"op":"send","ref":"a","room":"1","body":"hé\n","nonce":"n","kind":"image","reply_to":"9"}"#,
            r#"{"op":"edit","room":"1","id":"2","body":"x"}"#,
            r#"{"op":"delete","room":"1","id":"2"}"#,
            r#"{"op":"react","room":"1","id":"2","emoji":"👍","on":true}"#,
            r#"{"op":"typing","room":"1"}"#,
            r#"{"op":"read","room":"1","id":"2"}"#,
            r#"{"op":"presence","room":"1"}"#,
            r#"{"op":"ping","later":{"field":[1]}}"#,
        ];
        for (text, op) in good.iter().zip(OPS) {
            assert!(text.contains(&format!("\"op\":\"{op}\"")));
            Command::parse(text).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"));
        }
        let check = |text: &str, code: ErrorCode, reference: Option<&str>| {
            let refusal = Command::parse(text).unwrap_err();
            assert_eq!(refusal.code, code, "{text}: {refusal:?}");
            assert_eq!(refusal.reference.as_ref().map(Ref::as_json), reference, "{text}");
        };
        check("", ErrorCode::BadJson, None);
        check("[]", ErrorCode::BadJson, None);
        check("{\"op\":\"ping\"", ErrorCode::BadJson, None);
        check("{\"op\":\"ping\"} x", ErrorCode::BadJson, None);
        check("{}", ErrorCode::BadRequest, None);
        check(r#"{"op":"nope","ref":1}"#, ErrorCode::UnknownOp, Some("1"));
        check(r#"{"op":"ping","ref":[1]}"#, ErrorCode::BadRequest, None);
        check(r#"{"op":"typing","ref":"r"}"#, ErrorCode::BadRequest, Some("\"r\""));
        check(r#"{"op":"typing","ref":2,"room":1}"#, ErrorCode::BadRequest, Some("2"));
        check(r#"{"op":"join","ref":3,"rooms":[]}"#, ErrorCode::BadRequest, Some("3"));
        check(r#"{"op":"join","ref":3,"rooms":[["1","2"]]}"#, ErrorCode::BadRequest, Some("3"));
        check(r#"["ping",null,null,null,null,null,null,null,null,null,null]"#, ErrorCode::BadJson, None);
        check(r#"{"op":"send","ref":3,"room":"1","body":""}"#, ErrorCode::BadRequest, Some("3"));
        check(
            r#"{"op":"send","ref":3,"room":"1","body":"a","kind":"system"}"#,
            ErrorCode::BadRequest,
            Some("3"),
        );
        check(r#"{"op":"send","ref":3,"room":"1","body":"a","nonce":""}"#, ErrorCode::BadRequest, Some("3"));
        check(r#"{"op":"send","ref":3,"room":"1","body":"a\u0000"}"#, ErrorCode::BadRequest, Some("3"));
    }
}
