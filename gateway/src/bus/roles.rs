//! Changes of membership that joins under way may have missed.
//!
//! A join looks its roles up first and subscribes later. A change that is read in between is older than the
//! subscription and newer than the look-up, so it counts; one that was read before the look-up began is in it.

use std::collections::HashMap;
use std::time::Duration;

use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::Role;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct RecentRoles {
    roles: HashMap<(UserId, RoomId), (Duration, Option<Role>)>,
    /// Rooms that were deleted, and when.
    deleted: HashMap<RoomId, Duration>,
}

impl RecentRoles {
    /// A change was read at this uptime.
    pub(super) fn note(&mut self, user: UserId, room: RoomId, role: Option<Role>, at: Duration) {
        self.roles.insert((user, room), (at, role));
    }

    /// That a room is no more was read at this uptime.
    pub(super) fn note_deleted(&mut self, room: RoomId, at: Duration) {
        self.deleted.insert(room, at);
    }

    /// The role that counts, where one was looked up from an uptime on.
    pub(super) fn settle(
        &self,
        user: UserId,
        room: RoomId,
        looked_up: Option<Role>,
        since: Duration,
    ) -> Option<Role> {
        if self.deleted.get(&room).is_some_and(|at| *at >= since) {
            return None;
        }
        match self.roles.get(&(user, room)) {
            Some((at, role)) if *at >= since => *role,
            Some(_) | None => looked_up,
        }
    }

    /// No join is under way that began before this uptime.
    pub(super) fn forget_before(&mut self, since: Duration) {
        self.roles.retain(|_, (at, _)| *at >= since);
        self.deleted.retain(|_, at| *at >= since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_after_the_look_up_began_counts() {
        let (user, room) = (UserId::new(1).unwrap(), RoomId::new(2).unwrap());
        let at = Duration::from_secs;
        let mut roles = RecentRoles::default();
        roles.note(user, room, None, at(5));
        assert_eq!(roles.settle(user, room, Some(Role::Member), at(5)), None);
        assert_eq!(roles.settle(user, room, Some(Role::Member), at(6)), Some(Role::Member));
        roles.note(user, room, Some(Role::Muted), at(7));
        assert_eq!(roles.settle(user, room, Some(Role::Member), at(6)), Some(Role::Muted));
        roles.forget_before(at(8));
        assert_eq!(roles.settle(user, room, None, at(0)), None);
        assert!(roles.roles.is_empty());
        roles.note_deleted(room, at(9));
        assert_eq!(roles.settle(user, room, Some(Role::Owner), at(9)), None);
        assert_eq!(roles.settle(user, room, Some(Role::Owner), at(10)), Some(Role::Owner));
    }
}
