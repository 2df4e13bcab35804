//! From one process to the next, without a client noticing.
//!
//! A gateway that is started with `--take-over` asks the one that listens on the same address for all it has: its
//! listeners, with those who wait in them, and every connection, with what its session knows and what is on its way. They
//! talk through a Unix socket in the abstract namespace, which belongs to the address; descriptors travel by `SCM_RIGHTS`.
//!
//! ```text
//! successor                                    predecessor
//! Hello                                   ──>
//!                                         <──  Offer, or Refused
//!   checks its settings; its bus reads the
//!   streams, its cores run
//! Ready                                   ──>
//!                                                accepts and reads no more, waits until every request is answered,
//!                                                then stops its bus
//!                                         <──  Listeners, Connections …, End: told up to these entries
//! Received                                ──>
//!                                         <──  Yours
//!   asks its own bus for what followed, room by
//!   room, as for clients that resume
//! Serving                                 ──>
//!                                                leaves
//! ```
//!
//! Up to `Yours` both sides hold the sockets and either can give up; the predecessor then goes on where it stood. What is not
//! handed over: clients that have not finished their handshake half a second after the rest was calm, who are answered
//! 503, and connections that are being closed anyway.
//!
//! [`give`] is the predecessor's side, [`take`] the successor's; [`channel`] carries both, [`moved`] is what travels.

pub mod background;
pub(crate) mod channel;
pub mod give;
pub mod moved;
pub mod take;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use channel::Channel;
pub use moved::{Arrival, Moved};

/// Counts what successors and predecessors must agree about. What is only added needs no other number.
const VERSION: u32 = 1;
/// How long one side waits for a word of the other, or for room to say one.
const WORD_MAX: Duration = Duration::from_secs(30);
/// How long the successor may take until it is ready.
const READY_MAX: Duration = Duration::from_mins(5);

/// What is said. Bytes and descriptors that belong to it come beside it. Not to be logged: it may hold secrets.
#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Message {
    /// The successor introduces itself.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// Of the program.
        build: String,
    },
    /// The predecessor is willing.
    Offer {
        /// Of the program.
        build: String,
        /// What systemd gave it, and gives nobody else.
        credentials: BTreeMap<String, String>,
    },
    /// The predecessor is not, and goes on.
    Refused {
        /// Why.
        why: String,
    },
    /// The successor could serve.
    Ready {
        /// What streams mean depends on how many there are.
        shards: u16,
    },
    /// Descriptors: a listener for clients of each core, then the internal one.
    Listeners,
    /// Descriptors: the socket of each; bytes: what is on the way of each.
    Connections {
        /// Which core had them.
        core: u16,
        /// In the order of their sockets.
        moved: Vec<Moved>,
    },
    /// That was all.
    End {
        /// By shard: the last entry of which the connections were told.
        told_to: Vec<(u16, String)>,
        /// How many there were.
        connections: usize,
    },
    /// The successor has all of it.
    Received,
    /// From now on it is the successor's.
    Yours,
    /// Nothing depends on the predecessor any more.
    Serving,
}

/// Where a gateway can be asked to hand over: it belongs to the address on which it serves clients.
fn address(of: SocketAddr) -> std::io::Result<UnixAddress> {
    UnixAddress::from_abstract_name(format!("hubbub-gateway/{of}"))
}

/// Why a hand-over did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The socket between the two.
    #[error("the other process: {0}")]
    Channel(#[from] std::io::Error),
    /// Said by the other one.
    #[error("refused: {0}")]
    Refused(String),
    /// Something else came than what the protocol says.
    #[error("the other process said something unexpected: {0}")]
    Unexpected(&'static str),
    /// On this side.
    #[error("{0}")]
    Here(String),
}
