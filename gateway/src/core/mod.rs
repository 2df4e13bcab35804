//! A core: one pinned thread, its ring, and all that it owns.
//!
//! A connection never leaves its core; nothing here is locked or shared but the queues to and from the bus
//! and the counts for `/health`. State sits in `RefCell`s that are never borrowed across an await.

mod act;
#[cfg(test)]
pub(crate) mod by_hand;
mod counters;
mod drain;
mod gap;
mod greetings;
pub(crate) mod hand_over;
mod inbox;
pub(crate) mod poller;
mod rights;
pub(crate) mod sender;
pub(crate) mod socket;
#[cfg(test)]
mod tests;
mod thread;
mod turn;
mod wheel;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::entry::new_origin;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::limits::JOINED_ROOMS_MAX;
use hubbub_common::protocol::{ByeCode, CloseCode, Event, Limits, Ref, UserRef};
use hubbub_common::token::{LoginMark, TokenError, Verifier, is_jwt, session_token_hash};
use slab::Slab;
use tokio::sync::oneshot;

use crate::admission::{AddressSeat, Admission, Place, TooMany, UserSeat};
use crate::bus::{Answer, Ask, BusHandle, Waiter};
use crate::config::Config;
use crate::connection::{Connection, RECEIVE_BYTES};
use crate::handshake::{AuthError, Busy, Gate};
use crate::memory::Rest;
use crate::outbox::Outbox;
use crate::rate::Limit;
use crate::room::Registry;
use crate::session::{Identity, Session, SessionLimits};
use crate::status::Status;
use crate::ws::encode::text_frame;
use counters::{Counters, Exporter, Gauges};
use drain::Drain;
use greetings::Greetings;
use hand_over::{Group, HandOver, Stage};
use poller::{Poller, Ready};
use rights::{EndedSessions, Unsure};
use sender::Sender;
use socket::Socket;
use turn::Bell;
use wheel::{Due, Wheel};

pub use thread::{CoreSeed, start};

/// Seconds that a closing connection gets to end by itself.
const END_S: u64 = 3;
/// Rooms that pass at once when a client comes with all that it may be joined to.
#[expect(clippy::cast_possible_truncation, reason = "it is a thousand")]
const ROOMS_AT_ONCE: u32 = JOINED_ROOMS_MAX as u32;
/// How often it is asked whether the login session behind a connection still lives.
const LOGIN_ASKED_MS: u64 = 60 * 60 * 1_000;
/// Heartbeats that may stay unanswered.
const MISSED_MAX: u8 = 2;
/// Heartbeats for which a socket may take nothing, although something waits.
const STUCK_HEARTBEATS_MAX: u64 = 2;

/// An answer that is awaited from the bus.
enum Pending {
    Stored { connection: Rc<Connection>, reference: Option<Ref>, room: RoomId },
    Joined { connection: Rc<Connection>, reference: Option<Ref>, rooms: Vec<Wanted> },
    Present { connection: Rc<Connection>, reference: Option<Ref>, room: RoomId },
    Login(oneshot::Sender<Answer>),
    Back(Group),
}

/// What a connection occupies; given back when dropped.
struct Seats {
    address: Option<AddressSeat>,
    _user: Option<UserSeat>,
}

/// A room of a join.
struct Wanted {
    room: RoomId,
    /// Refused by the session's own grant, so not asked for.
    denied: bool,
}

/// See the module's text.
pub struct Core {
    pub(crate) id: u16,
    config: Arc<Config>,
    verifier: Arc<Verifier>,
    bus: BusHandle,
    status: Arc<Status>,
    pub(crate) clock: Monotonic,
    pub(crate) connections: RefCell<Slab<Rc<Connection>>>,
    connections_max: usize,
    admission: Arc<Admission>,
    /// What connections occupy where connections are limited, by slot.
    seats: RefCell<HashMap<u32, Seats>>,
    pub(crate) registry: RefCell<Registry>,
    pending: RefCell<Slab<Pending>>,
    wheel: RefCell<Wheel>,
    ended_sessions: EndedSessions,
    unsure: RefCell<Unsure>,
    banned: RefCell<Arc<HashSet<UserId>>>,
    pub(crate) greetings: RefCell<Greetings>,
    /// Connections whose outbox got something since the last flush.
    pub(crate) dirty: RefCell<Vec<Rc<Connection>>>,
    pub(crate) receive_buffer: RefCell<Box<[u8]>>,
    /// Connections that sent more than one read takes.
    pub(crate) unread: RefCell<Vec<Rc<Connection>>>,
    #[expect(clippy::vec_box, reason = "the boxes themselves are kept: a connection holds one or none")]
    pub(crate) spare_outboxes: RefCell<Vec<Box<Outbox>>>,
    pub(crate) sender: RefCell<Sender>,
    pub(crate) poller: RefCell<Poller>,
    /// Kept for its memory.
    events: RefCell<Vec<Ready>>,
    pub(crate) bell: Bell,
    pub(crate) later_bell: Bell,
    /// An outbox passed its bound although its socket was never full: it has to be written before more comes.
    pub(crate) flush_soon: Cell<bool>,
    /// The bus was too far behind for a change of presence.
    presence_lost: Cell<bool>,
    rest: Rest,
    /// Everybody is being sent away.
    drain: Cell<Option<Drain>>,
    pub(crate) hand_over: HandOver,
    pub(crate) counters: Counters,
    pub(crate) exporter: Exporter,
    /// Connection ids count up from a random number.
    next_connection: Cell<u64>,
}

impl Core {
    fn new(seed: &CoreSeed, sender: Sender, poller: Poller) -> Rc<Self> {
        Rc::new(Self {
            id: seed.id,
            config: Arc::clone(&seed.config),
            verifier: Arc::clone(&seed.verifier),
            bus: seed.bus.clone(),
            status: Arc::clone(&seed.status),
            clock: Monotonic::start(),
            connections: RefCell::default(),
            connections_max: seed.config.connections_max.div_ceil(seed.config.cpus.len()),
            admission: Arc::clone(&seed.admission),
            seats: RefCell::default(),
            registry: RefCell::default(),
            pending: RefCell::default(),
            wheel: RefCell::new(Wheel::new()),
            ended_sessions: EndedSessions::default(),
            unsure: RefCell::default(),
            banned: RefCell::default(),
            greetings: RefCell::default(),
            dirty: RefCell::default(),
            receive_buffer: RefCell::new(vec![0; RECEIVE_BYTES].into()),
            unread: RefCell::default(),
            spare_outboxes: RefCell::default(),
            sender: RefCell::new(sender),
            poller: RefCell::new(poller),
            events: RefCell::default(),
            bell: Bell::default(),
            later_bell: Bell::default(),
            flush_soon: Cell::new(false),
            presence_lost: Cell::new(false),
            rest: Rest::default(),
            drain: Cell::new(None),
            hand_over: HandOver::default(),
            counters: Counters::default(),
            exporter: Exporter::new(seed.id),
            next_connection: Cell::new(new_origin()),
        })
    }

    pub(crate) fn frame_bytes_max(&self) -> usize {
        self.config.shared.frame_bytes_max as usize
    }

    pub(crate) fn replay_bytes_max(&self) -> usize {
        self.config.resume_bytes_max + self.config.resume_scan_bytes_max
    }

    pub(crate) fn outbox_bytes_max(&self) -> usize {
        self.config.outbox_bytes_max
    }

    fn session_limits(&self) -> SessionLimits {
        SessionLimits {
            body_bytes_max: self.config.shared.body_bytes_max,
            sends: Limit::twice_at_once(self.config.sends_per_second),
            joins: Limit { per_second: self.config.joins_per_second, burst: ROOMS_AT_ONCE },
        }
    }

    /// Takes a client in and welcomes it, behind the answer to its request.
    pub(crate) fn attach(
        self: &Rc<Self>,
        socket: Socket,
        identity: Identity,
        mut answer: Vec<u8>,
        address_seat: Option<AddressSeat>,
    ) -> Rc<Connection> {
        let id = self.next_connection.get();
        self.next_connection.set(id.wrapping_add(1));
        let mut session = Session::new(identity);
        if session.login().is_some() {
            session.expires_at(now_ms() + LOGIN_ASKED_MS);
        }
        let connection = self.take_in(id, socket, session, address_seat);
        let session = connection.session.borrow();
        let user = session.user();
        let id = format!("{id:016x}");
        let welcome = Event::Welcome {
            connection: &id,
            gateway: &self.config.shared.server_id,
            user: UserRef { id: user, name: session.name() },
            heartbeat_ms: self.heartbeat_s() * 1_000,
            resume_window_ms: self.config.shared.resume_window.as_secs() * 1_000,
            limits: Limits {
                max_body_bytes: self.config.shared.body_bytes_max,
                max_frame_bytes: self.config.shared.frame_bytes_max,
                max_rooms: JOINED_ROOMS_MAX,
                sends_per_second: self.config.sends_per_second,
            },
        };
        answer.extend_from_slice(&text_frame(|out| welcome.write_json(out)));
        self.push(&connection, Bytes::from(answer));
        drop(session);
        connection
    }

    /// Puts a connection into all tables.
    pub(super) fn take_in(
        self: &Rc<Self>,
        id: u64,
        socket: Socket,
        session: Session,
        address_seat: Option<AddressSeat>,
    ) -> Rc<Connection> {
        let user = session.user();
        let expires_in_s = session.expires_in_s(now_ms());
        let connection = {
            let mut connections = self.connections.borrow_mut();
            let slot = u32::try_from(connections.vacant_key()).unwrap_or(u32::MAX);
            let connection = Rc::new(Connection::new(id, slot, socket, session));
            connections.insert(Rc::clone(&connection));
            self.status.set_connections(self.id, connections.len());
            connection
        };
        self.registry.borrow_mut().attach(connection.slot, user);
        self.seat(connection.slot, id, user, address_seat);
        self.counters.begun.add(1);
        self.heard(&connection);
        self.schedule(&connection, self.heartbeat_s().min(expires_in_s));
        connection
    }

    fn seat(&self, slot: u32, connection: u64, user: UserId, address: Option<AddressSeat>) {
        let user = self.admission.seat_user(user, Place { core: self.id, slot, connection });
        if user.is_some() || address.is_some() {
            self.seats.borrow_mut().insert(slot, Seats { address, _user: user });
        }
    }

    /// Takes a client out of all tables.
    pub(crate) fn detach(&self, connection: &Rc<Connection>) {
        let gone = self.registry.borrow_mut().detach(connection.slot);
        let user = connection.session.borrow().user();
        for room in gone {
            self.presence_changed(room, user, false);
        }
        self.seats.borrow_mut().remove(&connection.slot);
        let mut connections = self.connections.borrow_mut();
        connections.try_remove(connection.slot as usize);
        self.counters.ended.add(1);
        self.status.set_connections(self.id, connections.len());
    }

    fn presence_changed(&self, room: RoomId, user: UserId, online: bool) {
        let ask = Ask::PresenceChanged { room, user, core: self.id, online };
        if self.ask_bus(ask).is_err() {
            tracing::debug!(%room, %user, "a change of presence was lost: the bus is behind");
            self.presence_lost.set(true);
        }
    }

    /// Tells the bus everybody who is in a room here.
    fn tell_presence(&self, generation: u32) {
        let present = self.registry.borrow().present();
        if self.ask_bus(Ask::PresenceAll { generation, core: self.id, present }).is_err() {
            self.presence_lost.set(true);
        }
    }

    /// Whether sockets are read.
    pub(crate) fn reads(&self) -> bool {
        self.hand_over.stage() == Stage::Serving
    }

    /// Something came from the client.
    pub(crate) fn heard(&self, connection: &Connection) {
        connection.heard_s.set(u32::try_from(self.wheel.borrow().now_s()).unwrap_or(u32::MAX));
        connection.missed.set(0);
    }

    fn heartbeat_s(&self) -> u64 {
        self.config.heartbeat.as_secs()
    }

    fn schedule(&self, connection: &Connection, after_s: u64) {
        let due = Due { slot: connection.slot, mark: connection.mark() };
        self.wheel.borrow_mut().schedule(due, after_s);
    }

    /// Makes sure that a closing connection ends, whatever the peer does.
    pub(crate) fn end_soon(&self, connection: &Connection) {
        let ends_s = self.wheel.borrow().now_s() + END_S;
        connection.ends_s.set(u32::try_from(ends_s).unwrap_or(u32::MAX));
        self.schedule(connection, END_S);
    }

    /// Once a second: heartbeats, expired tokens, connections that do not end, and the counters.
    fn tick(self: &Rc<Self>) {
        // For what the kernel would not take the last time.
        self.ring_bell();
        let now_s = self.clock.elapsed().as_secs();
        if self.hand_over.stage() == Stage::Given {
            return self.status.core_lives(self.id);
        }
        self.bring_back_others();
        self.greetings.borrow_mut().tick(now_s);
        self.tick_rights(now_s);
        self.send_share_away();
        self.status.core_lives(self.id);
        if self.presence_lost.get() && self.ask_bus(Ask::PresenceUnsure).is_ok() {
            self.presence_lost.set(false);
        }
        let due = self.wheel.borrow_mut().turn_to(now_s);
        for due in due {
            let connection = self.connections.borrow().get(due.slot as usize).cloned();
            if let Some(connection) = connection.filter(|connection| connection.mark() == due.mark) {
                self.come_up(&connection, now_s);
            }
        }
        let come_and_gone = self.counters.begun.get() + self.counters.ended.get();
        self.rest.look(come_and_gone, || drop(self.spare_outboxes.take()));
        self.status.set_counts(self.id, self.counters.for_operators());
        let registry = self.registry.borrow();
        self.exporter.flush(
            &self.counters,
            Gauges {
                connections: self.connections.borrow().len(),
                rooms: registry.room_count(),
                subscriptions: registry.subscription_count(),
                outboxes_spare: self.spare_outboxes.borrow().len(),
            },
            self.sender.borrow().counts,
            self.poller.borrow().counts(),
        );
    }

    fn come_up(&self, connection: &Rc<Connection>, now_s: u64) {
        use crate::connection::Flag;
        if connection.has(Flag::Joining) || !self.reads() {
            // It is not read meanwhile, so its silence says nothing.
            self.heard(connection);
        }
        if connection.has(Flag::Closing) {
            // A heartbeat that was due anyway must not cut off the close frame.
            if now_s >= u64::from(connection.ends_s.get()) {
                self.end(connection);
            }
            return;
        }
        let now_ms = now_ms();
        if connection.session.borrow().has_expired(now_ms) && !self.is_asked_about(connection, now_ms) {
            self.close(connection, CloseCode::Revoked, Some((ByeCode::Revoked, 0)));
            return;
        }
        let heartbeat_s = self.heartbeat_s();
        // Much may wait for a client that has only just come, but not for ever.
        if connection.stuck_s(now_s) >= STUCK_HEARTBEATS_MAX * heartbeat_s {
            self.evict(connection);
            return;
        }
        let silent_s = now_s.saturating_sub(u64::from(connection.heard_s.get()));
        let due_s = heartbeat_s * (u64::from(connection.missed.get()) + 1);
        let next_s = if silent_s < due_s {
            // The wheel comes round earlier than some heartbeats do.
            due_s - silent_s
        } else if connection.missed.get() < MISSED_MAX {
            connection.missed.set(connection.missed.get() + 1);
            self.ping(connection);
            heartbeat_s
        } else {
            self.close(connection, CloseCode::HeartbeatMissed, Some((ByeCode::Idle, 0)));
            return;
        };
        let expires_s = connection.session.borrow().expires_in_s(now_ms);
        self.schedule(connection, next_s.min(expires_s));
    }

    /// Asks the bus, which is woken at the end of the turn.
    pub(crate) fn ask_bus(&self, ask: Ask) -> Result<(), Ask> {
        self.ring_bell();
        self.bus.ask(ask)
    }

    /// Puts a question to the bus; `None` when it can't take one.
    fn ask(&self, pending: Pending, ask: impl FnOnce(Waiter) -> Ask) -> Option<()> {
        let mut table = self.pending.borrow_mut();
        let ticket = table.insert(pending);
        let waiter = Waiter { core: self.id, ticket: u32::try_from(ticket).ok()? };
        if self.ask_bus(ask(waiter)).is_err() {
            table.try_remove(ticket);
            return None;
        }
        Some(())
    }
}

impl Gate for Core {
    fn admit(&self) -> Result<(), Busy> {
        if self.status.is_draining() || self.hand_over.stage() == Stage::Given {
            Err(Busy::Draining)
        } else if self.connections.borrow().len() >= self.connections_max {
            Err(Busy::Full)
        } else {
            Ok(())
        }
    }

    fn seat(&self, address: IpAddr) -> Result<Option<AddressSeat>, TooMany> {
        self.admission.seat_address(address)
    }

    async fn authenticate(&self, token: String) -> Result<Identity, AuthError> {
        let identity = self.identify(token).await?;
        if self.banned.borrow().contains(&identity.user) {
            return Err(AuthError::Bad("this account is banned"));
        }
        let login = identity.login_session.as_deref().map(LoginMark::of);
        if login.is_some_and(|login| self.ended_sessions.contains(identity.user, login)) {
            return Err(AuthError::Bad("the session has ended: log in again"));
        }
        Ok(identity)
    }

    fn health(&self) -> (u16, String) {
        self.status.health()
    }

    fn answered(&self, status: u16) {
        self.exporter.handshake(status);
    }
}

impl Core {
    /// Who stands behind a token.
    async fn identify(&self, token: String) -> Result<Identity, AuthError> {
        if is_jwt(&token) {
            return self.verifier.verify(&token, now_ms()).map(Identity::from).map_err(|error| {
                AuthError::Bad(match error {
                    TokenError::Expired => "the token has expired",
                    TokenError::Signature | TokenError::Malformed => "the token is not valid",
                    TokenError::NoKey => "tokens of this kind are not accepted here",
                })
            });
        }
        let (answer, answered) = oneshot::channel();
        self.ask(Pending::Login(answer), |waiter| Ask::Login { hash: session_token_hash(&token), waiter })
            .ok_or(AuthError::Unavailable)?;
        match answered.await {
            Ok(Answer::Login(Some(session))) => Ok(Identity::from(session)),
            Ok(Answer::Login(None)) => Err(AuthError::Bad("the session is not known: log in again")),
            Ok(_) | Err(_) => Err(AuthError::Unavailable),
        }
    }
}
