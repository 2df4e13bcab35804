//! What the control plane and the other gateways keep in Redis about users.

use hubbub_common::clock::now_ms;
use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::keys;
use hubbub_common::limits::PRESENCE_USERS_MAX;
use hubbub_common::protocol::Role;
use hubbub_common::token::{LOGIN_SESSION_SECONDS, LoginSession};
use redis::{cmd, pipe};

use super::{RedisBackend, bus_error};
use crate::bus::backend::{BusError, Directory, PresenceOutcome};

/// A gateway that has not said for so long that it lives, does not.
const GATEWAY_SILENT_MS: u64 = 15_000;
/// Presence entries that one request looks at.
const PRESENCE_ENTRIES_MAX: isize = 20_000;
/// How long a room's presence outlives the last change in it.
const PRESENCE_SECONDS: u64 = 7 * 24 * 60 * 60;

impl Directory for RedisBackend {
    async fn login_session(&self, hash: &str) -> Result<Option<LoginSession>, BusError> {
        let mut command = cmd("GETEX");
        command.arg(keys::login_session(hash)).arg("EX").arg(LOGIN_SESSION_SECONDS);
        let json: Option<String> = command.query_async(&mut self.commands()).await.map_err(bus_error)?;
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
    }

    async fn roles(&self, user: UserId, rooms: &[RoomId]) -> Result<Vec<Option<Role>>, BusError> {
        let mut command = cmd("HMGET");
        command.arg(keys::roles_of(user));
        for room in rooms {
            command.arg(room.get());
        }
        let roles: Vec<Option<String>> =
            command.query_async(&mut self.commands()).await.map_err(bus_error)?;
        Ok(roles.iter().map(|role| role.as_deref().and_then(Role::parse)).collect())
    }

    async fn author(&self, room: RoomId, msg: MessageId) -> Result<Option<UserId>, BusError> {
        if let Some(author) = self.author_in_stream(room, msg).await? {
            return Ok(Some(author));
        }
        self.ask_author(room, msg).await
    }

    async fn set_presence(
        &self,
        room: RoomId,
        user: UserId,
        core: u16,
        online: bool,
    ) -> Result<PresenceOutcome, BusError> {
        let key = keys::presence(room);
        let entry = format!("{user}/{}/{core}", self.run_id);
        // All entries of a user stand between "user/" and "user0", the next character.
        let mut transaction = pipe();
        transaction.atomic();
        if online {
            transaction.cmd("ZADD").arg(&key).arg(0).arg(&entry);
            transaction.cmd("EXPIRE").arg(&key).arg(PRESENCE_SECONDS).ignore();
        } else {
            transaction.cmd("ZREM").arg(&key).arg(&entry);
        }
        transaction.cmd("ZLEXCOUNT").arg(&key).arg(format!("[{user}/")).arg(format!("({user}0"));
        transaction.cmd("ZCARD").arg(&key);
        let (moved, of_user, count): (u64, u64, u64) =
            transaction.query_async(&mut self.commands()).await.map_err(bus_error)?;
        let first_or_none_left = of_user == u64::from(online);
        Ok(PresenceOutcome { changed: moved == 1 && first_or_none_left, count })
    }

    async fn present(&self, room: RoomId) -> Result<(Vec<UserId>, u64), BusError> {
        let alive_since = now_ms().saturating_sub(GATEWAY_SILENT_MS);
        let mut alive = cmd("ZRANGEBYSCORE");
        alive.arg(keys::GATEWAYS).arg(alive_since).arg("+inf");
        let mut of_room = cmd("ZRANGE");
        of_room.arg(keys::presence(room)).arg(0).arg(PRESENCE_ENTRIES_MAX);
        // Two commands rather than a pipeline: in a Cluster the keys live apart.
        let (mut one, mut other) = (self.commands(), self.commands());
        let both = tokio::try_join!(alive.query_async(&mut one), of_room.query_async(&mut other));
        let (gateways, entries): (Vec<String>, Vec<String>) = both.map_err(bus_error)?;
        let is_alive = |gateway: &str| gateways.iter().any(|alive| alive == gateway);
        let user_of = |entry: &String| {
            let (user, place) = entry.split_once('/')?;
            let (gateway, _core) = place.rsplit_once('/')?;
            is_alive(gateway).then(|| user.parse::<UserId>().ok()).flatten()
        };
        // Entries come in lexical order, so those of a user are neighbours.
        let mut users: Vec<UserId> = entries.iter().filter_map(user_of).collect();
        users.dedup();
        let count = users.len() as u64;
        users.truncate(PRESENCE_USERS_MAX);
        Ok((users, count))
    }
}
