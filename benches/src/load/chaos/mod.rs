//! Kills and freezes the parts of a whole private system at random, under load, and keeps a ledger of what clients
//! were promised: every acknowledged message stands in history once and under its id, and every client saw every
//! message of its rooms once and in order, or was told to read history.

mod client;
mod faults;
mod ledger;
mod socket;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::token::{Claims, RoomsClaim, Signer, Star};
use serde::Serialize;

use super::progress::Progress;
use crate::rest::Rest;
use crate::stack::{RedisShape, Stack, wait};
use client::{Client, Seen, Sent};
use faults::Faults;
use ledger::Balance;

/// How long clients and the batch writer may take to come to an end once everything runs again.
const SETTLE_MAX: Duration = Duration::from_mins(3);
/// Users that read by REST and do nothing else.
const AUDITOR: u64 = 1_000_000;

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Chaos {
    pub(super) redis: RedisShape,
    pub(super) gateways: usize,
    pub(super) clients: usize,
    pub(super) rooms: usize,
    /// Messages a second, over all clients.
    pub(super) rate: f64,
    pub(super) time: Duration,
    pub(super) seed: u64,
}

/// What happened.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    seed: u64,
    seconds: f64,
    redis: String,
    gateways: usize,
    clients: usize,
    rooms: usize,
    /// By what was done to which part.
    faults: std::collections::BTreeMap<String, u64>,
    connects: u64,
    deliveries: u64,
    /// Rooms that a client was told to read history of.
    gaps: u64,
    #[serde(flatten)]
    balance: Balance,
}

/// What all clients know.
struct Plan {
    addresses: Vec<SocketAddr>,
    rooms: usize,
    /// Between two messages of a client.
    pause: Duration,
    clock: Monotonic,
    /// No new messages.
    quiet: AtomicBool,
    /// The newest message of each room, once it is known.
    targets: Mutex<Option<Vec<u64>>>,
    over: AtomicBool,
}

impl Chaos {
    pub(super) fn run(&self) -> Result<Report, String> {
        // As many as there are behind a primary: so whichever replaces it has every acknowledged message.
        let (ack, replicas) = match self.redis {
            RedisShape::Single | RedisShape::Tls => ("stored", "1"),
            RedisShape::Sentinel => ("replicated", "2"),
            RedisShape::Cluster => ("replicated", "1"),
        };
        let stack = Stack::builder()
            .redis_shape(self.redis)
            .env("HUBBUB_ACK", ack)
            .env("HUBBUB_ACK_REPLICAS", replicas)
            .gateways(self.gateways)
            .controls(2)
            .without_haproxy()
            // Parts start in any order.
            .env("HUBBUB_WAIT_SECONDS", "60")
            .env("HUBBUB_HEARTBEAT_SECONDS", "5")
            .start()
            .map_err(|error| error.to_string())?;
        self.with(&stack).map_err(|problem| {
            let mut logs = String::new();
            for part in stack.parts() {
                let _ = writeln!(logs, "--- {}\n{}", part.name(), part.log_tail());
            }
            format!("{problem}\nseed {}\n{logs}", self.seed)
        })
    }

    fn with(&self, stack: &Stack) -> Result<Report, String> {
        let addresses: Option<Vec<SocketAddr>> = stack
            .gateways()
            .iter()
            .map(|gateway| gateway.url().strip_prefix("http://")?.parse().ok())
            .collect();
        let plan = Plan {
            addresses: addresses.ok_or("a gateway has no address")?,
            rooms: self.rooms,
            pause: Duration::from_secs_f64(
                f64::from(u32::try_from(self.clients).unwrap_or(u32::MAX)) / self.rate,
            ),
            clock: Monotonic::start(),
            quiet: AtomicBool::new(false),
            targets: Mutex::new(None),
            over: AtomicBool::new(false),
        };
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut clients = Vec::new();
        for number in 0..self.clients {
            let token = token(stack, number as u64 + 1)?;
            clients.push(Client::new(&plan, number, token, random.fork()));
        }
        let marks: Vec<_> = clients.iter().map(Client::mark).collect();
        let mut faults = Faults::new(stack, random.fork());
        thread::scope(|scope| {
            // Threads end with this, whatever happens.
            let _over = Ends(&plan.over);
            let threads: Vec<_> =
                clients.into_iter().map(|client| scope.spawn(move || client.run())).collect();
            let mut progress = Progress::new();
            while plan.clock.elapsed() < self.time {
                faults.next()?;
                progress.say_at_times(|| {
                    format!("{:.0} s, {} faults", plan.clock.elapsed().as_secs_f64(), faults.count())
                });
            }
            faults.heal()?;
            plan.quiet.store(true, Ordering::Relaxed);
            progress.say("waiting for every message to be acknowledged");
            let rest = Rest::new(stack.control(0).url()).with_token(&token(stack, AUDITOR)?);
            let settled =
                wait::until(SETTLE_MAX, || marks.iter().all(|mark| mark.pending() == 0).then_some(()));
            if settled.is_none() {
                let pending: usize = marks.iter().map(|mark| mark.pending()).sum();
                return Err(format!(
                    "{pending} messages are not acknowledged {SETTLE_MAX:?} after everything runs again"
                ));
            }
            progress.say("waiting for history");
            let acked: usize = marks.iter().map(|mark| mark.acked()).sum();
            let history = ledger::history_of(&rest, self.rooms, acked, SETTLE_MAX)?;
            let newest = history.iter().map(|room| room.last().map_or(0, |message| message.id)).collect();
            *plan.targets.lock().map_err(|_| "a client panicked")? = Some(newest);
            progress.say("waiting for every client to have seen everything");
            let complete =
                wait::until(SETTLE_MAX, || marks.iter().all(|mark| mark.is_complete()).then_some(()));
            plan.over.store(true, Ordering::Relaxed);
            progress.end();
            let mut outcomes = Vec::new();
            for thread in threads {
                outcomes.push(thread.join().map_err(|_| "a client panicked")?);
            }
            if complete.is_none() {
                let behind = marks.iter().filter(|mark| !mark.is_complete()).count();
                return Err(format!(
                    "{behind} clients have not seen everything {SETTLE_MAX:?} after the last message"
                ));
            }
            faults.check_alive()?;
            let sent: Vec<&Sent> = outcomes.iter().flat_map(|outcome| &outcome.sent).collect();
            let seen: Vec<(&str, &Seen)> = outcomes
                .iter()
                .flat_map(|outcome| outcome.rooms.iter().map(|seen| (outcome.name.as_str(), seen)))
                .collect();
            let wrong: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.wrong).collect();
            let balance = ledger::balance(&history, &sent, &seen, &wrong)?;
            Ok(Report {
                mode: "chaos",
                seed: self.seed,
                seconds: self.time.as_secs_f64(),
                redis: format!("{:?}", self.redis).to_lowercase(),
                gateways: self.gateways,
                clients: self.clients,
                rooms: self.rooms,
                faults: faults.told(),
                connects: outcomes.iter().map(|outcome| outcome.connects).sum(),
                deliveries: seen.iter().map(|(_, seen)| seen.ids.len() as u64).sum(),
                gaps: seen.iter().map(|(_, seen)| seen.gaps.len() as u64).sum(),
                balance,
            })
        })
    }
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A day's ticket for every room.
fn token(stack: &Stack, user: u64) -> Result<String, String> {
    let claims = Claims {
        sub: hubbub_common::ids::UserId::new(user).ok_or("user 0")?,
        exp: now_ms() / 1_000 + 24 * 60 * 60,
        name: None,
        rooms: Some(RoomsClaim::Any(Star::Star)),
        sid: None,
    };
    Signer::from(stack.jwt_secret()).sign(&claims).map_err(|error| error.to_string())
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut table = String::new();
        for (fault, times) in &self.faults {
            let _ = writeln!(table, "{fault:<24} {times:>6} times");
        }
        let balance = &self.balance;
        let _ = writeln!(
            table,
            "{} clients in {} rooms over {} gateways, Redis {}, {:.0} s, seed {}:\n\
             {} messages sent and acknowledged, {} in history, {} deliveries over {} connections;\n\
             told to read history {} times; delivered, then lost with a Redis, before they were acknowledged: {};\n\
             acknowledged and lost 0, doubled 0, out of order 0, unseen 0",
            self.clients,
            self.rooms,
            self.gateways,
            self.redis,
            self.seconds,
            self.seed,
            balance.acked,
            balance.persisted,
            self.deliveries,
            self.connects,
            self.gaps,
            balance.phantoms,
        );
        table
    }
}
