//! Carrying out what a session decided.

use std::rc::Rc;

use hubbub_common::ids::RoomId;
use hubbub_common::protocol::{ErrorCode, Event, Join, Ref, Refusal};

use super::{Core, Pending, Wanted};
use crate::bus::{Ask, JoinAsk};
use crate::connection::Connection;
use crate::session::Step;

/// When a client should try again what the bus could not take.
pub(super) const UNAVAILABLE_RETRY_MS: u64 = 1_000;

impl Core {
    /// Handles a text message; whether its answer has to come before the next one is looked at.
    pub(crate) fn handle(self: &Rc<Self>, connection: &Rc<Connection>, text: &str, uptime_ms: u64) -> bool {
        let step = {
            let registry = self.registry.borrow();
            let is_joined = |room| registry.is_joined(connection.slot, room);
            connection.session.borrow_mut().handle(
                connection.id,
                text,
                uptime_ms,
                &self.session_limits(),
                is_joined,
            )
        };
        match step {
            Step::Ignore => {}
            Step::Refuse(refusal) => self.push_event(connection, &refusal.event()),
            Step::RefuseAndClose(refusal, code) => {
                self.push_event(connection, &refusal.event());
                self.close(connection, code, None);
            }
            Step::Pong(reference) => {
                self.push_event(connection, &Event::Pong { reference: reference.as_ref() });
            }
            Step::Join { reference, rooms } => return self.join(connection, reference, &rooms),
            Step::Leave { reference, rooms } => self.leave(connection, reference.as_ref(), &rooms),
            Step::Publish { reference, room, record, nonce } => {
                self.counters.published.add(1);
                let user = connection.session.borrow().user();
                let (nonce, sender) = (nonce.map(|nonce| (user, nonce)), Some(user));
                let shard = self.config.shared.shards.of(room);
                let pending =
                    Pending::Stored { connection: Rc::clone(connection), reference: reference.clone(), room };
                let ask = |waiter| Ask::Publish { shard, record, nonce, sender, waiter: Some(waiter) };
                self.ask(pending, ask).unwrap_or_else(|| self.refuse_unavailable(connection, reference));
            }
            Step::Change { reference, change } => {
                let pending = Pending::Stored {
                    connection: Rc::clone(connection),
                    reference: reference.clone(),
                    room: change.room,
                };
                self.ask(pending, |waiter| Ask::Change { change, waiter })
                    .unwrap_or_else(|| self.refuse_unavailable(connection, reference));
            }
            Step::PublishRead { room, record } => {
                let shard = self.config.shared.shards.of(room);
                self.tell_bus(Ask::Publish { shard, record, nonce: None, sender: None, waiter: None });
            }
            Step::Say { room, record } => {
                self.tell_bus(Ask::Say { shard: self.config.shared.shards.of(room), record });
            }
            Step::Presence { reference, room } => {
                let pending = Pending::Present {
                    connection: Rc::clone(connection),
                    reference: reference.clone(),
                    room,
                };
                self.ask(pending, |waiter| Ask::Present { room, waiter })
                    .unwrap_or_else(|| self.refuse_unavailable(connection, reference));
            }
        }
        false
    }

    /// For what has no answer: a full queue drops it.
    fn tell_bus(&self, ask: Ask) {
        if self.ask_bus(ask).is_err() {
            tracing::debug!("the bus is behind: an event without an answer was dropped");
        }
    }

    pub(super) fn refuse_unavailable(&self, connection: &Rc<Connection>, reference: Option<Ref>) {
        let message = "not stored: the bus is away or behind";
        let refusal = Refusal::new(reference, ErrorCode::Unavailable, message);
        self.push_event(connection, &refusal.retry_after_ms(UNAVAILABLE_RETRY_MS).event());
    }

    fn join(&self, connection: &Rc<Connection>, reference: Option<Ref>, rooms: &[Join]) -> bool {
        let (asked, wanted, member) = {
            let session = connection.session.borrow();
            let wanted: Vec<Wanted> = rooms
                .iter()
                .map(|join| Wanted { room: join.room, denied: session.token_denies(join.room) })
                .collect();
            let asked: Vec<JoinAsk> = rooms
                .iter()
                .filter(|join| !session.token_denies(join.room))
                .map(|join| JoinAsk { room: join.room, since: join.since })
                .collect();
            (asked, wanted, session.membership_decides().then_some(session.user()))
        };
        let pending = Pending::Joined {
            connection: Rc::clone(connection),
            reference: reference.clone(),
            rooms: wanted,
        };
        let asked = self.ask(pending, |waiter| Ask::Join { rooms: asked, member, waiter });
        if asked.is_none() {
            self.refuse_unavailable(connection, reference);
        }
        asked.is_some()
    }

    fn leave(&self, connection: &Rc<Connection>, reference: Option<&Ref>, rooms: &[RoomId]) {
        for room in rooms {
            self.leave_room(connection, *room);
        }
        self.push_event(connection, &Event::Left { reference, rooms });
    }
}
