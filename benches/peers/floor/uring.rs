//! Sends of `io_uring` that enter the kernel together.
//!
//! What the publishers of one turn have to say in different rooms enters together too. A second message for a room waits
//! until the first is sent: the ring keeps no order among sends to one socket.

use std::io;
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, types};

use crate::server::{Fanout, Members};

/// Sends that enter together.
const BATCH_MAX: u32 = 4_096;

/// See the module's text.
pub(crate) struct Ring {
    ring: IoUring,
    /// Sends given to the ring that are not done.
    waiting: usize,
    /// What they send, and to which room. The allocations stay where they are until all is sent.
    batch: Vec<(u32, Vec<u8>)>,
    /// Empty buffers for the next batch.
    spare: Vec<Vec<u8>>,
}

impl Ring {
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(BATCH_MAX)?;
        Ok(Self { ring, waiting: 0, batch: Vec::new(), spare: Vec::new() })
    }

    /// Gives the ring a send of what came last into the batch.
    #[expect(unsafe_code, reason = "the kernel reads the bytes while nobody here holds a borrow of them")]
    fn push(&mut self, socket: types::Fd) -> io::Result<()> {
        let Some((_, bytes)) = self.batch.last() else { return Ok(()) };
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        // All or an error: the ring itself waits where the socket is full.
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let send = opcode::Send::new(socket, bytes.as_ptr(), length).flags(flags).build();
        // SAFETY: the bytes lie in an allocation of `batch`, which is neither changed nor freed before `drain` has seen
        // every send done, also when this value is dropped. The descriptor belongs to a member, and members are
        // removed only after a flush.
        while unsafe { self.ring.submission().push(&send) }.is_err() {
            self.drain()?;
        }
        self.waiting += 1;
        Ok(())
    }

    /// Enters the kernel, until every send is done.
    fn drain(&mut self) -> io::Result<()> {
        while self.waiting > 0 {
            match self.ring.submit_and_wait(self.waiting) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                // The outcomes say nothing: a closed connection is told of by its next read.
                Ok(_) | Err(_) => self.waiting -= self.ring.completion().count(),
            }
        }
        Ok(())
    }
}

impl Fanout for Ring {
    fn send(&mut self, room: u32, members: &Members, bytes: &[u8]) -> io::Result<()> {
        if self.batch.iter().any(|(other, _)| *other == room) {
            self.flush()?;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        self.batch.push((room, buffer));
        for (_, member) in members {
            self.push(types::Fd(member.socket.as_raw_fd()))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        for (_, mut buffer) in self.batch.drain(..) {
            buffer.clear();
            self.spare.push(buffer);
        }
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.drain().is_err() {
            // The kernel may still read them.
            std::mem::forget(std::mem::take(&mut self.batch));
        }
    }
}
