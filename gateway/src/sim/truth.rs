//! What really stands in the streams, by the rules for repeats told a second time and as plainly as possible.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use hubbub_common::entry::{Entry, Origin, Record};
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::shard::Shard;
use serde_json::Value;

use crate::bus::backend::ReadEntry;

/// See the module's text.
pub(super) struct Truth {
    window_ms: u64,
    /// The highest number of each origin on each shard, and where it stands.
    entries: BTreeMap<(Shard, Origin), (u64, EntryId)>,
    /// First of each nonce on each shard.
    nonces: BTreeMap<(Shard, UserId, String), MessageId>,
    rooms: BTreeMap<RoomId, BTreeMap<MessageId, Event>>,
    /// Every body that counts, with its id or that of the message that it repeats.
    bodies: BTreeMap<String, MessageId>,
    newest: BTreeMap<Shard, EntryId>,
    /// What is a repeat, and by what it can be told.
    repeats: BTreeMap<(RoomId, MessageId), (Shard, MessageId)>,
    /// Entries before this one are gone.
    begins: BTreeMap<Shard, EntryId>,
}

/// A stored event, as every client has to see it.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) shard: Shard,
    pub(super) json: Value,
}

impl Truth {
    pub(super) fn new(window_ms: u64) -> Self {
        Self {
            window_ms,
            entries: BTreeMap::new(),
            nonces: BTreeMap::new(),
            rooms: BTreeMap::new(),
            bodies: BTreeMap::new(),
            newest: BTreeMap::new(),
            repeats: BTreeMap::new(),
            begins: BTreeMap::new(),
        }
    }

    /// Takes the next entry of a stream.
    pub(super) fn absorb(&mut self, stored: &ReadEntry) {
        let entry = Entry::decode(&stored.bytes).expect("gateways write whole entries");
        self.newest.insert(stored.shard, stored.id);
        let highest = self.entries.get(&(stored.shard, entry.origin)).copied();
        let told_by = highest.filter(|(seq, _)| entry.seq <= *seq).map(|(_, id)| MessageId::through(id));
        if told_by.is_none() {
            self.entries.insert((stored.shard, entry.origin), (entry.seq, stored.id));
        }
        for (index, record) in entry.records() {
            let record = record.expect("gateways write records that gateways know");
            let id = MessageId::pack(stored.id, index).expect("it is neither 2023 nor 2094");
            if let Some(told_by) = told_by {
                self.repeats.insert((record.room(), id), (stored.shard, told_by));
                continue;
            }
            let stands_for = self.first_of(stored.shard, &record, id);
            if let Record::Message { body, .. } | Record::Edited { body, .. } = &record {
                self.bodies.insert(body.clone().into_owned(), stands_for);
            }
            if stands_for != id {
                self.repeats.insert((record.room(), id), (stored.shard, stands_for));
            }
            if stands_for == id && record.is_stored_event() {
                let json = serde_json::to_value(record.event(id)).expect("events are JSON");
                let of_room = self.rooms.entry(record.room()).or_default();
                of_room.insert(id, Event { shard: stored.shard, json });
            }
        }
    }

    fn first_of(&mut self, shard: Shard, record: &Record<'_>, id: MessageId) -> MessageId {
        let Some((user, nonce)) = record.nonce() else { return id };
        let key = (shard, user, nonce.to_owned());
        match self.nonces.get(&key) {
            Some(first) if first.ts() + self.window_ms >= id.ts() => *first,
            _ => {
                self.nonces.insert(key, id);
                id
            }
        }
    }

    pub(super) fn event(&self, room: RoomId, id: MessageId) -> Option<&Event> {
        self.rooms.get(&room)?.get(&id)
    }

    /// Whether two messages are close enough for one to count as a repeat of the other.
    pub(super) fn is_within_window(&self, one: MessageId, other: MessageId) -> bool {
        one != other && one.ts().abs_diff(other.ts()) <= self.window_ms
    }

    /// The stream of a shard was trimmed.
    pub(super) fn trimmed(&mut self, shard: Shard, before: EntryId) {
        let begins = self.begins.entry(shard).or_default();
        *begins = before.max(*begins);
    }

    /// Whether it repeats a message that is trimmed: whoever reads the stream only now, or has missed a part of
    /// it, can't know.
    pub(super) fn repeats_trimmed(&self, room: RoomId, id: MessageId) -> bool {
        self.repeats.get(&(room, id)).is_some_and(|(shard, first)| {
            self.begins.get(shard).is_some_and(|begins| first.entry() < *begins)
        })
    }

    /// The first event of a room after this one.
    pub(super) fn next(&self, room: RoomId, after: MessageId) -> Option<(MessageId, &Event)> {
        let mut later = self.rooms.get(&room)?.range((Excluded(after), Unbounded));
        later.next().map(|(id, event)| (*id, event))
    }

    /// The newest event of a room.
    pub(super) fn last(&self, room: RoomId) -> MessageId {
        let newest = self.rooms.get(&room).and_then(|events| events.keys().next_back());
        newest.copied().unwrap_or(MessageId::ZERO)
    }

    /// The newest event of each room, as of an entry of a shard.
    pub(super) fn last_of_rooms(
        &self,
        shard: Shard,
        entry: EntryId,
    ) -> impl Iterator<Item = (RoomId, MessageId)> {
        self.rooms.iter().filter_map(move |(room, events)| {
            let stored = |(id, event): &(&MessageId, &Event)| event.shard == shard && id.entry() <= entry;
            events.iter().rev().find(stored).map(|(id, _)| (*room, *id))
        })
    }

    /// The newest entry of a shard.
    pub(super) fn newest(&self, shard: Shard) -> EntryId {
        self.newest.get(&shard).copied().unwrap_or(EntryId::ZERO)
    }

    /// The id under which a body stands in a stream, or that of the message that it repeats.
    pub(super) fn id_of_body(&self, body: &str) -> Option<MessageId> {
        self.bodies.get(body).copied()
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.rooms.values().map(BTreeMap::len).sum()
    }
}
