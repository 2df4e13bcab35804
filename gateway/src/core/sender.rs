//! Writing to many sockets at once.
//!
//! Every send of a batch is put into a submission ring of the sender's own, and one `io_uring_enter` carries
//! them all out. They are sent with `MSG_DONTWAIT`, so each is over when that call returns: nothing is in
//! flight between two batches, no task and no buffer has to outlive the call, and a socket that is full says
//! so at once (the poller then tells when it has room). Without a ring, or for a few sends, it is `sendmsg(2)`.
//!
//! A fan-out costs what the kernel takes to send it, and not measurably more: `benches/RESULTS.md`.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use io_uring::{IoUring, opcode, types};

use super::counters::RingCounts;
use super::poller::is_transient;

/// Sends in one batch.
pub(crate) const SENDS_MAX: usize = 1_024;
/// Up to so many sends a system call for each is as quick as the ring.
const FEW_SENDS: usize = 4;
/// Of a send that was begun and not reported: ends its connection.
const UNKNOWN: i32 = -libc::EIO;
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// See the module's text.
pub(crate) struct Sender {
    ring: Option<IoUring>,
    /// The frames of all sends, one send after the other.
    vectors: Vec<libc::iovec>,
    sends: Vec<Send>,
    headers: Vec<libc::msghdr>,
    outcomes: Vec<i32>,
    pub(crate) counts: RingCounts,
}

#[derive(Debug, Clone, Copy)]
struct Send {
    fd: RawFd,
    /// Where its frames end in `vectors`.
    end: usize,
}

impl Sender {
    /// With a ring, unless it should do without.
    pub(crate) fn new(with_ring: bool) -> io::Result<Self> {
        let entries = u32::try_from(SENDS_MAX).unwrap_or(u32::MAX);
        Ok(Self {
            ring: with_ring.then(|| IoUring::new(entries)).transpose()?,
            vectors: Vec::new(),
            sends: Vec::new(),
            headers: Vec::new(),
            outcomes: Vec::new(),
            counts: RingCounts::default(),
        })
    }

    /// Sends to each socket as much of its frames as it takes; at most [`SENDS_MAX`] sockets. Gives, in order,
    /// the bytes sent or the negative error number.
    pub(crate) fn send<'a, F>(&mut self, writes: impl Iterator<Item = (BorrowedFd<'a>, F)>) -> &[i32]
    where
        F: Iterator<Item = &'a [u8]>,
    {
        self.vectors.clear();
        self.sends.clear();
        for (fd, frames) in writes.take(SENDS_MAX) {
            let vector = |frame: &[u8]| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            };
            self.vectors.extend(frames.map(vector));
            self.sends.push(Send { fd: fd.as_raw_fd(), end: self.vectors.len() });
        }
        self.outcomes.clear();
        self.outcomes.resize(self.sends.len(), UNKNOWN);
        self.point();
        if self.ring.is_none() || self.sends.len() <= FEW_SENDS {
            self.send_each();
        } else if let Err(error) = self.send_by_ring() {
            // What was sent is not known any more, so those connections have to end; the others go on.
            tracing::error!(%error, "the ring for sends failed: going on with a system call for each");
            self.ring = None;
        }
        &self.outcomes
    }

    /// Makes the header of each send, now that the vectors stay where they are.
    fn point(&mut self) {
        self.headers.clear();
        let mut first = 0;
        for send in &self.sends {
            let vectors = self.vectors.get_mut(first..send.end).unwrap_or_default();
            first = send.end;
            self.headers.push(header(vectors));
        }
    }

    #[expect(unsafe_code, reason = "sendmsg(2) has no safe wrapper for raw vectors")]
    fn send_each(&mut self) {
        for ((send, header), outcome) in self.sends.iter().zip(&self.headers).zip(&mut self.outcomes) {
            // SAFETY: the header points to vectors, and those to frames, which `send` borrows until it returns.
            let sent = unsafe { libc::sendmsg(send.fd, header, FLAGS) };
            *outcome = if sent < 0 {
                -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
            } else {
                i32::try_from(sent).unwrap_or(i32::MAX)
            };
        }
    }

    #[expect(unsafe_code, reason = "the ring takes raw pointers")]
    fn send_by_ring(&mut self) -> io::Result<()> {
        let Some(ring) = &mut self.ring else { return Ok(()) };
        let mut first = 0;
        {
            let mut queue = ring.submission();
            for (number, (send, header)) in self.sends.iter().zip(&self.headers).enumerate() {
                let entry = match self.vectors.get(first..send.end) {
                    Some([one]) => {
                        let length = u32::try_from(one.iov_len).unwrap_or(u32::MAX);
                        opcode::Send::new(types::Fd(send.fd), one.iov_base.cast(), length)
                            .flags(FLAGS)
                            .build()
                    }
                    _ => {
                        opcode::SendMsg::new(types::Fd(send.fd), header).flags(FLAGS.cast_unsigned()).build()
                    }
                };
                first = send.end;
                // SAFETY: header, vectors and frames live until `send` returns, and this function returns only when the
                // kernel is done with all of them.
                let pushed = unsafe { queue.push(&entry.user_data(number as u64)) };
                if pushed.is_err() {
                    return Err(io::Error::other("the submission queue is full"));
                }
            }
        }
        let mut pending = self.sends.len();
        self.counts.submissions += pending as u64;
        self.counts.completions += pending as u64;
        while pending > 0 {
            self.counts.enters += 1;
            match ring.submit_and_wait(pending) {
                Ok(_) => {}
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
            for done in ring.completion() {
                pending -= 1;
                let number = usize::try_from(done.user_data()).unwrap_or(usize::MAX);
                if let Some(outcome) = self.outcomes.get_mut(number) {
                    *outcome = done.result();
                }
            }
        }
        Ok(())
    }
}

#[expect(unsafe_code, reason = "msghdr has no constructor, and padding on some targets")]
fn header(vectors: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeros is a valid `msghdr`: no address, no vectors, no control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len();
    header
}
