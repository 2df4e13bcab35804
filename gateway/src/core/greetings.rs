//! Sockets that have not shown who they are, and how long they may take.
//!
//! One deadline for everything before the upgrade, so that a client that trickles its request byte by byte gains
//! nothing; a shorter one when there are too many, so that sockets which say nothing keep nobody out. All wait
//! equally long, so a queue says who is next; a timer of the runtime would cost over a kilobyte each.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::net::{Shutdown, shutdown};
use slab::Slab;

/// Under way on a core at once; beyond that clients wait in the kernel's queue.
const COUNT_MAX: usize = 2_048;
/// Seconds until a client must have its WebSocket, and until an answered one must have gone.
const GREETING_S: u64 = 15;
/// The same while there are as many as there may be. The clock shows whole seconds, so it is one at least.
const CROWDED_S: u64 = 2;

/// See the module's text.
#[derive(Default)]
pub(crate) struct Greetings {
    /// Open for as long as they stand here.
    sockets: Slab<(u64, RawFd)>,
    /// In the order in which they began; some have ended.
    queue: VecDeque<Begun>,
    begun: u64,
}

#[derive(Clone, Copy)]
struct Begun {
    ticket: usize,
    /// Tells it from an earlier one with the same ticket.
    number: u64,
    at_s: u64,
}

impl Greetings {
    /// A socket was accepted; gives what to end it with, before the socket is closed or in the same step.
    pub(crate) fn begin(&mut self, socket: RawFd, now_s: u64) -> usize {
        self.begun += 1;
        let ticket = self.sockets.insert((self.begun, socket));
        self.queue.push_back(Begun { ticket, number: self.begun, at_s: now_s });
        ticket
    }

    /// It is upgraded, or gone.
    pub(crate) fn end(&mut self, ticket: usize) {
        self.sockets.try_remove(ticket);
    }

    /// Whether nobody is coming in.
    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Whether another one may begin; if not, those that have had long enough are ended.
    pub(crate) fn has_room(&mut self, now_s: u64) -> bool {
        let has_room = self.sockets.len() < COUNT_MAX;
        if !has_room {
            self.shut_older(now_s, CROWDED_S);
        }
        has_room
    }

    /// Ends whoever took too long.
    pub(super) fn tick(&mut self, now_s: u64) {
        self.shut_older(now_s, GREETING_S);
        if self.queue.is_empty() {
            // After a storm it is long.
            self.queue = VecDeque::new();
        }
    }

    /// Shuts down the sockets of those that began so long ago; their tasks find out.
    #[expect(unsafe_code, reason = "the task owns the socket")]
    fn shut_older(&mut self, now_s: u64, age_s: u64) {
        while let Some(begun) = self.queue.pop_front_if(|begun| begun.at_s + age_s <= now_s) {
            if let Some((number, socket)) = self.sockets.get(begun.ticket)
                && *number == begun.number
            {
                // SAFETY: it stands here, so it is open. An error means that the peer was faster.
                let _ = shutdown(unsafe { BorrowedFd::borrow_raw(*socket) }, Shutdown::Both);
            }
        }
    }
}
