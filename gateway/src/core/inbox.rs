//! What the bus tells a core, in order.

use std::rc::Rc;

use hubbub_common::limits::JOINED_ROOMS_MAX;
use hubbub_common::protocol::{ByeCode, CloseCode, ErrorCode, Event, Joined, JoinedRoom, Ref, Refusal};

use super::{Core, Pending, Wanted};
use crate::bus::{Answer, Failure, Inbox, JoinAnswer, Tell};
use crate::connection::Connection;
use crate::room::Change;
use crate::session::too_many_sends;

impl Core {
    /// Handles everything that waits.
    pub(super) fn turn(self: &Rc<Self>, inbox: &Inbox) {
        self.ring_bell();
        let depth = inbox.depth();
        let depth_max = &self.counters.inbox_depth_max;
        depth_max.set(depth_max.get().max(depth));
        // What comes meanwhile rings again: sockets must not wait for a bus that never pauses.
        for batch in std::iter::from_fn(|| inbox.take()).take(depth) {
            self.counters.inbox_batches.add(1);
            for tell in batch.tells {
                match tell {
                    Tell::Event(event) => self.deliver(&event),
                    Tell::Answer(waiter, answer) => {
                        let pending = self.pending.borrow_mut().try_remove(waiter.ticket as usize);
                        if let Some(pending) = pending {
                            self.take_answer(pending, answer);
                        }
                    }
                    Tell::Gap(gaps) => {
                        self.tell_gaps(&gaps);
                        self.recheck_behind(&gaps);
                    }
                    Tell::RoleChanged { room, user, role } => self.role_changed(room, user, role),
                    Tell::RoleFound { room, user, role } => self.role_found(room, user, role),
                    Tell::RoomDeleted(room) => self.room_deleted(room),
                    Tell::Entered(entered) => self.entered(&entered),
                    Tell::CheckLogins => self.check_logins(),
                    Tell::SessionsEnded(user, logins) => self.sessions_ended(user, &logins),
                    Tell::Banned(users) => self.banned(users),
                    Tell::TellPresence(generation) => self.tell_presence(generation),
                    Tell::Replace { slot, connection } => self.replace(slot, connection),
                    Tell::Drain => self.begin_drain(),
                    Tell::Freeze(calm) => self.freeze(calm),
                    Tell::Thaw => self.thaw(),
                    Tell::Give(channel, given) => drop(given.send(self.give(&channel))),
                    Tell::Adopt(adoption) => self.adopt(*adoption),
                }
                if self.flush_soon.take() {
                    self.flush();
                }
            }
        }
    }

    fn take_answer(self: &Rc<Self>, pending: Pending, answer: Answer) {
        match (pending, answer) {
            (Pending::Stored { connection, reference, room }, Answer::Stored(id)) => {
                let reference = reference.as_ref();
                self.push_event(&connection, &Event::Ack { reference, room, id, ts: id.ts() });
            }
            (Pending::Stored { connection, reference, .. }, Answer::Failed(failure)) => {
                self.refuse_stored(&connection, reference, failure);
            }
            (Pending::Joined { connection, reference, rooms }, Answer::Joined(answers)) => {
                self.finish_join(&connection, reference.as_ref(), &rooms, answers);
                self.joined(&connection);
            }
            (Pending::Joined { connection, reference, .. }, _) => {
                self.refuse_unavailable(&connection, reference);
                self.joined(&connection);
            }
            (Pending::Back(group), Answer::Joined(answers)) => self.brought_back(&group, answers),
            (Pending::Back(group), _) => self.brought_back(&group, Vec::new()),
            (Pending::Present { connection, reference, room }, Answer::Present(online, count)) => {
                let reference = reference.as_ref();
                let event = Event::PresenceList { reference, room, online: &online, count };
                self.push_event(&connection, &event);
            }
            (Pending::Login(waiting), answer) => {
                // Nobody waits any more when the client has gone meanwhile.
                let _ = waiting.send(answer);
            }
            (
                Pending::Stored { connection, reference, .. }
                | Pending::Present { connection, reference, .. },
                _,
            ) => self.refuse_unavailable(&connection, reference),
        }
    }

    fn refuse_stored(&self, connection: &Rc<Connection>, reference: Option<Ref>, failure: Failure) {
        let (code, message) = match failure {
            Failure::Unavailable => return self.refuse_unavailable(connection, reference),
            Failure::RateLimited { retry_after_ms } => {
                let refusal = too_many_sends(reference, self.config.sends_per_second, retry_after_ms);
                return self.push_event(connection, &refusal.event());
            }
            Failure::Unknown => (
                ErrorCode::Internal,
                "the bus went away while storing: it may or may not be stored; repeat it with the same nonce",
            ),
            Failure::NotFound => (ErrorCode::NotFound, "no such message in this room"),
            Failure::Forbidden => {
                (ErrorCode::Forbidden, "only who wrote it may do this, or an admin of the room")
            }
        };
        self.push_event(connection, &Refusal::new(reference, code, message).event());
    }

    /// Attaches the session and replays, before any later event of the inbox is looked at.
    fn finish_join(
        &self,
        connection: &Rc<Connection>,
        reference: Option<&Ref>,
        wanted: &[Wanted],
        answers: Vec<JoinAnswer>,
    ) {
        if self.connections.borrow().get(connection.slot as usize).is_none_or(|own| own.id != connection.id) {
            return;
        }
        let mut answers = answers.into_iter();
        let mut rooms = Vec::with_capacity(wanted.len());
        let mut replays = Vec::new();
        for Wanted { room, denied } in wanted {
            let answer = if *denied { None } else { answers.next() };
            let outcome = answer.map_or(Err(ErrorCode::Forbidden), |answer| answer.outcome);
            let outcome = outcome.and_then(|subscribed| {
                let change = self.attach_to_room(connection, *room)?;
                connection.session.borrow_mut().set_muted(*room, subscribed.muted);
                // Joined twice: everything since is on its way already.
                let replay = if change == Change::None { Some(Vec::new()) } else { subscribed.replay };
                let replayed = replay.as_ref().map(|frames| u32::try_from(frames.len()).unwrap_or(u32::MAX));
                replays.extend(replay.into_iter().flatten());
                Ok(Joined::Ok { last: subscribed.last, replayed })
            });
            let outcome = outcome.unwrap_or_else(|error| Joined::Refused { error });
            rooms.push(JoinedRoom { room: *room, outcome });
        }
        self.push_event(connection, &Event::Joined { reference, rooms: &rooms });
        for frame in replays {
            self.push_replay(connection, frame);
        }
    }

    pub(super) fn attach_to_room(
        &self,
        connection: &Rc<Connection>,
        room: hubbub_common::ids::RoomId,
    ) -> Result<Change, ErrorCode> {
        let mut registry = self.registry.borrow_mut();
        if registry.joined_count(connection.slot) >= JOINED_ROOMS_MAX
            && !registry.is_joined(connection.slot, room)
        {
            return Err(ErrorCode::TooLarge);
        }
        let change = registry.join(connection.slot, room);
        drop(registry);
        if change == Change::User {
            let user = connection.session.borrow().user();
            self.presence_changed(room, user, true);
        }
        Ok(change)
    }

    /// Sends a connection away in favour of its user's newer ones.
    fn replace(&self, slot: u32, id: u64) {
        let connection = self.connections.borrow().get(slot as usize).cloned();
        if let Some(connection) = connection.filter(|connection| connection.id == id) {
            self.close(&connection, CloseCode::TooManyConnections, Some((ByeCode::Replaced, 0)));
        }
    }
}
