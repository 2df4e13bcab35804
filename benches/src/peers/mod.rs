//! The servers that Hubbub is compared with, started one at a time in a temporary folder.
//!
//! ```no_run
//! # use hubbub_benches::peers::{Kind, Peer};
//! let peer = Peer::start(Kind::Nchan, Some(0))?;
//! println!("{:?} at {}", peer.dialect(), peer.address());
//! # Ok::<(), hubbub_benches::peers::PeerError>(())
//! ```
//!
//! What each is and how far it can be compared is told in `benches/peers/README.md`; their own files stand beside it.
//!
//! Invariants, as for a [stack](crate::stack): no peer outlives its value or this process, two never share a port or a
//! folder, and one that is returned accepts connections.

mod error;
mod programs;

pub(crate) use programs::example;

use std::net::SocketAddr;

pub use error::PeerError;

use self::programs::Program;
use crate::stack::{Folder, Part, Stack, procfs};

/// How often a peer is tried on other ports.
const TRIES: usize = 5;

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx with nchan
    Nchan,
    /// nats-server with its WebSocket listener
    Nats,
    /// Socket.IO with its Redis adapter
    SocketIo,
    /// `ws` on Node.js
    Ws,
    /// tokio-tungstenite
    Tungstenite,
    /// The least that can be done with send(2)
    FloorSend,
    /// The least that can be done with `io_uring`
    FloorUring,
}

/// How clients talk to a peer, in WebSocket frames without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `GET /room/<n>`; every text goes verbatim to all of the room, the sender included, and nothing else is sent.
    /// Members from the moment that they have the 101. `Sec-WebSocket-Key` has to be that of RFC 6455's example.
    Room,
    /// Socket.IO 4 on `/socket.io/?EIO=4&transport=websocket`: the client emits `join` (room, acknowledged) and `send`
    /// (room, body), the server `message` (body) to all of the room, the sender included.
    SocketIo,
    /// The NATS protocol in binary frames, on any path.
    Nats,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Nchan,
        Self::Nats,
        Self::SocketIo,
        Self::Ws,
        Self::Tungstenite,
        Self::FloorSend,
        Self::FloorUring,
    ];

    /// As in arguments and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nchan => "nchan",
            Self::Nats => "nats",
            Self::SocketIo => "socketio",
            Self::Ws => "ws",
            Self::Tungstenite => "tungstenite",
            Self::FloorSend => "floor-send",
            Self::FloorUring => "floor-uring",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How clients talk to it.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::SocketIo => Dialect::SocketIo,
            Self::Nats => Dialect::Nats,
            Self::Nchan | Self::Ws | Self::Tungstenite | Self::FloorSend | Self::FloorUring => Dialect::Room,
        }
    }
}

/// A running peer, ended when dropped.
#[derive(Debug)]
pub struct Peer {
    // In the order of dropping: a client of another part goes before it, the folder goes last.
    part: Part,
    redis: Option<Stack>,
    redis_url: String,
    kind: Kind,
    address: SocketAddr,
    _folder: Folder,
}

impl Peer {
    /// Starts it, on this CPU alone where one is given, and waits until it accepts connections. Blocks.
    pub fn start(kind: Kind, cpu: Option<usize>) -> Result<Self, PeerError> {
        Self::start_padded(kind, cpu, 0)
    }

    /// The same; and a floor sends each message this much longer than it came, so that its frames are as long as those
    /// of the server that it is compared with. The other peers send what they send.
    pub fn start_padded(kind: Kind, cpu: Option<usize>, pad_bytes: usize) -> Result<Self, PeerError> {
        let redis = || Stack::builder().gateways(0).controls(0).without_haproxy().start();
        let redis = (kind == Kind::SocketIo).then(redis).transpose()?;
        let redis_url = redis.as_ref().and_then(Stack::redis_url).unwrap_or_default().to_owned();
        Ok(Self { redis, ..Self::start_at(kind, cpu, pad_bytes, redis_url)? })
    }

    /// One more of the same cluster: of all peers, Socket.IO has one, by the Redis of the first.
    pub fn start_beside(&self) -> Result<Self, PeerError> {
        Self::start_at(self.kind, None, 0, self.redis_url.clone())
    }

    fn start_at(
        kind: Kind,
        cpu: Option<usize>,
        pad_bytes: usize,
        redis_url: String,
    ) -> Result<Self, PeerError> {
        let folder = Folder::temporary()?;
        let mut tries = 0;
        loop {
            let program = match kind {
                Kind::Nchan => programs::nchan(&folder),
                Kind::Nats => programs::nats(&folder),
                Kind::SocketIo => programs::socket_io(&folder, &redis_url),
                Kind::Ws => programs::ws(&folder),
                Kind::Tungstenite => programs::tungstenite(&folder),
                Kind::FloorSend => programs::floor(&folder, "send", pad_bytes),
                Kind::FloorUring => programs::floor(&folder, "uring", pad_bytes),
            };
            let Program { launch, probe, address, leases } = program?.pinned(cpu)?;
            let part = Part::peer(kind.name(), address, launch, probe, leases);
            tries += 1;
            match part.start() {
                Ok(()) => {
                    return Ok(Self { part, redis: None, redis_url, kind, address, _folder: folder });
                }
                Err(error) if error.is_port_taken() && tries < TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How clients talk to it.
    pub fn dialect(&self) -> Dialect {
        self.kind.dialect()
    }

    /// Its processes, whose CPU and memory count as its own. None after it has ended.
    pub fn pids(&self) -> Vec<u32> {
        let main = self.part.pid();
        main.into_iter().chain(main.into_iter().flat_map(procfs::descendants)).collect()
    }

    /// What it needs beside it, told apart.
    pub fn helper_pids(&self) -> Vec<u32> {
        self.redis.iter().flat_map(Stack::parts).filter_map(Part::pid).collect()
    }

    /// The last lines of its output.
    pub fn log_tail(&self) -> String {
        self.part.log_tail()
    }
}
