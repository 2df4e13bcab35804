//! The protocol state of one client on one connection.
//!
//! Pure: takes texts and the time, gives back what to do. It owns no socket and knows no room but by the
//! caller's answer whether it is joined; so the same rules run in the gateway and in simulations.

mod change;
pub mod grant;
mod portrait;

use std::borrow::Cow;
use std::collections::HashSet;

use hubbub_common::clock::UnixMs;
use hubbub_common::entry::Record;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::limits::{BAD_REQUESTS_MAX, BAD_REQUESTS_WINDOW_MS, NAME_BYTES_MAX};
use hubbub_common::protocol::{CloseCode, Command, ErrorCode, Join, Ref, Refusal, Send};
use hubbub_common::token::LoginMark;

use crate::bus::Change;
use crate::rate::{Limit, Rate};
pub use grant::{Grant, Identity};
pub use portrait::Portrait;

/// Typing, read positions and questions who is present; more of the first two are ignored, of the last refused.
const EPHEMERALS: Limit = Limit::twice_at_once(10);

/// The bounds that a session checks.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Bytes of a body.
    pub body_bytes_max: u32,
    /// Of sends.
    pub sends: Limit,
    /// Of rooms joined.
    pub joins: Limit,
}

/// What to do about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Ignore,
    /// Answer with an error.
    Refuse(Refusal),
    /// Answer with an error, then close.
    RefuseAndClose(Refusal, CloseCode),
    /// Answer with `pong`.
    Pong(Option<Ref>),
    /// Join those rooms that the grant allows.
    Join {
        /// Of the request.
        reference: Option<Ref>,
        /// As asked.
        rooms: Vec<Join>,
    },
    /// Leave rooms.
    Leave {
        /// Of the request.
        reference: Option<Ref>,
        /// As asked.
        rooms: Vec<RoomId>,
    },
    /// Publish a record and answer with `ack`.
    Publish {
        /// Of the request.
        reference: Option<Ref>,
        /// Where.
        room: RoomId,
        /// Encoded.
        record: Vec<u8>,
        /// Makes a repeat a repeat.
        nonce: Option<Box<str>>,
    },
    /// Change a message, if the user may, and answer with `ack`.
    Change {
        /// Of the request.
        reference: Option<Ref>,
        /// What.
        change: Change,
    },
    /// Publish a read position; no answer.
    PublishRead {
        /// Where.
        room: RoomId,
        /// Encoded.
        record: Vec<u8>,
    },
    /// Tell an ephemeral record; no answer.
    Say {
        /// Where.
        room: RoomId,
        /// Encoded.
        record: Vec<u8>,
    },
    /// Answer with who is online.
    Presence {
        /// Of the request.
        reference: Option<Ref>,
        /// Where.
        room: RoomId,
    },
}

/// See the module's text. There are millions of these: what few have stands behind one pointer.
#[derive(Debug)]
pub struct Session {
    user: UserId,
    name: Box<str>,
    rare: Option<Box<Rare>>,
    sends: Rate,
    joins: Rate,
    ephemerals: Rate,
    /// Unix seconds; 0 for never.
    expires_at_s: u32,
    membership_decides: bool,
    /// Of the login session behind it, if there is one.
    login: Option<LoginMark>,
}

/// What few sessions have.
#[derive(Debug, Default)]
struct Rare {
    /// The rooms that the token names.
    rooms: Option<Box<[RoomId]>>,
    rarer: Option<Box<Rarer>>,
}

/// What hardly any session has.
#[derive(Debug, Default)]
struct Rarer {
    /// Rooms in which the user may not send.
    muted: Vec<RoomId>,
    /// When malformed requests came lately, by the clock that never goes back.
    bad_requests_ms: Vec<u64>,
}

impl Session {
    /// Of a client that has just connected.
    pub fn new(identity: Identity) -> Self {
        let (membership_decides, rooms) = match identity.grant {
            Grant::Any => (false, None),
            Grant::Membership => (true, None),
            Grant::Rooms(rooms) => (false, Some(rooms)),
        };
        let expires_at_s =
            identity.expires_at_ms.map(|at_ms| u32::try_from(at_ms.div_ceil(1_000)).unwrap_or(0));
        Self {
            user: identity.user,
            name: identity.name,
            rare: rooms.map(|rooms| Box::new(Rare { rooms: Some(rooms), ..Rare::default() })),
            sends: Rate::default(),
            joins: Rate::default(),
            ephemerals: Rate::default(),
            expires_at_s: expires_at_s.unwrap_or(0),
            membership_decides,
            login: identity.login_session.as_deref().map(LoginMark::of),
        }
    }

    /// Whose.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// The name to show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The login session behind it, if there is one.
    pub fn login(&self) -> Option<LoginMark> {
        self.login
    }

    /// Whether the user's membership, rather than the token, says which rooms may be joined.
    pub fn membership_decides(&self) -> bool {
        self.membership_decides
    }

    /// Whether the token itself rules a room out.
    pub fn token_denies(&self, room: RoomId) -> bool {
        self.rare.as_ref().and_then(|rare| rare.rooms.as_ref()).is_some_and(|rooms| !rooms.contains(&room))
    }

    /// Notes whether the user may send to a room that was joined.
    pub fn set_muted(&mut self, room: RoomId, muted: bool) {
        if self.is_muted(room) == muted {
            return;
        }
        let all = &mut self.rarer().muted;
        if muted {
            all.push(room);
        } else {
            all.retain(|other| *other != room);
        }
    }

    fn rarer(&mut self) -> &mut Rarer {
        self.rare.get_or_insert_default().rarer.get_or_insert_default()
    }

    fn is_muted(&self, room: RoomId) -> bool {
        let rarer = self.rare.as_ref().and_then(|rare| rare.rarer.as_ref());
        rarer.is_some_and(|rarer| rarer.muted.contains(&room))
    }

    /// Sets when the token's time is over, or when to ask again about the login session.
    pub fn expires_at(&mut self, at_ms: UnixMs) {
        self.expires_at_s = u32::try_from(at_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
    }

    /// Whether the token's time is over.
    pub fn has_expired(&self, now_ms: UnixMs) -> bool {
        self.expires_at_s != 0 && u64::from(self.expires_at_s) * 1_000 <= now_ms
    }

    /// Seconds until the token's time is over, rounded up.
    pub fn expires_in_s(&self, now_ms: UnixMs) -> u64 {
        match self.expires_at_s {
            0 => u64::MAX,
            at_s => (u64::from(at_s) * 1_000).saturating_sub(now_ms).div_ceil(1_000),
        }
    }

    /// Handles one text message on the connection with this id. `uptime_ms` is a clock that never goes back.
    pub fn handle(
        &mut self,
        connection: u64,
        text: &str,
        uptime_ms: u64,
        limits: &SessionLimits,
        is_joined: impl Fn(RoomId) -> bool,
    ) -> Step {
        let command = match Command::parse(text) {
            Ok(command) => command,
            Err(refusal) => return self.refuse(refusal, uptime_ms),
        };
        let step = match command {
            Command::Ping { reference } => Ok(Step::Pong(reference)),
            Command::Join { reference, rooms } => self.join(reference, rooms, uptime_ms, limits),
            Command::Leave { reference, rooms } => Ok(Step::Leave { reference, rooms }),
            Command::Send { reference, send } => self.send(reference, send, uptime_ms, limits, is_joined),
            Command::Typing { room } if !is_joined(room) => Err(not_joined(None, room)),
            Command::Read { room, .. } if !is_joined(room) => Err(not_joined(None, room)),
            Command::Presence { reference, room } if !is_joined(room) => Err(not_joined(reference, room)),
            Command::Typing { .. } | Command::Read { .. } if self.too_many_ephemerals(uptime_ms) => {
                Ok(Step::Ignore)
            }
            // Who may not write is not about to.
            Command::Typing { room } if self.is_muted(room) => Ok(Step::Ignore),
            Command::Typing { room } => {
                Ok(Step::Say { room, record: Record::Typing { room, from: self.user }.encode() })
            }
            Command::Read { room, id } => {
                let from = self.user;
                Ok(Step::PublishRead {
                    room,
                    record: Record::Read { room, from, msg: id, connection }.encode(),
                })
            }
            Command::Presence { reference, room } => match self.ephemerals.take(EPHEMERALS, uptime_ms) {
                Ok(()) => Ok(Step::Presence { reference, room }),
                Err(retry_after_ms) => {
                    let message = format!("more than {} such requests a second", EPHEMERALS.per_second);
                    let refusal = Refusal::new(reference, ErrorCode::RateLimited, message);
                    Err(refusal.retry_after_ms(retry_after_ms))
                }
            },
            Command::Edit { reference, room, .. }
            | Command::Delete { reference, room, .. }
            | Command::React { reference, room, .. }
                if !is_joined(room) =>
            {
                Err(not_joined(reference, room))
            }
            Command::Edit { reference, room, id, body } => {
                self.edit(reference, room, id, &body, uptime_ms, limits)
            }
            Command::Delete { reference, room, id } => self.delete(reference, room, id, uptime_ms, limits),
            Command::React { reference, room, id, emoji, on } => {
                self.react(reference, (room, id), &emoji, on, uptime_ms, limits)
            }
        };
        step.unwrap_or_else(|refusal| self.refuse(refusal, uptime_ms))
    }

    fn join(
        &mut self,
        reference: Option<Ref>,
        rooms: Vec<Join>,
        uptime_ms: u64,
        limits: &SessionLimits,
    ) -> Result<Step, Refusal> {
        let rooms = each_once(rooms);
        let count = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
        match self.joins.take_many(limits.joins, count, uptime_ms) {
            Ok(()) => Ok(Step::Join { reference, rooms }),
            Err(retry_after_ms) => Err(too_many_joins(reference, limits.joins, retry_after_ms)),
        }
    }

    fn send(
        &mut self,
        reference: Option<Ref>,
        send: Send<'_>,
        uptime_ms: u64,
        limits: &SessionLimits,
        is_joined: impl Fn(RoomId) -> bool,
    ) -> Result<Step, Refusal> {
        if !is_joined(send.room) {
            return Err(not_joined(reference, send.room));
        }
        check_body(reference.as_ref(), &send.body, limits)?;
        self.check_may_send(reference.as_ref(), send.room)?;
        self.take_send(reference.as_ref(), uptime_ms, limits)?;
        let record = Record::Message {
            room: send.room,
            from: self.user,
            name: Cow::Borrowed(&self.name),
            kind: send.kind,
            body: Cow::Borrowed(&send.body),
            nonce: send.nonce.as_deref().map(Cow::Borrowed),
            reply_to: send.reply_to,
        };
        let record = record.encode();
        Ok(Step::Publish { reference, room: send.room, record, nonce: send.nonce.map(Into::into) })
    }

    fn check_may_send(&self, reference: Option<&Ref>, room: RoomId) -> Result<(), Refusal> {
        if self.is_muted(room) {
            let message = "you may not send to this room";
            return Err(Refusal::new(reference.cloned(), ErrorCode::Forbidden, message));
        }
        Ok(())
    }

    /// Counts one request that is stored.
    fn take_send(
        &mut self,
        reference: Option<&Ref>,
        uptime_ms: u64,
        limits: &SessionLimits,
    ) -> Result<(), Refusal> {
        // The first line: what the user sends on other connections, the bus counts.
        self.sends.take(limits.sends, uptime_ms).map_err(|retry_after_ms| {
            too_many_sends(reference.cloned(), limits.sends.per_second, retry_after_ms)
        })
    }

    fn too_many_ephemerals(&mut self, uptime_ms: u64) -> bool {
        self.ephemerals.take(EPHEMERALS, uptime_ms).is_err()
    }

    fn refuse(&mut self, refusal: Refusal, uptime_ms: u64) -> Step {
        if !refusal.code.is_malformed() {
            return Step::Refuse(refusal);
        }
        let times_ms = &mut self.rarer().bad_requests_ms;
        times_ms.retain(|at_ms| uptime_ms.saturating_sub(*at_ms) <= BAD_REQUESTS_WINDOW_MS);
        times_ms.push(uptime_ms);
        if times_ms.len() < BAD_REQUESTS_MAX {
            Step::Refuse(refusal)
        } else {
            Step::RefuseAndClose(refusal, CloseCode::Policy)
        }
    }
}

fn check_body(reference: Option<&Ref>, body: &str, limits: &SessionLimits) -> Result<(), Refusal> {
    if body.len() > limits.body_bytes_max as usize {
        let message = format!("body: longer than {} bytes", limits.body_bytes_max);
        return Err(Refusal::new(reference.cloned(), ErrorCode::TooLarge, message));
    }
    Ok(())
}

/// A room named twice is joined once: each naming could cost a replay of the whole window.
fn each_once(mut rooms: Vec<Join>) -> Vec<Join> {
    let mut named = HashSet::new();
    rooms.retain(|join| named.insert(join.room));
    rooms
}

fn too_many_joins(reference: Option<Ref>, limit: Limit, retry_after_ms: u64) -> Refusal {
    let message = format!("more than {} rooms joined a second", limit.per_second);
    Refusal::new(reference, ErrorCode::RateLimited, message).retry_after_ms(retry_after_ms)
}

/// The refusal of a user who sends too fast.
pub fn too_many_sends(reference: Option<Ref>, per_second: u32, retry_after_ms: u64) -> Refusal {
    let message = format!("more than {per_second} sends a second");
    Refusal::new(reference, ErrorCode::RateLimited, message).retry_after_ms(retry_after_ms)
}

fn not_joined(reference: Option<Ref>, room: RoomId) -> Refusal {
    Refusal::new(reference, ErrorCode::NotJoined, format!("room {room} is not joined on this connection"))
}

/// A name fit to be shown: the claim, cut to a bound at a character, or the user's id.
pub fn name_to_show(name: Option<String>, user: UserId) -> Box<str> {
    let name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| user.to_string());
    let end = name.floor_char_boundary(NAME_BYTES_MAX);
    name.get(..end).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
