//! What waits to be persisted. Every instance can tell, also while nobody leads: a stream's length against the number
//! of its entries that the leader last said are persisted.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use hubbub_common::clock::now_ms;
use hubbub_common::ids::{EntryId, MessageId};
use hubbub_common::keys;
use hubbub_common::metrics as names;
use hubbub_common::redis::{Commands, Extent, range};
use hubbub_common::shard::{Shard, Shards};
use redis::cmd;
use tokio_postgres::Client;

use super::Stopped;

/// How long it is believed that a control plane lives, seconds.
const TOLD_SECONDS: u64 = 15;

/// What is written although Redis has no memory left: trimming, which frees it, comes after.
const TELL: &str = "#!lua flags=allow-oom
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end";

/// How far a stream is persisted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) shard: Shard,
    pub(super) offset: EntryId,
    /// Entries up to there that it still holds.
    pub(super) kept: u64,
}

/// Counts what waits in each stream, and sets the metrics. Gives the number of entries, all together.
pub(super) async fn measure(redis: &Commands, positions: &[Position]) -> Result<u64, Stopped> {
    let of_each = try_join_all(positions.iter().map(|position| of_shard(redis, *position))).await?;
    let mut oldest_ms = None;
    let mut entries = 0;
    for (position, (waiting, first)) in positions.iter().zip(of_each) {
        let gauge = metrics::gauge!(names::PERSISTER_LAG.name, "shard" => position.shard.to_string());
        gauge.set(f64::from(u32::try_from(waiting).unwrap_or(u32::MAX)));
        entries += waiting;
        oldest_ms = oldest_ms.into_iter().chain(first.map(|first| first.ms)).min();
    }
    let age_ms = oldest_ms.map_or(0, |oldest_ms| now_ms().saturating_sub(oldest_ms));
    let seconds = f64::from(u32::try_from(age_ms).unwrap_or(u32::MAX)) / 1e3;
    metrics::gauge!(names::PERSISTER_LAG_SECONDS.name).set(seconds);
    Ok(entries)
}

/// How many entries wait, and the first of them.
async fn of_shard(redis: &Commands, position: Position) -> Result<(u64, Option<EntryId>), Stopped> {
    let stream = keys::bus(position.shard);
    let length: u64 = cmd("XLEN").arg(&stream).query_async(&mut redis.clone()).await?;
    let waiting = length.saturating_sub(position.kept);
    if waiting == 0 {
        return Ok((0, None));
    }
    let mut first = cmd("XRANGE");
    first.arg(&stream).arg(format!("({}", position.offset)).arg("+").arg("COUNT").arg(1);
    let first = range(first.query_async(&mut redis.clone()).await?, position.shard).ok_or(Stopped::Reply)?;
    Ok((waiting, first.first().map(|entry| entry.id)))
}

/// Tells the other instances, and the gateways that a control plane lives.
pub(super) async fn tell(redis: &Commands, lag: u64, positions: &[Position]) -> Result<(), Stopped> {
    let mut tell = cmd("EVAL");
    tell.arg(TELL).arg(2).arg(keys::PERSISTER_LAG).arg(keys::PERSISTER_KEPT).arg(lag).arg(TOLD_SECONDS);
    for position in positions {
        tell.arg(position.shard.number()).arg(position.kept);
    }
    tell.query_async::<()>(&mut redis.clone()).await?;
    Ok(())
}

/// Where another instance leads, or nobody: how far it came, by what was told.
pub(super) async fn told(redis: &Commands, shards: Shards) -> Result<Vec<Position>, Stopped> {
    let kept = cmd("HGETALL").arg(keys::PERSISTER_KEPT).query_async(&mut redis.clone()).await?;
    let kept: HashMap<u16, u64> = kept;
    let position = |shard: Shard| {
        let kept = kept.get(&shard.number()).copied().unwrap_or(0);
        async move {
            let mut get = cmd("HGET");
            get.arg(keys::last(shard)).arg(keys::LAST_TOLD_TO);
            let offset: Option<String> = get.query_async(&mut redis.clone()).await?;
            let offset = offset.and_then(|offset| offset.parse().ok()).unwrap_or_default();
            Ok::<_, Stopped>(Position { shard, offset, kept })
        }
    };
    try_join_all(shards.all().map(position)).await
}

/// Whether everything that was appended before an id is persisted.
pub(crate) async fn is_past(
    redis: &Commands,
    client: &Client,
    shards: Shards,
    id: MessageId,
) -> Result<bool, Stopped> {
    let offsets = super::write::offsets(client, shards).await?;
    let each = shards.all().zip(offsets).map(|(shard, offset)| async move {
        let passed = offset.ms > id.ts();
        Ok::<_, Stopped>(passed || Extent::of(&mut redis.clone(), shard).await?.last <= offset)
    });
    Ok(try_join_all(each).await?.into_iter().all(|is_past| is_past))
}
