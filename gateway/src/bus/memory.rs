//! A bus for one gateway without Redis: for embedding, for tests, for trying it out.
//!
//! Streams are kept no longer than it takes to read them; the gateway's own window serves clients that
//! resume. Nothing survives the process, and there are no login sessions and no memberships: tokens have to
//! name their rooms.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::mem;

use bytes::Bytes;
use hubbub_common::clock::now_ms;
use hubbub_common::entry::Entry;
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::limits::PRESENCE_USERS_MAX;
use hubbub_common::protocol::Role;
use hubbub_common::redis::{Epoch, Extent};
use hubbub_common::shard::Shard;
use hubbub_common::token::{LoginMark, LoginSession};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::backend::{
    AppendError, BusError, Directory, Footing, Presence, PresenceChange, PresenceOutcome, READ_WAIT,
    ReadEntry, RoomsLast, Streams, Survey,
};

/// Who has sessions in a room, on which cores: ordered, so that the entries of a user are neighbours.
type Present = BTreeSet<(UserId, u16)>;

/// See the module's text.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    state: RefCell<State>,
    appended: Notify,
    said: Notify,
}

#[derive(Debug, Default)]
struct State {
    last_entry: EntryId,
    last_of_room: HashMap<RoomId, MessageId>,
    /// Entries that wait to be read. One reader takes them all.
    unread: Vec<ReadEntry>,
    said: Vec<Bytes>,
    /// By room and user, the cores with sessions.
    online: HashMap<RoomId, Present>,
}

impl Streams for MemoryBackend {
    async fn append(&self, shard: Shard, entry: Bytes) -> Result<EntryId, AppendError> {
        let mut state = self.state.borrow_mut();
        let now_ms = now_ms();
        let id = if now_ms > state.last_entry.ms {
            EntryId { ms: now_ms, seq: 0 }
        } else {
            EntryId { ms: state.last_entry.ms, seq: state.last_entry.seq + 1 }
        };
        state.last_entry = id;
        if let Ok(decoded) = Entry::decode(&entry) {
            for (index, record) in decoded.records() {
                if let (Some(record), Some(id)) = (record, MessageId::pack(id, index))
                    && record.is_stored_event()
                {
                    state.last_of_room.insert(record.room(), id);
                }
            }
        }
        state.unread.push(ReadEntry { shard, id, bytes: entry });
        self.appended.notify_one();
        Ok(id)
    }

    async fn read(&self, cursors: &[(Shard, EntryId)]) -> Result<Vec<ReadEntry>, BusError> {
        if self.state.borrow().unread.is_empty() {
            let _ = timeout(READ_WAIT, self.appended.notified()).await;
        }
        let mut entries = mem::take(&mut self.state.borrow_mut().unread);
        let is_after = |entry: &ReadEntry| {
            cursors.iter().any(|(shard, cursor)| *shard == entry.shard && *cursor < entry.id)
        };
        entries.retain(is_after);
        Ok(entries)
    }

    async fn interrupt_read(&self) {
        self.appended.notify_one();
    }

    async fn extent(&self, _: Shard) -> Result<Extent, BusError> {
        Ok(Extent::default())
    }

    fn is_surveyed(&self) -> bool {
        true
    }

    async fn survey(&self, cursors: &[(Shard, EntryId)]) -> Result<Survey, BusError> {
        // Nothing is trimmed before it is read, and the data lives as long as its reader.
        let footing = Footing { extent: Extent::default(), has_cursor: true };
        Ok(Survey { epoch: 0, footings: vec![Some(footing); cursors.len()] })
    }

    async fn range(&self, _: Shard, _: EntryId, _: EntryId, _: usize) -> Result<Vec<ReadEntry>, BusError> {
        Ok(Vec::new())
    }

    async fn trim(&self, _: &[Shard], _: EntryId) -> Result<(), BusError> {
        Ok(())
    }

    async fn rooms_last(&self, _: Shard, rooms: &[RoomId]) -> Result<RoomsLast, BusError> {
        let state = self.state.borrow();
        let last = |room| state.last_of_room.get(room).copied().unwrap_or(MessageId::ZERO);
        Ok(RoomsLast { told_to: EntryId::MAX, last: rooms.iter().map(last).collect() })
    }

    async fn say(&self, _: Shard, entry: Bytes) -> Result<(), BusError> {
        self.state.borrow_mut().said.push(entry);
        self.said.notify_one();
        Ok(())
    }

    async fn hear(&self) -> Result<Vec<Bytes>, BusError> {
        if self.state.borrow().said.is_empty() {
            let _ = timeout(READ_WAIT, self.said.notified()).await;
        }
        Ok(mem::take(&mut self.state.borrow_mut().said))
    }

    async fn heartbeat(&self) -> Result<Epoch, BusError> {
        Ok(0)
    }
}

impl Directory for MemoryBackend {
    async fn login_session(&self, _: &str) -> Result<Option<LoginSession>, BusError> {
        Ok(None)
    }

    async fn logins(&self, _: UserId) -> Result<Vec<LoginMark>, BusError> {
        Ok(Vec::new())
    }

    async fn knows_members(&self) -> Result<bool, BusError> {
        Ok(true)
    }

    async fn roles(&self, _: UserId, rooms: &[RoomId]) -> Result<Vec<Option<Role>>, BusError> {
        Ok(vec![None; rooms.len()])
    }

    async fn author(&self, _: RoomId, _: MessageId) -> Result<Option<UserId>, BusError> {
        Ok(None)
    }
}

impl Presence for MemoryBackend {
    async fn set_presence(
        &self,
        room: RoomId,
        changes: &[PresenceChange],
    ) -> Result<PresenceOutcome, BusError> {
        let mut state = self.state.borrow_mut();
        let present = state.online.entry(room).or_default();
        let is_online =
            |present: &Present, user| present.range((user, 0)..=(user, u16::MAX)).next().is_some();
        let users: BTreeSet<UserId> = changes.iter().map(|change| change.user).collect();
        let before: Vec<bool> = users.iter().map(|user| is_online(present, *user)).collect();
        for PresenceChange { user, core, online } in changes {
            if *online {
                present.insert((*user, *core));
            } else {
                present.remove(&(*user, *core));
            }
        }
        let after = users.into_iter().map(|user| (user, is_online(present, user)));
        let changes = after.zip(before).filter(|((_, now), before)| now != before).map(|(user, _)| user);
        let changes = changes.collect();
        let mut users: Vec<UserId> = present.iter().map(|(user, _)| *user).collect();
        users.dedup();
        let count = users.len() as u64;
        if present.is_empty() {
            state.online.remove(&room);
        }
        Ok(PresenceOutcome { changes, count })
    }

    async fn present(&self, room: RoomId) -> Result<(Vec<UserId>, u64), BusError> {
        let state = self.state.borrow();
        let present = state.online.get(&room).into_iter().flatten();
        let mut users: Vec<UserId> = present.map(|(user, _)| *user).collect();
        users.dedup();
        let count = users.len() as u64;
        users.truncate(PRESENCE_USERS_MAX);
        Ok((users, count))
    }
}
