//! What a store of streams has to do for the bus.
//!
//! Contract, checked for every backend by one suite: entries of a shard have strictly rising ids; a reader
//! that starts after an id sees every later entry once and in order; what [`Streams::append`] reported stored
//! is seen by every reader. Backends keep no state about sessions.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use hubbub_common::shard::Shard;
use hubbub_common::token::LoginSession;

pub use hubbub_common::redis::ReadEntry;

/// How long one [`Streams::read`] waits for entries.
pub const READ_WAIT: Duration = Duration::from_secs(1);

/// The backend did not answer, or refused. The text is for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub String);

/// Why an append did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Certainly not stored.
    #[error("refused: {0}")]
    Refused(String),
    /// The connection broke before the reply: perhaps stored.
    #[error("unknown outcome: {0}")]
    Unknown(String),
}

/// Streams of entries, and a channel beside each for what is not stored.
pub trait Streams: 'static {
    /// Appends an entry.
    fn append(&self, shard: Shard, entry: Bytes) -> impl Future<Output = Result<EntryId, AppendError>>;

    /// Entries after the cursors, oldest first within a shard. Waits for at most about [`READ_WAIT`] where
    /// there are none, less after [`Streams::interrupt_read`].
    fn read(&self, cursors: &[(Shard, EntryId)]) -> impl Future<Output = Result<Vec<ReadEntry>, BusError>>;

    /// Ends a waiting read early, because there are more shards to read.
    fn interrupt_read(&self) -> impl Future<Output = ()>;

    /// The newest entry of a shard, or zero.
    fn tail(&self, shard: Shard) -> impl Future<Output = Result<EntryId, BusError>>;

    /// The newest stored event of rooms, as far as the backend keeps it beside the streams; zero otherwise.
    fn rooms_last(&self, rooms: &[RoomId]) -> impl Future<Output = Result<Vec<MessageId>, BusError>>;

    /// Tells an entry of ephemeral records to every gateway that listens.
    fn say(&self, shard: Shard, entry: Bytes) -> impl Future<Output = Result<(), BusError>>;

    /// What was said since the last call; waits for at most about [`READ_WAIT`].
    fn hear(&self) -> impl Future<Output = Result<Vec<Bytes>, BusError>>;

    /// Whether a shard may be away while others answer.
    fn shards_fail_apart(&self) -> bool {
        false
    }

    /// Whether [`Streams::replicated`] has anything to wait for.
    fn awaits_replicas(&self) -> bool {
        false
    }

    /// Whether as many replicas as asked for have what was appended to this shard before the call, in time.
    fn replicated(&self, _: Shard) -> impl Future<Output = bool> + 'static {
        std::future::ready(true)
    }

    /// Whether the backend answers; also says that this gateway lives.
    fn heartbeat(&self) -> impl Future<Output = Result<(), BusError>>;
}

/// A change of presence, as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceOutcome {
    /// Whether the user came or went, seen over all gateways.
    pub changed: bool,
    /// About how many users are online in the room.
    pub count: u64,
}

/// What the control plane and the other gateways know of users.
pub trait Directory: 'static {
    /// The login session of the token with this hash.
    fn login_session(&self, hash: &str) -> impl Future<Output = Result<Option<LoginSession>, BusError>>;

    /// The user's role in each of the rooms.
    fn roles(
        &self,
        user: UserId,
        rooms: &[RoomId],
    ) -> impl Future<Output = Result<Vec<Option<Role>>, BusError>>;

    /// Who wrote a message that the window does not hold; nobody where there is no such message.
    fn author(&self, room: RoomId, msg: MessageId) -> impl Future<Output = Result<Option<UserId>, BusError>>;

    /// Notes that a user has, or no longer has, sessions in a room on a core of this gateway.
    fn set_presence(
        &self,
        room: RoomId,
        user: UserId,
        core: u16,
        online: bool,
    ) -> impl Future<Output = Result<PresenceOutcome, BusError>>;

    /// Users who are online in a room: at most a thousand, and how many there are.
    fn present(&self, room: RoomId) -> impl Future<Output = Result<(Vec<UserId>, u64), BusError>>;
}
