//! What the control plane and the other gateways keep in Redis about users.

use futures_util::future::try_join_all;
use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::keys;
use hubbub_common::protocol::Role;
use hubbub_common::token::{LOGIN_SESSION_SECONDS, LoginMark, LoginSession};
use redis::cmd;

use super::{RedisBackend, bus_error};
use crate::bus::backend::{BusError, Directory};

impl Directory for RedisBackend {
    async fn login_session(&self, hash: &str) -> Result<Option<LoginSession>, BusError> {
        let mut command = cmd("GETEX");
        command.arg(keys::login_session(hash)).arg("EX").arg(LOGIN_SESSION_SECONDS);
        let json: Option<String> = command.query_async(&mut self.commands()).await.map_err(bus_error)?;
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
    }

    async fn logins(&self, user: UserId) -> Result<Vec<LoginMark>, BusError> {
        let mut list = cmd("ZRANGE");
        list.arg(keys::login_sessions_of(user)).arg(0).arg(-1);
        let hashes: Vec<String> = list.query_async(&mut self.commands()).await.map_err(bus_error)?;
        // One command each: in a Cluster they live apart. Without a word about their use, unlike `login_session`.
        let look_up = |hash: &String| {
            let mut get = cmd("GET");
            get.arg(keys::login_session(hash));
            async move { get.query_async::<Option<String>>(&mut self.commands()).await }
        };
        let found = try_join_all(hashes.iter().map(look_up)).await.map_err(bus_error)?;
        let sessions =
            found.iter().flatten().filter_map(|json| serde_json::from_str::<LoginSession>(json).ok());
        Ok(sessions.map(|session| LoginMark::of(&session.id)).collect())
    }

    async fn knows_members(&self) -> Result<bool, BusError> {
        let mut command = cmd("EXISTS");
        command.arg(keys::MEMBERSHIP_LOADED).query_async(&mut self.commands()).await.map_err(bus_error)
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

    async fn banned(&self) -> Result<Option<Vec<UserId>>, BusError> {
        let mut command = cmd("SMEMBERS");
        command.arg(keys::BANNED);
        let members: Vec<u64> = command.query_async(&mut self.commands()).await.map_err(bus_error)?;
        let is_complete = members.contains(&keys::BANNED_COMPLETE);
        Ok(is_complete.then(|| members.into_iter().filter_map(UserId::new).collect()))
    }

    async fn author(&self, room: RoomId, msg: MessageId) -> Result<Option<UserId>, BusError> {
        if let Some(author) = self.author_in_stream(room, msg).await? {
            return Ok(Some(author));
        }
        self.ask_author(room, msg).await
    }
}
