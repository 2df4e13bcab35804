//! One thread, one epoll, the rooms, and nothing that waits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, listen, recv, send,
    socket_with, sockopt,
};
use slab::Slab;

use crate::frames::{ANSWER, relay, request};

/// What one read takes at most; a longer message ends its connection.
const INPUT_BYTES: usize = 64 * 1024;
const BACKLOG: i32 = 4_096;
const EVENTS_MAX: usize = 1_024;

/// Where a connection is until it has asked for a room.
const LOBBY: u32 = 0;
/// The listening socket among the places.
const LISTENER: EventData = EventData::new_u64(u64::MAX);

/// A connection.
#[derive(Debug)]
pub(crate) struct Member {
    /// In blocking mode: a send of the ring then waits for room by itself.
    pub(crate) socket: OwnedFd,
    /// The beginning of a frame, or in the lobby of a request, of which more has to come.
    partial: Vec<u8>,
}

/// The connections of a room, one beside the other, so that the loop over them meets no other memory.
pub(crate) type Members = Slab<Member>;

/// How bytes get to all of a room.
pub(crate) trait Fanout {
    /// Sends these to all of this room, at the latest in the next [`Fanout::flush`]. What a closed connection does not take
    /// is dropped.
    fn send(&mut self, room: u32, members: &Members, bytes: &[u8]) -> io::Result<()>;
    /// Sends what waits.
    fn flush(&mut self) -> io::Result<()>;
}

/// Room and key in it.
#[derive(Debug, Clone, Copy)]
struct Place {
    room: u32,
    member: u32,
}

impl Place {
    fn new(room: u32, member: usize) -> io::Result<Self> {
        let member = u32::try_from(member).map_err(io::Error::other)?;
        Ok(Self { room, member })
    }

    fn data(self) -> EventData {
        EventData::new_u64(u64::from(self.room) << 32 | u64::from(self.member))
    }
}

impl From<EventData> for Place {
    fn from(data: EventData) -> Self {
        let half = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
        Self { room: half(data.u64() >> 32), member: half(data.u64() & u64::from(u32::MAX)) }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Server {
    listener: OwnedFd,
    epoll: OwnedFd,
    names: HashMap<Vec<u8>, u32>,
    /// The lobby, then the rooms.
    rooms: Vec<Members>,
    pad_bytes: usize,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Closed at the end of a turn: the ring may still name their descriptors before.
    gone: Vec<Place>,
}

impl Server {
    pub(crate) fn listen(address: SocketAddr, pad_bytes: usize) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        bind(&listener, &address)?;
        listen(&listener, BACKLOG)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, LISTENER, EventFlags::IN)?;
        Ok(Self {
            listener,
            epoll,
            names: HashMap::new(),
            rooms: vec![Members::new()],
            pad_bytes,
            input: Vec::with_capacity(INPUT_BYTES),
            output: Vec::new(),
            gone: Vec::new(),
        })
    }

    pub(crate) fn run(mut self, mut fanout: impl Fanout) -> io::Result<Infallible> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let data = event.data;
                if data.u64() == LISTENER.u64() {
                    self.accept()?;
                } else {
                    self.read(data.into(), &mut fanout)?;
                }
            }
            fanout.flush()?;
            for place in self.gone.drain(..) {
                if let Some(members) = self.rooms.get_mut(place.room as usize) {
                    members.try_remove(place.member as usize);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        sockopt::set_tcp_nodelay(&socket, true)?;
        let Some(lobby) = self.rooms.get_mut(LOBBY as usize) else { return Ok(()) };
        let entry = lobby.vacant_entry();
        let place = Place::new(LOBBY, entry.key())?;
        epoll::add(&self.epoll, &socket, place.data(), EventFlags::IN)?;
        entry.insert(Member { socket, partial: Vec::new() });
        Ok(())
    }

    fn read(&mut self, place: Place, fanout: &mut impl Fanout) -> io::Result<()> {
        let members = self.rooms.get_mut(place.room as usize);
        let Some(member) = members.and_then(|members| members.get_mut(place.member as usize)) else {
            return Ok(());
        };
        self.input.clear();
        self.input.append(&mut member.partial);
        match recv(&member.socket, spare_capacity(&mut self.input), RecvFlags::DONTWAIT) {
            Ok((1.., _)) if place.room == LOBBY => return self.admit(place),
            Ok((1.., _)) => {}
            Err(Errno::AGAIN | Errno::INTR) => {
                member.partial.extend_from_slice(&self.input);
                return Ok(());
            }
            Ok(_) | Err(_) => {
                self.gone.push(place);
                return Ok(());
            }
        }
        self.output.clear();
        match relay(&self.input, self.pad_bytes, &mut self.output) {
            Some(used) => member.partial.extend_from_slice(self.input.get(used..).unwrap_or_default()),
            None => self.gone.push(place),
        }
        match self.rooms.get(place.room as usize) {
            Some(members) if !self.output.is_empty() => fanout.send(place.room, members, &self.output),
            _ => Ok(()),
        }
    }

    /// Lets a connection of the lobby, whose request has come, into its room.
    fn admit(&mut self, place: Place) -> io::Result<()> {
        let Some(lobby) = self.rooms.get_mut(LOBBY as usize) else { return Ok(()) };
        let Some((path, length)) = request(&self.input) else {
            if let Some(member) = lobby.get_mut(place.member as usize) {
                member.partial.extend_from_slice(&self.input);
            }
            return Ok(());
        };
        // A client may speak in a room only once it has the answer.
        if length < self.input.len() {
            self.gone.push(place);
            return Ok(());
        }
        let Some(member) = lobby.try_remove(place.member as usize) else { return Ok(()) };
        let room = match self.names.get(path) {
            Some(room) => *room,
            None => {
                let room = u32::try_from(self.rooms.len()).map_err(io::Error::other)?;
                self.names.insert(path.to_owned(), room);
                self.rooms.push(Members::new());
                room
            }
        };
        let Some(members) = self.rooms.get_mut(room as usize) else { return Ok(()) };
        let entry = members.vacant_entry();
        let seat = Place::new(room, entry.key())?;
        epoll::modify(&self.epoll, &member.socket, seat.data(), EventFlags::IN)?;
        // The socket's buffer is empty, it takes the answer; a client that has gone is told of by epoll.
        let _ = send(&member.socket, ANSWER, SendFlags::NOSIGNAL);
        entry.insert(member);
        Ok(())
    }
}
