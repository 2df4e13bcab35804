//! One event into many outboxes. The frame is shared by all of them; what differs is decided before the loop.

use std::rc::Rc;

use crate::bus::{Audience, Event};
use crate::connection::Connection;
use crate::core::Core;

impl Core {
    /// Puts an event into the outbox of every session that it is for.
    pub(crate) fn deliver(&self, event: &Event) {
        self.counters.events.add(1);
        let registry = self.registry.borrow();
        let connections = self.connections.borrow();
        let members = registry.members(event.room).iter();
        let receivers = members.filter_map(|member| connections.get(member.slot as usize));
        let behind = self.outbox_bytes_max() / 2;
        let push = |connection: &Rc<Connection>| {
            self.counters.receivers.add(1);
            if event.ephemeral && connection.is_full() && connection.outbox_bytes() >= behind {
                self.counters.dropped_behind.add(1);
            } else if self.push(connection, event.frame.clone()) {
                self.counters.deliveries.add(1);
            } else {
                self.counters.dropped_closing.add(1);
            }
        };
        match event.audience {
            Audience::All => receivers.for_each(push),
            Audience::OtherUsers(user) => {
                receivers.filter(|connection| registry.user(connection.slot) != Some(user)).for_each(push);
            }
            Audience::OtherConnections(id) => {
                receivers.filter(|connection| connection.id != id).for_each(push);
            }
        }
    }
}
