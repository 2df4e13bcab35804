//! What the control plane changes for connections that are open: memberships, rooms, login sessions.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use hubbub_common::clock::UnixMs;
use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::protocol::{ByeCode, CloseCode, ErrorCode, Event, Joined, JoinedRoom, Role};
use hubbub_common::shard::Shard;
use hubbub_common::token::LoginMark;

use super::{Core, LOGIN_ASKED_MS};
use crate::bus::{Ask, Claim, Entered};
use crate::connection::Connection;
use crate::room::Change;

/// How long an ended login session is remembered, in seconds: longer than a ticket that was made from it lives.
const ENDED_S: u64 = 120;

/// Login sessions that ended a short while ago. A look-up or a ticket may be older than that.
#[derive(Debug, Default)]
pub(super) struct EndedSessions(RefCell<HashMap<(UserId, LoginMark), u64>>);

impl EndedSessions {
    pub(super) fn contains(&self, user: UserId, login: LoginMark) -> bool {
        self.0.borrow().contains_key(&(user, login))
    }

    fn tick(&self, now_s: u64) {
        self.0.borrow_mut().retain(|_, until_s| now_s < *until_s);
    }
}

/// Of what changes of rights may have been lost.
#[derive(Debug, Default)]
pub(super) struct Unsure {
    shards: BTreeSet<Shard>,
    /// When login sessions are looked up once more.
    logins_again_s: Option<u64>,
}

impl Core {
    /// The room's event has told it to everybody, also to who has to leave.
    pub(super) fn role_changed(&self, room: RoomId, user: UserId, role: Option<Role>) {
        self.set_role(room, user, role);
    }

    /// No event told it: that was lost in a gap.
    pub(super) fn role_found(&self, room: RoomId, user: UserId, role: Option<Role>) {
        let rooms = [JoinedRoom { room, outcome: Joined::Refused { error: ErrorCode::Forbidden } }];
        for connection in self.set_role(room, user, role) {
            self.push_event(&connection, &Event::Joined { reference: None, rooms: &rooms });
        }
    }

    /// Gives the connections that had to leave.
    fn set_role(&self, room: RoomId, user: UserId, role: Option<Role>) -> Vec<Rc<Connection>> {
        let mut connections = self.connections_of(room, |of| of == user);
        // A token that names its rooms is a right of its own.
        connections.retain(|connection| connection.session.borrow().membership_decides());
        if let Some(role) = role.filter(|role| role.may_join()) {
            for connection in connections {
                connection.session.borrow_mut().set_muted(room, !role.may_send());
            }
            return Vec::new();
        }
        for connection in &connections {
            self.leave_room(connection, room);
        }
        connections
    }

    /// Changes of rights may have been lost in gaps of these shards: whatever sessions go by is looked up anew.
    pub(super) fn recheck_behind(&self, gaps: &[(Shard, MessageId)]) {
        let mut unsure = self.unsure.borrow_mut();
        unsure.shards.extend(gaps.iter().map(|(shard, _)| *shard));
        if unsure.shards.contains(&Shard::CONTROL) {
            unsure.logins_again_s = Some(self.clock.elapsed().as_secs() + ENDED_S);
        }
        drop(unsure);
        self.recheck();
    }

    /// Notices are read from now on: who came before is looked up.
    pub(super) fn check_logins(&self) {
        self.unsure.borrow_mut().shards.insert(Shard::CONTROL);
        self.recheck();
    }

    /// Once a second: asks what the bus could not take, and a second time for login sessions. Until then somebody
    /// could come in with a ticket from one whose end was lost.
    pub(super) fn tick_rights(&self, now_s: u64) {
        self.ended_sessions.tick(now_s);
        let mut unsure = self.unsure.borrow_mut();
        if unsure.logins_again_s.take_if(|at_s| *at_s <= now_s).is_some() {
            unsure.shards.insert(Shard::CONTROL);
        }
        drop(unsure);
        self.recheck();
    }

    fn recheck(&self) {
        let mut unsure = self.unsure.borrow_mut();
        if unsure.shards.is_empty() {
            return;
        }
        let (registry, mut claims) = (self.registry.borrow(), Vec::new());
        let shards = self.config.shared.shards;
        for (_, connection) in &*self.connections.borrow() {
            let session = connection.session.borrow();
            let user = session.user();
            if unsure.shards.contains(&Shard::CONTROL) {
                claims.extend(session.login().map(|login| (user, Claim::Login(login))));
            }
            if session.membership_decides() {
                let rooms = registry.rooms_of(connection.slot);
                let unsure = rooms.filter(|room| unsure.shards.contains(&shards.of(*room)));
                claims.extend(unsure.map(|room| (user, Claim::Room(room))));
            }
        }
        // Where the bus is too far behind, the next tick tries again.
        if claims.is_empty() || self.ask_bus(Ask::Recheck(claims)).is_ok() {
            unsure.shards.clear();
        }
    }

    /// Login sessions end without a word, too, when nobody has used them for long: asks about the one behind a
    /// connection, and lets that go on until the answer. False where there is none.
    pub(super) fn is_asked_about(&self, connection: &Connection, now_ms: UnixMs) -> bool {
        let mut session = connection.session.borrow_mut();
        let Some(login) = session.login() else { return false };
        let asked = self.ask_bus(Ask::Recheck(vec![(session.user(), Claim::Login(login))]));
        // A bus that is too far behind is asked again soon.
        session.expires_at(now_ms + if asked.is_ok() { LOGIN_ASKED_MS } else { LOGIN_ASKED_MS / 60 });
        true
    }

    pub(super) fn room_deleted(&self, room: RoomId) {
        for connection in self.connections_of(room, |_| true) {
            self.leave_room(&connection, room);
        }
    }

    /// Tells users of rooms that they are members of now. A connection that is joined hears it from the room; one whose
    /// token names its rooms does not go by it.
    pub(super) fn entered(&self, entered: &[Entered]) {
        let (registry, connections) = (self.registry.borrow(), self.connections.borrow());
        for (slot, user) in registry.users() {
            let first = entered.partition_point(|entered| entered.user < user);
            let of_user = entered.iter().skip(first).take_while(|entered| entered.user == user);
            for Entered { room, frame, .. } in of_user {
                if let Some(connection) = connections.get(slot as usize)
                    && connection.session.borrow().membership_decides()
                    && !registry.is_joined(slot, *room)
                {
                    self.push(connection, frame.clone());
                }
            }
        }
    }

    pub(super) fn sessions_ended(&self, user: UserId, logins: &[LoginMark]) {
        let until_s = self.clock.elapsed().as_secs() + ENDED_S;
        self.ended_sessions.0.borrow_mut().extend(logins.iter().map(|login| ((user, *login), until_s)));
        for connection in self.connections_by(user) {
            let login = connection.session.borrow().login();
            if login.is_some_and(|login| logins.contains(&login)) {
                self.close(&connection, CloseCode::Revoked, Some((ByeCode::Revoked, 0)));
            }
        }
    }

    /// These users are kept out from now on, and no others.
    pub(super) fn banned(&self, users: Arc<HashSet<UserId>>) {
        let before = self.banned.replace(users);
        let now = Arc::clone(&self.banned.borrow());
        for user in now.difference(&before) {
            for connection in self.connections_by(*user) {
                self.close(&connection, CloseCode::Revoked, Some((ByeCode::Revoked, 0)));
            }
        }
    }

    fn connections_by(&self, user: UserId) -> Vec<Rc<Connection>> {
        let (registry, connections) = (self.registry.borrow(), self.connections.borrow());
        registry.slots_of(user).filter_map(|slot| connections.get(slot as usize).cloned()).collect()
    }

    fn connections_of(&self, room: RoomId, wanted: impl Fn(UserId) -> bool) -> Vec<Rc<Connection>> {
        let (registry, connections) = (self.registry.borrow(), self.connections.borrow());
        let members = registry.members(room).iter();
        let wanted = members.filter(|member| registry.user(member.slot).is_some_and(&wanted));
        wanted.filter_map(|member| connections.get(member.slot as usize).cloned()).collect()
    }

    /// Detaches a connection from a room.
    pub(super) fn leave_room(&self, connection: &Connection, room: RoomId) {
        let change = self.registry.borrow_mut().leave(connection.slot, room);
        if change == Change::User {
            let user = connection.session.borrow().user();
            self.presence_changed(room, user, false);
        }
    }
}
