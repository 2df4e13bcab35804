//! Looking up anew what open sessions go by, behind a gap.
//!
//! Changes of membership and ended login sessions reach the cores through the streams. What a gap held of them is not
//! known, but the control plane keeps their sum in Redis: it is asked for every user who has a session that the gap
//! concerns, a few at a time, until it has answered. Whatever a session goes by and does not hold any more ends, as if
//! it had been told.
//!
//! A Redis that was restarted empty knows of no membership until the control plane has filled it, which says nothing
//! about anybody: so long nobody loses a room. The login sessions that it held are gone for good.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::Role;
use hubbub_common::token::LoginMark;
use tokio::time::{sleep, timeout};

use super::backend::{BusError, Directory, Streams};
use super::engine::{ANSWER_MAX, Engine};
use super::task::spawn;
use super::{Claim, Tell};

/// Users asked about at once.
const USERS_AT_ONCE: usize = 32;
/// Between two rounds, for everybody else's commands.
const ROUND_PAUSE: Duration = Duration::from_millis(5);
/// Where the backend has no answer.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is to be looked up.
#[derive(Debug, Default)]
pub(super) struct Rechecks {
    users: BTreeMap<UserId, Claims>,
    under_way: bool,
}

/// What open sessions of a user go by.
#[derive(Debug, Default, Clone)]
struct Claims {
    rooms: BTreeSet<RoomId>,
    logins: BTreeSet<LoginMark>,
}

/// What there is to it.
struct Found {
    ended: Vec<LoginMark>,
    roles: Vec<(RoomId, Option<Role>)>,
}

impl Rechecks {
    fn add(&mut self, user: UserId, claim: Claim) {
        let of_user = self.users.entry(user).or_default();
        match claim {
            Claim::Room(room) => of_user.rooms.insert(room),
            Claim::Login(login) => of_user.logins.insert(login),
        };
    }

    fn take_some(&mut self) -> Vec<(UserId, Claims)> {
        let next = || self.users.pop_first();
        std::iter::from_fn(next).take(USERS_AT_ONCE).collect()
    }

    fn put_back(&mut self, some: Vec<(UserId, Claims)>) {
        for (user, claims) in some {
            let of_user = self.users.entry(user).or_default();
            of_user.rooms.extend(claims.rooms);
            of_user.logins.extend(claims.logins);
        }
    }
}

impl<B: Streams + Directory> Engine<B> {
    /// Sessions of a core go by these, and a gap may have ended some.
    pub(super) fn recheck(self: &Rc<Self>, claims: Vec<(UserId, Claim)>) {
        let rechecks = &mut self.state.borrow_mut().rechecks;
        for (user, claim) in claims {
            rechecks.add(user, claim);
        }
        if !std::mem::replace(&mut rechecks.under_way, true) {
            spawn(Rc::clone(self).recheck_all());
        }
    }

    async fn recheck_all(self: Rc<Self>) {
        loop {
            let some = {
                let rechecks = &mut self.state.borrow_mut().rechecks;
                let some = rechecks.take_some();
                rechecks.under_way = !some.is_empty();
                some
            };
            if some.is_empty() {
                return;
            }
            let began = self.clock.elapsed();
            let found = timeout(ANSWER_MAX, self.find(&some)).await;
            match found.unwrap_or_else(|_| Err(BusError("no answer in time".to_owned()))) {
                Ok(found) => {
                    for ((user, _), found) in some.iter().zip(found) {
                        self.tell_found(*user, found, began);
                    }
                    self.metrics.rights_rechecked.increment(some.len() as u64);
                    self.flush();
                    sleep(ROUND_PAUSE).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "rights are not rechecked yet");
                    self.state.borrow_mut().rechecks.put_back(some);
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn find(&self, some: &[(UserId, Claims)]) -> Result<Vec<Found>, BusError> {
        // Asked on both sides, because the data may be lost in between.
        self.must_know_members().await?;
        let found = try_join_all(some.iter().map(|(user, claims)| self.find_of(*user, claims))).await?;
        self.must_know_members().await?;
        Ok(found)
    }

    async fn must_know_members(&self) -> Result<(), BusError> {
        let unknown = || BusError("who is a member of what is not known at the moment".to_owned());
        if self.backend.knows_members().await? { Ok(()) } else { Err(unknown()) }
    }

    async fn find_of(&self, user: UserId, claims: &Claims) -> Result<Found, BusError> {
        let living = if claims.logins.is_empty() { Vec::new() } else { self.backend.logins(user).await? };
        let ended = claims.logins.iter().copied().filter(|login| !living.contains(login));
        let rooms: Vec<RoomId> = claims.rooms.iter().copied().collect();
        let roles = if rooms.is_empty() { Vec::new() } else { self.backend.roles(user, &rooms).await? };
        Ok(Found { ended: ended.collect(), roles: rooms.into_iter().zip(roles).collect() })
    }

    /// Tells the cores. `began` is when the look-up did: a change that was read since then is newer.
    fn tell_found(&self, user: UserId, found: Found, began: Duration) {
        let mut state = self.state.borrow_mut();
        if !found.ended.is_empty() {
            let ended: Arc<[_]> = found.ended.into();
            state.tell_all(|| Tell::SessionsEnded(user, Arc::clone(&ended)));
        }
        for (room, looked_up) in found.roles {
            let role = state.roles.settle(user, room, looked_up, began);
            state.tell_interested(self.shards.of(room), || Tell::RoleFound { room, user, role });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_is_asked_about_once_and_some_at_a_time() {
        let user = |n| UserId::new(n).unwrap();
        let room = |n| Claim::Room(RoomId::new(n).unwrap());
        let mut rechecks = Rechecks::default();
        for n in 1..=100 {
            rechecks.add(user(n), room(1));
            rechecks.add(user(n), room(2));
            rechecks.add(user(n), room(1));
            rechecks.add(user(n), Claim::Login(LoginMark::of("a")));
        }
        let some = rechecks.take_some();
        assert_eq!(some.len(), USERS_AT_ONCE);
        assert!(some.iter().all(|(_, claims)| claims.rooms.len() == 2 && claims.logins.len() == 1));
        assert_eq!(rechecks.users.len(), 100 - USERS_AT_ONCE);
        rechecks.put_back(some);
        assert_eq!(rechecks.users.len(), 100);
    }
}
