//! Sockets that have not shown who they are, and how long they may take.
//!
//! One deadline for everything before the upgrade, so that a client that trickles its request byte by byte gains
//! nothing. It comes up in a wheel, for a timer of the runtime costs over a kilobyte.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::net::{Shutdown, shutdown};
use slab::Slab;

use super::wheel::{Due, Wheel};

/// Seconds until a client must have its WebSocket, and until an answered one must have gone.
const GREETING_S: u64 = 15;

/// See the module's text.
pub(crate) struct Greetings {
    /// Open for as long as they stand here.
    sockets: Slab<(u32, RawFd)>,
    wheel: Wheel,
    begun: u32,
}

impl Greetings {
    pub(super) fn new() -> Self {
        Self { sockets: Slab::new(), wheel: Wheel::new(), begun: 0 }
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// A socket was accepted; gives what to end it with, before the socket is closed or in the same step.
    pub(crate) fn begin(&mut self, socket: RawFd) -> usize {
        self.begun = self.begun.wrapping_add(1);
        let ticket = self.sockets.insert((self.begun, socket));
        let slot = u32::try_from(ticket).unwrap_or(u32::MAX);
        self.wheel.schedule(Due { slot, mark: self.begun }, GREETING_S);
        ticket
    }

    /// It is upgraded, or gone.
    pub(crate) fn end(&mut self, ticket: usize) {
        self.sockets.try_remove(ticket);
    }

    /// Shuts down whoever took too long; its task finds out.
    #[expect(unsafe_code, reason = "the task owns the socket")]
    pub(super) fn tick(&mut self, now_s: u64) {
        for due in self.wheel.turn_to(now_s) {
            if let Some((mark, socket)) = self.sockets.get(due.slot as usize)
                && *mark == due.mark
            {
                // SAFETY: it stands here, so it is open. An error means that the peer was faster.
                let _ = shutdown(unsafe { BorrowedFd::borrow_raw(*socket) }, Shutdown::Both);
            }
        }
    }
}
