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
pub(super) struct RecentRoles(HashMap<(UserId, RoomId), (Duration, Option<Role>)>);

impl RecentRoles {
    /// A change was read at this uptime.
    pub(super) fn note(&mut self, user: UserId, room: RoomId, role: Option<Role>, at: Duration) {
        self.0.insert((user, room), (at, role));
    }

    /// The role that counts, where one was looked up from an uptime on.
    pub(super) fn settle(
        &self,
        user: UserId,
        room: RoomId,
        looked_up: Option<Role>,
        since: Duration,
    ) -> Option<Role> {
        match self.0.get(&(user, room)) {
            Some((at, role)) if *at >= since => *role,
            Some(_) | None => looked_up,
        }
    }

    /// No join is under way that began before this uptime.
    pub(super) fn forget_before(&mut self, since: Duration) {
        self.0.retain(|_, (at, _)| *at >= since);
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
        assert!(roles.0.is_empty());
    }
}
