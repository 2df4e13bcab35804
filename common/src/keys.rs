//! Every Redis key and channel, and what stands in it.
//!
//! Keys that belong to a shard carry its number as a hash tag, so that in a Redis Cluster they live together.

use crate::ids::{RoomId, UserId};
use crate::shard::Shard;

/// The one field of a stream entry; its value is an encoded [`crate::entry`].
pub const ENTRY_FIELD: &str = "e";

/// String: the number of shards, set once at the cluster's first start.
pub const SHARDS: &str = "cluster:shards";

/// String: a random number, set by whoever finds none. A Redis that was restarted empty gets another one, and
/// readers of its streams know that their cursors mean nothing any more.
pub const EPOCH: &str = "cluster:epoch";

/// Field of [`last`]: the entry up to which that hash is complete.
pub const LAST_TOLD_TO: &str = "to";

/// String `1`, present while the membership cache is complete. A Redis that lost its data lacks it, and the
/// control plane then fills the cache anew.
pub const MEMBERSHIP_LOADED: &str = "membership:loaded";

/// Sorted set: runs of gateways as `server id#random`, score = last heartbeat in Unix milliseconds.
pub const GATEWAYS: &str = "gateways";

/// Sorted set: runs that have ended and whose presence is not removed yet, score = since when. In the slot of
/// [`GATEWAYS`].
pub const GATEWAYS_GONE: &str = "{gateways}:gone";

/// String, JSON of [`crate::gateways::GatewayReport`], expiring: what one run of a gateway tells of itself.
pub fn gateway(run: &str) -> String {
    format!("gateway:{run}")
}

/// Sorted set: control planes by `HUBBUB_SERVER_ID`, score = when they last told of themselves, Unix milliseconds.
pub const CONTROLS: &str = "controls";

/// String, JSON, expiring: what a control plane tells of itself. In the slot of [`CONTROLS`].
pub fn control(server_id: &str) -> String {
    format!("{{{CONTROLS}}}:{server_id}")
}

/// String `1`, expiring after the last ticket made from it: a login session, by its id, that was ended.
pub fn ended_session(id: &str) -> String {
    format!("ended:{id}")
}

/// Set: ids of users who are kept out, and [`BANNED_COMPLETE`].
pub const BANNED: &str = "banned";

/// In [`BANNED`]: everybody is in it who should be. Without it, it says nothing of those who are not.
pub const BANNED_COMPLETE: u64 = 0;

/// String, expiring: how many entries wait to be persisted, as the leader last saw it.
pub const PERSISTER_LAG: &str = "persister:lag";

/// Hash: shard to the number of entries in its stream that are persisted, as the leader last saw it: what else the
/// stream holds waits. In the slot of [`PERSISTER_LAG`].
pub const PERSISTER_KEPT: &str = "{persister:lag}:kept";

/// List: what gateways ask the control plane ([`crate::asks`]), oldest first.
pub const ASKS: &str = "asks";

/// Stream: the entries of a shard.
pub fn bus(shard: Shard) -> String {
    format!("bus:{{{shard}}}")
}

/// String, expiring: when the persister last read the shard, Unix milliseconds. Written so that replicas can be asked
/// whether they have it ([`crate::redis::Replication`]).
pub fn read_at(shard: Shard) -> String {
    format!("read:{{{shard}}}")
}

/// The shard of a stream's key.
pub fn shard_of_bus(key: &[u8]) -> Option<Shard> {
    std::str::from_utf8(key).ok()?.strip_prefix("bus:{")?.strip_suffix('}')?.parse().ok()
}

/// Pub/sub channel: the control plane's answers to one run of a gateway.
pub fn answers(run: &str) -> String {
    format!("answers:{run}")
}

/// Hash: room id to the id of its newest persisted event, for the rooms of a shard, and [`LAST_TOLD_TO`].
/// Written by the persister after each commit and before it trims.
pub fn last(shard: Shard) -> String {
    format!("last:{{{shard}}}")
}

/// Pub/sub channel: ephemeral records (typing, presence changes) of a shard, each encoded as an entry.
pub fn live(shard: Shard) -> String {
    format!("live:{{{shard}}}")
}

/// String, JSON of [`crate::token::LoginSession`], expiring: the login session whose token has this hash.
pub fn login_session(token_hash: &str) -> String {
    format!("session:{token_hash}")
}

/// Sorted set: token hashes of a user's login sessions, score = when made, in Unix milliseconds.
pub fn login_sessions_of(user: UserId) -> String {
    format!("sessions:{user}")
}

/// Hash: room id to role, for every room in which the user has a role (also `banned`).
pub fn roles_of(user: UserId) -> String {
    format!("roles:{user}")
}

/// Sorted set, all scores 0: who is online in a room, each a [`crate::presence::PresenceEntry`].
pub fn presence(room: RoomId) -> String {
    format!("presence:{room}")
}

/// Set: the rooms in which a run of a gateway has entries, or had.
pub fn presence_rooms(run: &str) -> String {
    format!("presence-rooms:{run}")
}

/// String, expiring: the run of a gateway that removes the presence of one that has ended.
pub fn presence_reaper(run: &str) -> String {
    format!("presence-reaper:{run}")
}

/// GCRA state of a rate limit.
pub fn rate(name: &str, subject: &str) -> String {
    format!("rate:{name}:{subject}")
}
