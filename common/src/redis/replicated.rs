//! Whether replicas have what was read from a stream.
//!
//! `WAIT` answers for the writes of its own connection. So a key is written on the very connection that was read
//! from: replicas that have this write have everything that the server held when it was read. On any other
//! connection a new primary might answer for what an old one gave.
//!
//! Readers take nothing else where acknowledgements wait for replicas. So what a primary lost when it died was seen
//! by nobody, acknowledged to nobody and persisted nowhere; and a primary that was replaced and does not know it yet,
//! because it has no replicas any more, is not listened to.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, pipe};
use tokio::time::timeout;

use super::{RESPONSE_MAX, timed_out};
use crate::clock::now_ms;
use crate::config::Ack;
use crate::keys;
use crate::shard::Shard;

/// How long the key lives, seconds: nobody needs it.
const KEPT_SECONDS: u64 = 60;

/// The write, although Redis has no memory left: what is read is persisted and trimmed, which frees it.
const WRITE: &str = "#!lua flags=allow-oom
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])";

/// What is said when they do not have it in time.
pub fn not_replicated() -> RedisError {
    (ErrorKind::Client, "too few replicas have what was appended").into()
}

/// How many replicas must have an entry before it counts, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct Replication {
    replicas: u32,
    wait: Duration,
}

impl Replication {
    /// `None` where nobody waits for replicas.
    pub fn of(ack: Ack) -> Option<Self> {
        match ack {
            Ack::Stored => None,
            Ack::Replicated { replicas, wait } => Some(Self { replicas, wait }),
        }
    }

    /// Whether replicas have what was read of a shard's stream on this connection.
    pub async fn is_done(self, shard: Shard, connection: &mut MultiplexedConnection) -> RedisResult<bool> {
        let mut both = pipe();
        both.cmd("EVAL").arg(WRITE).arg(1).arg(keys::read_at(shard)).arg(now_ms()).arg(KEPT_SECONDS).ignore();
        both.cmd("WAIT").arg(self.replicas).arg(u64::try_from(self.wait.as_millis()).unwrap_or(1));
        let answer = timeout(self.wait + RESPONSE_MAX, both.query_async::<(u32,)>(connection)).await;
        let (have,) = answer.unwrap_or_else(|_| Err(timed_out("replicas could not be asked")))?;
        Ok(have >= self.replicas)
    }
}
