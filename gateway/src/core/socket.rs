//! A connected socket: four bytes. Everything it does is over when the call returns; waiting is the
//! [`poller`](super::poller)'s.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};

use monoio::net::TcpStream;
use rustix::net::{RecvFlags, Shutdown};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Takes it out of the runtime, which has no operation under way on it.
    #[expect(unsafe_code, reason = "passes a descriptor from one owner to another")]
    pub(crate) fn new(stream: TcpStream) -> Self {
        // SAFETY: `into_raw_fd` gives up the descriptor, so this is its only owner.
        Self(unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) })
    }

    /// Takes what is there: `None` when nothing is, `Some(0)` at the end.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        receive(self.0.as_fd(), buffer)
    }

    /// Says that nothing more will be sent; the peer may still be read.
    pub(crate) fn shut_down_sending(&self) {
        // An error means that the peer was faster.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    /// Ends both directions now; the poller tells.
    pub(crate) fn shut_down(&self) {
        // An error means that the peer was faster.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }
}

impl From<OwnedFd> for Socket {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes what is there without waiting: `None` when nothing is, `Some(0)` at the end.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT)) {
        Ok((received, _)) => Ok(Some(received)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The descriptor of a stream that the runtime holds.
#[expect(unsafe_code, reason = "the runtime's stream lends only the number")]
pub(crate) fn descriptor(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and can't be closed while it is borrowed.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}
