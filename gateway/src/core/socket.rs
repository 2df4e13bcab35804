//! A connected socket that one task reads while another writes.
//!
//! It is held as a Unix stream, whatever it is: monoio's TCP type caches two addresses beside the descriptor, 72
//! bytes of every connection that nobody reads, and both send and receive by the same operations.
//!
//! monoio's stream types want `&mut` for each operation although the operations themselves only need the file
//! descriptor; this wrapper shares one stream between the two tasks of a connection. Readiness is awaited on
//! the ring (a `POLL_ADD`, no buffer), then bytes are taken with a plain `recv` that can't block: an idle
//! connection keeps no read buffer and its task stays small.

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};

use bytes::Bytes;
use monoio::buf::IoVecBuf;
use monoio::io::AsyncWriteRent as _;
use monoio::net::{TcpStream, UnixStream};
use rustix::net::{RecvFlags, Shutdown};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Socket(UnsafeCell<UnixStream>);

impl Socket {
    #[expect(unsafe_code, reason = "passes a descriptor from one owner to another")]
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        // SAFETY: `into_raw_fd` gives up the descriptor, so this is its only owner.
        let owned = unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) };
        Ok(Self(UnsafeCell::new(UnixStream::from_std(owned.into())?)))
    }

    #[expect(unsafe_code, reason = "shares a stream between two tasks of one thread")]
    fn stream(&self) -> &UnixStream {
        // SAFETY: the cell is not `Sync`, so it stays on one thread, and the only mutable reference to the stream is made in
        // `stream_mut`, whose users touch nothing but the shared file descriptor inside it.
        unsafe { &*self.0.get() }
    }

    #[expect(unsafe_code, clippy::mut_from_ref, reason = "shares a stream between two tasks of one thread")]
    fn stream_mut(&self) -> &mut UnixStream {
        // SAFETY: as monoio's own `OwnedWriteHalf`: `write` and `writev` clone the file descriptor into the
        // operation and change nothing in the stream, and the cell stays on one thread.
        unsafe { &mut *self.0.get() }
    }

    #[expect(unsafe_code, reason = "borrows the descriptor of a stream that is open as long as self")]
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor and can't be closed while `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.stream().as_raw_fd()) }
    }

    /// Waits until there is something to read, also the end.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream().readable(false).await
    }

    /// Takes what is there: `None` when nothing is, `Some(0)` at the end.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::net::recv(self.fd(), buffer, RecvFlags::DONTWAIT) {
            Ok((received, _)) => Ok(Some(received)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the beginning of a frame; gives how many bytes of it.
    pub(crate) async fn write(&self, frame: Bytes) -> io::Result<usize> {
        self.stream_mut().write(frame).await.0
    }

    /// Writes the beginning of several frames; gives how many bytes of them together.
    pub(crate) async fn write_vectored(&self, frames: Frames) -> io::Result<usize> {
        self.stream_mut().writev(frames).await.0
    }

    /// Says that nothing more will be sent; the peer may still be read.
    pub(crate) fn shut_down_sending(&self) {
        // An error means that the peer was faster.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Write);
    }

    /// Ends both directions now; whoever waits on the socket wakes up.
    pub(crate) fn shut_down(&self) {
        // An error means that the peer was faster.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Both);
    }
}

/// Frames for one vectored write.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Point into `_frames`.
    vectors: Box<[libc::iovec]>,
    /// Keeps the bytes alive while the kernel reads them.
    _frames: Box<[Bytes]>,
}

impl Frames {
    pub(crate) fn new<'a>(frames: impl Iterator<Item = &'a Bytes>) -> Self {
        let frames: Box<[Bytes]> = frames.cloned().collect();
        let vector =
            |frame: &Bytes| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        Self { vectors: frames.iter().map(vector).collect(), _frames: frames }
    }
}

#[expect(unsafe_code, reason = "the trait is how monoio takes vectored buffers")]
// SAFETY: the vectors are boxed, so their address does not change while the runtime owns the value, and they
// point into shared bytes that are kept beside them and never move or change.
unsafe impl IoVecBuf for Frames {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.vectors.as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.vectors.len()
    }
}
