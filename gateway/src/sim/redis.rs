//! The Redis of a simulated world: streams, channels, presence, and what the control plane keeps there.
//!
//! It is right by being small. What can go wrong on the way to it is the [`link`](super::link)'s.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use hubbub_common::entry::{Entry, Record};
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::redis::{Epoch, Extent};
use hubbub_common::shard::Shard;
use hubbub_common::simulation::World as _;
use tokio::sync::Notify;

use super::scene::{Machine, Scene};
use crate::bus::backend::{PresenceChange, PresenceOutcome, ReadEntry};

/// A gateway that has not said for so long that it lives, does not.
const GATEWAY_SILENT_MS: u64 = 15_000;

/// What a subscriber of the channels has not taken yet.
pub(super) type Channel = RefCell<VecDeque<Bytes>>;

/// See the module's text.
pub(super) struct Redis {
    scene: Rc<Scene>,
    pub(super) machine: Machine,
    state: RefCell<State>,
    /// Entries or messages have come.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<Shard, Stream>,
    /// Who wrote which message: what the control plane would answer.
    authors: BTreeMap<(RoomId, MessageId), UserId>,
    last_of_room: BTreeMap<RoomId, MessageId>,
    told_to: BTreeMap<Shard, EntryId>,
    epoch: Option<Epoch>,
    channels: Vec<Weak<Channel>>,
    online: BTreeMap<RoomId, BTreeSet<(UserId, u32, u16)>>,
    gateways: BTreeMap<u32, u64>,
    /// On their way although nobody waits for them any more.
    late: Vec<(u64, Shard, Bytes)>,
    /// Stored since the oracle looked last.
    fresh: Vec<ReadEntry>,
}

#[derive(Default)]
struct Stream {
    entries: BTreeMap<EntryId, Bytes>,
    last: EntryId,
    /// Entries ever appended.
    added: u64,
}

impl Redis {
    pub(super) fn new(scene: &Rc<Scene>) -> Self {
        Self {
            scene: Rc::clone(scene),
            machine: Machine::new(scene, 0),
            state: RefCell::default(),
            changed: Notify::new(),
        }
    }

    /// `XADD bus:{shard} * e entry`.
    pub(super) fn append(&self, shard: Shard, entry: Bytes) -> EntryId {
        let now_ms = self.machine.unix_ms();
        let mut state = self.state.borrow_mut();
        let stream = state.streams.entry(shard).or_default();
        let id = if now_ms > stream.last.ms {
            EntryId { ms: now_ms, seq: 0 }
        } else {
            EntryId { ms: stream.last.ms, seq: stream.last.seq + 1 }
        };
        stream.last = id;
        stream.added += 1;
        stream.entries.insert(id, entry.clone());
        if let Ok(decoded) = Entry::decode(&entry) {
            for (index, record) in decoded.records() {
                if let (Some(Record::Message { room, from, .. }), Some(id)) =
                    (record, MessageId::pack(id, index))
                {
                    state.authors.insert((room, id), from);
                }
            }
        }
        self.scene.note(format_args!("redis   stores {shard}/{id}"));
        state.fresh.push(ReadEntry { shard, id, bytes: entry });
        self.changed.notify_waiters();
        id
    }

    /// An append that arrives some time later, whatever becomes of its sender.
    pub(super) fn append_later(&self, after_ms: u64, shard: Shard, entry: Bytes) {
        self.state.borrow_mut().late.push((self.scene.now_ms() + after_ms, shard, entry));
    }

    /// Takes what has arrived late.
    pub(super) fn take_late(&self) {
        let now_ms = self.scene.now_ms();
        let arrived: Vec<_> =
            self.state.borrow_mut().late.extract_if(.., |(at_ms, ..)| *at_ms <= now_ms).collect();
        for (_, shard, entry) in arrived {
            self.scene.note(format_args!("redis   gets a late entry"));
            self.append(shard, entry);
        }
    }

    /// Whether something is still to arrive.
    pub(super) fn has_late(&self) -> bool {
        !self.state.borrow().late.is_empty()
    }

    /// What was stored since the last call.
    pub(super) fn take_fresh(&self) -> Vec<ReadEntry> {
        std::mem::take(&mut self.state.borrow_mut().fresh)
    }

    /// `XREAD COUNT count STREAMS …`.
    pub(super) fn read(&self, cursors: &[(Shard, EntryId)], count: usize) -> Vec<ReadEntry> {
        let state = self.state.borrow();
        let after = |(shard, cursor): &(Shard, EntryId)| {
            let shard = *shard;
            let after = (std::ops::Bound::Excluded(*cursor), std::ops::Bound::Unbounded);
            let entries =
                state.streams.get(&shard).into_iter().flat_map(move |stream| stream.entries.range(after));
            entries.take(count).map(move |(id, bytes)| ReadEntry { shard, id: *id, bytes: bytes.clone() })
        };
        cursors.iter().flat_map(after).collect()
    }

    /// `XINFO STREAM`.
    pub(super) fn extent(&self, shard: Shard) -> Extent {
        let state = self.state.borrow();
        let Some(stream) = state.streams.get(&shard) else { return Extent::default() };
        let (first, last) = (stream.entries.keys().next(), stream.entries.keys().next_back());
        Extent {
            ends: first.copied().zip(last.copied()),
            last: stream.last,
            added: stream.added,
            length: stream.entries.len() as u64,
        }
    }

    /// `XRANGE … cursor cursor`.
    pub(super) fn has(&self, shard: Shard, entry: EntryId) -> bool {
        let state = self.state.borrow();
        state.streams.get(&shard).is_some_and(|stream| stream.entries.contains_key(&entry))
    }

    /// `XREVRANGE … to from COUNT count`.
    pub(super) fn range(&self, shard: Shard, from: EntryId, to: EntryId, count: usize) -> Vec<ReadEntry> {
        let state = self.state.borrow();
        let stream = state.streams.get(&shard).filter(|_| from <= to).into_iter();
        let newest_first = stream.flat_map(|stream| stream.entries.range(from..=to).rev());
        newest_first
            .take(count)
            .map(|(id, bytes)| ReadEntry { shard, id: *id, bytes: bytes.clone() })
            .collect()
    }

    /// Tells this data from that of a Redis that was restarted empty.
    pub(super) fn epoch(&self) -> Epoch {
        *self.state.borrow_mut().epoch.get_or_insert_with(|| self.scene.any())
    }

    /// `XTRIM … MINID`.
    pub(super) fn trim(&self, shard: Shard, min_id: EntryId) {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.streams.get_mut(&shard) else { return };
        let entries = &mut stream.entries;
        let kept = entries.split_off(&min_id);
        if !entries.is_empty() {
            self.scene.note(format_args!("redis   trims {} of {shard} before {min_id}", entries.len()));
        }
        *entries = kept;
    }

    /// Writes down the newest events of rooms of a shard as of an entry, as the persister does.
    pub(super) fn persisted(
        &self,
        shard: Shard,
        told_to: EntryId,
        last: impl Iterator<Item = (RoomId, MessageId)>,
    ) {
        let mut state = self.state.borrow_mut();
        state.told_to.insert(shard, told_to);
        state.last_of_room.extend(last);
    }

    /// The entry as of which the persister wrote last.
    pub(super) fn told_to(&self, shard: Shard) -> EntryId {
        self.state.borrow().told_to.get(&shard).copied().unwrap_or(EntryId::ZERO)
    }

    pub(super) fn last(&self, room: RoomId) -> MessageId {
        self.state.borrow().last_of_room.get(&room).copied().unwrap_or(MessageId::ZERO)
    }

    pub(super) fn author(&self, room: RoomId, msg: MessageId) -> Option<UserId> {
        self.state.borrow().authors.get(&(room, msg)).copied()
    }

    pub(super) fn subscribe(&self) -> Rc<Channel> {
        let channel = Rc::new(Channel::default());
        self.state.borrow_mut().channels.push(Rc::downgrade(&channel));
        channel
    }

    pub(super) fn publish(&self, entry: &Bytes) {
        let mut state = self.state.borrow_mut();
        state.channels.retain(|channel| channel.strong_count() > 0);
        for channel in state.channels.iter().filter_map(Weak::upgrade) {
            channel.borrow_mut().push_back(entry.clone());
        }
        self.changed.notify_waiters();
    }

    pub(super) fn is_alive(&self, gateway: u32) {
        self.state.borrow_mut().gateways.insert(gateway, self.scene.now_ms());
    }

    pub(super) fn set_presence(
        &self,
        room: RoomId,
        gateway: u32,
        changes: &[PresenceChange],
    ) -> PresenceOutcome {
        let mut state = self.state.borrow_mut();
        let present = state.online.entry(room).or_default();
        let mut outcome = PresenceOutcome::default();
        for PresenceChange { user, core, online } in changes {
            let entry = (*user, gateway, *core);
            let moved = if *online { present.insert(entry) } else { present.remove(&entry) };
            let of_user = present.iter().filter(|(other, ..)| other == user).count();
            if moved && of_user == usize::from(*online) {
                outcome.changes.push((*user, *online));
            }
        }
        outcome.count = present.len() as u64;
        outcome
    }

    pub(super) fn present(&self, room: RoomId) -> Vec<UserId> {
        let alive_since_ms = self.scene.now_ms().saturating_sub(GATEWAY_SILENT_MS);
        let state = self.state.borrow();
        let is_alive = |gateway| state.gateways.get(gateway).is_some_and(|seen| *seen >= alive_since_ms);
        let present = state.online.get(&room).into_iter().flatten();
        let mut users: Vec<UserId> =
            present.filter(|(_, gateway, _)| is_alive(gateway)).map(|(user, ..)| *user).collect();
        users.dedup();
        users
    }
}
