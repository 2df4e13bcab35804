//! Clients and publishers that go where they are sent, while messages go on.
//!
//! Publishers move like everybody else, so each message is sent, with its nonce, until it is acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::moves::Moves;
use crate::load::dialect::{Dialect, acknowledged};
use crate::load::fleet::{Fleet, Happened, Plan};
use crate::load::ledger::{Ledger, Seating};
use crate::load::probe::{Probe, probes};
use crate::load::progress::float;

/// Rooms of one publisher.
const ROOMS_OF_PUBLISHER: usize = 10;
/// Handshakes under way at once.
const HANDSHAKES: usize = 512;
/// How long everything that was sent may take to come.
const ARRIVE_MAX: Duration = Duration::from_mins(1);
/// How long one wait for the network may last.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// Whoever publishes.
struct Publishers {
    fleet: Fleet,
    seating: Seating,
    moves: Moves,
    to_come: VecDeque<usize>,
    /// By publisher: whether it may send now.
    ready: Vec<bool>,
    /// By publisher, by nonce: room and body of what is not acknowledged.
    unacknowledged: Vec<BTreeMap<u64, (usize, String)>>,
    nonce: u64,
}

/// See the module's text.
pub(super) struct Crowd {
    clients: Fleet,
    seating: Seating,
    pub(super) moves: Moves,
    to_come: VecDeque<usize>,
    publishers: Publishers,
    pub(super) ledger: Ledger,
    payload_bytes: usize,
    rate: f64,
    /// When publishing began, and how many messages since.
    since: Duration,
    sent: u64,
    next_room: usize,
    /// Events that were replayed to clients that came back.
    pub(super) replayed: u64,
}

impl Crowd {
    /// Everybody is connected, and has got a message to resume after.
    pub(super) fn start(
        servers: &[SocketAddr],
        jwt_secret: &str,
        seating: Seating,
        rate: f64,
        payload_bytes: usize,
    ) -> Result<Self, String> {
        // Each connection resumes after one id, which is of one room.
        if seating.connections != seating.rooms * seating.members {
            return Err("each connection has to be in exactly one room here".to_owned());
        }
        let fleet = |seating, first| {
            let mut fleet = Fleet::new(Plan {
                dialect: Dialect::Hubbub,
                servers: servers.to_vec(),
                seating,
                first,
                first_room: 0,
                lump: 1,
                jwt_secret: jwt_secret.to_owned(),
            })?;
            fleet.moves = true;
            fleet.handshakes_max = HANDSHAKES;
            Ok::<_, String>(fleet)
        };
        let mut clients = fleet(seating, 0)?;
        clients.resumes = true;
        let mut crowd = Self {
            clients,
            seating,
            moves: Moves::new(seating.connections)?,
            to_come: (0..seating.connections).collect(),
            publishers: Publishers::new(seating, |publishers| fleet(publishers, seating.connections))?,
            ledger: Ledger::new(seating)?,
            payload_bytes,
            rate,
            since: Duration::ZERO,
            sent: 0,
            next_room: 0,
            replayed: 0,
        };
        while !crowd.is_complete() {
            crowd.turn()?;
        }
        for _ in 0..seating.rooms {
            crowd.publish()?;
        }
        crowd.finish()?;
        (crowd.since, crowd.sent) = (crowd.clients.clock.elapsed(), 0);
        Ok(crowd)
    }

    /// Publishes what is due, lets clients come back, handles what comes.
    pub(super) fn step(&mut self) -> Result<(), String> {
        let due = self.clients.clock.elapsed().saturating_sub(self.since).as_secs_f64() * self.rate;
        while float(self.sent) < due {
            self.publish()?;
        }
        self.turn()
    }

    /// Goes on for a while.
    pub(super) fn step_for(&mut self, time: Duration) -> Result<(), String> {
        let end = self.clients.clock.elapsed() + time;
        while self.clients.clock.elapsed() < end {
            self.step()?;
        }
        Ok(())
    }

    /// Publishes no more, and waits until everything has come to everybody.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let end = self.clients.clock.elapsed() + ARRIVE_MAX;
        while self.ledger.outstanding() > 0 || self.publishers.pending() > 0 || !self.is_complete() {
            self.turn()?;
            if self.clients.clock.elapsed() > end {
                let away = self.seating.connections - self.clients.open;
                let (faults, pending) = (self.ledger.faults(), self.publishers.pending());
                return Err(format!(
                    "not everything came: {faults:?}, {pending} not acknowledged, {away} clients away"
                ));
            }
        }
        let faults = self.ledger.faults();
        if faults.none() { Ok(()) } else { Err(format!("not everything came right: {faults:?}")) }
    }

    /// How it goes, in a line.
    pub(super) fn told(&self) -> String {
        let (open, all) = (self.clients.open, self.seating.connections);
        let (moves, messages) = (self.moves.away_ns.len(), self.ledger.published());
        format!("{open} of {all} are connected, {moves} moved, {messages} messages")
    }

    /// Whether everybody is connected.
    fn is_complete(&self) -> bool {
        self.clients.open == self.seating.connections && self.publishers.ready.iter().all(|ready| *ready)
    }

    fn publish(&mut self) -> Result<(), String> {
        let room = self.next_room;
        self.next_room = (room + 1) % self.seating.rooms;
        self.sent += 1;
        let probe = Probe {
            room: u32::try_from(room).unwrap_or(u32::MAX),
            seq: self.ledger.publish(room),
            sent_ns: self.clients.now_ns(),
        };
        self.publishers.publish(room, probe.body(self.payload_bytes))
    }

    fn turn(&mut self) -> Result<(), String> {
        self.publishers.turn()?;
        self.moves.fall_due(self.clients.clock.elapsed(), &mut self.to_come);
        self.clients.begin_some(&mut self.to_come)?;
        let (ledger, moves, replayed) = (&mut self.ledger, &mut self.moves, &mut self.replayed);
        self.clients.turn(WAIT_MAX, |client, happened, now_ns| {
            let now = Duration::from_nanos(now_ns);
            match happened {
                Happened::Messages(payload) => {
                    probes(payload).for_each(|probe| ledger.deliver(client, probe, now_ns));
                }
                Happened::Joined { replayed: events } => {
                    *replayed += events;
                    moves.joined(client, now);
                }
                Happened::SentAway(after) => moves.sent_away(client, after, now),
                Happened::Gone(ending) => moves.gone(client, ending, now),
                Happened::Ack(_) => {}
            }
        })
    }
}

impl Publishers {
    /// One for some rooms each.
    fn new(clients: Seating, fleet: impl FnOnce(Seating) -> Result<Fleet, String>) -> Result<Self, String> {
        let mut count = clients.rooms.div_ceil(ROOMS_OF_PUBLISHER);
        while !clients.rooms.is_multiple_of(count) {
            count += 1;
        }
        let seating = Seating::new(count, clients.rooms, 1)?;
        Ok(Self {
            fleet: fleet(seating)?,
            seating,
            moves: Moves::new(count)?,
            to_come: (0..count).collect(),
            ready: vec![false; count],
            unacknowledged: vec![BTreeMap::new(); count],
            nonce: 0,
        })
    }

    fn pending(&self) -> usize {
        self.unacknowledged.iter().map(BTreeMap::len).sum()
    }

    /// Sends a message; one that is away sends it when it is back.
    fn publish(&mut self, room: usize, body: String) -> Result<(), String> {
        let publisher = self.seating.publisher_of(room);
        self.nonce += 1;
        if self.ready.get(publisher).is_some_and(|ready| *ready) {
            self.fleet.publish_once(publisher, room, &body, self.nonce)?;
        }
        if let Some(unacknowledged) = self.unacknowledged.get_mut(publisher) {
            unacknowledged.insert(self.nonce, (room, body));
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), String> {
        self.moves.fall_due(self.fleet.clock.elapsed(), &mut self.to_come);
        self.fleet.begin_some(&mut self.to_come)?;
        let (moves, ready, unacknowledged) = (&mut self.moves, &mut self.ready, &mut self.unacknowledged);
        let mut back = Vec::new();
        let mut set = |publisher: usize, is_ready| {
            if let Some(ready) = ready.get_mut(publisher) {
                *ready = is_ready;
            }
        };
        self.fleet.turn(Duration::ZERO, |publisher, happened, now_ns| {
            let now = Duration::from_nanos(now_ns);
            match happened {
                Happened::Ack(payload) => {
                    let waiting = unacknowledged.get_mut(publisher);
                    if let Some((waiting, nonce)) = waiting.zip(acknowledged(payload)) {
                        waiting.remove(&nonce);
                    }
                }
                Happened::Joined { .. } => {
                    moves.joined(publisher, now);
                    set(publisher, true);
                    back.push(publisher);
                }
                Happened::SentAway(after) => {
                    moves.sent_away(publisher, after, now);
                    set(publisher, false);
                }
                Happened::Gone(ending) => {
                    moves.gone(publisher, ending, now);
                    set(publisher, false);
                }
                Happened::Messages(_) => {}
            }
        })?;
        // In order: a nonce that is known gets its first acknowledgement again.
        for publisher in back {
            for (nonce, (room, body)) in self.unacknowledged.get(publisher).into_iter().flatten() {
                self.fleet.publish_once(publisher, *room, body, *nonce)?;
            }
        }
        Ok(())
    }
}
