//! One client as PROTOCOL.md asks of it: it repeats what was not acknowledged with the same nonce, and comes back
//! with the newest event that it saw of each room.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::Plan;
use super::socket::Socket;

/// Between two looks at whether something is due.
const TICK: Duration = Duration::from_millis(50);
/// A request without an answer for so long is repeated.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// A silent connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Messages of one client that wait for their acknowledgement.
const PENDING_MAX: usize = 5;
/// One in so many ticks, a client hangs up by itself.
const HANG_UP_ONE_IN: usize = 2_000;

/// A message, from the first try until it is acknowledged.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) nonce: String,
    /// From zero.
    pub(super) room: usize,
    pub(super) id: Option<u64>,
    due: Duration,
}

/// What a client saw of a room.
#[derive(Debug)]
pub(super) struct Seen {
    /// From zero.
    pub(super) room: usize,
    /// The newest event when it came in first; what was before is not its concern.
    pub(super) begun: Option<u64>,
    pub(super) ids: Vec<u64>,
    /// After which event up to which one it was told to read history.
    pub(super) gaps: Vec<(u64, u64)>,
    last: u64,
    joined: bool,
}

/// What became of a client.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) sent: Vec<Sent>,
    pub(super) rooms: Vec<Seen>,
    pub(super) connects: u64,
    /// What the protocol does not allow.
    pub(super) wrong: Vec<String>,
}

/// What a client tells while it runs.
#[derive(Debug, Default)]
pub(super) struct Mark {
    pending: AtomicUsize,
    acked: AtomicUsize,
    complete: AtomicBool,
}

impl Mark {
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    pub(super) fn acked(&self) -> usize {
        self.acked.load(Ordering::Relaxed)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}

/// See the module's text.
pub(super) struct Client<'a> {
    plan: &'a Plan,
    token: String,
    random: fastrand::Rng,
    mark: Arc<Mark>,
    socket: Option<Socket>,
    heard: Duration,
    /// When it connects again.
    connect_at: Duration,
    send_at: Duration,
    next_ref: u64,
    /// By `ref`: the place in `outcome.sent`.
    asked: HashMap<u64, usize>,
    join_at: Duration,
    outcome: Outcome,
}

impl<'a> Client<'a> {
    /// In half of the rooms.
    pub(super) fn new(plan: &'a Plan, number: usize, token: String, mut random: fastrand::Rng) -> Self {
        let mut rooms: Vec<usize> = (0..plan.rooms).collect();
        random.shuffle(&mut rooms);
        rooms.truncate(plan.rooms.div_ceil(2));
        let seen =
            |room| Seen { room, begun: None, ids: Vec::new(), gaps: Vec::new(), last: 0, joined: false };
        Self {
            plan,
            token,
            mark: Arc::default(),
            socket: None,
            heard: Duration::ZERO,
            connect_at: Duration::ZERO,
            send_at: plan.pause.mul_f64(random.f64()),
            next_ref: 0,
            asked: HashMap::new(),
            join_at: Duration::MAX,
            outcome: Outcome {
                name: format!("client-{number}"),
                sent: Vec::new(),
                rooms: rooms.into_iter().map(seen).collect(),
                connects: 0,
                wrong: Vec::new(),
            },
            random,
        }
    }

    pub(super) fn mark(&self) -> Arc<Mark> {
        Arc::clone(&self.mark)
    }

    /// Until everything is over.
    pub(super) fn run(mut self) -> Outcome {
        while !self.plan.over.load(Ordering::Relaxed) {
            let now = self.plan.clock.elapsed();
            self.write(now);
            if let Err(reason) = self.turn(now) {
                self.socket = None;
                self.asked.clear();
                self.connect_at = now + Duration::from_millis(self.random.u64(20..600));
                if reason.starts_with("the server sent") {
                    self.outcome.wrong.push(reason);
                }
            }
            self.tell();
        }
        self.outcome
    }

    fn turn(&mut self, now: Duration) -> Result<(), String> {
        let Some(socket) = &mut self.socket else {
            if now < self.connect_at {
                // Nothing to read, so nothing to wait for but the time.
                std::thread::park_timeout(TICK.min(self.connect_at.saturating_sub(now)));
                return Ok(());
            }
            return self.connect(now);
        };
        match socket.next(TICK)? {
            Some(event) => {
                self.heard = now;
                self.take(&event, now)?;
            }
            None if now > self.heard + SILENCE_MAX => return Err("silence".to_owned()),
            None => {}
        }
        if self.random.usize(0..HANG_UP_ONE_IN) == 0 && !self.plan.quiet.load(Ordering::Relaxed) {
            return Err("its own wish".to_owned());
        }
        if now >= self.join_at {
            self.join(now)?;
        }
        for place in 0..self.outcome.sent.len() {
            self.send_if_due(place, now)?;
        }
        Ok(())
    }

    fn connect(&mut self, now: Duration) -> Result<(), String> {
        let address = self.random.choice(&self.plan.addresses).ok_or("no gateway")?;
        self.socket = Some(Socket::connect(*address, &self.token)?);
        self.outcome.connects += 1;
        self.heard = now;
        for seen in &mut self.outcome.rooms {
            seen.joined = false;
        }
        for sent in &mut self.outcome.sent {
            sent.due = Duration::ZERO;
        }
        self.join(now)
    }

    /// Asks for the rooms in which it is not.
    fn join(&mut self, now: Duration) -> Result<(), String> {
        let wanted = self.outcome.rooms.iter().filter(|seen| !seen.joined);
        let wanted: Vec<Value> = wanted
            .map(|seen| match seen.begun {
                None => json!({"room": name(seen.room)}),
                Some(_) => json!({"room": name(seen.room), "since": seen.last.to_string()}),
            })
            .collect();
        self.join_at = if wanted.is_empty() { Duration::MAX } else { now + ANSWER_MAX };
        if !wanted.is_empty() {
            self.next_ref += 1;
            let request = json!({"op": "join", "ref": self.next_ref, "rooms": wanted});
            self.socket.as_mut().ok_or("not connected")?.send(&request)?;
        }
        Ok(())
    }

    /// Makes a new message when it is time.
    fn write(&mut self, now: Duration) {
        let pending = self.outcome.sent.iter().rev().take_while(|sent| sent.id.is_none()).count();
        if now < self.send_at || pending >= PENDING_MAX || self.plan.quiet.load(Ordering::Relaxed) {
            return;
        }
        self.send_at = now + self.plan.pause.mul_f64(0.5 + self.random.f64());
        let room = self.random.choice(&self.outcome.rooms).map_or(0, |seen| seen.room);
        let nonce = format!("{}-{}", self.outcome.name, self.outcome.sent.len());
        self.outcome.sent.push(Sent { nonce, room, id: None, due: Duration::ZERO });
    }

    fn send_if_due(&mut self, place: usize, now: Duration) -> Result<(), String> {
        let Some(sent) = self.outcome.sent.get_mut(place) else { return Ok(()) };
        let joined = self.outcome.rooms.iter().any(|seen| seen.room == sent.room && seen.joined);
        if sent.id.is_some() || now < sent.due || !joined {
            return Ok(());
        }
        sent.due = now + ANSWER_MAX;
        self.next_ref += 1;
        self.asked.insert(self.next_ref, place);
        let request = json!({"op": "send", "ref": self.next_ref, "room": name(sent.room), "body": sent.nonce, "nonce": sent.nonce});
        self.socket.as_mut().ok_or("not connected")?.send(&request)
    }

    fn take(&mut self, event: &Value, now: Duration) -> Result<(), String> {
        match text(event, "op") {
            "joined" => {
                for room in event["rooms"].as_array().map(Vec::as_slice).unwrap_or_default() {
                    self.joined(room, now)?;
                }
            }
            "message" => {
                let (room, id) = (room_of(event)?, number(event, "id")?);
                let seen = self.seen(room)?;
                if id <= seen.last || !seen.joined {
                    let last = seen.last;
                    return Err(format!("the server sent message {id} of room {room} after {last}"));
                }
                seen.ids.push(id);
                seen.last = id;
            }
            "ack" => {
                let reference = event["ref"].as_u64().ok_or("the server sent an ack without ref")?;
                let id = number(event, "id")?;
                let place = self.asked.remove(&reference);
                if let Some(sent) = place.and_then(|place| self.outcome.sent.get_mut(place)) {
                    if sent.id.is_some_and(|first| first != id) {
                        return Err(format!("the server sent two ids for nonce {}", sent.nonce));
                    }
                    sent.id = Some(id);
                }
            }
            "error" => {
                let wait_ms = event["retry_after_ms"].as_u64().unwrap_or(200);
                let due = now + Duration::from_millis(wait_ms);
                match event["ref"].as_u64().and_then(|reference| self.asked.remove(&reference)) {
                    Some(place) => {
                        if let Some(sent) = self.outcome.sent.get_mut(place) {
                            sent.due = due;
                        }
                    }
                    None => self.join_at = due,
                }
                let code = text(event, "code");
                if !matches!(code, "unavailable" | "internal" | "rate_limited" | "not_joined") {
                    return Err(format!("the server sent {event}"));
                }
            }
            "bye" => return Err(text(event, "code").to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn joined(&mut self, answer: &Value, now: Duration) -> Result<(), String> {
        let room = room_of(answer)?;
        if answer.get("error").is_some() {
            self.join_at = now + Duration::from_millis(300);
            return Ok(());
        }
        let last = number(answer, "last")?;
        let seen = self.seen(room)?;
        if seen.begun.is_none() {
            seen.begun = Some(last);
            seen.last = last;
        } else if answer["replayed"].is_null() {
            seen.gaps.push((seen.last, last));
            seen.last = seen.last.max(last);
        }
        seen.joined = true;
        if self.outcome.rooms.iter().all(|seen| seen.joined) {
            self.join_at = Duration::MAX;
        }
        Ok(())
    }

    fn seen(&mut self, room: usize) -> Result<&mut Seen, String> {
        let found = self.outcome.rooms.iter_mut().find(|seen| seen.room == room);
        found.ok_or_else(|| format!("the server sent an event of room {room}, which was not joined"))
    }

    /// Says how far it is.
    fn tell(&self) {
        let sent = self.outcome.sent.len();
        let acked = self.outcome.sent.iter().filter(|sent| sent.id.is_some()).count();
        self.mark.acked.store(acked, Ordering::Relaxed);
        // While new ones may come it is not at its end.
        let more = usize::from(!self.plan.quiet.load(Ordering::Relaxed));
        self.mark.pending.store(sent - acked + more, Ordering::Relaxed);
        let targets = self.plan.targets.lock();
        let complete = targets.is_ok_and(|targets| {
            targets.as_ref().is_some_and(|newest| {
                self.outcome
                    .rooms
                    .iter()
                    .all(|seen| newest.get(seen.room).is_none_or(|newest| seen.last >= *newest))
            })
        });
        self.mark.complete.store(complete, Ordering::Relaxed);
    }
}

/// Rooms count from one on the wire.
pub(super) fn name(room: usize) -> String {
    (room + 1).to_string()
}

fn room_of(event: &Value) -> Result<usize, String> {
    let room = number(event, "room")?.checked_sub(1).and_then(|room| usize::try_from(room).ok());
    room.ok_or_else(|| format!("the server sent {event}"))
}

fn number(event: &Value, field: &str) -> Result<u64, String> {
    text(event, field).parse().map_err(|_| format!("the server sent {event}"))
}

fn text<'v>(event: &'v Value, field: &str) -> &'v str {
    event.get(field).and_then(Value::as_str).unwrap_or_default()
}
