//! The bytes of a stream entry.
//!
//! One entry packs several records, because Redis pays per entry: packs of 50 carry fifteen times more
//! messages a second than one by one. Layout, integers little-endian:
//!
//! ```text
//! version u8 = 1 | origin u64 | seq u64 | count-1 u8 | count × (length u32, record)
//! ```
//!
//! A record is a [`Record`] in the postcard wire format. The length lets an older reader step over a kind of
//! record that it does not know, so that gateways of two versions can share a stream during an upgrade. The
//! order of the variants and of their fields is part of the format: add at the end, never reorder.
//!
//! `origin` and `seq` make appending idempotent: a publisher whose connection broke while an entry was in
//! flight appends the same entry again, and every reader drops what it has seen ([`crate::dedupe`]).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::ids::{ENTRY_RECORDS_MAX, MessageId, RoomId, UserId};
use crate::protocol::{Event, MemberState, MessageKind, PresenceState, Role, RoomChange};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 8 + 1;
const LENGTH_BYTES: usize = 4;

/// Who appended an entry: a random number for each publishing process.
pub type Origin = u64;

/// A fresh origin.
pub fn new_origin() -> Origin {
    #[cfg(feature = "simulation")]
    if let Some(random) = crate::simulation::ask(|world| world.random()) {
        return random;
    }
    let mut bytes = [0; 8];
    // Without the kernel's random numbers nothing in this process could be trusted.
    #[expect(clippy::expect_used, reason = "see above")]
    getrandom::fill(&mut bytes).expect("the kernel gives random numbers");
    u64::from_le_bytes(bytes)
}

/// One thing that happened in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the event of the same name")]
pub enum Record<'a> {
    Message {
        room: RoomId,
        from: UserId,
        #[serde(borrow)]
        name: Cow<'a, str>,
        kind: MessageKind,
        #[serde(borrow)]
        body: Cow<'a, str>,
        #[serde(borrow)]
        nonce: Option<Cow<'a, str>>,
        reply_to: Option<MessageId>,
    },
    Edited {
        room: RoomId,
        from: UserId,
        msg: MessageId,
        #[serde(borrow)]
        body: Cow<'a, str>,
    },
    Deleted {
        room: RoomId,
        from: UserId,
        msg: MessageId,
    },
    Reacted {
        room: RoomId,
        from: UserId,
        msg: MessageId,
        #[serde(borrow)]
        emoji: Cow<'a, str>,
        on: bool,
    },
    Member {
        room: RoomId,
        user: UserId,
        state: MemberState,
        role: Option<Role>,
    },
    Room {
        room: RoomId,
        state: RoomChange,
    },
    /// A read position. In the stream, so that it reaches Postgres; never replayed.
    Read {
        room: RoomId,
        from: UserId,
        msg: MessageId,
        /// The connection that read it, which needs no event of its own; 0 for REST.
        connection: u64,
    },
    /// Ephemeral: on the live channel only.
    Typing {
        room: RoomId,
        from: UserId,
    },
    /// Ephemeral: on the live channel only.
    Presence {
        room: RoomId,
        user: UserId,
        state: PresenceState,
    },
}

impl Record<'_> {
    /// The room it belongs to.
    pub fn room(&self) -> RoomId {
        match self {
            Self::Message { room, .. }
            | Self::Edited { room, .. }
            | Self::Deleted { room, .. }
            | Self::Reacted { room, .. }
            | Self::Member { room, .. }
            | Self::Room { room, .. }
            | Self::Read { room, .. }
            | Self::Typing { room, .. }
            | Self::Presence { room, .. } => *room,
        }
    }

    /// Whether it has an id of its own, advances the room's `last`, and is replayed to a session that resumes.
    pub fn is_stored_event(&self) -> bool {
        match self {
            Self::Message { .. }
            | Self::Edited { .. }
            | Self::Deleted { .. }
            | Self::Reacted { .. }
            | Self::Member { .. }
            | Self::Room { .. } => true,
            Self::Read { .. } | Self::Typing { .. } | Self::Presence { .. } => false,
        }
    }

    /// The user and nonce, where a repeat of the record has to be dropped.
    pub fn nonce(&self) -> Option<(UserId, &str)> {
        match self {
            Self::Message { from, nonce: Some(nonce), .. } => Some((*from, nonce)),
            Self::Message { .. }
            | Self::Edited { .. }
            | Self::Deleted { .. }
            | Self::Reacted { .. }
            | Self::Member { .. }
            | Self::Room { .. }
            | Self::Read { .. }
            | Self::Typing { .. }
            | Self::Presence { .. } => None,
        }
    }

    /// Whose rate of sending it counts towards: that of the user who wrote it, if one did.
    pub fn sender(&self) -> Option<UserId> {
        match self {
            Self::Message { kind: MessageKind::System, .. } => None,
            Self::Message { from, .. }
            | Self::Edited { from, .. }
            | Self::Deleted { from, .. }
            | Self::Reacted { from, .. } => Some(*from),
            Self::Member { .. }
            | Self::Room { .. }
            | Self::Read { .. }
            | Self::Typing { .. }
            | Self::Presence { .. } => None,
        }
    }

    /// The event that clients see. `id` is ignored by events without one.
    pub fn event(&self, id: MessageId) -> Event<'_> {
        let ts = id.ts();
        match *self {
            Self::Message { room, from, ref name, kind, ref body, ref nonce, reply_to } => Event::Message {
                room,
                id,
                ts,
                from,
                name: Cow::Borrowed(name),
                kind,
                body: Cow::Borrowed(body),
                nonce: nonce.as_deref().map(Cow::Borrowed),
                reply_to,
            },
            Self::Edited { room, from, msg, ref body } => {
                Event::Edited { room, id, msg, from, ts, body: Cow::Borrowed(body) }
            }
            Self::Deleted { room, from, msg } => Event::Deleted { room, id, msg, from, ts },
            Self::Reacted { room, from, msg, ref emoji, on } => {
                Event::Reacted { room, id, msg, from, ts, emoji: Cow::Borrowed(emoji), on }
            }
            Self::Member { room, user, state, role } => Event::Member { room, id, ts, user, state, role },
            Self::Room { room, state } => Event::Room { room, id, ts, state },
            Self::Read { room, from, msg, connection: _ } => Event::Read { room, from, msg },
            Self::Typing { room, from } => Event::Typing { room, from },
            Self::Presence { room, user, state } => Event::Presence { room, user, state },
        }
    }

    /// The record's own bytes, to be put into an entry.
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }
}

/// What the control plane tells every gateway, in [`Shard::CONTROL`](crate::shard::Shard::CONTROL). The rules of
/// [`Record`] for new variants hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice<'a> {
    /// Login sessions have ended: their connections have to.
    SessionsEnded {
        /// Whose.
        user: UserId,
        /// Their ids ([`crate::token::LoginSession::id`]).
        #[serde(borrow)]
        sessions: Vec<Cow<'a, str>>,
    },
    /// A gateway has to send its clients away and take no new ones.
    Drain {
        /// Which run of it ([`crate::gateways::GatewayReport::run`]): the next one under this name is not meant.
        #[serde(borrow)]
        run: Cow<'a, str>,
    },
    /// Who is banned ([`crate::keys::BANNED`]) is to be read again.
    BansChanged,
    /// Somebody has become a member of a room: connections of theirs that are not joined to it are told.
    Joined {
        /// Who.
        user: UserId,
        /// Of which room.
        room: RoomId,
        /// As what.
        role: Role,
    },
}

impl Notice<'_> {
    /// Its bytes, to be put into an entry.
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }
}

/// Only a `Serialize` that refuses could fail, and none of the types here does.
fn encode_postcard(value: &impl Serialize) -> Vec<u8> {
    let bytes = postcard::to_allocvec(value);
    debug_assert!(bytes.is_ok(), "{bytes:?}");
    bytes.unwrap_or_default()
}

/// Builds an entry from encoded records. At most [`ENTRY_RECORDS_MAX`] are taken.
pub fn encode(origin: Origin, seq: u64, records: &[impl AsRef<[u8]>]) -> Vec<u8> {
    debug_assert!(!records.is_empty() && records.len() <= ENTRY_RECORDS_MAX);
    let records = records.get(..ENTRY_RECORDS_MAX).unwrap_or(records);
    let body: usize = records.iter().map(|record| LENGTH_BYTES + record.as_ref().len()).sum();
    let mut out = Vec::with_capacity(HEAD_BYTES + body);
    out.push(VERSION);
    out.extend_from_slice(&origin.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.push(u8::try_from(records.len().saturating_sub(1)).unwrap_or(u8::MAX));
    for record in records {
        let record = record.as_ref();
        out.extend_from_slice(&u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(record);
    }
    out
}

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Shorter than it says.
    #[error("the entry is cut short")]
    Truncated,
    /// Longer than it says.
    #[error("the entry has bytes left over")]
    TrailingBytes,
    /// Written by a version that this one can't read.
    #[error("the entry has version {0}, this program reads version 1: upgrade it")]
    Version(u8),
}

/// An entry whose frame has been checked; its records decode one by one.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Who appended it.
    pub origin: Origin,
    /// Rises with each entry of this origin on this shard.
    pub seq: u64,
    /// How many records, 1 to 256.
    pub count: usize,
    records: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Checks version and lengths.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let (&version, rest) = bytes.split_first().ok_or(EntryError::Truncated)?;
        if version != VERSION {
            return Err(EntryError::Version(version));
        }
        let (origin, rest) = rest.split_first_chunk().ok_or(EntryError::Truncated)?;
        let (seq, rest) = rest.split_first_chunk().ok_or(EntryError::Truncated)?;
        let (&last, records) = rest.split_first().ok_or(EntryError::Truncated)?;
        let entry = Self {
            origin: u64::from_le_bytes(*origin),
            seq: u64::from_le_bytes(*seq),
            count: usize::from(last) + 1,
            records,
        };
        let mut rest = records;
        for _ in 0..entry.count {
            rest = split_record(rest).ok_or(EntryError::Truncated)?.1;
        }
        if rest.is_empty() { Ok(entry) } else { Err(EntryError::TrailingBytes) }
    }

    /// The records with their index; `None` for one of an unknown kind, which keeps its index.
    pub fn records(&self) -> impl Iterator<Item = (u8, Option<Record<'a>>)> + use<'a> {
        self.decode_each()
    }

    /// The notices in an entry of [`Shard::CONTROL`](crate::shard::Shard::CONTROL); `None` for one of an unknown kind.
    pub fn notices(&self) -> impl Iterator<Item = Option<Notice<'a>>> + use<'a> {
        self.decode_each().map(|(_, notice)| notice)
    }

    /// Who wrote the message at an index, if that is a message of the room.
    pub fn author_in(&self, of: RoomId, index: u8) -> Option<UserId> {
        let (_, record) = self.records().nth(usize::from(index))?;
        if let Some(Record::Message { room, from, .. }) = record {
            (room == of).then_some(from)
        } else {
            None
        }
    }

    fn decode_each<T: Deserialize<'a>>(&self) -> impl Iterator<Item = (u8, Option<T>)> + use<'a, T> {
        let mut rest = self.records;
        (0..=u8::MAX).map_while(move |index| {
            let (record, after) = split_record(rest)?;
            rest = after;
            Some((index, postcard::from_bytes(record).ok()))
        })
    }
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(room: u64, body: &str, nonce: Option<&str>) -> Record<'static> {
        Record::Message {
            room: RoomId::new(room).unwrap(),
            from: UserId::new(7).unwrap(),
            name: Cow::Borrowed("ada"),
            kind: MessageKind::Text,
            body: Cow::Owned(body.to_owned()),
            nonce: nonce.map(|nonce| Cow::Owned(nonce.to_owned())),
            reply_to: None,
        }
    }

    /// A changed value here means that running clusters can't be upgraded one gateway at a time.
    #[test]
    fn the_bytes_of_version_1_stay_the_same() {
        let bytes = encode(0x0102, 3, &[message(5, "hi", Some("n")).encode()]);
        let head = [1, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        let record = [15, 0, 0, 0, 0, 5, 7, 3, b'a', b'd', b'a', 0, 2, b'h', b'i', 1, 1, b'n', 0];
        assert_eq!(bytes, [head.as_slice(), &record].concat());
    }

    #[test]
    fn a_record_of_an_unknown_kind_is_stepped_over() {
        let known = message(5, "hi", None);
        let bytes = encode(1, 1, &[vec![99, 1, 2], known.encode()]);
        let records: Vec<_> = Entry::decode(&bytes).unwrap().records().collect();
        assert_eq!(records, [(0, None), (1, Some(known))]);
    }

    #[test]
    fn broken_entries_are_refused() {
        let good = encode(1, 1, &[message(5, "hi", None).encode()]);
        for cut in 0..good.len() {
            assert!(Entry::decode(&good[..cut]).is_err(), "{cut}");
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(Entry::decode(&long).unwrap_err(), EntryError::TrailingBytes);
        let mut newer = good;
        newer[0] = 2;
        assert_eq!(Entry::decode(&newer).unwrap_err(), EntryError::Version(2));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            bodies in proptest::collection::vec((1u64..1 << 62, ".{0,40}", proptest::option::of("[a-z]{1,8}")), 1..=256),
            origin: u64,
            seq: u64,
        ) {
            let records: Vec<_> = bodies.iter().map(|(room, body, nonce)| message(*room, body, nonce.as_deref())).collect();
            let encoded: Vec<_> = records.iter().map(Record::encode).collect();
            let bytes = encode(origin, seq, &encoded);
            let entry = Entry::decode(&bytes).unwrap();
            prop_assert_eq!((entry.origin, entry.seq, entry.count), (origin, seq, records.len()));
            let decoded: Vec<_> = entry.records().map(|(_, record)| record.unwrap()).collect();
            prop_assert_eq!(decoded, records);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.records().count(), entry.count);
            }
        }
    }
}
