//! See [`super`].

use std::collections::HashMap;

use hubbub_common::ids::{RoomId, UserId};
use slab::Slab;
use smallvec::SmallVec;

/// Members up to which a user's sessions are counted by looking at each.
const SCAN_MEMBERS_MAX: usize = 64;

/// A connection in a room.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its slot.
    pub slot: u32,
    /// Where its list holds this room.
    place: u32,
}

/// A room in the list of a connection.
#[derive(Debug, Clone, Copy)]
struct Joined {
    room: u32,
    /// Where the room's list holds this connection.
    place: u32,
}

#[derive(Debug)]
struct Room {
    id: RoomId,
    members: Vec<Member>,
    /// Sessions by user; only in rooms too large to look at each member.
    sessions_of: Option<HashMap<UserId, u32>>,
}

#[derive(Debug)]
struct Attached {
    user: UserId,
    rooms: SmallVec<[Joined; 1]>,
}

/// What a join or leave meant for the user's presence on this core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was so already.
    None,
    /// One more or fewer session of a user who has others here.
    Session,
    /// The user's first session in the room, or the last one gone.
    User,
}

/// See [`super`].
#[derive(Debug, Default)]
pub struct Registry {
    rooms: Slab<Room>,
    by_id: HashMap<RoomId, u32>,
    attached: Vec<Option<Attached>>,
    subscriptions: usize,
}

impl Registry {
    /// A connection takes a slot.
    pub fn attach(&mut self, slot: u32, user: UserId) {
        let index = slot as usize;
        if self.attached.len() <= index {
            self.attached.resize_with(index + 1, || None);
        }
        if let Some(place) = self.attached.get_mut(index) {
            *place = Some(Attached { user, rooms: SmallVec::new() });
        }
    }

    /// A connection gives its slot back; gives the rooms in which its user has no session left.
    pub fn detach(&mut self, slot: u32) -> Vec<RoomId> {
        let rooms: Vec<RoomId> = self.rooms_of(slot).collect();
        let gone = rooms.into_iter().filter(|room| self.leave(slot, *room) == Change::User).collect();
        if let Some(place) = self.attached.get_mut(slot as usize) {
            *place = None;
        }
        gone
    }

    /// The user of a connection.
    pub fn user(&self, slot: u32) -> Option<UserId> {
        self.attached(slot).map(|attached| attached.user)
    }

    /// The connections of a user: looks at every connection.
    pub fn slots_of(&self, user: UserId) -> impl Iterator<Item = u32> {
        self.users().filter(move |(_, of)| *of == user).map(|(slot, _)| slot)
    }

    /// Every connection, with its user.
    pub fn users(&self) -> impl Iterator<Item = (u32, UserId)> {
        let slots = self.attached.iter().zip(0u32..);
        slots.filter_map(|(attached, slot)| attached.as_ref().map(|of| (slot, of.user)))
    }

    /// Attaches a connection to a room.
    pub fn join(&mut self, slot: u32, id: RoomId) -> Change {
        let Some(user) = self.user(slot) else { return Change::None };
        if self.is_joined(slot, id) {
            return Change::None;
        }
        let rooms = &mut self.rooms;
        let room_index = *self
            .by_id
            .entry(id)
            .or_insert_with(|| index(rooms.insert(Room { id, members: Vec::new(), sessions_of: None })));
        let sessions_before = self.sessions_of(room_index, user);
        let Some(room) = self.rooms.get_mut(room_index as usize) else { return Change::None };
        let Some(Some(attached)) = self.attached.get_mut(slot as usize) else { return Change::None };
        attached.rooms.push(Joined { room: room_index, place: index(room.members.len()) });
        room.members.push(Member { slot, place: index(attached.rooms.len() - 1) });
        if let Some(sessions) = &mut room.sessions_of {
            *sessions.entry(user).or_insert(0) += 1;
        } else if room.members.len() > SCAN_MEMBERS_MAX {
            let mut sessions: HashMap<UserId, u32> = HashMap::new();
            for member in &room.members {
                if let Some(Some(other)) = self.attached.get(member.slot as usize) {
                    *sessions.entry(other.user).or_insert(0) += 1;
                }
            }
            room.sessions_of = Some(sessions);
        }
        self.subscriptions += 1;
        if sessions_before == 0 { Change::User } else { Change::Session }
    }

    /// Detaches a connection from a room.
    pub fn leave(&mut self, slot: u32, id: RoomId) -> Change {
        let Some(room_index) = self.by_id.get(&id).copied() else { return Change::None };
        let Some(Some(attached)) = self.attached.get_mut(slot as usize) else { return Change::None };
        let user = attached.user;
        let Some(own_place) = attached.rooms.iter().position(|joined| joined.room == room_index) else {
            return Change::None;
        };
        let joined = attached.rooms.swap_remove(own_place);
        // The room that took the place in this connection's list has to know.
        if let Some(moved) = attached.rooms.get(own_place).copied()
            && let Some(member) = self.member_mut(moved)
        {
            member.place = index(own_place);
        }
        let Some(room) = self.rooms.get_mut(room_index as usize) else { return Change::None };
        room.members.swap_remove(joined.place as usize);
        if let Some(sessions) = &mut room.sessions_of
            && let Some(count) = sessions.get_mut(&user)
        {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&user);
            }
        }
        // And the connection that took the place in the room's list.
        let moved = room.members.get(joined.place as usize).copied();
        let is_empty = room.members.is_empty();
        if let Some(moved) = moved
            && let Some(Some(other)) = self.attached.get_mut(moved.slot as usize)
            && let Some(theirs) = other.rooms.get_mut(moved.place as usize)
        {
            theirs.place = joined.place;
        }
        self.subscriptions -= 1;
        let change = if self.sessions_of(room_index, user) == 0 { Change::User } else { Change::Session };
        if is_empty {
            self.rooms.try_remove(room_index as usize);
            self.by_id.remove(&id);
        }
        change
    }

    /// Whether a connection is attached to a room.
    pub fn is_joined(&self, slot: u32, id: RoomId) -> bool {
        let Some(room_index) = self.by_id.get(&id) else { return false };
        self.attached(slot)
            .is_some_and(|attached| attached.rooms.iter().any(|joined| joined.room == *room_index))
    }

    /// The connections in a room.
    pub fn members(&self, id: RoomId) -> &[Member] {
        let room = self.by_id.get(&id).and_then(|room_index| self.rooms.get(*room_index as usize));
        room.map_or(&[], |room| &room.members)
    }

    /// The rooms of a connection.
    pub fn rooms_of(&self, slot: u32) -> impl Iterator<Item = RoomId> {
        let joined = self.attached(slot).into_iter().flat_map(|attached| &attached.rooms);
        joined.filter_map(|joined| self.rooms.get(joined.room as usize).map(|room| room.id))
    }

    /// In how many rooms a connection is.
    pub fn joined_count(&self, slot: u32) -> usize {
        self.attached(slot).map_or(0, |attached| attached.rooms.len())
    }

    /// Every user in every room, each once a room.
    pub fn present(&self) -> Vec<(RoomId, UserId)> {
        let users_of = |room: &Room| {
            let mut users: Vec<UserId> = match &room.sessions_of {
                Some(sessions) => sessions.keys().copied().collect(),
                None => room.members.iter().filter_map(|member| self.user(member.slot)).collect(),
            };
            users.sort_unstable();
            users.dedup();
            let id = room.id;
            users.into_iter().map(move |user| (id, user))
        };
        self.rooms.iter().flat_map(|(_, room)| users_of(room)).collect()
    }

    /// Rooms with at least one member.
    pub fn room_count(&self) -> usize {
        self.by_id.len()
    }

    /// Members of all rooms together.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions
    }

    fn attached(&self, slot: u32) -> Option<&Attached> {
        self.attached.get(slot as usize)?.as_ref()
    }

    fn member_mut(&mut self, joined: Joined) -> Option<&mut Member> {
        self.rooms.get_mut(joined.room as usize)?.members.get_mut(joined.place as usize)
    }

    fn sessions_of(&self, room_index: u32, user: UserId) -> usize {
        let Some(room) = self.rooms.get(room_index as usize) else { return 0 };
        match &room.sessions_of {
            Some(sessions) => sessions.get(&user).map_or(0, |count| *count as usize),
            None => room.members.iter().filter(|member| self.user(member.slot) == Some(user)).count(),
        }
    }
}

/// Slots are bounded by the open-file limit, memberships by connections times a thousand.
fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn room(n: u64) -> RoomId {
        RoomId::new(n).unwrap()
    }
    fn user(n: u64) -> UserId {
        UserId::new(n).unwrap()
    }

    #[test]
    fn a_user_is_there_from_the_first_session_to_the_last() {
        let mut registry = Registry::default();
        registry.attach(0, user(7));
        registry.attach(1, user(7));
        assert_eq!(registry.join(0, room(1)), Change::User);
        assert_eq!(registry.join(0, room(1)), Change::None);
        assert_eq!(registry.join(1, room(1)), Change::Session);
        assert_eq!(registry.leave(0, room(1)), Change::Session);
        assert_eq!(registry.leave(0, room(1)), Change::None);
        assert_eq!(registry.detach(1), [room(1)]);
        assert_eq!((registry.room_count(), registry.subscription_count()), (0, 0));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Attach(u32, u64),
        Detach(u32),
        Join(u32, u64),
        Leave(u32, u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let (slot, room, user) = (0u32..100, 1u64..4, 1u64..30);
        prop_oneof![
            2 => (slot.clone(), user).prop_map(|(slot, user)| Op::Attach(slot, user)),
            1 => slot.clone().prop_map(Op::Detach),
            8 => (slot.clone(), room.clone()).prop_map(|(slot, room)| Op::Join(slot, room)),
            3 => (slot, room).prop_map(|(slot, room)| Op::Leave(slot, room)),
        ]
    }

    proptest! {
        /// Against a model that is plainly right.
        #[test]
        fn it_agrees_with_a_set_of_pairs(ops in proptest::collection::vec(op(), 1..600)) {
            let mut registry = Registry::default();
            let mut users: BTreeMap<u32, UserId> = BTreeMap::new();
            let mut joined: BTreeSet<(RoomId, u32)> = BTreeSet::new();
            for op in ops {
                let sessions = |joined: &BTreeSet<(RoomId, u32)>, users: &BTreeMap<u32, UserId>, room, user| {
                    joined.iter().filter(|(r, slot)| *r == room && users[slot] == user).count()
                };
                match op {
                    Op::Attach(slot, u) => {
                        if let std::collections::btree_map::Entry::Vacant(place) = users.entry(slot) {
                            place.insert(user(u));
                            registry.attach(slot, user(u));
                        }
                    }
                    Op::Detach(slot) => {
                        let mut gone = registry.detach(slot);
                        gone.sort();
                        let mine: Vec<_> = joined.iter().filter(|(_, s)| *s == slot).map(|(r, _)| *r).collect();
                        joined.retain(|(_, s)| *s != slot);
                        if let Some(user) = users.get(&slot).copied() {
                            let expected: Vec<_> =
                                mine.into_iter().filter(|r| sessions(&joined, &users, *r, user) == 0).collect();
                            prop_assert_eq!(gone, expected);
                        }
                        users.remove(&slot);
                    }
                    Op::Join(slot, r) if users.contains_key(&slot) => {
                        let before = sessions(&joined, &users, room(r), users[&slot]);
                        let expected = match (joined.insert((room(r), slot)), before) {
                            (false, _) => Change::None,
                            (true, 0) => Change::User,
                            (true, _) => Change::Session,
                        };
                        prop_assert_eq!(registry.join(slot, room(r)), expected);
                    }
                    Op::Leave(slot, r) if users.contains_key(&slot) => {
                        let was = joined.remove(&(room(r), slot));
                        let left = sessions(&joined, &users, room(r), users[&slot]);
                        let expected = match (was, left) {
                            (false, _) => Change::None,
                            (true, 0) => Change::User,
                            (true, _) => Change::Session,
                        };
                        prop_assert_eq!(registry.leave(slot, room(r)), expected);
                    }
                    Op::Join(..) | Op::Leave(..) => {}
                }
                prop_assert_eq!(registry.subscription_count(), joined.len());
                let present: BTreeSet<_> = registry.present().into_iter().collect();
                let expected: BTreeSet<_> = joined.iter().map(|(r, slot)| (*r, users[slot])).collect();
                prop_assert_eq!(registry.present().len(), present.len());
                prop_assert_eq!(present, expected);
                for r in 1..4 {
                    let members: BTreeSet<_> = registry.members(room(r)).iter().map(|m| m.slot).collect();
                    let expected: BTreeSet<_> = joined.iter().filter(|(x, _)| *x == room(r)).map(|(_, s)| *s).collect();
                    prop_assert_eq!(members, expected);
                }
            }
        }
    }
}
