//! Messages, bytes and descriptors through a Unix socket.
//!
//! A head of eight bytes carries the descriptors and says how long the JSON and the bytes behind it are. JSON, because the
//! two ends are different versions of this program.

use std::io::{self, Error, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::{Failed, Message, WORD_MAX};

/// Descriptors in one message; Linux takes up to 253.
pub(crate) const DESCRIPTORS_MAX: usize = 200;
/// Bytes of a message that are believed.
const PART_MAX: u64 = 1 << 30;

/// One end. Clones of it share the socket.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
}

/// What came.
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Refuses processes of other users: an abstract address has no owner.
    pub(crate) fn new(socket: UnixStream) -> Result<Self, Failed> {
        let peer = socket_peercred(&socket).map_err(Error::from)?;
        if peer.uid != rustix::process::getuid() {
            return Err(Failed::Here(format!("a process of another user ({}) asked", peer.uid.as_raw())));
        }
        socket.set_read_timeout(Some(WORD_MAX))?;
        socket.set_write_timeout(Some(WORD_MAX))?;
        Ok(Self { socket })
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()? })
    }

    /// For the next messages.
    pub(crate) fn wait_at_most(&self, time: std::time::Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(time))
    }

    /// The process at the other end.
    pub(crate) fn peer(&self) -> io::Result<u32> {
        let pid = socket_peercred(&self.socket)?.pid.as_raw_pid();
        Ok(pid.unsigned_abs())
    }

    pub(crate) fn say(&self, message: &Message) -> io::Result<()> {
        self.send(message, &[], &[])
    }

    pub(crate) fn send(
        &self,
        message: &Message,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        let head = head(json.len(), bytes.len())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Error::new(ErrorKind::InvalidInput, "too many descriptors"));
        }
        let sent = sendmsg(&self.socket, &[IoSlice::new(&head)], &mut ancillary, SendFlags::NOSIGNAL)?;
        let mut socket = &self.socket;
        socket.write_all(head.get(sent..).unwrap_or_default())?;
        socket.write_all(&json)?;
        socket.write_all(bytes)
    }

    pub(crate) fn receive(&self) -> io::Result<Received> {
        let mut head = [0; 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let came = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut head)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if came.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        let mut socket = &self.socket;
        socket.read_exact(head.get_mut(came.bytes..).unwrap_or_default())?;
        let lengths = u64::from_le_bytes(head);
        let mut part = |length: u64| {
            if length > PART_MAX {
                return Err(Error::new(ErrorKind::InvalidData, "a message is too long"));
            }
            let mut part = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            socket.read_exact(&mut part)?;
            Ok(part)
        };
        let json = part(lengths >> 32)?;
        let bytes = part(lengths & u64::from(u32::MAX))?;
        Ok(Received { message: serde_json::from_slice(&json)?, bytes, descriptors })
    }
}

fn head(json: usize, bytes: usize) -> io::Result<[u8; 8]> {
    let length = |length: usize| {
        let length = u64::try_from(length).ok().filter(|length| *length <= PART_MAX);
        length.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a message is too long"))
    };
    Ok((length(json)? << 32 | length(bytes)?).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (one, other) = UnixStream::pair().unwrap();
        let (one, other) = (Channel::new(one).unwrap(), Channel::new(other).unwrap());
        assert_eq!(one.peer().unwrap(), std::process::id());
        let (near, far) = UnixStream::pair().unwrap();
        one.say(&Message::Ready { shards: 1 }).unwrap();
        let all: Vec<_> = std::iter::repeat_n(far.as_fd(), DESCRIPTORS_MAX).collect();
        one.send(&Message::Received, b"behind", &all).unwrap();
        one.say(&Message::Yours).unwrap();
        let received = other.receive().unwrap();
        assert!(matches!(received.message, Message::Ready { shards: 1 }) && received.descriptors.is_empty());
        let received = other.receive().unwrap();
        assert!(matches!(received.message, Message::Received));
        assert_eq!(
            (received.bytes.as_slice(), received.descriptors.len()),
            (&b"behind"[..], DESCRIPTORS_MAX)
        );
        // It is the same socket.
        drop(far);
        let last = received.descriptors.into_iter().next_back().unwrap();
        (&near).write_all(b"x").unwrap();
        let mut byte = [0];
        UnixStream::from(last).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        assert!(matches!(other.receive().unwrap().message, Message::Yours));
        drop(one);
        assert_eq!(other.receive().err().unwrap().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nonsense_is_an_error() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let other = Channel::new(other).unwrap();
        one.write_all(&[0xff; 8]).unwrap();
        assert_eq!(other.receive().err().unwrap().kind(), ErrorKind::InvalidData);
        one.write_all(&[0, 0, 0, 0, 2, 0, 0, 0, b'{', b'}']).unwrap();
        assert_eq!(other.receive().err().unwrap().kind(), ErrorKind::InvalidData);
    }
}
