//! Connections to Redis in every shape that it comes in: one server, Sentinel, Cluster.
//!
//! ```text
//! Servers   what the URL means: which server to connect to, with which credentials and certificates
//!   Link      one connection, made when needed, let go when it broke; asks Sentinel anew each time
//!   Cluster   a link to each primary, and which of them owns a slot
//! Commands  sends commands by either; what gateway and control plane hold in their hands
//! ShardReaders  blocking reads of many streams of a Cluster, one connection each
//! Replication   whether replicas have what was read
//! start     what is checked before a program serves
//! ```
//!
//! Invariant: a command is never repeated once it may have been executed. A server that refuses (it is a
//! replica by now, the slot has moved, it is loading) has not executed anything, so the command goes to the
//! right one; a connection that broke before the reply is a [`Fault::Unknown`], for the caller to judge. That
//! is why the client library's own Cluster connection is not used: it repeats both alike.

mod cluster;
mod commands;
mod entries;
mod epoch;
mod extent;
mod link;
mod replicated;
mod servers;
mod shards;
mod slots;
pub mod start;

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

pub use commands::{Commands, Reply};
pub use entries::{ReadEntry, entries, entry_id, range, xread};
pub use epoch::{Epoch, agree};
pub use extent::Extent;
pub use replicated::{Replication, not_replicated};
pub use servers::Servers;
pub use shards::{Freshness, Interrupter, ShardReaders};

/// How long a connection may take to be made.
pub const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a command may take to be answered.
pub const RESPONSE_MAX: Duration = Duration::from_secs(2);

/// Why a command has no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// Certainly not executed.
    #[error("refused: {0}")]
    Refused(RedisError),
    /// The connection broke before the reply: perhaps executed.
    #[error("unknown outcome: {0}")]
    Unknown(RedisError),
}

impl From<Fault> for RedisError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) | Fault::Unknown(error) => error,
        }
    }
}

/// Whether the connection is of no use any more.
pub fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

/// What a server's refusal calls for.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// Another server owns the slot.
    Moved,
    /// Another server has the key while the slot is on its way.
    Ask,
    /// This server is a replica by now.
    Elsewhere,
    /// The same again in a moment.
    Wait,
    /// None: the command is no good.
    None,
}

fn remedy(error: &RedisError) -> Remedy {
    use ServerErrorKind as Kind;
    if error.code() == Some("NOREPLICAS") {
        // A primary that was cut off from its replicas: perhaps there is another one by now.
        return Remedy::Elsewhere;
    }
    let ErrorKind::Server(kind) = error.kind() else { return Remedy::None };
    match kind {
        Kind::Moved => Remedy::Moved,
        Kind::Ask => Remedy::Ask,
        // The last: a transaction of which a command was refused while it was queued; nothing was executed.
        Kind::ReadOnly | Kind::ExecAbort => Remedy::Elsewhere,
        Kind::TryAgain | Kind::ClusterDown | Kind::MasterDown | Kind::BusyLoading => Remedy::Wait,
        Kind::ResponseError
        | Kind::NoScript
        | Kind::CrossSlot
        | Kind::NotBusy
        | Kind::NoSub
        | Kind::NoPerm
        | _ => Remedy::None,
    }
}

fn timed_out(what: &str) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, what.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_cut_off_from_replicas_may_have_been_replaced() {
        let error = |code: &str| redis::make_extension_error(code.to_owned(), None);
        assert_eq!(remedy(&error("NOREPLICAS")), Remedy::Elsewhere);
        assert_eq!(remedy(&error("OOM")), Remedy::None);
    }
}
