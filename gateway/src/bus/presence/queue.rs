//! Changes of presence that gather, and in which rooms this run has users. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use hubbub_common::ids::{RoomId, UserId};

use crate::bus::backend::PresenceChange;

/// See the module's text.
#[derive(Debug, Default)]
pub(in crate::bus) struct PresenceQueue {
    changes: BTreeMap<RoomId, OfRoom>,
    rooms: HashMap<RoomId, Held>,
    /// How often presence was begun anew.
    generation: u32,
    /// Cores that have not told yet whom they have since it was last begun anew.
    awaited: HashSet<u16>,
}

type OfRoom = BTreeMap<(UserId, u16), Change>;

#[derive(Debug, Clone, Copy)]
struct Change {
    /// What the backend knows, where that is certain.
    was_online: Option<bool>,
    online: bool,
}

/// What this run has in a room.
#[derive(Debug, Default)]
struct Held {
    /// Users, once for each core on which they are.
    users: u32,
    /// Whether the backend knows that the run is to be looked for here.
    is_noted: bool,
}

impl PresenceQueue {
    /// The first session of a user on a core joined a room, or the last one left it.
    pub(in crate::bus) fn push(&mut self, room: RoomId, user: UserId, core: u16, online: bool) {
        if self.awaited.contains(&core) {
            // It tells everything soon, and this is part of it.
            return;
        }
        let change = Change { was_online: Some(!online), online };
        self.changes.entry(room).or_default().entry((user, core)).or_insert(change).online = online;
        let held = self.rooms.entry(room).or_default();
        held.users = if online { held.users + 1 } else { held.users.saturating_sub(1) };
        if held.users == 0 && !held.is_noted {
            self.rooms.remove(&room);
        }
    }

    /// Everything that has gathered, room by room.
    pub(super) fn take(&mut self) -> Vec<(RoomId, Vec<PresenceChange>)> {
        let rooms = std::mem::take(&mut self.changes).into_iter();
        let changed = rooms.map(|(room, changes)| (room, changed(changes)));
        changed.filter(|(_, changes)| !changes.is_empty()).collect()
    }

    /// What has gathered for a room.
    pub(super) fn take_of(&mut self, room: RoomId) -> Vec<PresenceChange> {
        self.changes.remove(&room).map(changed).unwrap_or_default()
    }

    /// The backend perhaps did not take these, and perhaps did: they are tried again, or what is newer is told, wherever
    /// that leads.
    pub(super) fn put_back(&mut self, room: RoomId, changes: &[PresenceChange]) {
        let of_room = self.changes.entry(room).or_default();
        for PresenceChange { user, core, online } in changes {
            let refused = Change { was_online: None, online: *online };
            of_room.entry((*user, *core)).or_insert(refused).was_online = None;
        }
    }

    /// Of these rooms, those that have to be noted before something changes in them.
    pub(super) fn to_note(&self, rooms: impl Iterator<Item = RoomId>) -> Vec<RoomId> {
        let is_new = |room: &RoomId| self.rooms.get(room).is_some_and(|held| !held.is_noted);
        rooms.filter(is_new).collect()
    }

    pub(super) fn noted(&mut self, rooms: &[RoomId]) {
        for room in rooms {
            self.rooms.entry(*room).or_default().is_noted = true;
        }
    }

    /// Of these rooms, in which everything is carried out, those in which nobody is left: they are forgotten.
    pub(super) fn emptied(&mut self, rooms: impl Iterator<Item = RoomId>) -> Vec<RoomId> {
        let is_empty = |room: &RoomId| {
            !self.changes.contains_key(room) && self.rooms.get(room).is_some_and(|held| held.users == 0)
        };
        let empty: Vec<RoomId> = rooms.filter(is_empty).collect();
        for room in &empty {
            self.rooms.remove(room);
        }
        empty
    }

    /// The rooms in which the backend may know users of this run.
    pub(super) fn noted_rooms(&self) -> Vec<RoomId> {
        let mut rooms: Vec<_> =
            self.rooms.iter().filter(|(_, held)| held.is_noted).map(|(room, _)| *room).collect();
        rooms.sort_unstable();
        rooms
    }

    /// Forgets everything: the cores tell it anew, marked with the generation that this gives.
    pub(super) fn begin_anew(&mut self, cores: u16) -> u32 {
        let generation = self.generation.wrapping_add(1);
        *self = Self { generation, awaited: (0..cores).collect(), ..Self::default() };
        generation
    }

    /// A core tells whom it has.
    pub(in crate::bus) fn take_all(&mut self, generation: u32, core: u16, present: Vec<(RoomId, UserId)>) {
        if generation == self.generation && self.awaited.remove(&core) {
            for (room, user) in present {
                self.push(room, user, core, true);
            }
        }
    }
}

/// There and back is no change.
fn changed(changes: OfRoom) -> Vec<PresenceChange> {
    let changed = changes.into_iter().filter(|(_, change)| change.was_online != Some(change.online));
    changed.map(|((user, core), change)| PresenceChange { user, core, online: change.online }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(n: u64) -> RoomId {
        RoomId::new(n).unwrap()
    }
    fn user(n: u64) -> UserId {
        UserId::new(n).unwrap()
    }
    fn change(n: u64, core: u16, online: bool) -> PresenceChange {
        PresenceChange { user: user(n), core, online }
    }

    #[test]
    fn there_and_back_is_no_change() {
        let mut queue = PresenceQueue::default();
        queue.push(room(1), user(1), 0, false);
        queue.push(room(1), user(1), 0, true);
        queue.push(room(1), user(1), 1, true);
        queue.push(room(2), user(2), 0, true);
        queue.push(room(2), user(2), 0, false);
        assert_eq!(queue.take(), [(room(1), vec![change(1, 1, true)])]);
        assert_eq!(queue.take(), []);
    }

    #[test]
    fn a_room_is_noted_before_the_first_and_forgotten_after_the_last() {
        let mut queue = PresenceQueue::default();
        let rooms = || [room(1)].into_iter();
        queue.push(room(1), user(1), 0, true);
        assert_eq!(queue.to_note(rooms()), [room(1)]);
        queue.noted(&[room(1)]);
        assert_eq!((queue.to_note(rooms()), queue.noted_rooms()), (vec![], vec![room(1)]));
        queue.take();
        assert_eq!(queue.emptied(rooms()), []);
        queue.push(room(1), user(1), 0, false);
        // Not before the backend knows that the last one has gone.
        assert_eq!(queue.emptied(rooms()), []);
        let taken = queue.take_of(room(1));
        queue.put_back(room(1), &taken);
        assert_eq!(queue.emptied(rooms()), []);
        assert_eq!(queue.take_of(room(1)), taken);
        assert_eq!(queue.emptied(rooms()), [room(1)]);
        assert!(queue.rooms.is_empty() && queue.noted_rooms().is_empty());
    }

    #[test]
    fn what_was_refused_gives_way_to_what_is_newer() {
        let mut queue = PresenceQueue::default();
        queue.push(room(1), user(1), 0, true);
        let refused = queue.take_of(room(1));
        queue.push(room(1), user(1), 0, false);
        queue.put_back(room(1), &refused);
        assert_eq!(queue.take_of(room(1)), [change(1, 0, false)]);
    }

    #[test]
    fn there_and_back_while_a_change_was_refused_is_still_to_be_told() {
        let mut queue = PresenceQueue::default();
        queue.push(room(1), user(1), 0, true);
        let refused = queue.take_of(room(1));
        queue.push(room(1), user(1), 0, false);
        queue.push(room(1), user(1), 0, true);
        queue.put_back(room(1), &refused);
        assert_eq!(queue.take_of(room(1)), [change(1, 0, true)]);
    }

    #[test]
    fn what_was_perhaps_taken_is_taken_back() {
        let mut queue = PresenceQueue::default();
        queue.push(room(1), user(1), 0, true);
        let refused = queue.take_of(room(1));
        queue.put_back(room(1), &refused);
        queue.push(room(1), user(1), 0, false);
        assert_eq!(queue.take_of(room(1)), [change(1, 0, false)]);
    }

    #[test]
    fn begun_anew_only_what_the_cores_tell_counts() {
        let mut queue = PresenceQueue::default();
        queue.push(room(1), user(1), 0, true);
        queue.push(room(2), user(2), 1, true);
        let old = queue.begin_anew(2);
        let generation = queue.begin_anew(2);
        queue.push(room(1), user(1), 0, false);
        queue.take_all(old, 0, vec![(room(9), user(9))]);
        queue.take_all(generation, 0, vec![(room(1), user(3))]);
        queue.push(room(1), user(3), 0, false);
        queue.push(room(1), user(4), 0, true);
        queue.push(room(2), user(2), 1, false);
        assert_eq!(queue.take(), [(room(1), vec![change(4, 0, true)])]);
        queue.take_all(generation, 1, vec![(room(2), user(2))]);
        queue.take_all(generation, 1, vec![(room(2), user(2))]);
        assert_eq!(queue.take(), [(room(2), vec![change(2, 1, true)])]);
        assert_eq!(queue.rooms[&room(2)].users, 1);
    }
}
