//! send(2) to one after the other.

use std::io;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::server::{Fanout, Members};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Sends;

impl Fanout for Sends {
    fn send(&mut self, _: u32, members: &Members, bytes: &[u8]) -> io::Result<()> {
        for (_, member) in members {
            send_all(member.socket.as_fd(), bytes)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits where the socket is full.
fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            },
            Err(Errno::INTR) => {}
            // Closed: the next read of it says so too.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
