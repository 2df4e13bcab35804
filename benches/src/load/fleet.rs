//! Thousands of WebSocket clients on one thread and one epoll: raw sockets, no task, no buffer of their own.
//!
//! It has to outrun the server: a delivery costs one `recv` shared by whatever came together, a look at the
//! frame's head, and a callback. A connection that ends by itself is an error of the run, unless the
//! fleet moves.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::token::{Claims, RoomsClaim, Signer, Star};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, bind, connect, recv, send, socket, sockopt,
};

use super::dialect::{Dialect, Meaning, Wanted, message_id};
use super::ledger::Seating;
use super::probe::whole_probes;
use super::wire::{self, Frame};

/// Connections from one source address: below the number of ports that the kernel gives out.
const PER_SOURCE: usize = 5_000;
/// Handshakes under way at once, unless more are wanted.
const HANDSHAKES: usize = 64;
/// How long all handshakes may stand still together.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
const RECEIVE_BYTES: usize = 256 * 1024;
/// How long tokens are good for.
const TOKEN_S: u64 = 24 * 60 * 60;

/// What happened to a client.
#[derive(Debug)]
pub(super) enum Happened<'a> {
    /// It is in all its rooms; so many events are replayed.
    Joined { replayed: u64 },
    /// A frame with messages.
    Messages(&'a [u8]),
    /// A message of its own is stored.
    Ack(&'a [u8]),
    /// It is sent away, and asked to come back after this time. Its connection ends soon.
    SentAway(Duration),
    /// Its connection, or its try to get one, is over.
    Gone(Ending),
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The request was refused.
    Refused,
    /// It broke off, or was closed by the server.
    Closed,
}

/// Whom to connect, and to what.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) dialect: Dialect,
    /// Dealt out to the connections in turn.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) seating: Seating,
    /// The number of the first connection: users and source addresses follow from it.
    pub(super) first: usize,
    /// The number of the first room.
    pub(super) first_room: usize,
    /// So many neighbouring rooms are one to the server.
    pub(super) lump: usize,
    pub(super) jwt_secret: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Away,
    Upgrading,
    Joining,
    Open,
}

#[derive(Debug, Default)]
struct Client {
    socket: Option<OwnedFd>,
    state: State,
    /// A cut frame.
    rest: Vec<u8>,
    /// The beginning of a probe at the end of a piece of a stream.
    cut: Vec<u8>,
    /// What the socket did not take.
    out: Vec<u8>,
    /// The newest message received, to resume after.
    last: Option<u64>,
}

/// Notices that handshakes stand still.
pub(super) struct Waiting {
    open: usize,
    since: Duration,
}

impl Waiting {
    pub(super) fn new(fleet: &Fleet) -> Self {
        Self { open: fleet.open, since: fleet.clock.elapsed() }
    }

    pub(super) fn check(&mut self, fleet: &Fleet) -> Result<(), String> {
        if fleet.open != self.open {
            *self = Self::new(fleet);
        } else if fleet.clock.elapsed().saturating_sub(self.since) > HANDSHAKE_MAX {
            return Err(format!("{} connections are open, {} get no answer", fleet.open, fleet.under_way));
        }
        Ok(())
    }
}

/// See the module's text.
pub(super) struct Fleet {
    plan: Plan,
    signer: Signer,
    epoll: OwnedFd,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    pub(super) clock: Monotonic,
    pub(super) open: usize,
    /// Handshakes begun and not finished.
    under_way: usize,
    /// Calls of `recv` that gave something.
    pub(super) reads: u64,
    pub(super) bytes: u64,
    /// Handshakes under way at once.
    pub(super) handshakes_max: usize,
    /// Whether to note the newest message of each client, so that it can resume.
    pub(super) resumes: bool,
    /// Whether servers may send clients away, and refuse them: they are told of then, and may begin again.
    pub(super) moves: bool,
}

impl Fleet {
    pub(super) fn new(plan: Plan) -> Result<Self, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
        Ok(Self {
            signer: Signer::from(plan.jwt_secret.as_str()),
            clients: (0..plan.seating.connections).map(|_| Client::default()).collect(),
            plan,
            epoll,
            buffer: vec![0; RECEIVE_BYTES],
            clock: Monotonic::start(),
            open: 0,
            under_way: 0,
            reads: 0,
            bytes: 0,
            handshakes_max: HANDSHAKES,
            resumes: false,
            moves: false,
        })
    }

    /// Nanoseconds of the clock that stands in probes.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Connects these clients, some at a time, and returns when all have joined.
    pub(super) fn connect(
        &mut self,
        clients: impl IntoIterator<Item = usize>,
        mut on: impl FnMut(usize, Happened<'_>, u64),
    ) -> Result<(), String> {
        let mut to_come = clients.into_iter().collect();
        let mut waiting = Waiting::new(self);
        while self.begin_some(&mut to_come)? {
            self.turn(Duration::from_millis(100), &mut on)?;
            waiting.check(self)?;
        }
        Ok(())
    }

    /// Begins handshakes as long as not too many are under way; whether there are any to wait for.
    pub(super) fn begin_some(&mut self, to_come: &mut VecDeque<usize>) -> Result<bool, String> {
        while self.under_way < self.handshakes_max {
            let Some(client) = to_come.pop_front() else { break };
            self.begin(client)?;
            self.under_way += 1;
        }
        Ok(self.under_way > 0)
    }

    fn begin(&mut self, number: usize) -> Result<(), String> {
        let failed = |error: Errno| format!("connection {number}: {error}");
        let global = self.plan.first + number;
        let server = self.plan.servers.get(number % self.plan.servers.len().max(1)).ok_or("no server")?;
        let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None).map_err(failed)?;
        choose_port_late(&descriptor);
        bind(&descriptor, &source(global)).map_err(failed)?;
        connect(&descriptor, server).map_err(failed)?;
        rustix::io::ioctl_fionbio(&descriptor, true).map_err(failed)?;
        sockopt::set_tcp_nodelay(&descriptor, true).map_err(failed)?;
        epoll::add(&self.epoll, &descriptor, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)
            .map_err(failed)?;
        let hello = self.plan.dialect.hello(&self.token(global)?, &self.wanted(number));
        if let Some(client) = self.clients.get_mut(number) {
            client.socket = Some(descriptor);
            client.state = State::Upgrading;
        }
        self.send(number, &hello)
    }

    fn wanted(&self, number: usize) -> Vec<Wanted> {
        let since = self.clients.get(number).and_then(|client| client.last);
        let lumped = |room| (self.plan.first_room + room) / self.plan.lump;
        let room = |room| Wanted { room: u32::try_from(lumped(room)).unwrap_or(u32::MAX), since };
        self.plan.seating.rooms_of(number).map(room).collect()
    }

    fn token(&self, global: usize) -> Result<String, String> {
        if self.plan.dialect != Dialect::Hubbub {
            return Ok(String::new());
        }
        let claims = Claims {
            sub: (global + 1).to_string().parse().map_err(|error| format!("{error}"))?,
            exp: now_ms() / 1_000 + TOKEN_S,
            name: Some(format!("user{global}")),
            rooms: Some(RoomsClaim::Any(Star::Star)),
            sid: None,
        };
        self.signer.sign(&claims).map_err(|error| error.to_string())
    }

    /// Cuts a client off as a broken network would: no close frame, a reset.
    pub(super) fn cut(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(number) else { return };
        if let Some(socket) = client.socket.take() {
            // Without it thousands of ports would wait in TIME_WAIT; if it fails they do.
            let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
        match client.state {
            State::Away => {}
            State::Upgrading | State::Joining => self.under_way -= 1,
            State::Open => self.open -= 1,
        }
        *client = Client { last: client.last, ..Client::default() };
    }

    /// Sends a message to a room.
    pub(super) fn publish(&mut self, number: usize, room: usize, body: &str) -> Result<(), String> {
        let mut frame = Vec::new();
        self.plan.dialect.publish(&mut frame, u32::try_from(room).unwrap_or(u32::MAX), body);
        self.send(number, &frame)
    }

    /// Sends a message that is stored once, however often it is sent.
    pub(super) fn publish_once(
        &mut self,
        number: usize,
        room: usize,
        body: &str,
        nonce: u64,
    ) -> Result<(), String> {
        let mut frame = Vec::new();
        Dialect::publish_once(&mut frame, u32::try_from(room).unwrap_or(u32::MAX), body, nonce);
        self.send(number, &frame)
    }

    fn send(&mut self, number: usize, bytes: &[u8]) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        if !client.out.is_empty() {
            client.out.extend_from_slice(bytes);
            return Ok(());
        }
        let Some(socket) = &client.socket else { return Err(format!("connection {number} is not open")) };
        let sent = match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            // Whoever reads finds out.
            Err(_) if self.moves => return Ok(()),
            Err(error) => return Err(format!("connection {number}: {error}")),
        };
        client.out.extend_from_slice(bytes.get(sent..).unwrap_or_default());
        if !client.out.is_empty() {
            self.watch(number, epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
        }
        Ok(())
    }

    fn watch(&self, number: usize, flags: epoll::EventFlags) -> Result<(), String> {
        let Some(socket) = self.clients.get(number).and_then(|client| client.socket.as_ref()) else {
            return Ok(());
        };
        epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(number as u64), flags)
            .map_err(|error| format!("epoll: {error}"))
    }

    /// Waits for something to happen, for so long at most, and tells what did.
    pub(super) fn turn(
        &mut self,
        wait: Duration,
        mut on: impl FnMut(usize, Happened<'_>, u64),
    ) -> Result<(), String> {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 512];
        let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        let ready = match epoll::wait(self.epoll.as_fd(), &mut events, Some(&wait)) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(format!("epoll: {error}")),
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut outcome = Ok(());
        for event in ready {
            let (number, flags) = (event.data.u64(), event.flags);
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            if flags.contains(epoll::EventFlags::OUT) {
                let out = self.clients.get_mut(number).map(|client| std::mem::take(&mut client.out));
                outcome = self
                    .watch(number, epoll::EventFlags::IN)
                    .and_then(|()| self.send(number, &out.unwrap_or_default()));
            }
            if outcome.is_ok() && flags != epoll::EventFlags::OUT {
                outcome = self.receive(number, &mut buffer, &mut on);
            }
            if outcome.is_err() {
                break;
            }
        }
        self.buffer = buffer;
        outcome
    }

    fn receive(
        &mut self,
        number: usize,
        buffer: &mut [u8],
        on: &mut impl FnMut(usize, Happened<'_>, u64),
    ) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        let Some(socket) = &client.socket else { return Ok(()) };
        let received = match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) if self.moves => {
                self.cut(number);
                on(number, Happened::Gone(Ending::Closed), self.now_ns());
                return Ok(());
            }
            Ok((0, _)) => return Err(format!("connection {number}: the server closed it")),
            Ok((received, _)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(format!("connection {number}: {error}")),
        };
        self.reads += 1;
        self.bytes += received as u64;
        let now_ns = u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let bytes = buffer.get(..received).unwrap_or_default();
        let mut rest = std::mem::take(&mut client.rest);
        let handled = if rest.is_empty() {
            self.handle(number, bytes, now_ns, on).map(|used| {
                rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
            })
        } else {
            rest.extend_from_slice(bytes);
            self.handle(number, &rest, now_ns, on).map(|used| drop(rest.drain(..used)))
        };
        if let Some(client) = self.clients.get_mut(number) {
            // An idle client keeps no buffer.
            client.rest = if rest.is_empty() { Vec::new() } else { rest };
        }
        handled.map_err(|problem| format!("connection {number}: {problem}"))
    }

    /// Handles what came whole; gives how many bytes that were.
    fn handle(
        &mut self,
        number: usize,
        bytes: &[u8],
        now_ns: u64,
        on: &mut impl FnMut(usize, Happened<'_>, u64),
    ) -> Result<usize, String> {
        let mut used = 0;
        if self.state(number) == State::Upgrading {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101") && self.moves {
                self.cut(number);
                on(number, Happened::Gone(Ending::Refused), now_ns);
                return Ok(bytes.len());
            }
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(format!("refused: {}", String::from_utf8_lossy(bytes)));
            }
            used = end + 4;
            self.set_state(number, State::Joining);
            if self.plan.dialect.joins_by_upgrade() {
                self.set_state(number, State::Open);
                on(number, Happened::Joined { replayed: 0 }, now_ns);
            }
        }
        while let Some((frame, length)) = wire::read(bytes.get(used..).unwrap_or_default())? {
            used += length;
            self.take(number, &frame, now_ns, on)?;
        }
        Ok(used)
    }

    fn take(
        &mut self,
        number: usize,
        frame: &Frame<'_>,
        now_ns: u64,
        on: &mut impl FnMut(usize, Happened<'_>, u64),
    ) -> Result<(), String> {
        // Only while joining does any dialect need to know what was asked for.
        let open = self.state(number) == State::Open;
        let wanted = if open { Vec::new() } else { self.wanted(number) };
        if self.plan.dialect == Dialect::Nats {
            self.stream(number, frame.payload, now_ns, on);
        }
        match self.plan.dialect.meaning(frame, &wanted) {
            Meaning::Nothing => {}
            Meaning::Messages => {
                if self.resumes
                    && let Some(id) = message_id(frame.payload)
                    && let Some(client) = self.clients.get_mut(number)
                {
                    client.last = Some(id);
                }
                on(number, Happened::Messages(frame.payload), now_ns);
            }
            Meaning::Ack => on(number, Happened::Ack(frame.payload), now_ns),
            Meaning::Bye { after_ms } if self.moves => {
                on(number, Happened::SentAway(Duration::from_millis(after_ms)), now_ns);
            }
            Meaning::Bye { .. } => return Err("the server sends its clients away".to_owned()),
            // It closes, as it said that it would.
            Meaning::Refused(_) if self.moves && frame.opcode == wire::Opcode::Close => {}
            Meaning::Joined { replayed } => {
                if !open {
                    self.set_state(number, State::Open);
                    on(number, Happened::Joined { replayed }, now_ns);
                }
            }
            Meaning::Answer(answer) => self.send(number, &answer)?,
            Meaning::Refused(problem) => return Err(problem),
        }
        Ok(())
    }

    /// NATS' frames are pieces of a stream of bytes: a message may begin in one and end in the next.
    fn stream(
        &mut self,
        number: usize,
        payload: &[u8],
        now_ns: u64,
        on: &mut impl FnMut(usize, Happened<'_>, u64),
    ) {
        let Some(client) = self.clients.get_mut(number) else { return };
        let mut bytes = std::mem::take(&mut client.cut);
        bytes.extend_from_slice(payload);
        let whole = whole_probes(&bytes);
        on(number, Happened::Messages(bytes.get(..whole).unwrap_or_default()), now_ns);
        client.cut = bytes.split_off(whole);
    }

    fn state(&self, number: usize) -> State {
        self.clients.get(number).map_or(State::Away, |client| client.state)
    }

    fn set_state(&mut self, number: usize, state: State) {
        if state == State::Open {
            self.open += 1;
            self.under_way -= 1;
        }
        if let Some(client) = self.clients.get_mut(number) {
            client.state = state;
        }
    }
}

/// Leaves the choice of the port to `connect`, which knows the peer: otherwise every socket would take a port
/// of its own, also from those that wait to be forgotten (ip(7), `IP_BIND_ADDRESS_NO_PORT`).
#[expect(unsafe_code, reason = "an option that no safe wrapper has")]
fn choose_port_late(socket: &OwnedFd) {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the option is an int, given with its address and length. Without it, ports run out sooner.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        );
    }
}

/// The address from which the connection with this number comes: 127.0.0.2, 127.0.0.3, and so on.
fn source(number: usize) -> SocketAddr {
    let host = u8::try_from(2 + number / PER_SOURCE).unwrap_or(u8::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0)
}
