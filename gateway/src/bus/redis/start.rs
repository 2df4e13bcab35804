//! What is checked once at start: see [`hubbub_common::redis::start`].

use std::time::Duration;

use hubbub_common::config::RedisSettings;
use hubbub_common::redis::start::{Refusal, start};
use hubbub_common::shard::Shards;

use super::RedisBackend;
use crate::bus::StartError;
use crate::bus::backend::Presence as _;

/// What the bus sends, with arguments that make it do nothing: rights are checked before these.
const PROBES: [&[&str]; 32] = [
    &["XADD", "bus:{0}", "no-id", "e", ""],
    &["XREAD", "COUNT", "1", "STREAMS", "bus:{0}", "$"],
    &["XRANGE", "bus:{0}", "-", "-", "COUNT", "1"],
    &["XREVRANGE", "bus:{0}", "-", "-", "COUNT", "1"],
    &["XINFO", "STREAM", "bus:{0}"],
    &["XTRIM", "bus:{0}", "MINID", "no-id"],
    &["HMGET", "last:{0}", "0"],
    &["SET", "cluster:epoch", "0", "NX", "XX"],
    &["GET", "cluster:epoch"],
    &["PUBLISH", "live:{0}", ""],
    &["HMGET", "roles:0", "0"],
    &["GETEX", "session:none"],
    &["GET", "session:none"],
    &["ZRANGE", "sessions:0", "0", "0"],
    &["EXISTS", "membership:loaded"],
    &["SMEMBERS", "banned"],
    &["ZADD", "presence:0", "no-score", "x"],
    &["ZREM", "presence:0", "x"],
    &["ZRANGEBYLEX", "presence:0", "-", "no-end"],
    &["ZCARD", "presence:0"],
    &["ZRANGE", "presence:0", "0", "0"],
    &["ZADD", "gateways", "no-score", "x"],
    &["ZADD", "{gateways}:gone", "no-score", "x"],
    &["SADD", "presence-rooms:0"],
    &["SREM", "presence-rooms:0"],
    &["SRANDMEMBER", "presence-rooms:0", "no-number"],
    &["SET", "presence-reaper:0"],
    &["PEXPIRE", "presence-reaper:0", "no-number"],
    &["SET", "gateway:none", "", "EX", "no-number"],
    &["LTRIM", "asks", "no-number", "0"],
    &["CLIENT", "ID"],
    &["WAIT", "0", "1"],
];

impl RedisBackend {
    /// Connects, waiting for at most `wait`, and checks that the servers fit the settings.
    pub async fn start(
        settings: &RedisSettings,
        shards: Shards,
        server_id: &str,
        has_history: bool,
        wait: Duration,
    ) -> Result<Self, StartError> {
        let commands = start(settings, shards, wait, &PROBES).await?;
        let backend = Self::new(commands, shards, settings.ack, server_id, has_history);
        let begun = backend.begin_run().await;
        begun.map_err(|error| StartError::Unreachable(format!("Redis: {error}")))?;
        Ok(backend)
    }
}

impl From<Refusal> for StartError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Setting(error) => Self::Setting(error),
            Refusal::Server(problem) => Self::Unreachable(problem),
        }
    }
}
