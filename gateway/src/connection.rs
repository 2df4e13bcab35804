//! The shell of one connection: what is read is handed to its session, what it is told waits in its outbox.
//!
//! Nothing here awaits. The core calls when a socket has something to read ([`Core::readable`]) or room again
//! ([`Core::writable`]); idle, a connection is a hundred bytes in a table. What a client asks is carried out at
//! once, except for a join: until that is answered nothing more is read, so that requests take effect in the
//! order in which they were sent.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use bytes::Bytes;
use hubbub_common::protocol::{ByeCode, CloseCode, Event};

use crate::core::Core;
use crate::core::hand_over::Stage;
use crate::core::poller::Token;
use crate::core::sender::SENDS_MAX;
use crate::core::socket::Socket;
use crate::handover::moved::{Cuts, Waiting, pack};
use crate::handshake::Upgraded;
use crate::outbox::Outbox;
use crate::session::Session;
use crate::ws::encode::{close_echo, close_frame, ping_frame, pong_frame, text_frame};
use crate::ws::{Flow, Inbound, Item};

/// Bytes taken from a socket at once.
pub(crate) const RECEIVE_BYTES: usize = 16_384;
/// Batches of frames that a connection gets in one turn.
const FLUSH_ROUNDS_MAX: usize = 16;
/// Empty outboxes that a core keeps for the next connections with something to say.
const SPARE_OUTBOXES_MAX: usize = 1_024;

/// What is true of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// The socket was full: nothing is written until it has room.
    Full = 1,
    /// It stands in the core's list of outboxes to write.
    Dirty = 2,
    /// Its close frame is in the outbox: nothing may follow.
    Closing = 4,
    /// A join is under way: nothing is read until it is answered.
    Joining = 8,
    /// There may be something to read that nobody will be told of again.
    Unread = 16,
    /// It is over.
    Ended = 32,
    /// The peer has ended: it is read until nothing is left.
    HungUp = 64,
}

/// See the module's text. There are millions of these.
pub(crate) struct Connection {
    /// Unique among all gateways.
    pub(crate) id: u64,
    /// Its place in the core's tables.
    pub(crate) slot: u32,
    socket: Socket,
    pub(crate) session: RefCell<Session>,
    /// None while nothing waits.
    outbox: Cell<Option<Box<Outbox>>>,
    inbound: Cell<Inbound>,
    /// When something last came, in seconds of the core's wheel.
    pub(crate) heard_s: Cell<u32>,
    /// When a closing connection is cut off, in the same seconds.
    pub(crate) ends_s: Cell<u32>,
    /// Heartbeats unanswered.
    pub(crate) missed: Cell<u8>,
    flags: Cell<u8>,
}

const _: () = assert!(size_of::<Connection>() <= 112, "a connection grew");

impl Connection {
    pub(crate) fn new(id: u64, slot: u32, socket: Socket, session: Session) -> Self {
        Self {
            id,
            slot,
            socket,
            session: RefCell::new(session),
            outbox: Cell::new(None),
            inbound: Cell::default(),
            heard_s: Cell::new(0),
            ends_s: Cell::new(0),
            missed: Cell::new(0),
            flags: Cell::new(0),
        }
    }

    pub(crate) fn has(&self, flag: Flag) -> bool {
        self.flags.get() & flag as u8 != 0
    }

    pub(crate) fn set(&self, flag: Flag, on: bool) {
        let others = self.flags.get() & !(flag as u8);
        self.flags.set(if on { others | flag as u8 } else { others });
    }

    /// Tells the wheel's entries of this connection from those of an earlier one in its slot.
    pub(crate) fn mark(&self) -> u32 {
        u32::try_from(self.id & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// The same for the poller.
    pub(crate) fn token(&self) -> Token {
        Token::new(self.slot, self.mark())
    }

    /// Whether its socket did not take all that it was given.
    pub(crate) fn is_full(&self) -> bool {
        self.has(Flag::Full)
    }

    /// Ends it now; the poller tells.
    pub(crate) fn shut_down(&self) {
        self.socket.shut_down();
    }

    /// For how many seconds its socket took nothing, although something waits.
    pub(crate) fn stuck_s(&self, now_s: u64) -> u64 {
        let Some(mut outbox) = self.outbox.take() else { return 0 };
        let stuck_s =
            if self.is_full() { outbox.stuck_s(u32::try_from(now_s).unwrap_or(u32::MAX)) } else { 0 };
        self.outbox.set(Some(outbox));
        stuck_s.into()
    }

    /// Appends what waits, for another process.
    pub(crate) fn pack(&self, bytes: &mut Vec<u8>) -> Cuts {
        let (inbound, outbox) = (self.inbound.take(), self.outbox.take());
        let cuts = pack(&inbound, outbox.as_deref(), bytes);
        self.inbound.set(inbound);
        self.outbox.set(outbox);
        cuts
    }

    /// What waited in another process.
    pub(crate) fn unpack(&self, waiting: Waiting) {
        self.inbound.set(waiting.inbound);
        self.outbox.set(waiting.outbox);
    }

    /// Bytes that wait.
    pub(crate) fn outbox_bytes(&self) -> usize {
        let outbox = self.outbox.take();
        let bytes = outbox.as_ref().map_or(0, |outbox| outbox.bytes());
        self.outbox.set(outbox);
        bytes
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Serves a client from the upgrade on.
pub(crate) fn begin(core: &Rc<Core>, socket: Socket, upgraded: Upgraded) {
    if core.hand_over.stage() == Stage::Given {
        tracing::debug!("a client came too late to be handed over");
        return;
    }
    let Upgraded { answer, mut early, identity, address, seat } = upgraded;
    tracing::debug!(user = %identity.user, %address, "connected");
    let connection = core.attach(socket, identity, answer, seat);
    core.counters.bytes_in.add(early.len() as u64);
    let added = core.poller.borrow_mut().add(connection.socket.as_fd(), connection.token());
    if let Err(error) = added {
        tracing::error!(%error, "a socket can't be watched");
        core.end(&connection);
        return;
    }
    core.guarded(&connection, || core.handle_bytes(&connection, &mut early));
}

impl Core {
    /// There may be something to read.
    pub(crate) fn readable(self: &Rc<Self>, connection: &Rc<Connection>) {
        if connection.has(Flag::Joining) || !self.reads() {
            connection.set(Flag::Unread, true);
        } else {
            self.guarded(connection, || self.receive(connection));
        }
    }

    /// There may be something to read, and then the end.
    pub(crate) fn hung_up(self: &Rc<Self>, connection: &Rc<Connection>) {
        connection.set(Flag::HungUp, true);
        self.readable(connection);
    }

    /// There is room to write again.
    pub(crate) fn writable(&self, connection: &Rc<Connection>) {
        if connection.has(Flag::Full) {
            connection.set(Flag::Full, false);
            self.mark_dirty(connection);
        }
    }

    /// The poller does not watch it any more, as happens when events overflow.
    pub(crate) fn unwatched(self: &Rc<Self>, connection: &Rc<Connection>) {
        let added = self.poller.borrow_mut().add(connection.socket.as_fd(), connection.token());
        if added.is_err() {
            connection.shut_down();
        }
        self.ring_bell();
        self.readable(connection);
    }

    /// A join is answered: what was kept meanwhile is handled.
    pub(crate) fn joined(self: &Rc<Self>, connection: &Rc<Connection>) {
        connection.set(Flag::Joining, false);
        self.guarded(connection, || self.handle_bytes(connection, &mut []));
        if connection.has(Flag::Unread) && !connection.has(Flag::Joining) {
            connection.set(Flag::Unread, false);
            self.readable(connection);
        }
    }

    /// A bug of ours must not take the other connections of this core with it.
    fn guarded(&self, connection: &Rc<Connection>, work: impl FnOnce()) {
        if !connection.has(Flag::Ended) && catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!(connection = connection.id, "the handling of a connection panicked");
            self.end(connection);
        }
    }

    fn receive(self: &Rc<Self>, connection: &Rc<Connection>) {
        let mut buffer = self.receive_buffer.borrow_mut();
        let received = match connection.socket.receive(&mut buffer) {
            Ok(Some(0)) | Err(_) => return self.end(connection),
            Ok(None) => return,
            Ok(Some(received)) => received,
        };
        self.counters.bytes_in.add(received as u64);
        self.heard(connection);
        if received == buffer.len() || connection.has(Flag::HungUp) {
            // The others first, then the rest.
            self.read_on_from(connection);
        }
        if let Some(bytes) = buffer.get_mut(..received) {
            self.handle_bytes(connection, bytes);
        }
    }

    fn handle_bytes(self: &Rc<Self>, connection: &Rc<Connection>, bytes: &mut [u8]) {
        if connection.has(Flag::Closing) {
            return;
        }
        let uptime_ms = self.clock.elapsed_ms();
        let mut inbound = connection.inbound.take();
        if !self.reads() {
            inbound.keep(bytes);
            connection.inbound.set(inbound);
            return;
        }
        let fed = inbound.feed(bytes, self.frame_bytes_max(), |item| {
            match item {
                Item::Text(text) => {
                    let waits = self.handle(connection, text, uptime_ms);
                    connection.set(Flag::Joining, waits);
                }
                Item::Ping(payload) => {
                    self.push(connection, pong_frame(payload));
                }
                Item::Pong => {}
                Item::Close(code) => {
                    self.push(connection, close_echo(code));
                    connection.set(Flag::Closing, true);
                    self.end_soon(connection);
                }
            }
            // What follows a close of either side is not looked at.
            if connection.has(Flag::Closing) || connection.has(Flag::Joining) {
                Flow::Pause
            } else {
                Flow::Continue
            }
        });
        connection.inbound.set(inbound);
        self.counters.frames_in.add(fed.frames);
        if let Some(violation) = fed.violation {
            tracing::debug!(connection = connection.id, %violation, "closing");
            self.close(connection, violation.code, None);
        }
    }

    /// Forgets a client whose connection is over.
    pub(crate) fn end(&self, connection: &Rc<Connection>) {
        if connection.has(Flag::Ended) {
            return;
        }
        connection.set(Flag::Ended, true);
        connection.set(Flag::Closing, true);
        self.poller.borrow_mut().remove(
            connection.socket.as_fd(),
            connection.token(),
            connection.has(Flag::Full),
        );
        self.ring_bell();
        connection.shut_down();
        if let Some(outbox) = connection.outbox.take() {
            self.counters.frames_discarded.add(outbox.frames());
            self.counters.bytes_discarded.add(outbox.queued_bytes());
        }
        self.detach(connection);
    }

    /// Puts a frame into an outbox, unless the connection is closing; a reader too slow for it is evicted.
    pub(crate) fn push(&self, connection: &Rc<Connection>, frame: Bytes) -> bool {
        if connection.has(Flag::Closing) {
            return false;
        }
        self.count_queued(&frame);
        let mut outbox = self.outbox_of(connection);
        let waiting = outbox.push(frame);
        connection.outbox.set(Some(outbox));
        self.mark_dirty(connection);
        if waiting > self.outbox_bytes_max() {
            // Slow is who does not read, not who was told much at once.
            if connection.has(Flag::Full) {
                self.evict(connection);
            } else {
                self.flush_soon.set(true);
            }
        }
        true
    }

    fn count_queued(&self, frame: &Bytes) {
        self.counters.frames_queued.add(1);
        self.counters.bytes_queued.add(frame.len() as u64);
    }

    /// Puts a frame of a replay into an outbox.
    pub(crate) fn push_replay(&self, connection: &Rc<Connection>, frame: Bytes) {
        if connection.has(Flag::Closing) {
            return;
        }
        self.counters.replayed.add(1);
        self.count_queued(&frame);
        let mut outbox = self.outbox_of(connection);
        let uncounted = outbox.push_replay(frame);
        connection.outbox.set(Some(outbox));
        self.mark_dirty(connection);
        // No client can honestly have missed more than the whole window.
        if uncounted > self.replay_bytes_max() + self.outbox_bytes_max() {
            self.evict(connection);
        }
    }

    /// Puts an event into an outbox.
    pub(crate) fn push_event(&self, connection: &Rc<Connection>, event: &Event<'_>) {
        if let Event::Error { code, .. } = event {
            self.exporter.error(*code);
        }
        self.push(connection, text_frame(|out| event.write_json(out)));
    }

    /// Says why, closes in order, and makes sure that it ends.
    pub(crate) fn close(&self, connection: &Rc<Connection>, code: CloseCode, bye: Option<(ByeCode, u64)>) {
        if connection.has(Flag::Closing) {
            return;
        }
        self.exporter.close(code);
        let mut outbox = self.outbox_of(connection);
        let bye = bye.map(|(code, reconnect_after_ms)| {
            text_frame(|out| Event::Bye { code, reconnect_after_ms }.write_json(out))
        });
        for frame in bye.into_iter().chain([close_frame(code)]) {
            self.count_queued(&frame);
            outbox.push(frame);
        }
        connection.outbox.set(Some(outbox));
        connection.set(Flag::Closing, true);
        self.mark_dirty(connection);
        self.end_soon(connection);
    }

    /// Cuts off a reader that is too slow, dropping what it has not begun to read.
    pub(crate) fn evict(&self, connection: &Rc<Connection>) {
        self.counters.evicted.add(1);
        let mut outbox = self.outbox_of(connection);
        let (frames, bytes) = (outbox.frames(), outbox.queued_bytes());
        outbox.clear();
        self.counters.frames_discarded.add(frames - outbox.frames());
        self.counters.bytes_discarded.add(bytes - outbox.queued_bytes());
        connection.outbox.set(Some(outbox));
        self.close(connection, CloseCode::Slow, Some((ByeCode::Slow, 1_000)));
    }

    pub(crate) fn ping(&self, connection: &Rc<Connection>) {
        self.push(connection, ping_frame());
    }

    /// Its own, or an empty one.
    fn outbox_of(&self, connection: &Connection) -> Box<Outbox> {
        connection.outbox.take().or_else(|| self.spare_outboxes.borrow_mut().pop()).unwrap_or_default()
    }

    pub(crate) fn mark_dirty(&self, connection: &Rc<Connection>) {
        if !connection.has(Flag::Dirty) {
            connection.set(Flag::Dirty, true);
            self.dirty.borrow_mut().push(Rc::clone(connection));
            self.ring_bell();
        }
    }

    /// Writes every outbox that got something: all of them by one system call, as far as their sockets take it.
    pub(crate) fn flush(&self) {
        if self.hand_over.stage() == Stage::Given {
            return;
        }
        let mut dirty = self.dirty.take();
        for _ in 0..FLUSH_ROUNDS_MAX {
            for some in dirty.chunks(SENDS_MAX) {
                self.send_batch(some);
            }
            // More frames than one send takes.
            dirty.retain(|connection| connection.has(Flag::Dirty));
            if dirty.is_empty() {
                break;
            }
        }
        if !dirty.is_empty() {
            // Long replays, to clients that read as fast as this writes: the others first.
            self.go_on_later();
        }
        // The list keeps its memory for the next time.
        dirty.append(&mut self.dirty.take());
        self.dirty.replace(dirty);
    }

    fn send_batch(&self, connections: &[Rc<Connection>]) {
        let mut batch = Vec::with_capacity(connections.len());
        for connection in connections {
            connection.set(Flag::Dirty, false);
            if !connection.has(Flag::Full)
                && let Some(outbox) = connection.outbox.take()
            {
                batch.push((connection, outbox));
            }
        }
        let mut sender = self.sender.borrow_mut();
        let outcomes = sender.send(batch.iter().map(|(connection, outbox)| {
            (connection.socket.as_fd(), outbox.next_batch().map(|frame| &**frame))
        }));
        self.counters.writes.add(outcomes.len() as u64);
        for ((connection, outbox), outcome) in batch.into_iter().zip(outcomes) {
            self.sent(connection, outbox, *outcome);
        }
    }

    /// Notes what a send achieved.
    fn sent(&self, connection: &Rc<Connection>, mut outbox: Box<Outbox>, outcome: i32) {
        let written = match usize::try_from(outcome) {
            Ok(written) => written,
            Err(_) if outcome == -libc::EAGAIN => 0,
            Err(_) => {
                // The peer is gone.
                connection.outbox.set(Some(outbox));
                self.end(connection);
                return;
            }
        };
        let (frames, short) = outbox.written(written);
        self.counters.bytes_out.add(written as u64);
        self.counters.frames_out.add(frames);
        if short {
            self.counters.sockets_full.add(1);
            connection.set(Flag::Full, true);
            self.poller.borrow_mut().await_room(connection.socket.as_fd(), connection.token());
            self.ring_bell();
        } else if !outbox.is_empty() {
            connection.set(Flag::Dirty, true);
        } else {
            if outbox.is_small() && self.spare_outboxes.borrow().len() < SPARE_OUTBOXES_MAX {
                self.spare_outboxes.borrow_mut().push(outbox);
            }
            if connection.has(Flag::Closing) {
                // The close frame is out.
                connection.socket.shut_down_sending();
                self.end_soon(connection);
            }
            return;
        }
        connection.outbox.set(Some(outbox));
    }
}
