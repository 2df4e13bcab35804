//! A core without a thread and without a runtime, for simulations: its work in steps that somebody else calls, in
//! whatever order. The sockets are real; epoll and `sendmsg(2)` stand in for the rings.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::poller::Poller;
use super::sender::Sender;
use super::{Core, CoreSeed};
use crate::bus::Inbox;
use crate::connection;
use crate::handshake::Upgraded;
use crate::session::Identity;

/// See the module's text.
pub(crate) struct CoreByHand {
    core: Rc<Core>,
    inbox: Inbox,
}

impl CoreByHand {
    pub(crate) fn new(seed: CoreSeed) -> io::Result<Self> {
        let core = Core::new(&seed, Sender::new(false)?, Poller::new(false)?);
        Ok(Self { core, inbox: seed.inbox })
    }

    /// Takes in a client whose handshake is over.
    pub(crate) fn begin(&self, socket: OwnedFd, identity: Identity) {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let upgraded = Upgraded { answer: Vec::new(), early: Box::default(), identity, address, seat: None };
        connection::begin(&self.core, socket.into(), upgraded);
    }

    /// Handles what the sockets have.
    pub(crate) fn look_at_sockets(&self) {
        self.core.take_ready();
    }

    /// Handles what the bus has told.
    pub(crate) fn look_at_inbox(&self) {
        self.inbox.about_to_drain();
        if self.inbox.depth() > 0 {
            self.core.turn(&self.inbox);
        }
    }

    /// Reads on from those who sent more than one read takes.
    pub(crate) fn read_on(&self) {
        self.core.read_on();
    }

    /// Once a second.
    pub(crate) fn tick(&self) {
        self.core.tick();
    }

    /// Ends the turn, if anything happened in it.
    pub(crate) fn end_turn(&self) {
        if self.core.bell.take() {
            self.core.end_turn();
        }
    }
}
