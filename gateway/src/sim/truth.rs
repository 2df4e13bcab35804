//! What really stands in the streams, by the rules for repeats told a second time and as plainly as possible.
//!
//! Where Redis loses entries, what is left is taken in anew, as if the rest had never been; what it was is remembered
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use hubbub_common::entry::{Entry, Origin, Record};
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use hubbub_common::shard::{Shard, Shards};
use serde_json::Value;

use crate::bus::backend::ReadEntry;

/// See the module's text.
pub(super) struct Truth {
    window_ms: u64,
    shards: Shards,
    /// Everything that still stands in the streams, or was trimmed.
    log: Vec<ReadEntry>,
    standing: Standing,
    /// Events that were lost, not trimmed.
    lost: BTreeMap<RoomId, BTreeMap<MessageId, Value>>,
    /// Shards that ever lost anything.
    losers: BTreeSet<Shard>,
    /// Entries before this one are gone.
    begins: BTreeMap<Shard, EntryId>,
}

/// What the entries of the log come to.
#[derive(Default)]
struct Standing {
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
    /// By room and user: what they were made.
    roles: BTreeMap<(RoomId, UserId), BTreeMap<MessageId, Option<Role>>>,
}

/// A stored event, as every client has to see it.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) shard: Shard,
    pub(super) json: Value,
}

impl Truth {
    pub(super) fn new(window_ms: u64, shards: Shards) -> Self {
        Self {
            window_ms,
            shards,
            log: Vec::new(),
            standing: Standing::default(),
            lost: BTreeMap::new(),
            losers: BTreeSet::new(),
            begins: BTreeMap::new(),
        }
    }

    /// Takes the next entry of a stream.
    pub(super) fn absorb(&mut self, stored: &ReadEntry) {
        self.standing.absorb(stored, self.window_ms);
        self.log.push(stored.clone());
    }

    /// Everything is gone, as if it had never been.
    pub(super) fn lose_everything(&mut self) {
        self.losers.extend(self.shards.all());
        self.lose(|_| true);
    }

    /// These entries are.
    pub(super) fn lose(&mut self, is_lost: impl Fn(&ReadEntry) -> bool) {
        for lost in self.log.extract_if(.., |entry| is_lost(entry)) {
            self.losers.insert(lost.shard);
        }
        let before = std::mem::take(&mut self.standing);
        for entry in &self.log {
            self.standing.absorb(entry, self.window_ms);
        }
        // The control plane keeps these beside the streams.
        for (of, changes) in before.roles {
            self.standing.roles.entry(of).or_default().extend(changes);
        }
        for (room, events) in before.rooms {
            for (id, event) in events {
                if self.event(room, id).is_none() {
                    self.lost.entry(room).or_default().insert(id, event.json);
                }
            }
        }
    }

    /// The first event in a room's shard.
    pub(super) fn first_of_shard(&self, room: RoomId) -> MessageId {
        let shard = self.shards.of(room);
        let first = self.log.iter().find(|entry| entry.shard == shard);
        first.map_or(MessageId::MAX, |entry| MessageId::before(entry.id))
    }

    /// An event that was lost.
    pub(super) fn lost(&self, room: RoomId, id: MessageId) -> Option<&Value> {
        self.lost.get(&room)?.get(&id)
    }

    /// Whether it was ever told that a message is no more, also where that was lost.
    pub(super) fn was_deleted(&self, room: RoomId, msg: MessageId) -> bool {
        let is_it = |event: &Value| event["op"] == "deleted" && event["msg"] == msg.to_string();
        let standing = self.standing.rooms.get(&room).into_iter().flat_map(BTreeMap::values);
        let lost = self.lost.get(&room).into_iter().flat_map(BTreeMap::values);
        standing.map(|event| &event.json).chain(lost).any(is_it)
    }

    /// The newest of them in a room.
    pub(super) fn newest_lost(&self, room: RoomId) -> MessageId {
        let newest = self.lost.get(&room).and_then(|events| events.keys().next_back());
        newest.copied().unwrap_or(MessageId::ZERO)
    }

    /// Whether something may be missing of a room's shard behind this event: it was lost, or trimmed.
    pub(super) fn may_miss_after(&self, room: RoomId, id: MessageId) -> bool {
        let shard = self.shards.of(room);
        self.losers.contains(&shard) || self.begins.get(&shard).is_some_and(|begins| id.entry() < *begins)
    }

    /// What a user was made last in a room before an event, and by which one.
    pub(super) fn role_before(
        &self,
        room: RoomId,
        user: UserId,
        id: MessageId,
    ) -> Option<(MessageId, Option<Role>)> {
        let changes = self.standing.roles.get(&(room, user))?;
        changes.range(..id).next_back().map(|(id, role)| (*id, *role))
    }

    /// What a user was made in a room from an event on, oldest first.
    pub(super) fn roles_from(
        &self,
        room: RoomId,
        user: UserId,
        from: MessageId,
    ) -> impl Iterator<Item = (MessageId, Option<Role>)> {
        let changes = self.standing.roles.get(&(room, user)).into_iter();
        changes.flat_map(move |changes| changes.range(from..).map(|(id, role)| (*id, *role)))
    }

    /// Everything that a user was ever made in a room.
    pub(super) fn roles(&self, room: RoomId, user: UserId) -> impl Iterator<Item = Option<Role>> {
        self.standing.roles.get(&(room, user)).into_iter().flat_map(|changes| changes.values().copied())
    }

    pub(super) fn event(&self, room: RoomId, id: MessageId) -> Option<&Event> {
        self.standing.rooms.get(&room)?.get(&id)
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
        self.standing.repeats.get(&(room, id)).is_some_and(|(shard, first)| {
            self.begins.get(shard).is_some_and(|begins| first.entry() < *begins)
        })
    }

    /// The first event of a room after this one.
    pub(super) fn next(&self, room: RoomId, after: MessageId) -> Option<(MessageId, &Event)> {
        let mut later = self.standing.rooms.get(&room)?.range((Excluded(after), Unbounded));
        later.next().map(|(id, event)| (*id, event))
    }

    /// The newest event of a room.
    pub(super) fn last(&self, room: RoomId) -> MessageId {
        let newest = self.standing.rooms.get(&room).and_then(|events| events.keys().next_back());
        newest.copied().unwrap_or(MessageId::ZERO)
    }

    /// The newest event of each room, as of an entry of a shard.
    pub(super) fn last_of_rooms(
        &self,
        shard: Shard,
        entry: EntryId,
    ) -> impl Iterator<Item = (RoomId, MessageId)> {
        self.standing.rooms.iter().filter_map(move |(room, events)| {
            let stored = |(id, event): &(&MessageId, &Event)| event.shard == shard && id.entry() <= entry;
            events.iter().rev().find(stored).map(|(id, _)| (*room, *id))
        })
    }

    /// The newest entry of a shard.
    pub(super) fn newest(&self, shard: Shard) -> EntryId {
        self.standing.newest.get(&shard).copied().unwrap_or(EntryId::ZERO)
    }

    /// The id under which a body stands in a stream, or that of the message that it repeats.
    pub(super) fn id_of_body(&self, body: &str) -> Option<MessageId> {
        self.standing.bodies.get(body).copied()
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.standing.rooms.values().map(BTreeMap::len).sum()
    }
}

impl Standing {
    fn absorb(&mut self, stored: &ReadEntry, window_ms: u64) {
        self.newest.insert(stored.shard, stored.id);
        if stored.shard == Shard::CONTROL {
            return;
        }
        let entry = Entry::decode(&stored.bytes).expect("gateways write whole entries");
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
            let stands_for = self.first_of(stored.shard, &record, id, window_ms);
            if let Record::Message { body, .. } | Record::Edited { body, .. } = &record {
                self.bodies.insert(body.clone().into_owned(), stands_for);
            }
            if stands_for != id {
                self.repeats.insert((record.room(), id), (stored.shard, stands_for));
                continue;
            }
            if let Record::Member { room, user, role, .. } = record {
                self.roles.entry((room, user)).or_default().insert(id, role);
            }
            if record.is_stored_event() {
                let json = serde_json::to_value(record.event(id)).expect("events are JSON");
                let of_room = self.rooms.entry(record.room()).or_default();
                of_room.insert(id, Event { shard: stored.shard, json });
            }
        }
    }

    fn first_of(&mut self, shard: Shard, record: &Record<'_>, id: MessageId, window_ms: u64) -> MessageId {
        let Some((user, nonce)) = record.nonce() else { return id };
        let key = (shard, user, nonce.to_owned());
        match self.nonces.get(&key) {
            Some(first) if first.ts() + window_ms >= id.ts() => *first,
            _ => {
                self.nonces.insert(key, id);
                id
            }
        }
    }
}
