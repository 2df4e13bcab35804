//! What the control plane does in a simulated world: it persists and trims, changes roles, lets users log in and ends
//! their sessions.

use std::borrow::Cow;
use std::rc::Rc;

use hubbub_common::clock::UnixMs;
use hubbub_common::entry::{Notice, Record, encode};
use hubbub_common::ids::{EntryId, RoomId, UserId};
use hubbub_common::protocol::{MemberState, Role};
use hubbub_common::shard::{Shard, Shards};
use hubbub_common::simulation::World as _;

use super::redis::Redis;
use super::scene::Scene;
use super::truth::Truth;

/// Who owns all rooms in the beginning.
pub(super) const OWNER: u64 = 1;

/// See the module's text.
pub(super) struct Control {
    scene: Rc<Scene>,
    redis: Rc<Redis>,
    shards: Shards,
    window_ms: u64,
    users: Vec<UserId>,
    rooms: Vec<RoomId>,
    /// By shard, up to where it is in Postgres.
    persisted: Vec<EntryId>,
    /// Redis was emptied: memberships are there again then.
    fills_at_ms: Option<u64>,
}

impl Control {
    pub(super) fn new(
        scene: &Rc<Scene>,
        redis: &Rc<Redis>,
        shards: Shards,
        window_ms: u64,
        users: u64,
        rooms: &[RoomId],
    ) -> Self {
        let users: Vec<UserId> = (1..=users).map(|user| UserId::new(user).unwrap()).collect();
        for (user, room) in users.iter().flat_map(|user| rooms.iter().map(move |room| (*user, *room))) {
            let role = if user.get() == OWNER { Role::Owner } else { Role::Member };
            redis.rights.borrow_mut().roles.insert((user, room), role);
        }
        Self {
            scene: Rc::clone(scene),
            redis: Rc::clone(redis),
            shards,
            window_ms,
            users,
            rooms: rooms.to_vec(),
            persisted: vec![EntryId::ZERO; usize::from(shards.count())],
            fills_at_ms: None,
        }
    }

    /// Persists a shard, as far as that cannot be lost any more.
    pub(super) fn persist(&mut self, truth: &Truth) {
        let shard = self.any_shard();
        let to = truth.newest(shard).min(self.redis.replicated_to(shard));
        self.persisted[shard.index()] = to;
        self.redis.persisted(shard, to, truth.last_of_rooms(shard, to));
    }

    /// Trims a shard, or the notices, behind two windows.
    pub(super) fn trim(&self, truth: &mut Truth) {
        let horizon_ms = self.redis.machine.unix_ms() - 2 * self.window_ms;
        let horizon = EntryId { ms: horizon_ms, seq: 0 };
        let (shard, kept_from) = if self.scene.happens(300) {
            (Shard::CONTROL, self.redis.replicated_to(Shard::CONTROL))
        } else {
            let shard = self.any_shard();
            (shard, self.persisted[shard.index()])
        };
        let before = horizon.min(kept_from);
        self.redis.trim(shard, before);
        truth.trimmed(shard, before);
    }

    /// Gives somebody another role, or none.
    pub(super) fn change_role(&self) {
        let (user, room) = (*self.scene.one_of(&self.users), *self.scene.one_of(&self.rooms));
        let (state, role) = *self.scene.one_of(&[
            (MemberState::Left, None),
            (MemberState::Kicked, None),
            (MemberState::Banned, Some(Role::Banned)),
            (MemberState::Role, Some(Role::Muted)),
            (MemberState::Role, Some(Role::Admin)),
            (MemberState::Joined, Some(Role::Member)),
            (MemberState::Joined, Some(Role::Member)),
        ]);
        {
            let roles = &mut self.redis.rights.borrow_mut().roles;
            match role {
                Some(role) => roles.insert((user, room), role),
                None => roles.remove(&(user, room)),
            };
        }
        self.append(self.shards.of(room), &Record::Member { room, user, state, role }.encode());
    }

    /// Ends a login session.
    pub(super) fn end_login(&self) {
        let logins: Vec<_> = self.redis.rights.borrow().logins.iter().cloned().collect();
        if logins.is_empty() {
            return;
        }
        let (user, id) = self.scene.one_of(&logins).clone();
        self.scene.note(format_args!("control ends login session {id}"));
        let notice = Notice::SessionsEnded { user, sessions: vec![Cow::Borrowed(&id)] }.encode();
        self.redis.rights.borrow_mut().logins.remove(&(user, id));
        self.append(Shard::CONTROL, &notice);
    }

    /// Redis is empty, and is filled some time later.
    pub(super) fn lost_redis(&mut self) {
        self.persisted.fill(EntryId::ZERO);
        self.fills_at_ms = Some(self.scene.now_ms() + self.scene.between(10, 3_000));
    }

    /// Fills Redis, when it is time.
    pub(super) fn fill(&mut self) {
        if self.fills_at_ms.take_if(|at_ms| *at_ms <= self.scene.now_ms()).is_some() {
            self.redis.rights.borrow_mut().knows_members = true;
        }
    }

    /// Each with an origin of its own: nothing here is appended twice.
    fn append(&self, shard: Shard, record: &[u8]) {
        self.redis.append(shard, encode(self.scene.any(), 1, &[record]).into());
        // What it keeps beside the streams is not lost in a fail-over, so what it tells of that must not be either.
        self.redis.replicate(usize::MAX);
    }

    fn any_shard(&self) -> Shard {
        *self.scene.one_of(&self.shards.all().collect::<Vec<Shard>>())
    }
}

/// The session of a user, new or there already.
pub(super) fn log_in(redis: &Redis, user: UserId, had: &str, at_ms: UnixMs) -> String {
    let logins = &mut redis.rights.borrow_mut().logins;
    let had = (user, had.to_owned());
    if logins.contains(&had) {
        return had.1;
    }
    let id = format!("login-{user}-{at_ms}");
    logins.insert((user, id.clone()));
    id
}
