//! The newest persisted event of each room, told to the gateways in Redis.
//!
//! Each shard's hash says how far it is complete. Where that is not the shard's offset, because Redis lost data
//! or a leader died between its commit and telling, what is missing is filled in from Postgres.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::try_join_all;
use hubbub_common::ids::{EntryId, MessageId, RoomId};
use hubbub_common::keys;
use hubbub_common::redis::Commands;
use hubbub_common::shard::{Shard, Shards};
use redis::{Cmd, cmd};
use tokio_postgres::Client;

use super::Stopped;
use super::lag::Position;
use crate::store::sql::Sql as _;

/// Sets fields, although Redis has no memory left: what is told here is what trimming waits for.
const TELL: &str = "#!lua flags=allow-oom
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end";
/// Rooms in one query.
const ROOMS_PER_PAGE: i64 = 10_000;

/// Tells rooms' newest events, and up to where that is all of them. One command for each shard, so that nobody
/// sees one without the other; all at once, because in a Cluster they go to several servers.
pub(super) async fn tell(
    redis: &Commands,
    shards: Shards,
    last: &BTreeMap<RoomId, MessageId>,
    told_to: &HashMap<Shard, EntryId>,
) -> Result<(), Stopped> {
    let mut by_shard: HashMap<Shard, Cmd> = HashMap::new();
    for (shard, told_to) in told_to {
        let mut set = cmd("EVAL");
        set.arg(TELL).arg(1).arg(keys::last(*shard)).arg(keys::LAST_TOLD_TO).arg(told_to.to_string());
        by_shard.insert(*shard, set);
    }
    for (room, last) in last {
        if let Some(set) = by_shard.get_mut(&shards.of(*room)) {
            set.arg(room.get()).arg(last.get());
        }
    }
    let set = |set: Cmd| async move { set.query_async::<()>(&mut redis.clone()).await };
    try_join_all(by_shard.into_values().map(set)).await?;
    Ok(())
}

/// Makes every shard's hash complete up to its offset.
pub(super) async fn complete(
    redis: &Commands,
    client: &Client,
    shards: Shards,
    positions: &[Position],
) -> Result<(), Stopped> {
    let mut behind = HashMap::new();
    let mut complete_to = MessageId::MAX;
    for Position { shard, offset, .. } in positions.iter().copied() {
        let mut get = cmd("HGET");
        get.arg(keys::last(shard)).arg(keys::LAST_TOLD_TO);
        let told_to: Option<String> = get.query_async(&mut redis.clone()).await?;
        let told_to = told_to.and_then(|told_to| told_to.parse::<EntryId>().ok());
        if told_to != Some(offset) {
            // What was told of later entries than are persisted is of other data.
            let told_to = told_to.filter(|told_to| *told_to < offset);
            complete_to = complete_to.min(told_to.map_or(MessageId::ZERO, MessageId::before));
            behind.insert(shard, offset);
        }
    }
    if behind.is_empty() {
        return Ok(());
    }
    let mut after = 0i64;
    loop {
        let sql = "SELECT room, last_id FROM room_counters WHERE room > $1 AND last_id >= $2 ORDER BY room LIMIT $3";
        let page = client.rows(sql, &[&after, &complete_to.as_i64(), &ROOMS_PER_PAGE]).await?;
        let Some(newest) = page.last() else { break };
        after = newest.get(0);
        let rooms =
            page.iter().filter_map(|row| RoomId::from_i64(row.get(0)).zip(MessageId::from_i64(row.get(1))));
        // Complete only after the last page.
        let told_to = behind.keys().map(|shard| (*shard, EntryId::ZERO)).collect();
        tell(redis, shards, &rooms.collect(), &told_to).await?;
    }
    tell(redis, shards, &BTreeMap::new(), &behind).await
}
