//! The end of a turn: once everything that was ready has been handled, outboxes are written and the bus is
//! woken. What comes together leaves together, and a hundred requests wake the bus once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hubbub_common::clock::Monotonic;

use super::Core;
use super::poller::Ready;
use crate::connection::Connection;

/// Between two parts of what one client sends or gets at once.
const GO_ON_PAUSE: Duration = Duration::from_millis(1);

/// Wakes the task at the end of a turn. The runtime puts a woken task behind all those that are ready.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    /// When it was rung first in this turn.
    since: Cell<Duration>,
    waker: RefCell<Option<Waker>>,
}

impl Bell {
    /// There is something to do at the end of this turn.
    pub(super) fn ring(&self, clock: &Monotonic) {
        if !self.rung.replace(true) {
            self.since.set(clock.elapsed());
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    /// Whether it was rung since the last time.
    pub(super) fn take(&self) -> bool {
        self.rung.take()
    }

    pub(super) async fn rung(&self) {
        poll_fn(|context| {
            if self.take() {
                return Poll::Ready(());
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Ends turns for ever.
pub(super) async fn end_turns(core: Rc<Core>) {
    loop {
        core.bell.rung().await;
        core.end_turn();
    }
}

/// Goes on, for ever, with clients that sent more than one read takes, or get more than one turn writes. The pause
/// lets everybody else have a turn: the runtime looks at sockets and timers only when no task is ready.
pub(super) async fn go_on(core: Rc<Core>) {
    loop {
        core.later_bell.rung().await;
        monoio::time::sleep(GO_ON_PAUSE).await;
        core.read_on();
        core.ring_bell();
    }
}

impl Core {
    pub(super) fn end_turn(&self) {
        let began = self.bell.since.get();
        self.flush();
        self.bus.wake();
        if let Err(error) = self.poller.borrow_mut().submit() {
            tracing::error!(%error, "the ring that watches sockets");
            std::process::exit(crate::status::EXIT_BUG);
        }
        self.counters.turns.add(self.clock.elapsed().saturating_sub(began));
    }

    pub(super) fn read_on(self: &Rc<Self>) {
        for connection in self.unread.take() {
            self.readable(&connection);
        }
    }

    /// More is to be read from a connection than one read takes.
    pub(crate) fn read_on_from(&self, connection: &Rc<Connection>) {
        self.unread.borrow_mut().push(Rc::clone(connection));
        self.go_on_later();
    }

    /// Something is left to do that must not keep the others waiting.
    pub(crate) fn go_on_later(&self) {
        self.later_bell.ring(&self.clock);
    }

    /// There is something to do at the end of this turn.
    pub(crate) fn ring_bell(&self) {
        self.bell.ring(&self.clock);
    }

    /// Handles what the poller has to tell.
    pub(super) fn take_ready(self: &Rc<Self>) {
        self.ring_bell();
        let mut events = self.events.take();
        loop {
            let more = self.poller.borrow_mut().take(&mut events);
            for event in events.drain(..) {
                self.take_event(event);
            }
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "the ring that watches sockets");
                    std::process::exit(crate::status::EXIT_BUG);
                }
            }
        }
        self.events.replace(events);
    }

    fn take_event(self: &Rc<Self>, event: Ready) {
        let (Ready::Read(token) | Ready::HungUp(token) | Ready::Write(token) | Ready::Lost(token)) = event;
        let connection = self.connections.borrow().get(token.slot()).cloned();
        let Some(connection) = connection.filter(|connection| connection.token() == token) else { return };
        match event {
            Ready::Read(_) => self.readable(&connection),
            Ready::HungUp(_) => self.hung_up(&connection),
            Ready::Write(_) => self.writable(&connection),
            Ready::Lost(_) => self.unwatched(&connection),
        }
    }
}
