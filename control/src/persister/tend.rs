//! What is done to the streams once a batch is in Postgres: rooms' newest events are told, and what nobody needs in
//! Redis any more is trimmed.

use std::time::Duration;

use futures_util::future::try_join_all;
use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::ids::EntryId;
use hubbub_common::keys;
use hubbub_common::redis::{Commands, Epoch, agree};
use hubbub_common::shard::{Shard, Shards};
use redis::cmd;

use super::batch::Batch;
use super::lag::{self, Position};
use super::{Stopped, last};

/// How often streams are trimmed and the lag is looked up.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Tender {
    redis: Commands,
    shards: Shards,
    window_ms: u64,
    /// In the order of the shards' numbers.
    positions: Vec<Position>,
    epoch: Epoch,
    tended: Monotonic,
}

impl Tender {
    /// Of streams that are persisted up to these positions.
    pub(super) async fn start(
        redis: &Commands,
        shards: Shards,
        window_ms: u64,
        positions: Vec<Position>,
    ) -> Result<Self, Stopped> {
        let redis = redis.clone();
        let epoch = agree(&mut redis.clone(), shards).await?;
        Ok(Self { redis, shards, window_ms, positions, epoch, tended: Monotonic::start() })
    }

    /// A batch is in Postgres: gateways can look up each room's newest event.
    pub(super) async fn committed(&mut self, batch: &Batch) -> Result<(), Stopped> {
        for (shard, offset) in &batch.offsets {
            if let Some(position) = self.positions.get_mut(shard.index()) {
                position.offset = *offset;
                position.kept += batch.entries.get(shard).copied().unwrap_or(0);
            }
        }
        last::tell(&self.redis, self.shards, &batch.last, &batch.offsets).await
    }

    /// Once a second: trims behind both the offsets and two windows (a gateway that starts needs the second one to
    /// know what is a repeat), and counts and tells what waits.
    pub(super) async fn tend_if_due(&mut self) -> Result<Option<u64>, Stopped> {
        if self.tended.elapsed() < EVERY {
            return Ok(None);
        }
        self.tended = Monotonic::start();
        if agree(&mut self.redis, self.shards).await? != self.epoch {
            return Err(Stopped::OtherData);
        }
        let window_start = EntryId { ms: now_ms().saturating_sub(2 * self.window_ms), seq: 0 };
        let redis = &self.redis;
        let trims =
            self.positions.iter_mut().filter(|position| position.kept > 0).map(|position| async move {
                let before = position.offset.min(window_start);
                position.kept = position.kept.saturating_sub(trim(redis, position.shard, before, "~").await?);
                Ok::<_, Stopped>(())
            });
        try_join_all(trims).await?;
        let lag = lag::measure(redis, &self.positions).await?;
        lag::tell(redis, lag, &self.positions).await?;
        Ok(Some(lag))
    }
}

/// Removes entries before an id; `how` is `=` for exactly, `~` for cheaply. Gives how many.
pub(super) async fn trim(redis: &Commands, shard: Shard, before: EntryId, how: &str) -> Result<u64, Stopped> {
    let mut trim = cmd("XTRIM");
    trim.arg(keys::bus(shard)).arg("MINID").arg(how).arg(before.to_string());
    Ok(trim.query_async(&mut redis.clone()).await?)
}
