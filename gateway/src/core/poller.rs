//! Which sockets have something to read, or room to write, without a task for each.
//!
//! A ring of its own holds one multishot `POLL_ADD` for every connection; its descriptor becomes readable when
//! one fires, and the core waits for that alone. So an idle connection costs no task, no waker and no buffer of
//! this process; see `benches/RESULTS.md` for what that is worth. Where io_uring is not to be had, an epoll
//! instance with edge-triggered interest does the same.
//!
//! Contract: an event says that something has changed. Whoever gets one reads until the socket has nothing
//! more, or comes back by itself; there is no second event for the same bytes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::event::{Timespec, epoll};

use super::counters::RingCounts;

/// Requests that one system call hands over.
const ENTRIES: u32 = 1_024;
/// Events that may wait; the kernel keeps more, at a cost.
const EVENTS: u32 = 16_384;
/// Of requests whose outcome nobody wants to know.
const NOBODY: u64 = u64::MAX;
/// Marks the event of a socket with room to write.
const WRITABLE: u64 = 1 << 63;
const HANG_UP_EVENTS: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;
const READ_EVENTS: u32 = (libc::POLLIN | libc::POLLRDHUP) as u32;

/// Tells a connection from an earlier one in its slot: below [`WRITABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(u64);

impl Token {
    /// Of a slot and a mark of its present user.
    pub(crate) fn new(slot: u32, mark: u32) -> Self {
        Self(u64::from(mark & 0x7fff_ffff) << 32 | u64::from(slot))
    }

    /// The slot.
    pub(crate) fn slot(self) -> usize {
        usize::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX)
    }
}

/// What happened to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// There may be something to read.
    Read(Token),
    /// The peer has ended: there may be something to read before that.
    HungUp(Token),
    /// There is room to write.
    Write(Token),
    /// It is not watched any more and has to be added again.
    Lost(Token),
}

/// See the module's text.
pub(crate) enum Poller {
    Ring(Box<Ring>),
    Epoll(OwnedFd),
}

pub(crate) struct Ring {
    ring: IoUring,
    /// Requests to be handed over at the end of the turn.
    requests: VecDeque<squeue::Entry>,
    counts: RingCounts,
}

impl Poller {
    /// On a ring, or on epoll.
    pub(crate) fn new(with_ring: bool) -> io::Result<Self> {
        if with_ring {
            let ring = IoUring::builder().setup_cqsize(EVENTS).build(ENTRIES)?;
            let counts = RingCounts::default();
            return Ok(Self::Ring(Box::new(Ring { ring, requests: VecDeque::new(), counts })));
        }
        Ok(Self::Epoll(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Readable when there are events; a duplicate, to wait for.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Ring(of) => duplicate(of.ring.as_raw_fd()),
            Self::Epoll(epoll) => Ok(rustix::io::dup(epoll)?),
        }
    }

    /// What went to the ring and came back.
    pub(crate) fn counts(&self) -> RingCounts {
        match self {
            Self::Ring(of) => of.counts,
            Self::Epoll(_) => RingCounts::default(),
        }
    }

    /// Watches a socket for as long as it lives.
    pub(crate) fn add(&mut self, socket: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        match self {
            Self::Ring(of) => {
                let poll = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), READ_EVENTS).multi(true);
                of.requests.push_back(poll.build().user_data(token.0));
                Ok(())
            }
            Self::Epoll(epoll) => Ok(epoll::add(epoll, socket, data(token), interest(false))?),
        }
    }

    /// Tells once when there is room to write.
    pub(crate) fn await_room(&mut self, socket: BorrowedFd<'_>, token: Token) {
        match self {
            Self::Ring(of) => {
                let poll = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), libc::POLLOUT as u32);
                of.requests.push_back(poll.build().user_data(token.0 | WRITABLE));
            }
            // Changing the interest makes a socket that is ready already tell so again.
            Self::Epoll(epoll) => {
                let _ = epoll::modify(&*epoll, socket, data(token), interest(true));
            }
        }
    }

    /// Stops watching a socket that is about to be closed: a ring would keep it open.
    pub(crate) fn remove(&mut self, socket: BorrowedFd<'_>, token: Token, awaits_room: bool) {
        match self {
            Self::Ring(of) => {
                let mut remove =
                    |token| of.requests.push_back(opcode::AsyncCancel::new(token).build().user_data(NOBODY));
                remove(token.0);
                if awaits_room {
                    remove(token.0 | WRITABLE);
                }
            }
            Self::Epoll(epoll) => {
                let _ = epoll::delete(&*epoll, socket);
            }
        }
    }

    /// Hands over what was asked for since the last time.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        let Self::Ring(of) = self else { return Ok(()) };
        loop {
            push(&mut of.ring, &mut of.requests);
            if of.ring.submission().is_empty() {
                of.requests.shrink_to(ENTRIES as usize);
                return Ok(());
            }
            of.counts.enters += 1;
            match of.ring.submit() {
                Ok(submitted) => of.counts.submissions += submitted as u64,
                // The rest waits for the next turn, which comes within a second.
                Err(error) if is_transient(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the events that are there, some at a time; whether there may be more.
    pub(crate) fn take(&mut self, events: &mut Vec<Ready>) -> io::Result<bool> {
        match self {
            Self::Ring(of) => {
                if of.ring.submission().cq_overflow() {
                    // Entering the kernel moves what it kept into the ring.
                    match of.ring.submit_and_wait(0) {
                        Ok(submitted) => of.counts.submissions += submitted as u64,
                        Err(error) if is_transient(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                let completions = &mut of.counts.completions;
                events.extend(
                    of.ring.completion().inspect(|_| *completions += 1).filter_map(|event| ready(&event)),
                );
                Ok(false)
            }
            Self::Epoll(epoll) => take_epoll(epoll, events),
        }
    }
}

/// Whether a system call on a ring may work the next time: a signal came, memory is short, or events overflow.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

#[expect(unsafe_code, reason = "the ring lends no descriptor")]
fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the ring owns the descriptor and lives during this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(rustix::io::dup(borrowed)?)
}

#[expect(unsafe_code, reason = "the ring takes requests that may point anywhere")]
fn push(ring: &mut IoUring, requests: &mut VecDeque<squeue::Entry>) {
    let mut queue = ring.submission();
    while let Some(request) = requests.front() {
        // SAFETY: polls point to nothing; a descriptor that was closed meanwhile only makes one fail.
        if unsafe { queue.push(request) }.is_err() {
            return;
        }
        requests.pop_front();
    }
}

fn ready(event: &cqueue::Entry) -> Option<Ready> {
    let user_data = event.user_data();
    if user_data == NOBODY || event.result() == -libc::ECANCELED {
        return None;
    }
    let token = Token(user_data & !WRITABLE);
    Some(if user_data & WRITABLE != 0 {
        Ready::Write(token)
    } else if !cqueue::more(event.flags()) {
        Ready::Lost(token)
    } else if event.result() & HANG_UP_EVENTS != 0 {
        Ready::HungUp(token)
    } else {
        Ready::Read(token)
    })
}

fn data(token: Token) -> epoll::EventData {
    epoll::EventData::new_u64(token.0)
}

fn interest(writes: bool) -> epoll::EventFlags {
    let read = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    if writes { read | epoll::EventFlags::OUT } else { read }
}

fn take_epoll(epoll: &OwnedFd, events: &mut Vec<Ready>) -> io::Result<bool> {
    let mut space = [const { std::mem::MaybeUninit::uninit() }; 256];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let (taken, rest) = match epoll::wait(epoll.as_fd(), &mut space, Some(&now)) {
        Ok(taken) => taken,
        Err(rustix::io::Errno::INTR) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    for event in taken {
        let (flags, token) = (event.flags, Token(event.data.u64()));
        if flags.contains(epoll::EventFlags::OUT) {
            events.push(Ready::Write(token));
        }
        let ended = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(ended) {
            events.push(Ready::HungUp(token));
        } else if flags.contains(epoll::EventFlags::IN) {
            events.push(Ready::Read(token));
        }
    }
    Ok(rest.is_empty())
}
