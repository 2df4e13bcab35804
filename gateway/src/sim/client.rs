//! A simulated client: joins, sends, reads at its own pace, goes away and comes back where it left off.
//!
//! It keeps the protocol's client side of the promises: after a reconnect it joins with `since`, a send whose fate
//! is unknown is repeated with the same nonce. What it sees goes to the [`Oracle`].

mod comes;
mod hear;
mod sends;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair, sockopt};
use serde_json::{Value, json};

use super::control::log_in;
use super::gateway::Gateway;
use super::oracle::{Asked as AskedOf, ChangeAsked, Oracle, View, Violation};
use super::redis::Redis;
use super::scene::Scene;
use super::wire::{Decoder, TEXT, encode};
use crate::session::{Grant, Identity};

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Prompt,
    /// A little at a time, now and then.
    Slow,
    /// Not at all, until then.
    Stopped {
        until_ms: u64,
    },
}

/// How busy a client is, in chances of a thousand a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    pub(super) sends: u64,
    pub(super) joins: u64,
    pub(super) leaves: u64,
    pub(super) chats: u64,
    /// Edits, deletions, reactions.
    pub(super) changes: u64,
    /// Messages that are sent once more although they were acknowledged.
    pub(super) echoes: u64,
    pub(super) goes: u64,
    pub(super) slows: u64,
    /// Sends at once, at most.
    pub(super) burst_max: u64,
    pub(super) body_bytes_max: u64,
    /// A send of unknown fate is repeated for so long.
    pub(super) repeats_ms: u64,
}

/// See the module's text.
pub(super) struct Client {
    name: String,
    user: UserId,
    scene: Rc<Scene>,
    redis: Rc<Redis>,
    habits: Habits,
    rooms: Vec<RoomId>,
    /// Its login session, when it last needed one.
    login: String,
    /// Messages that it has seen: room, id, whether its user wrote it.
    seen: VecDeque<(RoomId, MessageId, bool)>,
    /// Those of its own that were acknowledged.
    acked: VecDeque<Message>,
    /// The rooms that it wants to be in, and the newest event that it has of each.
    wanted: BTreeMap<RoomId, Option<MessageId>>,
    line: Option<Line>,
    /// Reconnects then.
    away_until_ms: u64,
    pace: Pace,
    next_ref: u64,
    /// To be sent again, with the number of their last attempt.
    again: Vec<Message>,
    /// Attempts that the oracle has not been told of: body, room, whether with a nonce.
    attempts: Vec<(String, RoomId, bool)>,
    resting: bool,
    /// Who is online in each room, as it was told last; while it rests.
    online: BTreeMap<RoomId, BTreeSet<UserId>>,
    /// Came too many: it stays away.
    replaced: bool,
}

/// A message and its attempts.
#[derive(Debug, Clone)]
struct Message {
    number: u64,
    room: RoomId,
    has_nonce: bool,
    attempt: u64,
    first_ms: u64,
    padding: usize,
    /// It had been told that it may not.
    muted_by: Option<MessageId>,
}

/// What an answer is awaited for.
#[derive(Debug)]
enum Asked {
    /// With when it was asked.
    Join(Vec<AskedOf>, u64),
    Leave,
    Send(Message),
    Change(ChangeAsked),
    Other(&'static str),
}

/// A connection.
struct Line {
    socket: OwnedFd,
    gateway: usize,
    /// The login session that it was made with.
    login: Option<String>,
    /// Since when its gateway has had no trouble.
    calm_since_ms: Option<u64>,
    outgoing: Vec<u8>,
    decoder: Decoder,
    view: View,
    asked: BTreeMap<u64, Asked>,
    welcomed: bool,
    /// The server has closed: nothing may follow.
    closed: bool,
}

impl Client {
    pub(super) fn new(
        number: u64,
        user: u64,
        (scene, redis): (&Rc<Scene>, &Rc<Redis>),
        habits: Habits,
        rooms: &[RoomId],
    ) -> Self {
        Self {
            redis: Rc::clone(redis),
            login: String::new(),
            seen: VecDeque::new(),
            acked: VecDeque::new(),
            online: BTreeMap::new(),
            name: format!("c{number}"),
            user: UserId::new(user).unwrap(),
            scene: Rc::clone(scene),
            habits,
            rooms: rooms.to_vec(),
            wanted: BTreeMap::new(),
            line: None,
            away_until_ms: 0,
            pace: Pace::Prompt,
            next_ref: 1,
            again: Vec::new(),
            attempts: Vec::new(),
            resting: false,
            replaced: false,
        }
    }

    /// Stays, reads all, and says nothing new: what is left to do is to hear what it has missed.
    pub(super) fn rest(&mut self) {
        self.resting = true;
        self.pace = Pace::Prompt;
        self.away_until_ms = 0;
    }

    /// Whether it has heard everything and waits for nothing.
    pub(super) fn is_settled(&self, oracle: &Oracle) -> Result<(), String> {
        if self.replaced {
            return Ok(());
        }
        let Some(line) = &self.line else { return Err(format!("{} has no connection", self.name)) };
        // Who is online is asked until the answer is right.
        if let Some(asked) = line.asked.values().find(|asked| !matches!(asked, Asked::Other(_))) {
            return Err(format!("{} waits for an answer to {asked:?}", self.name));
        }
        let is_alive =
            |login: &String| self.redis.rights.borrow().logins.contains(&(self.user, login.clone()));
        if let Some(ended) = line.login.as_ref().filter(|login| !is_alive(login)) {
            return Err(format!("{} is connected with {ended}, which has ended", self.name));
        }
        for room in self.wanted.keys() {
            let name = &self.name;
            let may_join = !line.view.is_member || self.role_in(*room).is_some_and(Role::may_join);
            if !may_join && line.view.holds(*room) {
                return Err(format!("{name} is in room {room}, but no member any more"));
            }
            if may_join && !oracle.has_everything(&line.view, *room) {
                return Err(format!("{name} has not been told everything of room {room}"));
            }
        }
        Ok(())
    }

    fn role_in(&self, room: RoomId) -> Option<Role> {
        self.redis.rights.borrow().roles.get(&(self.user, room)).copied()
    }

    /// Its user, and the rooms that it is joined to.
    pub(super) fn whereabouts(&self) -> impl Iterator<Item = (RoomId, UserId)> {
        let rooms = self.line.iter().flat_map(|line| line.view.rooms());
        rooms.map(|room| (room, self.user))
    }

    /// Asks who is online in a room of which it was told something else.
    pub(super) fn ask_presence(&mut self, online: &BTreeMap<RoomId, BTreeSet<UserId>>) {
        if let Some(room) = self.room_to_ask_about(online) {
            self.ask(Asked::Other("presence"), json!({"op": "presence", "room": room}));
        }
    }

    fn room_to_ask_about(&self, online: &BTreeMap<RoomId, BTreeSet<UserId>>) -> Option<RoomId> {
        self.whereabouts().map(|(room, _)| room).find(|room| self.online.get(room) != online.get(room))
    }

    /// Whether it was told who is online, as it should have been.
    pub(super) fn knows_online(&self, online: &BTreeMap<RoomId, BTreeSet<UserId>>) -> Result<(), String> {
        match self.room_to_ask_about(online) {
            Some(room) => Err(format!(
                "{} was told that {:?} are online in room {room}, not {:?}",
                self.name,
                self.online.get(&room),
                online.get(&room)
            )),
            None => Ok(()),
        }
    }

    /// Comes back with what it has.
    pub(super) fn come_again(&mut self) {
        if !self.replaced {
            self.lose("it comes again");
        }
    }

    /// A moment of its life.
    pub(super) fn step(
        &mut self,
        gateways: &[Option<Gateway>],
        oracle: &mut Oracle,
    ) -> Result<(), Violation> {
        if self.line.is_none() && !self.replaced && self.scene.now_ms() >= self.away_until_ms {
            self.connect(gateways, oracle);
        }
        if let Some(line) = &mut self.line {
            line.calm_since_ms = gateways[line.gateway].as_ref().map(Gateway::calm_since_ms);
        }
        self.read(oracle)?;
        if !self.resting {
            self.live();
        }
        self.repeat();
        self.join_missing();
        self.tell(oracle);
        self.write();
        Ok(())
    }

    /// Tells the oracle what was asked, before the first byte of it can arrive.
    fn tell(&mut self, oracle: &mut Oracle) {
        for (body, room, has_nonce) in self.attempts.drain(..) {
            oracle.sent(&body, room, has_nonce);
        }
    }

    fn connect(&mut self, gateways: &[Option<Gateway>], oracle: &mut Oracle) {
        let open: Vec<usize> = (0..gateways.len())
            .filter(|index| gateways[*index].as_ref().is_some_and(|one| !one.status.is_draining()))
            .collect();
        if open.is_empty() {
            return;
        }
        let index = *self.scene.one_of(&open);
        let gateway = gateways[index].as_ref().unwrap();
        let core = usize::try_from(self.scene.below(gateway.cores() as u64)).unwrap();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        // The kernel allows no less than about 4.6 kB.
        sockopt::set_socket_send_buffer_size(&theirs, self.scene.one_of(&[1, 8_192, 65_536]).to_owned())
            .unwrap();
        let is_member = self.scene.happens(500);
        let grant = if is_member { Grant::Membership } else { Grant::Any };
        let login = is_member.then(|| log_in(&self.redis, self.user, &self.login, self.scene.now_ms()));
        self.login = login.clone().unwrap_or_default();
        let identity = Identity {
            user: self.user,
            name: self.name.clone().into(),
            grant,
            expires_at_ms: None,
            login_session: login.clone().map(Into::into),
        };
        gateway.begin(core, theirs, identity);
        self.scene.note(format_args!("{:<7} connects to g{index} core {core}", self.name));
        oracle.seen.reconnects += 1;
        self.line = Some(Line {
            socket,
            outgoing: Vec::new(),
            decoder: Decoder::default(),
            gateway: index,
            login,
            calm_since_ms: None,
            view: View::new(self.user, is_member),
            asked: BTreeMap::new(),
            welcomed: false,
            closed: false,
        });
        let rooms: Vec<_> = self.wanted.iter().map(|(room, since)| (*room, *since)).collect();
        if !rooms.is_empty() {
            self.join(rooms);
        }
    }

    /// The connection is over; what was asked on it may or may not have happened.
    fn lose(&mut self, why: &str) {
        let Some(line) = self.line.take() else { return };
        self.scene.note(format_args!("{:<7} has no connection any more: {why}", self.name));
        for asked in line.asked.into_values() {
            if let Asked::Send(message) = asked {
                self.again.push(message);
            }
        }
        if !self.resting {
            self.away_until_ms = self.scene.now_ms() + *self.scene.one_of(&[0, 5, 100, 1_000, 6_000]);
        }
    }

    fn live(&mut self) {
        let scene = Rc::clone(&self.scene);
        let habits = self.habits;
        match self.pace {
            Pace::Stopped { until_ms } if scene.now_ms() >= until_ms => self.pace = Pace::Prompt,
            Pace::Slow if scene.happens(50) => self.pace = Pace::Prompt,
            Pace::Prompt if scene.happens(habits.slows) => {
                let until_ms = scene.now_ms() + scene.between(100, 8_000);
                self.pace = if scene.happens(500) { Pace::Slow } else { Pace::Stopped { until_ms } };
            }
            Pace::Prompt | Pace::Slow | Pace::Stopped { .. } => {}
        }
        if self.line.is_none() {
            return;
        }
        if scene.happens(habits.joins) {
            self.join_some();
        }
        if scene.happens(habits.leaves) {
            self.leave_one();
        }
        if scene.happens(habits.sends) {
            for _ in 0..scene.between(1, habits.burst_max) {
                self.send_new();
            }
        }
        if scene.happens(habits.echoes) {
            self.echo();
        }
        if scene.happens(habits.changes) {
            self.change_one();
        }
        if scene.happens(habits.chats) {
            self.chat();
        }
        if scene.happens(habits.goes) {
            self.go();
        }
    }

    fn ask(&mut self, asked: Asked, mut request: Value) {
        let reference = self.next_ref;
        self.next_ref += 1;
        request["ref"] = json!(reference);
        self.say(&request);
        if let Some(line) = &mut self.line {
            line.asked.insert(reference, asked);
        }
    }

    fn say(&mut self, request: &Value) {
        let text = request.to_string();
        self.scene.note(format_args!("{:<7} > {}", self.name, brief(&text)));
        self.frame(TEXT, text.as_bytes());
    }

    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let mask = self.scene.any().to_be_bytes();
        if let Some(line) = &mut self.line {
            encode(opcode, payload, [mask[0], mask[1], mask[2], mask[3]], &mut line.outgoing);
        }
    }

    fn write(&mut self) {
        let Some(line) = &mut self.line else { return };
        if line.outgoing.is_empty() {
            return;
        }
        let all = line.outgoing.len();
        let some = if self.resting || self.scene.happens(700) {
            all
        } else {
            usize::try_from(self.scene.below(all as u64 + 1)).unwrap()
        };
        match send(&line.socket, &line.outgoing[..some], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(written) => drop(line.outgoing.drain(..written)),
            Err(rustix::io::Errno::AGAIN) => {}
            // The end is met by who reads: something may still be there to read.
            Err(_) => line.outgoing.clear(),
        }
    }
}

/// Bodies are padded, and nobody wants to read that.
fn brief(text: &str) -> String {
    let end = text.find("....").unwrap_or(text.len());
    let rest = text[end..].trim_start_matches('.');
    format!("{}{rest}", &text[..end])
}
