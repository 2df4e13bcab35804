//! What Redis holds while streams are written, read and trimmed.

use hubbub_common::keys;
use hubbub_common::shard::Shards;
use redis::{Connection, RedisError, cmd};
use serde::Serialize;

/// One look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Held {
    /// `used_memory`: data, buffers and what Redis needs itself.
    pub(super) bytes: u64,
    /// Entries of all streams together.
    pub(super) entries: u64,
}

/// The streams of one server.
pub(super) struct Streams {
    connection: Connection,
    shards: Shards,
}

impl Streams {
    /// Of a Redis that a Hubbub uses already.
    pub(super) fn of(url: &str) -> Result<Self, String> {
        let mut connection =
            redis::Client::open(url).and_then(|client| client.get_connection()).map_err(text)?;
        let shards: u16 = cmd("GET").arg(keys::SHARDS).query(&mut connection).map_err(text)?;
        Ok(Self { connection, shards: Shards::new(shards).ok_or("Redis names no number of shards")? })
    }

    /// How many streams there are.
    pub(super) fn count(&self) -> u64 {
        self.shards.count().into()
    }

    /// What is held now.
    pub(super) fn held(&mut self) -> Result<Held, String> {
        let info: String = cmd("INFO").arg("memory").query(&mut self.connection).map_err(text)?;
        let bytes = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok());
        let mut lengths = redis::pipe();
        for shard in self.shards.all() {
            lengths.cmd("XLEN").arg(keys::bus(shard));
        }
        let lengths: Vec<u64> = lengths.query(&mut self.connection).map_err(text)?;
        Ok(Held { bytes: bytes.ok_or("Redis does not tell its memory")?, entries: lengths.iter().sum() })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: RedisError) -> String {
    error.to_string()
}
