//! A core's part in a [hand-over](crate::handover), on either side.
//!
//! The predecessor: from [`Tell::Freeze`](crate::bus::Tell::Freeze) on, sockets are neither accepted nor read, and the
//! core waits until every request has its answer; [`Tell::Give`](crate::bus::Tell::Give) comes behind all that its bus
//! had to tell, so what is in the outboxes then is the rest. The successor: connections come back into their rooms by the
//! answers to joins, as those of clients that resume do, so that what followed comes in order and once; until then their
//! sockets are not read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hubbub_common::ids::{EntryId, MessageId, RoomId};
use hubbub_common::protocol::{ByeCode, CloseCode, Event, Joined, JoinedRoom};
use hubbub_common::shard::Shard;
use monoio::io::{CancelHandle, Canceller};
use monoio::net::TcpListener;

use super::turn::Bell;
use super::{Core, Pending};
use crate::accept::accept;
use crate::admission::AddressSeat;
use crate::bus::{Adoption, Ask, Calm, JoinAnswer, JoinAsk};
use crate::connection::{Connection, Flag};
use crate::handover::channel::DESCRIPTORS_MAX;
use crate::handover::{Arrival, Channel, Message, Moved};
use crate::session::Session;

/// How long requests may take to be answered.
const CALM_MAX: Duration = Duration::from_secs(10);
/// How long handshakes get that are under way when all else is calm.
const GREETINGS_MAX: Duration = Duration::from_millis(500);
/// What waits at connections goes in messages of about so many bytes.
const BYTES_AT_ONCE: usize = 16 << 20;
/// How often it is looked.
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// What a core does with its sockets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It serves them.
    #[default]
    Serving,
    /// It neither accepts nor reads.
    Frozen,
    /// Somebody else has them: it does nothing.
    Given,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct HandOver {
    stage: Cell<Stage>,
    /// Calls an accept off.
    canceller: RefCell<Canceller>,
    /// Duplicates, for a successor.
    listeners: RefCell<Vec<OwnedFd>>,
    /// Who wants to know when all is calm.
    asked: RefCell<Option<Calm>>,
    bell: Bell,
    told_to: RefCell<Arc<HashMap<Shard, EntryId>>>,
    /// Those that the bus could not take, or not answer.
    homeless: RefCell<Vec<Group>>,
    /// Groups that are not back in their rooms.
    away: Cell<usize>,
    settled: RefCell<Option<mpsc::Sender<()>>>,
}

/// Connections that come back into the same rooms.
#[derive(Clone)]
pub(super) struct Group {
    connections: Rc<[Rc<Connection>]>,
    rooms: Vec<RoomId>,
}

impl HandOver {
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// For an accept that has to end when nothing is to be accepted any more.
    pub(crate) fn cancel_handle(&self) -> CancelHandle {
        self.canceller.borrow().handle()
    }
}

/// The predecessor.
impl Core {
    /// Keeps a duplicate of a listener, for a successor.
    pub(super) fn lend_later(&self, listener: OwnedFd) {
        self.hand_over.listeners.borrow_mut().push(listener);
    }

    pub(super) fn freeze(&self, calm: Calm) {
        let of = &self.hand_over;
        of.stage.set(Stage::Frozen);
        let canceller = of.canceller.take();
        of.canceller.replace(canceller.cancel());
        of.asked.replace(Some(calm));
        of.bell.ring(&self.clock);
    }

    async fn become_calm(&self) -> Result<Vec<OwnedFd>, String> {
        let began = self.clock.elapsed();
        loop {
            let waited = self.clock.elapsed().saturating_sub(began);
            let unanswered = self.unanswered();
            let greeting = !self.greetings.borrow().is_empty();
            if unanswered == 0 && (!greeting || waited >= GREETINGS_MAX) {
                break;
            }
            if waited >= CALM_MAX {
                return Err(format!("{unanswered} requests on core {} are not answered", self.id));
            }
            monoio::time::sleep(LOOK_PAUSE).await;
        }
        let listeners = self.hand_over.listeners.borrow();
        let lent = listeners.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>();
        lent.map_err(|error| format!("a listener: {error}"))
    }

    /// Requests of connections, but for those who are still coming in; and who is not back in its rooms since the last
    /// hand-over.
    fn unanswered(&self) -> usize {
        let pending = self.pending.borrow();
        let of_connections = |pending: &Pending| !matches!(pending, Pending::Login(_) | Pending::Back(_));
        let unanswered = pending.iter().filter(|(_, pending)| of_connections(pending)).count();
        unanswered + self.hand_over.away.get()
    }

    pub(super) fn thaw(self: &Rc<Self>) {
        self.hand_over.stage.set(Stage::Serving);
        self.hand_over.asked.take();
        let all: Vec<_> =
            self.connections.borrow().iter().map(|(_, connection)| Rc::clone(connection)).collect();
        for connection in all {
            if !connection.has(Flag::Joining) {
                self.joined(&connection);
            }
        }
        self.ring_bell();
    }

    /// Sends every connection that is not about to end.
    pub(super) fn give(&self, channel: &Channel) -> io::Result<usize> {
        self.flush();
        self.hand_over.stage.set(Stage::Given);
        let connections = self.connections.borrow();
        let open = connections.iter().map(|(_, connection)| connection);
        let open: Vec<_> = open.filter(|connection| !connection.has(Flag::Closing)).collect();
        let mut rest = open.as_slice();
        while !rest.is_empty() {
            let (mut moved, mut bytes) = (Vec::new(), Vec::new());
            for connection in rest.iter().take(DESCRIPTORS_MAX) {
                moved.push(self.packed(connection, &mut bytes));
                if bytes.len() > BYTES_AT_ONCE {
                    break;
                }
            }
            let (some, others) = rest.split_at(moved.len());
            let sockets: Vec<_> = some.iter().map(|connection| connection.as_fd()).collect();
            channel.send(&Message::Connections { core: self.id, moved }, &bytes, &sockets)?;
            rest = others;
        }
        Ok(open.len())
    }

    fn packed(&self, connection: &Connection, bytes: &mut Vec<u8>) -> Moved {
        let seats = self.seats.borrow();
        let seat = seats.get(&connection.slot).and_then(|seats| seats.address.as_ref());
        Moved {
            id: connection.id,
            session: connection.session.borrow().portrait(),
            rooms: self.registry.borrow().rooms_of(connection.slot).collect(),
            address: seat.map(AddressSeat::address),
            cuts: connection.pack(bytes),
        }
    }
}

/// Waits, for ever, to be asked whether all is calm.
pub(super) async fn calm_down(core: Rc<Core>) {
    loop {
        core.hand_over.bell.rung().await;
        let Some(asked) = core.hand_over.asked.take() else { continue };
        // Whoever asked may have given up.
        let _ = asked.send(core.become_calm().await);
    }
}

/// The successor.
impl Core {
    pub(super) fn adopt(self: &Rc<Self>, adoption: Adoption) {
        let Adoption { listeners, arrivals, told_to, settled } = adoption;
        self.hand_over.told_to.replace(told_to);
        let mut groups: HashMap<Vec<RoomId>, Vec<Rc<Connection>>> = HashMap::new();
        for arrival in arrivals {
            let mut rooms = arrival.moved.rooms.clone();
            rooms.sort_unstable();
            if let Some(connection) = self.adopt_one(arrival) {
                groups.entry(rooms).or_default().push(connection);
            }
        }
        self.hand_over.away.set(groups.len());
        self.hand_over.settled.replace(Some(settled));
        for (rooms, connections) in groups {
            self.bring_back(Group { connections: connections.into(), rooms });
        }
        self.look_whether_settled();
        for listener in listeners {
            self.accept_on(listener);
        }
    }

    /// `None` where it is over.
    fn adopt_one(self: &Rc<Self>, arrival: Arrival) -> Option<Rc<Connection>> {
        let Arrival { socket, moved, waiting } = arrival;
        let session = Session::from(moved.session);
        let (user, login) = (session.user(), session.login());
        let seat = moved.address.and_then(|address| self.admission.seat_again(address));
        let connection = self.take_in(moved.id, socket.into(), session, seat);
        connection.unpack(waiting);
        let added = self.poller.borrow_mut().add(connection.as_fd(), connection.token());
        if let Err(error) = added {
            tracing::error!(%error, "a socket can't be watched");
            self.end(&connection);
            return None;
        }
        self.mark_dirty(&connection);
        // It may have been told when nobody had the connection.
        let has_ended = login.is_some_and(|login| self.ended_sessions.contains(user, login));
        if has_ended || self.banned.borrow().contains(&user) {
            self.close(&connection, CloseCode::Revoked, Some((ByeCode::Revoked, 0)));
            return None;
        }
        connection.set(Flag::Joining, true);
        Some(connection)
    }

    pub(super) fn accept_on(self: &Rc<Self>, listener: OwnedFd) {
        let lent = listener.try_clone();
        match lent.and_then(|lent| Ok((lent, TcpListener::from_std(listener.into())?))) {
            Ok((lent, listener)) => {
                self.lend_later(lent);
                monoio::spawn(accept(Rc::clone(self), Arc::clone(&self.config), listener));
            }
            Err(error) => tracing::error!(%error, core = self.id, "a listener can't be used"),
        }
    }

    /// Asks for what its rooms had since, and for what is still to come.
    fn bring_back(self: &Rc<Self>, group: Group) {
        if group.rooms.is_empty() {
            return self.is_back(&group);
        }
        let told_to = Arc::clone(&self.hand_over.told_to.borrow());
        let since = |room: &RoomId| told_to.get(&self.config.shared.shards.of(*room));
        let ask =
            |room: &RoomId| JoinAsk { room: *room, since: since(room).map(|at| MessageId::through(*at)) };
        let rooms = group.rooms.iter().map(ask).collect();
        let pending = Pending::Back(group.clone());
        // Whether a role allows it was known before, and is looked up where something may have changed that.
        if self.ask(pending, |waiter| Ask::Join { rooms, member: None, waiter }).is_none() {
            self.hand_over.homeless.borrow_mut().push(group);
        }
    }

    /// Once a second: those that were not answered.
    pub(super) fn bring_back_others(self: &Rc<Self>) {
        for group in self.hand_over.homeless.take() {
            self.bring_back(group);
        }
    }

    pub(super) fn brought_back(self: &Rc<Self>, group: &Group, answers: Vec<JoinAnswer>) {
        let mut outcomes: HashMap<RoomId, _> =
            answers.into_iter().map(|answer| (answer.room, answer.outcome)).collect();
        let mut left = Vec::new();
        for room in &group.rooms {
            let Some(Ok(subscribed)) = outcomes.remove(room) else {
                left.push(*room);
                continue;
            };
            for connection in group.connections.iter().filter(|connection| !connection.has(Flag::Ended)) {
                if self.attach_to_room(connection, *room).is_err() {
                    continue;
                }
                match &subscribed.replay {
                    Some(frames) => {
                        for frame in frames {
                            self.push_replay(connection, frame.clone());
                        }
                    }
                    None => {
                        let outcome = Joined::Ok { last: subscribed.last, replayed: None };
                        let rooms = [JoinedRoom { room: *room, outcome }];
                        self.push_event(connection, &Event::Joined { reference: None, rooms: &rooms });
                    }
                }
            }
        }
        if left.is_empty() {
            self.is_back(group);
        } else {
            let group = Group { connections: Rc::clone(&group.connections), rooms: left };
            self.hand_over.homeless.borrow_mut().push(group);
        }
    }

    fn is_back(self: &Rc<Self>, group: &Group) {
        for connection in &*group.connections {
            self.joined(connection);
        }
        self.hand_over.away.set(self.hand_over.away.get().saturating_sub(1));
        self.look_whether_settled();
    }

    fn look_whether_settled(&self) {
        if self.hand_over.away.get() > 0 {
            return;
        }
        if let Some(settled) = self.hand_over.settled.take() {
            // The old process may have been about to look up what a gap had lost, or what came since was told to nobody.
            let told_to = Arc::clone(&self.hand_over.told_to.borrow());
            let shards = told_to.keys().copied().chain([Shard::CONTROL]);
            let shards: Vec<_> = shards.map(|shard| (shard, MessageId::ZERO)).collect();
            self.recheck_behind(&shards);
            // Whoever waits may have given up.
            let _ = settled.send(());
        }
    }
}
