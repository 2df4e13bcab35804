//! What the control plane changes for connections that are open: memberships, rooms, login sessions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::{ByeCode, CloseCode, Role};
use hubbub_common::token::LoginMark;

use super::Core;
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

    pub(super) fn tick(&self, now_s: u64) {
        self.0.borrow_mut().retain(|_, until_s| now_s < *until_s);
    }
}

impl Core {
    /// The room's event has told it to everybody, also to who has to leave.
    pub(super) fn role_changed(&self, room: RoomId, user: UserId, role: Option<Role>) {
        for connection in self.connections_of(room, |of| of == user) {
            // A token that names its rooms is a right of its own.
            if !connection.session.borrow().membership_decides() {
                continue;
            }
            match role.filter(|role| role.may_join()) {
                Some(role) => connection.session.borrow_mut().set_muted(room, !role.may_send()),
                None => self.leave_room(&connection, room),
            }
        }
    }

    pub(super) fn room_deleted(&self, room: RoomId) {
        for connection in self.connections_of(room, |_| true) {
            self.leave_room(&connection, room);
        }
    }

    pub(super) fn sessions_ended(&self, user: UserId, logins: &[LoginMark]) {
        let until_s = self.clock.elapsed().as_secs() + ENDED_S;
        self.ended_sessions.0.borrow_mut().extend(logins.iter().map(|login| ((user, *login), until_s)));
        let slots: Vec<u32> = self.registry.borrow().slots_of(user).collect();
        for slot in slots {
            let connection = self.connections.borrow().get(slot as usize).cloned();
            let Some(connection) = connection else { continue };
            let login = connection.session.borrow().login();
            if login.is_some_and(|login| logins.contains(&login)) {
                self.close(&connection, CloseCode::Revoked, Some((ByeCode::Revoked, 0)));
            }
        }
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
