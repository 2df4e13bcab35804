//! Presence changes, coalesced: a page that reloads is no change, a storm is one batch.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use hubbub_common::entry::Record;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::limits::PRESENCE_PUSH_MEMBERS_MAX;
use hubbub_common::protocol::PresenceState;

use super::backend::{Directory, Streams};
use super::engine::Engine;

/// How long changes gather.
const GATHER: Duration = Duration::from_millis(200);
/// Changes on their way to the backend at once.
const AT_ONCE_MAX: usize = 256;

type Key = (RoomId, UserId, u16);

/// Changes that gather.
#[derive(Debug, Default)]
pub(super) struct PresenceQueue(BTreeMap<Key, Change>);

#[derive(Debug, Clone, Copy)]
struct Change {
    /// What the backend knows.
    was_online: bool,
    online: bool,
}

impl PresenceQueue {
    pub(super) fn push(&mut self, room: RoomId, user: UserId, core: u16, online: bool) {
        let change = self.0.entry((room, user, core)).or_insert(Change { was_online: !online, online });
        change.online = online;
    }

    fn take_of(&mut self, room: RoomId) -> Vec<(Key, bool)> {
        let of_room = self.0.extract_if(.., |(other, _, _), _| *other == room);
        let changed = of_room.filter(|(_, change)| change.online != change.was_online);
        changed.map(|(key, change)| (key, change.online)).collect()
    }

    fn take(&mut self) -> Vec<(Key, bool)> {
        let changes = std::mem::take(&mut self.0).into_iter();
        changes
            .filter(|(_, change)| change.online != change.was_online)
            .map(|(key, change)| (key, change.online))
            .collect()
    }
}

impl<B: Streams + Directory> Engine<B> {
    /// Tells the backend of changes for ever, and every gateway of those that everybody should see.
    pub(super) async fn spread_presence(self: Rc<Self>) {
        let mut every = tokio::time::interval(GATHER);
        loop {
            every.tick().await;
            let changes = self.state.borrow_mut().presence.take();
            for some in changes.chunks(AT_ONCE_MAX) {
                join_all(some.iter().map(|(key, online)| self.spread(*key, *online))).await;
            }
        }
    }

    /// Tells the backend at once what has gathered for one room, so that who asks next sees it.
    pub(super) async fn spread_presence_of(self: &Rc<Self>, room: RoomId) {
        let changes = self.state.borrow_mut().presence.take_of(room);
        join_all(changes.iter().map(|(key, online)| self.spread(*key, *online))).await;
    }

    async fn spread(self: &Rc<Self>, (room, user, core): Key, online: bool) {
        match self.backend.set_presence(room, user, core, online).await {
            Ok(outcome) if outcome.changed && outcome.count <= PRESENCE_PUSH_MEMBERS_MAX as u64 => {
                let state = if online { PresenceState::Online } else { PresenceState::Offline };
                self.say_record(&Record::Presence { room, user, state });
            }
            Ok(_) => {}
            // Tried again, unless a newer change has come.
            Err(_) => {
                let key = (room, user, core);
                self.state
                    .borrow_mut()
                    .presence
                    .0
                    .entry(key)
                    .or_insert(Change { was_online: !online, online });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_no_change() {
        let (room, user) = (RoomId::new(1).unwrap(), UserId::new(1).unwrap());
        let mut queue = PresenceQueue::default();
        queue.push(room, user, 0, false);
        queue.push(room, user, 0, true);
        queue.push(room, user, 1, true);
        assert_eq!(queue.take(), [((room, user, 1), true)]);
        assert_eq!(queue.take(), []);
    }
}
