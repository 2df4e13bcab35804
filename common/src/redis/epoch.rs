//! Which data a Redis has: a random number that whoever finds none puts there.
//!
//! A Redis that was restarted empty has another one, and whoever reads its streams knows that cursors mean
//! nothing any more. The number of shards is agreed on together with it: new data is a new start for that, too.

use redis::aio::ConnectionLike;
use redis::{ErrorKind, RedisError, RedisResult, cmd};

use crate::entry::new_origin;
use crate::keys;
use crate::shard::Shards;

/// See the module's text.
pub type Epoch = u64;

/// Agrees with all programs of the cluster on the epoch, and on the number of shards.
pub async fn agree(connection: &mut impl ConnectionLike, shards: Shards) -> RedisResult<Epoch> {
    let agreed: u16 = set_or_get(connection, keys::SHARDS, shards.count()).await?;
    if agreed != shards.count() {
        let problem = "the cluster has another number of shards by now: start this program anew with as many";
        return Err(RedisError::from((ErrorKind::InvalidClientConfig, problem, agreed.to_string())));
    }
    set_or_get(connection, keys::EPOCH, new_origin()).await
}

async fn set_or_get<T>(connection: &mut impl ConnectionLike, key: &str, value: T) -> RedisResult<T>
where
    T: redis::ToRedisArgs + redis::FromRedisValue,
{
    // Looked for first: a Redis whose memory is used up refuses a SET that would change nothing, too.
    if let Some(agreed) = cmd("GET").arg(key).query_async(connection).await? {
        return Ok(agreed);
    }
    let mut set = cmd("SET");
    set.arg(key).arg(value).arg("NX");
    // Whoever was first has set it.
    set.query_async::<Option<String>>(connection).await?;
    cmd("GET").arg(key).query_async(connection).await
}
