//! What the control plane and the other gateways keep in Redis about users.

use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::keys;
use hubbub_common::protocol::Role;
use hubbub_common::token::{LOGIN_SESSION_SECONDS, LoginSession};
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
}
