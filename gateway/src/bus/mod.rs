//! The bus: how messages get from the core that hears them to every core that has to tell them.
//!
//! ```text
//! core ──Ask──> [queue] ──> packer ──append──> stream (one per shard)
//!                                                │ read, in order
//! core <──Tell── [inbox] <── window <── dedupe <─┘
//! ```
//!
//! The stream is the only sequencer: a message is delivered, and acknowledged, when it comes back from it,
//! also on the gateway that sent it. All of this runs on one thread with a tokio runtime of its own; cores
//! reach it through a bounded queue and it reaches them through their inboxes.
//!
//! [`backend`] is what a store of streams has to do; [`memory`] and [`redis`] do it and pass one contract
//! suite. [`packer`] and [`window`] are pure. Absent on purpose: any knowledge of sockets and sessions.

pub mod backend;
mod bans;
mod catch_up;
mod change;
mod counts;
mod deleted;
mod engine;
mod entered;
mod gap;
mod join;
mod link;
mod look_up;
pub mod memory;
mod operate;
pub mod packer;
mod pause;
mod presence;
mod publish;
mod reader;
mod recheck;
pub mod redis;
mod roles;
mod scan;
mod send_rates;
mod task;
mod thread;
mod trace;
pub mod window;

#[cfg(test)]
mod contract;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::protocol::{ErrorCode, Role};
use hubbub_common::shard::Shard;
use hubbub_common::token::{LoginMark, LoginSession};
use tokio::sync::oneshot;

use crate::handover::{Arrival, Channel};
pub use entered::Entered;
pub use link::{BusHandle, CoreHandle, Inbox, Links};
#[cfg(test)]
pub(crate) use task::spawn;
#[cfg(test)]
pub(crate) use thread::serve;
pub use thread::{BusConfig, StartError, start};

/// Who waits for an answer: a place in the asking core's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// The core.
    pub core: u16,
    /// Its own mark for the request.
    pub ticket: u32,
}

/// One room of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinAsk {
    /// Which room.
    pub room: RoomId,
    /// Replay what came after this event.
    pub since: Option<MessageId>,
}

/// What somebody wants to do to a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub room: RoomId,
    /// The message.
    pub msg: MessageId,
    /// Who wants it.
    pub user: UserId,
    /// Who may do it.
    pub right: Right,
    /// An encoded [`hubbub_common::entry::Record`].
    pub record: Vec<u8>,
}

/// Who may change a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Whoever may send.
    Anybody,
    /// Who wrote it.
    Author,
    /// Who wrote it, or who has the role of an admin or owner.
    AuthorOrAdmin,
}

/// What a session goes by for as long as the control plane does not say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Membership of a room.
    Room(RoomId),
    /// A login session.
    Login(LoginMark),
}

/// What a core asks of the bus.
#[derive(Debug)]
pub enum Ask {
    /// Store a record in its room's stream. Answered with [`Answer::Stored`] or [`Answer::Failed`].
    Publish {
        /// Where.
        shard: Shard,
        /// An encoded [`hubbub_common::entry::Record`].
        record: Vec<u8>,
        /// What makes a repeat a repeat.
        nonce: Option<(UserId, Box<str>)>,
        /// Whose rate of sending it counts towards; nobody's for read positions.
        sender: Option<UserId>,
        /// Who wants to know; nobody for read positions.
        waiter: Option<Waiter>,
    },
    /// Edit or delete a message, or react to one, if the user may. Answered as [`Ask::Publish`] is.
    Change {
        /// What and by whom.
        change: Change,
        /// Who wants to know.
        waiter: Waiter,
    },
    /// Attach a session to rooms. Answered with [`Answer::Joined`].
    Join {
        /// Which rooms.
        rooms: Vec<JoinAsk>,
        /// Check that this user has a role in each; `None` where a token already said so.
        member: Option<UserId>,
        /// Who wants to know.
        waiter: Waiter,
    },
    /// Tell an ephemeral record to every gateway.
    Say {
        /// On which channel.
        shard: Shard,
        /// An encoded record.
        record: Vec<u8>,
    },
    /// Look up a login session. Answered with [`Answer::Login`] or [`Answer::Failed`].
    Login {
        /// Of the token.
        hash: String,
        /// Who wants to know.
        waiter: Waiter,
    },
    /// Who is online in a room. Answered with [`Answer::Present`] or [`Answer::Failed`].
    Present {
        /// Which room.
        room: RoomId,
        /// Who wants to know.
        waiter: Waiter,
    },
    /// The first session of a user on a core joined a room, or the last one left it.
    PresenceChanged {
        /// Which room.
        room: RoomId,
        /// Whose.
        user: UserId,
        /// On which core.
        core: u16,
        /// Joined or left.
        online: bool,
    },
    /// Everybody on a core, in answer to [`Tell::TellPresence`].
    PresenceAll {
        /// Of the request.
        generation: u32,
        /// Which core.
        core: u16,
        /// Who is in which room.
        present: Vec<(RoomId, UserId)>,
    },
    /// What sessions of a core go by, and may have lost in a gap: looked up anew. [`Tell::RoleFound`] and
    /// [`Tell::SessionsEnded`] say what became of it.
    Recheck(Vec<(UserId, Claim)>),
    /// A change of presence was lost because this queue was full.
    PresenceUnsure,
    /// This gateway leaves: its presence ends. Answered when the other gateways know.
    Leave(oneshot::Sender<()>),
    /// Read no more, because another process takes over. Answered, behind all that cores were told, with the last entry
    /// of each shard that they were told of; or with a reason not to.
    Freeze(oneshot::Sender<Result<Vec<(Shard, EntryId)>, String>>),
    /// Go on reading after all.
    Thaw,
    /// Read every shard. Answered when joins are answered at once.
    ReadAll(oneshot::Sender<()>),
    /// Answered when every change of presence that was told before is where other gateways see it.
    SpreadPresence(oneshot::Sender<()>),
}

/// How the join of one room went.
#[derive(Debug)]
pub struct JoinAnswer {
    /// Which room.
    pub room: RoomId,
    /// The subscription, or why not.
    pub outcome: Result<Subscribed, ErrorCode>,
}

/// A room as it stood when the answer was queued: every event up to `last` is in the replay or before it,
/// every later one follows in the same inbox.
#[derive(Debug)]
pub struct Subscribed {
    /// Newest stored event of the room.
    pub last: MessageId,
    /// Frames after `since`, oldest first; `None` where some of them can't be had.
    pub replay: Option<Vec<Bytes>>,
    /// Whether the user's role forbids sending.
    pub muted: bool,
}

/// What the bus answers.
#[derive(Debug)]
pub enum Answer {
    /// The record has this id.
    Stored(MessageId),
    /// It was not done.
    Failed(Failure),
    /// One for each room asked for, in order.
    Joined(Vec<JoinAnswer>),
    /// The login session, if there is one.
    Login(Option<LoginSession>),
    /// Who is online: at most a thousand users, and how many there are.
    Present(Vec<UserId>, u64),
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The bus is away or full: nothing was stored.
    Unavailable,
    /// The bus went away while storing: it may or may not be stored.
    Unknown,
    /// The user sends too fast, over all gateways: nothing was stored.
    RateLimited {
        /// When it would pass.
        retry_after_ms: u64,
    },
    /// There is no such message.
    NotFound,
    /// The user may not do that.
    Forbidden,
}

/// To whom an event goes among a room's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    All,
    /// All but the sessions of this user.
    OtherUsers(UserId),
    /// All but this connection.
    OtherConnections(u64),
}

/// An event of a room, encoded once for every receiver of this gateway.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which room.
    pub room: RoomId,
    /// To whom.
    pub audience: Audience,
    /// Whether it may be dropped for a receiver that is behind.
    pub ephemeral: bool,
    /// The whole WebSocket frame.
    pub frame: Bytes,
}

/// What the bus tells a core at once, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order.
    pub tells: Vec<Tell>,
    /// Bytes of the events among them.
    pub event_bytes: usize,
}

impl From<Tell> for Batch {
    fn from(tell: Tell) -> Self {
        Self { tells: vec![tell], event_bytes: 0 }
    }
}

/// Takes the listeners of a core that is calm, or a reason not to hand over.
pub type Calm = mpsc::Sender<Result<Vec<OwnedFd>, String>>;

/// What a core takes over.
#[derive(Debug)]
pub struct Adoption {
    /// On which it accepts from now on.
    pub listeners: Vec<OwnedFd>,
    /// The connections.
    pub arrivals: Vec<Arrival>,
    /// By shard: the last entry of which they were told.
    pub told_to: Arc<HashMap<Shard, EntryId>>,
    /// Answered when all of them are back in their rooms.
    pub settled: mpsc::Sender<()>,
}

/// What the bus tells a core.
#[derive(Debug)]
pub enum Tell {
    /// An event for the sessions of a room.
    Event(Event),
    /// Sessions in rooms of these shards, in order of their numbers, missed events up to the one beside it.
    Gap(Box<[(Shard, MessageId)]>),
    /// The answer to a request.
    Answer(Waiter, Answer),
    /// A user's role in a room has changed.
    RoleChanged {
        /// Where.
        room: RoomId,
        /// Whose.
        user: UserId,
        /// The role; none where the user is no member any more.
        role: Option<Role>,
    },
    /// A user's role in a room, looked up behind a gap; as in [`Tell::RoleChanged`].
    RoleFound {
        /// Where.
        room: RoomId,
        /// Whose.
        user: UserId,
        /// The role.
        role: Option<Role>,
    },
    /// A room is gone.
    RoomDeleted(RoomId),
    /// Users have become members of rooms that they may not be joined to, in the order of their ids.
    Entered(Arc<[Entered]>),
    /// Whether login sessions have ended was not known until now.
    CheckLogins,
    /// Login sessions of a user have ended.
    SessionsEnded(UserId, Arc<[LoginMark]>),
    /// Users who are kept out, all of them.
    Banned(Arc<HashSet<UserId>>),
    /// Tell everybody who is in a room, marked with this number; [`Ask::PresenceChanged`] goes on from there.
    TellPresence(u32),
    /// A connection has to go: its user has newer ones, and no more are allowed.
    Replace {
        /// Its slot.
        slot: u32,
        /// Its id, in case another one has taken the slot.
        connection: u64,
    },
    /// Every connection has to go; new ones are not admitted.
    Drain,
    /// Accept and read no more. Answered with duplicates of the listeners when every request is answered, or with a
    /// reason not to hand over.
    Freeze(Calm),
    /// Go on after all.
    Thaw,
    /// Send every connection through this channel, and touch none of them again. Answered with their number.
    Give(Channel, mpsc::Sender<io::Result<usize>>),
    /// Go on with the connections of another process.
    Adopt(Box<Adoption>),
}
