//! What a store of streams has to do for the bus.
//!
//! Contract, checked for every backend by one suite: entries of a shard have strictly rising ids; a reader
//! that starts after an id sees every later entry once and in order; what [`Streams::append`] reported stored
//! is seen by every reader. Backends keep no state about sessions.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use hubbub_common::gateways::GatewayReport;
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use hubbub_common::shard::Shard;
use hubbub_common::token::{LoginMark, LoginSession};

pub use hubbub_common::redis::ReadEntry;
use hubbub_common::redis::{Epoch, Extent};

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

/// What a reader that was away has to know of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footing {
    /// How much there is.
    pub extent: Extent,
    /// Whether the entry at the reader's cursor is still there.
    pub has_cursor: bool,
}

/// What a reader that was away has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Which data this is.
    pub epoch: Epoch,
    /// One for each cursor asked about, in order; `None` where nobody could say, as happens to some shards of a Cluster.
    pub footings: Vec<Option<Footing>>,
}

/// The newest stored events of some rooms of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomsLast {
    /// Entries up to this one are taken into account, later ones perhaps.
    pub told_to: EntryId,
    /// One for each room asked about, in order; zero where it has none.
    pub last: Vec<MessageId>,
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

    /// How much of a shard's stream there is.
    fn extent(&self, shard: Shard) -> impl Future<Output = Result<Extent, BusError>>;

    /// Whether everything is read over connections that the last survey knew of.
    fn is_surveyed(&self) -> bool;

    /// Looks at the data that is read. What it tells holds for connections that were there before.
    fn survey(&self, cursors: &[(Shard, EntryId)]) -> impl Future<Output = Result<Survey, BusError>>;

    /// The newest entries from `from` to `to`, both included, newest first: at most `count`, fewer only where
    /// there are no more.
    fn range(
        &self,
        shard: Shard,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> impl Future<Output = Result<Vec<ReadEntry>, BusError>>;

    /// Removes entries of shards that are older than `before`, as far as that is cheap.
    fn trim(&self, shards: &[Shard], before: EntryId) -> impl Future<Output = Result<(), BusError>>;

    /// The newest stored events of rooms of one shard, as far as the backend keeps them beside the stream.
    fn rooms_last(&self, shard: Shard, rooms: &[RoomId])
    -> impl Future<Output = Result<RoomsLast, BusError>>;

    /// Tells an entry of ephemeral records to every gateway that listens.
    fn say(&self, shard: Shard, entry: Bytes) -> impl Future<Output = Result<(), BusError>>;

    /// What was said since the last call; waits for at most about [`READ_WAIT`].
    fn hear(&self) -> impl Future<Output = Result<Vec<Bytes>, BusError>>;

    /// Whether a shard may be away while others answer.
    fn shards_fail_apart(&self) -> bool {
        false
    }

    /// Whether the backend answers, and which data it has.
    fn heartbeat(&self) -> impl Future<Output = Result<Epoch, BusError>>;

    /// Tells this process from every other that is or was the gateway, where others know of it. The same for as long as it
    /// runs: an operator's wish may be read again, or late.
    fn run(&self) -> Option<String> {
        None
    }

    /// Leaves a report about this run for operators, for so long.
    fn report(&self, _: &GatewayReport, _: Duration) -> impl Future<Output = Result<(), BusError>> {
        std::future::ready(Ok(()))
    }
}

/// A user has, or no longer has, sessions in a room on a core of this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceChange {
    /// Who.
    pub user: UserId,
    /// On which core.
    pub core: u16,
    /// Has or no longer has.
    pub online: bool,
}

/// Changes of presence in a room, as everybody sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresenceOutcome {
    /// Who came (true) or went, seen over all gateways.
    pub changes: Vec<(UserId, bool)>,
    /// About how many users are online now: more than
    /// [`PRESENCE_PUSH_MEMBERS_MAX`](hubbub_common::limits::PRESENCE_PUSH_MEMBERS_MAX) only if they are.
    pub count: u64,
}

/// What a look at all gateways told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll {
    /// The others took this run for dead, or the store lost its data: whatever it noted is gone.
    pub forgotten: bool,
    /// Runs that have ended and whose presence is to be removed, by whichever gateway is first.
    pub orphans: Vec<String>,
}

/// Who is online where, seen over all gateways.
///
/// What a gateway notes, it notes as a run: from its start, or from when it found itself forgotten, to its end. What a
/// run leaves behind is removed by another one; a store that only one gateway uses has nothing to do for that.
pub trait Presence: 'static {
    /// Notes changes in a room, at most one for each user and core.
    fn set_presence(
        &self,
        room: RoomId,
        changes: &[PresenceChange],
    ) -> impl Future<Output = Result<PresenceOutcome, BusError>>;

    /// Users who are online in a room: at most a thousand, and how many there are.
    fn present(&self, room: RoomId) -> impl Future<Output = Result<(Vec<UserId>, u64), BusError>>;

    /// Notes that this run will have users in these rooms: comes before the first change in each.
    fn note_rooms(&self, _: &[RoomId]) -> impl Future<Output = Result<(), BusError>> {
        async { Ok(()) }
    }

    /// Notes that it has none in them any more.
    fn forget_rooms(&self, _: &[RoomId]) -> impl Future<Output = Result<(), BusError>> {
        async { Ok(()) }
    }

    /// Says that this run lives, and looks at the others. One that did not say so for three looks in a row, each after
    /// the same pause, has ended.
    fn call_roll(&self) -> impl Future<Output = Result<Roll, BusError>> {
        async { Ok(Roll::default()) }
    }

    /// Begins a new run.
    fn begin_run(&self) -> impl Future<Output = Result<(), BusError>> {
        async { Ok(()) }
    }

    /// Ends this run, which may have users left in these rooms.
    fn end_run(&self, _: &[RoomId]) -> impl Future<Output = Result<(), BusError>> {
        async { Ok(()) }
    }

    /// Takes, or keeps, the task of removing an orphan's presence for so long; whether nobody else has it.
    fn claim(&self, _orphan: &str, _for: Duration) -> impl Future<Output = Result<bool, BusError>> {
        async { Ok(false) }
    }

    /// Some rooms in which an orphan may have users; none when it is all done.
    fn rooms_of(&self, _orphan: &str) -> impl Future<Output = Result<Vec<RoomId>, BusError>> {
        async { Ok(Vec::new()) }
    }

    /// Removes an orphan's users from a room, which is then none of its rooms any more.
    fn remove(&self, _orphan: &str, _: RoomId) -> impl Future<Output = Result<PresenceOutcome, BusError>> {
        async { Ok(PresenceOutcome::default()) }
    }

    /// Nothing is left of an orphan.
    fn removed(&self, _orphan: &str) -> impl Future<Output = Result<(), BusError>> {
        async { Ok(()) }
    }
}

/// What the control plane and the other gateways know of users.
pub trait Directory: Presence {
    /// The login session of the token with this hash.
    fn login_session(&self, hash: &str) -> impl Future<Output = Result<Option<LoginSession>, BusError>>;

    /// Those of a user's login sessions that have not ended.
    fn logins(&self, user: UserId) -> impl Future<Output = Result<Vec<LoginMark>, BusError>>;

    /// Whether [`Directory::roles`] knows all there are: not for a while after the data was lost.
    fn knows_members(&self) -> impl Future<Output = Result<bool, BusError>>;

    /// The user's role in each of the rooms.
    fn roles(
        &self,
        user: UserId,
        rooms: &[RoomId],
    ) -> impl Future<Output = Result<Vec<Option<Role>>, BusError>>;

    /// Users who are kept out; `None` where nobody can say who they are.
    fn banned(&self) -> impl Future<Output = Result<Option<Vec<UserId>>, BusError>> {
        async { Ok(None) }
    }

    /// Who wrote a message that the window does not hold; nobody where there is no such message.
    fn author(&self, room: RoomId, msg: MessageId) -> impl Future<Output = Result<Option<UserId>, BusError>>;
}
