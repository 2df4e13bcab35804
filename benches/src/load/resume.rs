//! Clients that are cut off and come back, while messages go on: nothing may be missing or doubled for any of
//! them.
//!
//! Publishers are clients of their own and stay, one for some rooms each.

use std::collections::VecDeque;
use std::time::Duration;

use super::fleet::{Fleet, Happened, Plan};
use super::ledger::{Faults, Ledger, Seating};
use super::probe::{Probe, probes};
use super::progress::float;
use super::target::Target;

/// Rooms of one publisher.
const ROOMS_OF_PUBLISHER: usize = 250;
/// Handshakes under way at once.
const HANDSHAKES: usize = 512;
/// How long everything that was sent may take to come.
const ARRIVE_MAX: Duration = Duration::from_secs(30);
/// How long one wait for the network may last.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// See the module's text.
pub(super) struct Resume {
    pub(super) fleet: Fleet,
    publishers: Fleet,
    publisher_seating: Seating,
    ledger: Ledger,
    seating: Seating,
    payload_bytes: usize,
    rate: f64,
    /// When publishing began, and how many messages since.
    since: Duration,
    sent: u64,
    next_room: usize,
    acks: u64,
    /// Events that were replayed to clients that came back.
    pub(super) replayed: u64,
    to_come: VecDeque<usize>,
}

impl Resume {
    /// Everybody is connected, and has got a message to resume after.
    pub(super) fn start(
        target: &Target,
        seating: Seating,
        rate: f64,
        payload_bytes: usize,
    ) -> Result<Self, String> {
        // Each connection resumes after one id, which is of one room.
        if seating.connections != seating.rooms * seating.members {
            return Err("each connection has to be in exactly one room here".to_owned());
        }
        let mut count = seating.rooms.div_ceil(ROOMS_OF_PUBLISHER);
        while !seating.rooms.is_multiple_of(count) {
            count += 1;
        }
        let publisher_seating = Seating::new(count, seating.rooms, 1)?;
        let plan = |seating, first| Plan {
            dialect: target.dialect,
            servers: target.addresses.clone(),
            seating,
            first,
            first_room: 0,
            lump: 1,
            jwt_secret: target.jwt_secret.clone(),
        };
        let mut fleet = Fleet::new(plan(seating, 0))?;
        fleet.resumes = true;
        fleet.handshakes_max = HANDSHAKES;
        let mut resume = Self {
            publishers: Fleet::new(plan(publisher_seating, seating.connections))?,
            fleet,
            publisher_seating,
            ledger: Ledger::new(seating)?,
            seating,
            payload_bytes,
            rate,
            since: Duration::ZERO,
            sent: 0,
            next_room: 0,
            acks: 0,
            replayed: 0,
            to_come: VecDeque::new(),
        };
        resume.publishers.connect(0..count, |_, _, _| {})?;
        resume.fleet.connect(0..seating.connections, |_, _, _| {})?;
        for _ in 0..seating.rooms {
            resume.publish()?;
            resume.turn(Duration::ZERO)?;
        }
        resume.finish()?;
        resume.since = resume.fleet.clock.elapsed();
        resume.sent = 0;
        Ok(resume)
    }

    /// A client is cut off, and will come back.
    pub(super) fn cut(&mut self, client: usize) {
        self.fleet.cut(client);
        if !self.to_come.contains(&client) {
            self.to_come.push_back(client);
        }
    }

    /// All of them at once.
    pub(super) fn cut_all(&mut self) {
        (0..self.seating.connections).for_each(|client| self.fleet.cut(client));
        self.to_come = (0..self.seating.connections).collect();
    }

    /// Publishes what is due, lets clients come back, handles what comes.
    pub(super) fn step(&mut self) -> Result<(), String> {
        let due = self.fleet.clock.elapsed().saturating_sub(self.since).as_secs_f64() * self.rate;
        while float(self.sent) < due {
            self.publish()?;
        }
        self.fleet.begin_some(&mut self.to_come)?;
        self.turn(WAIT_MAX)
    }

    /// Whether everybody is back.
    pub(super) fn all_open(&self) -> bool {
        self.fleet.open == self.seating.connections
    }

    /// Publishes no more, and waits until everything has come to everybody.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let began = self.fleet.clock.elapsed();
        while self.ledger.outstanding() > 0 || self.acks < self.ledger.published() || !self.all_open() {
            self.fleet.begin_some(&mut self.to_come)?;
            self.turn(WAIT_MAX)?;
            if self.fleet.clock.elapsed().saturating_sub(began) > ARRIVE_MAX {
                let away = self.seating.connections - self.fleet.open;
                let unacknowledged = self.ledger.published() - self.acks;
                let faults = self.faults();
                return Err(format!(
                    "not everything came: {faults:?}, {unacknowledged} not acknowledged, {away} clients away"
                ));
            }
        }
        let faults = self.faults();
        if faults.none() { Ok(()) } else { Err(format!("not everything came right: {faults:?}")) }
    }

    pub(super) fn faults(&self) -> Faults {
        self.ledger.faults()
    }

    pub(super) fn published(&self) -> u64 {
        self.ledger.published()
    }

    /// Messages of which their senders know that they are stored.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acks
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.ledger.deliveries
    }

    fn publish(&mut self) -> Result<(), String> {
        let room = self.next_room;
        self.next_room = (room + 1) % self.seating.rooms;
        self.sent += 1;
        let probe = Probe {
            room: u32::try_from(room).unwrap_or(u32::MAX),
            seq: self.ledger.publish(room),
            sent_ns: self.fleet.now_ns(),
        };
        let publisher = self.publisher_seating.publisher_of(room);
        self.publishers.publish(publisher, room, &probe.body(self.payload_bytes))
    }

    fn turn(&mut self, wait: Duration) -> Result<(), String> {
        let (ledger, acks, replayed) = (&mut self.ledger, &mut self.acks, &mut self.replayed);
        self.publishers.turn(Duration::ZERO, |_, happened, _| match happened {
            Happened::Ack(_) => *acks += 1,
            Happened::Messages(_) | Happened::Joined { .. } | Happened::SentAway(_) | Happened::Gone(_) => {}
        })?;
        self.fleet.turn(wait, |client, happened, now_ns| match happened {
            Happened::Messages(payload) => {
                probes(payload).for_each(|probe| ledger.deliver(client, probe, now_ns));
            }
            Happened::Joined { replayed: events } => *replayed += events,
            Happened::Ack(_) | Happened::SentAway(_) | Happened::Gone(_) => {}
        })
    }
}
