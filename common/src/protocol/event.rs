//! What the server tells clients.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{ByeCode, ErrorCode, Ref};
use crate::ids::{MessageId, RoomId, UserId};

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MessageKind {
    /// Plain text.
    #[default]
    Text,
    /// The body names an uploaded image.
    Image,
    /// Written by the server; refused from clients.
    System,
}

impl MessageKind {
    /// The word on the wire and in Postgres.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::System => "system",
        }
    }
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// May do everything, also delete the room.
    Owner,
    /// May change the room and its members.
    Admin,
    /// May read and send.
    Member,
    /// May read.
    Muted,
    /// May not even join.
    Banned,
}

impl Role {
    /// The word on the wire, in Redis and in Postgres.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Muted => "muted",
            Self::Banned => "banned",
        }
    }

    /// The role with this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Owner, Self::Admin, Self::Member, Self::Muted, Self::Banned]
            .into_iter()
            .find(|role| role.as_str() == word)
    }

    /// Whether it lets a session join the room.
    pub fn may_join(self) -> bool {
        self != Self::Banned
    }

    /// Whether it lets a user change the room, its members and what others wrote.
    pub fn is_admin(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }

    /// Whether it lets a session send.
    pub fn may_send(self) -> bool {
        !matches!(self, Self::Muted | Self::Banned)
    }
}

/// What happened to a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Became a member.
    Joined,
    /// Left.
    Left,
    /// Was removed.
    Kicked,
    /// Was banned.
    Banned,
    /// Has another role now.
    Role,
}

/// What happened to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomChange {
    /// Name or topic changed.
    Updated,
    /// Gone.
    Deleted,
}

/// Whether a user is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceState {
    /// At least one session is joined to the room.
    Online,
    /// None is any more.
    Offline,
}

/// A user as others see them.
#[derive(Debug, Clone, Serialize)]
pub struct UserRef<'a> {
    /// Who.
    pub id: UserId,
    /// The name to show.
    pub name: &'a str,
}

/// The limits that `welcome` announces.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// Bytes of a message's body.
    pub max_body_bytes: u32,
    /// Bytes of a WebSocket frame, and of a message.
    pub max_frame_bytes: u32,
    /// Rooms that one connection may be joined to.
    pub max_rooms: usize,
    /// Sends per second and user; 0 = no limit.
    pub sends_per_second: u32,
}

/// One room of a `joined` event.
#[derive(Debug, Clone, Serialize)]
pub struct JoinedRoom {
    /// Which room.
    pub room: RoomId,
    /// How the join went.
    #[serde(flatten)]
    pub outcome: Joined,
}

/// How the join of one room went.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Joined {
    /// Joined.
    Ok {
        /// Newest event id known, or zero.
        last: MessageId,
        /// How many stored events follow; `None` tells the client to read history.
        replayed: Option<u32>,
    },
    /// Refused.
    Refused {
        /// Why.
        error: ErrorCode,
    },
}

/// Every event, as its JSON object.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the fields are those of the protocol page")]
pub enum Event<'a> {
    Welcome {
        connection: &'a str,
        gateway: &'a str,
        user: UserRef<'a>,
        heartbeat_ms: u64,
        resume_window_ms: u64,
        limits: Limits,
    },
    Joined {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
        rooms: &'a [JoinedRoom],
    },
    Left {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
        rooms: &'a [RoomId],
    },
    Message {
        room: RoomId,
        id: MessageId,
        ts: u64,
        from: UserId,
        name: Cow<'a, str>,
        kind: MessageKind,
        body: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        nonce: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<MessageId>,
    },
    Edited {
        room: RoomId,
        id: MessageId,
        msg: MessageId,
        from: UserId,
        ts: u64,
        body: Cow<'a, str>,
    },
    Deleted {
        room: RoomId,
        id: MessageId,
        msg: MessageId,
        from: UserId,
        ts: u64,
    },
    Reacted {
        room: RoomId,
        id: MessageId,
        msg: MessageId,
        from: UserId,
        ts: u64,
        emoji: Cow<'a, str>,
        on: bool,
    },
    Typing {
        room: RoomId,
        from: UserId,
    },
    Read {
        room: RoomId,
        from: UserId,
        msg: MessageId,
    },
    /// The answer to a `presence` request.
    #[serde(rename = "presence")]
    PresenceList {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
        room: RoomId,
        online: &'a [UserId],
        count: u64,
    },
    /// A change of presence.
    Presence {
        room: RoomId,
        user: UserId,
        state: PresenceState,
    },
    Member {
        room: RoomId,
        id: MessageId,
        ts: u64,
        user: UserId,
        state: MemberState,
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    },
    /// A `member` event outside the room's own order: to a user about themselves, where the room is not joined.
    #[serde(rename = "member")]
    Membership {
        room: RoomId,
        user: UserId,
        state: MemberState,
        role: Role,
    },
    Room {
        room: RoomId,
        id: MessageId,
        ts: u64,
        state: RoomChange,
    },
    Ack {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
        room: RoomId,
        id: MessageId,
        ts: u64,
    },
    Error {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
        code: ErrorCode,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    Pong {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
    },
    Bye {
        code: ByeCode,
        reconnect_after_ms: u64,
    },
}

impl Event<'_> {
    /// Appends the JSON object to `out`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        // Writing to memory can't fail, and every type above serialises.
        let written = serde_json::to_writer(out, self);
        debug_assert!(written.is_ok(), "{written:?}");
    }
}
