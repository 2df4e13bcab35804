//! The shell of one connection: socket, session and outbox, and the task that reads.
//!
//! Idle, a connection is this task in `readable()`: no buffer, no timer. What a client asks is carried out
//! between two reads without an await, except for a join: until that is answered nothing more is read, so
//! that requests take effect in the order in which they were sent.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use hubbub_common::protocol::{ByeCode, CloseCode, Event};
use tokio::sync::oneshot;

use crate::core::Core;
use crate::core::socket::{Frames, Socket};
use crate::handshake::Upgraded;
use crate::outbox::Outbox;
use crate::session::Session;
use crate::ws::encode::{close_echo, close_frame, ping_frame, pong_frame, text_frame};
use crate::ws::{Flow, Inbound, Item};

/// Bytes taken from a socket at once.
pub(crate) const RECEIVE_BYTES: usize = 16_384;

/// What is true of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// A task is writing its outbox.
    Writing = 1,
    /// It stands in the core's list of outboxes to write.
    Dirty = 2,
    /// Its close frame is in the outbox: nothing may follow.
    Closing = 4,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Unique among all gateways.
    pub(crate) id: u64,
    /// Its place in the core's tables.
    pub(crate) slot: u32,
    pub(crate) socket: Socket,
    pub(crate) session: RefCell<Session>,
    pub(crate) outbox: RefCell<Outbox>,
    /// When something last came, in seconds of the core's wheel.
    pub(crate) heard_s: Cell<u32>,
    /// When a closing connection is cut off, in the same seconds.
    pub(crate) ends_s: Cell<u32>,
    /// Heartbeats unanswered.
    pub(crate) missed: Cell<u8>,
    /// Frames in the write that is under way.
    in_flight: Cell<u8>,
    flags: Cell<u8>,
}

/// How the reading task goes on.
pub(crate) enum Next {
    /// Wait for more bytes.
    Read,
    /// Wait for an answer, then handle what was kept.
    Wait(oneshot::Receiver<()>),
    /// The connection is over.
    End,
}

impl Connection {
    pub(crate) fn new(id: u64, slot: u32, socket: Socket, session: Session) -> Self {
        Self {
            id,
            slot,
            socket,
            session: RefCell::new(session),
            outbox: RefCell::default(),
            heard_s: Cell::new(0),
            ends_s: Cell::new(0),
            missed: Cell::new(0),
            in_flight: Cell::new(0),
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
}

/// Serves a client from the upgrade to the end.
pub(crate) fn spawn(core: &Rc<Core>, upgraded: Upgraded) {
    let Upgraded { stream, early, identity, address } = upgraded;
    tracing::debug!(user = %identity.user, %address, "connected");
    let socket = match Socket::new(stream) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "a socket could not be taken over");
            return;
        }
    };
    let connection = core.attach(socket, identity);
    let core = Rc::clone(core);
    // Copied out of hyper's buffer, which would otherwise live as long as the connection.
    let early = (!early.is_empty()).then(|| early.to_vec().into_boxed_slice());
    monoio::spawn(async move {
        let reading = AssertUnwindSafe(read(&core, &connection, early)).catch_unwind();
        if reading.await.is_err() {
            // A bug of ours must not take the other connections of this core with it.
            tracing::error!(connection = connection.id, "a connection's task panicked");
        }
        core.detach(&connection);
    });
}

async fn read(core: &Rc<Core>, connection: &Rc<Connection>, early: Option<Box<[u8]>>) {
    let mut inbound = Inbound::default();
    let mut next = match early {
        Some(mut early) => handle(core, connection, &mut inbound, &mut early),
        None => Next::Read,
    };
    loop {
        next = match next {
            Next::Read => {
                if connection.socket.readable().await.is_err() {
                    return;
                }
                receive(core, connection, &mut inbound)
            }
            Next::Wait(answered) => {
                // The sender is dropped with the answer, whichever way that goes.
                let _ = answered.await;
                handle(core, connection, &mut inbound, &mut [])
            }
            Next::End => return,
        };
    }
}

fn receive(core: &Rc<Core>, connection: &Rc<Connection>, inbound: &mut Inbound) -> Next {
    let mut buffer = core.receive_buffer.borrow_mut();
    let received = match connection.socket.receive(&mut buffer) {
        Ok(Some(0)) | Err(_) => return Next::End,
        Ok(None) => return Next::Read,
        Ok(Some(received)) => received,
    };
    core.counters.bytes_in.add(received as u64);
    core.heard(connection);
    match buffer.get_mut(..received) {
        Some(bytes) => handle(core, connection, inbound, bytes),
        None => Next::End,
    }
}

/// Handles bytes that came; nothing awaits in here.
fn handle(core: &Rc<Core>, connection: &Rc<Connection>, inbound: &mut Inbound, bytes: &mut [u8]) -> Next {
    if connection.has(Flag::Closing) {
        return Next::Read;
    }
    let uptime_ms = core.clock.elapsed_ms();
    let mut next = Next::Read;
    let fed = inbound.feed(bytes, core.frame_bytes_max(), |item| {
        match item {
            Item::Text(text) => {
                if let Some(answered) = core.handle(connection, text, uptime_ms) {
                    next = Next::Wait(answered);
                    return Flow::Pause;
                }
            }
            Item::Ping(payload) => core.push(connection, pong_frame(payload)),
            Item::Pong => {}
            Item::Close(code) => {
                core.push(connection, close_echo(code));
                connection.set(Flag::Closing, true);
            }
        }
        // What follows a close of either side is not looked at.
        if connection.has(Flag::Closing) { Flow::Pause } else { Flow::Continue }
    });
    match fed {
        Ok(fed) => core.counters.frames_in.add(fed.frames),
        Err(violation) => {
            tracing::debug!(connection = connection.id, %violation, "closing");
            core.close(connection, violation.code, None);
        }
    }
    core.flush();
    next
}

impl Core {
    /// Puts a frame into an outbox; a reader too slow for it is evicted.
    pub(crate) fn push(&self, connection: &Rc<Connection>, frame: Bytes) {
        if connection.has(Flag::Closing) {
            self.counters.dropped_closing.add(1);
            return;
        }
        let waiting = connection.outbox.borrow_mut().push(frame);
        self.mark_dirty(connection);
        if waiting > self.outbox_bytes_max() {
            self.evict(connection);
        }
    }

    /// Puts a frame of a replay into an outbox.
    pub(crate) fn push_replay(&self, connection: &Rc<Connection>, frame: Bytes) {
        if connection.has(Flag::Closing) {
            self.counters.dropped_closing.add(1);
            return;
        }
        self.counters.deliveries.add(1);
        connection.outbox.borrow_mut().push_replay(frame);
        self.mark_dirty(connection);
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
        {
            let mut outbox = connection.outbox.borrow_mut();
            if let Some((code, reconnect_after_ms)) = bye {
                outbox.push(text_frame(|out| Event::Bye { code, reconnect_after_ms }.write_json(out)));
            }
            outbox.push(close_frame(code));
        }
        connection.set(Flag::Closing, true);
        self.mark_dirty(connection);
        self.end_soon(connection);
    }

    /// Cuts off a reader that is too slow, dropping what it has not begun to read.
    fn evict(&self, connection: &Rc<Connection>) {
        let in_flight = usize::from(connection.in_flight.get());
        let dropped = connection.outbox.borrow_mut().clear_behind(in_flight);
        self.counters.dropped_closing.add(dropped);
        self.close(connection, CloseCode::Slow, Some((ByeCode::Slow, 1_000)));
    }

    pub(crate) fn ping(&self, connection: &Rc<Connection>) {
        self.push(connection, ping_frame());
    }

    fn mark_dirty(&self, connection: &Rc<Connection>) {
        if !connection.has(Flag::Dirty) {
            connection.set(Flag::Dirty, true);
            self.dirty.borrow_mut().push(Rc::clone(connection));
        }
    }

    /// Starts a writer for every outbox that has something and none.
    pub(crate) fn flush(self: &Rc<Self>) {
        for connection in self.dirty.take() {
            connection.set(Flag::Dirty, false);
            if !connection.has(Flag::Writing) && !connection.outbox.borrow().is_empty() {
                connection.set(Flag::Writing, true);
                monoio::spawn(write(Rc::clone(self), connection));
            }
        }
    }
}

/// Writes an outbox until it is empty: one frame plainly, several by one vectored write.
async fn write(core: Rc<Core>, connection: Rc<Connection>) {
    loop {
        let (single, several, count) = {
            let outbox = connection.outbox.borrow();
            let mut batch = outbox.next_batch();
            match batch.len() {
                0 => break,
                1 => (batch.next().cloned(), None, 1),
                count => (None, Some(Frames::new(batch)), count),
            }
        };
        connection.in_flight.set(u8::try_from(count).unwrap_or(u8::MAX));
        core.counters.writes.add(1);
        let written = match (single, several) {
            (Some(frame), _) => connection.socket.write(frame).await,
            (None, Some(frames)) => connection.socket.write_vectored(frames).await,
            (None, None) => break,
        };
        connection.in_flight.set(0);
        let Ok(written @ 1..) = written else {
            // The peer is gone; the reading task finds out and cleans up.
            connection.socket.shut_down();
            connection.set(Flag::Closing, true);
            break;
        };
        core.counters.bytes_out.add(written as u64);
        core.counters.frames_out.add(connection.outbox.borrow_mut().written(written));
    }
    connection.set(Flag::Writing, false);
    if connection.has(Flag::Closing) {
        connection.socket.shut_down_sending();
        core.end_soon(&connection);
    }
}
