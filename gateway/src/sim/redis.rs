//! The Redis of a simulated world: streams, channels, presence, and what the control plane keeps there.
//!
//! It is right by being small. What can go wrong on the way to it is the [`link`](super::link)'s. It has a replica,
//! which is the primary's past: whatever was appended since is lost in a fail-over.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use hubbub_common::entry::{Entry, Record};
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use hubbub_common::redis::{Epoch, Extent};
use hubbub_common::shard::Shard;
use hubbub_common::simulation::World as _;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::online::Online;
use super::scene::{Machine, Scene};
use crate::bus::backend::ReadEntry;

/// What a subscriber of the channels has not taken yet.
pub(super) type Channel = RefCell<VecDeque<Bytes>>;

/// See the module's text.
pub(super) struct Redis {
    scene: Rc<Scene>,
    pub(super) machine: Machine,
    state: RefCell<State>,
    /// Entries or messages have come, or the replica has got some.
    pub(super) changed: Notify,
    pub(super) online: RefCell<Online>,
    pub(super) rights: RefCell<Rights>,
}

/// What the control plane keeps of users.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// None where somebody is no member.
    pub(super) roles: BTreeMap<(UserId, RoomId), Role>,
    /// Whether `roles` is all there is.
    pub(super) knows_members: bool,
    /// Ids of login sessions.
    pub(super) logins: BTreeSet<(UserId, String)>,
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
    /// Appends that the replica lacks, oldest first, each with what was its stream's last entry before.
    unreplicated: VecDeque<(Shard, EntryId, EntryId)>,
    /// Appends that there are.
    appends: u64,
    /// Counts primaries.
    primary: u64,
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
            online: RefCell::default(),
            rights: RefCell::new(Rights { knows_members: true, ..Rights::default() }),
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
        let before = std::mem::replace(&mut stream.last, id);
        stream.added += 1;
        stream.entries.insert(id, entry.clone());
        state.appends += 1;
        state.unreplicated.push_back((shard, id, before));
        if let Some(decoded) = Entry::decode(&entry).ok().filter(|_| shard != Shard::CONTROL) {
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

    /// What is under way is lost with the connections that it came on.
    pub(super) fn lose_late(&self) {
        self.state.borrow_mut().late.clear();
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

    /// The place of the newest append: on which primary, and how many there were by then.
    pub(super) fn newest_append(&self) -> (u64, u64) {
        let state = self.state.borrow();
        (state.primary, state.appends)
    }

    /// Whether the replica gets an append in time.
    pub(super) async fn gets_replicated(&self, place: (u64, u64), within: Duration) -> bool {
        let has_it = async {
            loop {
                let changed = self.changed.notified();
                if self.has_replicated(place) {
                    return;
                }
                changed.await;
            }
        };
        timeout(within, has_it).await.is_ok()
    }

    fn has_replicated(&self, (primary, place): (u64, u64)) -> bool {
        let state = self.state.borrow();
        primary == state.primary && state.appends - state.unreplicated.len() as u64 >= place
    }

    /// The replica gets so many more of the appends.
    pub(super) fn replicate(&self, count: usize) {
        let mut state = self.state.borrow_mut();
        let count = count.min(state.unreplicated.len());
        if count > 0 {
            state.unreplicated.drain(..count);
            self.changed.notify_waiters();
        }
    }

    /// The newest entry of a shard that cannot be lost any more.
    pub(super) fn replicated_to(&self, shard: Shard) -> EntryId {
        let state = self.state.borrow();
        let first_lacking = state.unreplicated.iter().find(|(of, ..)| *of == shard);
        let newest = || state.streams.get(&shard).map_or(EntryId::ZERO, |stream| stream.last);
        first_lacking.map_or_else(newest, |(_, _, before)| *before)
    }

    /// The replica becomes primary. Gives what is lost.
    pub(super) fn fail_over(&self) -> BTreeSet<(Shard, EntryId)> {
        let mut state = self.state.borrow_mut();
        let mut lost = BTreeSet::new();
        while let Some((shard, id, before)) = state.unreplicated.pop_back() {
            if let Some(stream) = state.streams.get_mut(&shard) {
                stream.entries.remove(&id);
                stream.added -= 1;
                stream.last = before;
            }
            lost.insert((shard, id));
        }
        state.appends -= lost.len() as u64;
        state.primary += 1;
        self.scene.note(format_args!("redis   fails over and loses {} entries", lost.len()));
        lost
    }

    /// It comes back empty. What stands in Postgres, the control plane still knows.
    pub(super) fn forget_everything(&self) {
        let mut state = self.state.borrow_mut();
        let State { authors, channels, primary, .. } = std::mem::take(&mut *state);
        *state = State { authors, channels, primary: primary + 1, ..State::default() };
        self.online.take();
        let mut rights = self.rights.borrow_mut();
        rights.logins.clear();
        rights.knows_members = false;
        self.scene.note(format_args!("redis   comes back empty"));
    }
}
