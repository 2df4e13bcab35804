//! What the servers do to the backend on Redis.

use bytes::Bytes;
use hubbub_benches::stack::RedisShape;
use hubbub_common::clock::now_ms;
use hubbub_common::entry::encode;
use hubbub_common::ids::{ENTRIES_PER_MS_MAX, EntryId};
use hubbub_common::keys;
use hubbub_common::shard::Shard;

use super::{backend, block_on, message, read_until, redis, room};
use crate::bus::backend::{AppendError, Footing, Streams as _};

#[test]
fn a_redis_whose_memory_is_full_is_still_read() {
    let (stack, url) = redis(RedisShape::Single);
    block_on(async {
        let backend = backend(&url).await;
        let epoch = backend.heartbeat().await.unwrap();
        let entry = Bytes::from(encode(1, 1, &[message(room(1), "a", None)]));
        backend.append(Shard::new(0), entry.clone()).await.unwrap();
        let client = ::redis::Client::open(stack.redis_url().unwrap()).unwrap();
        let mut admin = client.get_multiplexed_async_connection().await.unwrap();
        let mut full = ::redis::cmd("CONFIG");
        full.arg("SET").arg("maxmemory").arg(1).query_async::<()>(&mut admin).await.unwrap();
        assert!(matches!(backend.append(Shard::new(0), entry).await, Err(AppendError::Refused(_))));
        assert_eq!(backend.heartbeat().await.unwrap(), epoch);
        let cursor = (Shard::new(0), EntryId::ZERO);
        assert_eq!(backend.survey(&[cursor]).await.unwrap().epoch, epoch);
        assert_eq!(read_until(&backend, cursor, 1).await.len(), 1);
        // What frees memory is not refused.
        backend.trim(&[Shard::new(0)], EntryId::MAX).await.unwrap();
    });
}

#[test]
fn other_data_in_redis_is_another_epoch() {
    let (stack, url) = redis(RedisShape::Single);
    block_on(async {
        let backend = backend(&url).await;
        let epoch = backend.heartbeat().await.unwrap();
        assert_eq!(backend.survey(&[]).await.unwrap().epoch, epoch);
        let client = ::redis::Client::open(stack.redis_url().unwrap()).unwrap();
        let mut admin = client.get_multiplexed_async_connection().await.unwrap();
        let flush = ::redis::cmd("FLUSHALL");
        flush.query_async::<()>(&mut admin).await.unwrap();
        let next = backend.heartbeat().await.unwrap();
        assert_ne!(next, epoch);
        assert_eq!(backend.survey(&[]).await.unwrap().epoch, next);
        // Somebody else came first, with another number of shards.
        flush.query_async::<()>(&mut admin).await.unwrap();
        ::redis::cmd("SET").arg(keys::SHARDS).arg(8).query_async::<()>(&mut admin).await.unwrap();
        let refused = backend.heartbeat().await.unwrap_err().0;
        assert!(refused.contains("another number of shards"), "{refused}");
        backend.survey(&[]).await.unwrap_err();
    });
}

#[test]
fn one_server_of_a_cluster_that_is_away_hides_its_shards_only() {
    let (stack, url) = redis(RedisShape::Cluster);
    block_on(async {
        let backend = backend(&url).await;
        let cursors: Vec<_> = (0..4).map(|shard| (Shard::new(shard), EntryId::ZERO)).collect();
        for (shard, _) in &cursors {
            let entry = Bytes::from(encode(1, 1, &[message(room(1), "a", None)]));
            backend.append(*shard, entry).await.unwrap();
        }
        let lengths = |footings: &[Option<Footing>]| -> Vec<_> {
            footings.iter().map(|footing| footing.map(|footing| footing.extent.length)).collect()
        };
        let survey = backend.survey(&cursors).await.unwrap();
        assert_eq!(lengths(&survey.footings), [Some(1); 4]);
        for server in stack.redis_servers() {
            let client = ::redis::Client::open(server.url()).unwrap();
            let mut admin = client.get_multiplexed_async_connection().await.unwrap();
            let mut config = ::redis::cmd("CONFIG");
            config.arg("SET").arg("cluster-require-full-coverage").arg("no");
            config.query_async::<()>(&mut admin).await.unwrap();
        }
        // It has the first shard's slot, and not that of the epoch.
        stack.redis_servers()[2].kill().unwrap();
        let survey = backend.survey(&cursors).await.unwrap();
        assert_eq!(lengths(&survey.footings), [None, Some(1), Some(1), Some(1)]);
        // Nothing but that shard.
        assert!(backend.survey(&cursors[..1]).await.is_err());
    });
}

/// Redis gives an entry the time of the newest one while its clock is behind that.
#[test]
fn a_clock_that_was_set_back_does_not_use_up_the_ids() {
    let (stack, url) = redis(RedisShape::Single);
    block_on(async {
        let backend = backend(&url).await;
        let shard = Shard::new(0);
        let newest = EntryId { ms: now_ms() + 60_000, seq: ENTRIES_PER_MS_MAX / 2 };
        let client = ::redis::Client::open(stack.redis_url().unwrap()).unwrap();
        let mut other = client.get_multiplexed_async_connection().await.unwrap();
        let entry = Bytes::from(encode(1, 1, &[message(room(1), "a", None)]));
        let mut add = async |id: EntryId| {
            let mut add = ::redis::cmd("XADD");
            add.arg(keys::bus(shard)).arg(id.to_string()).arg(keys::ENTRY_FIELD).arg(&*entry);
            add.query_async::<String>(&mut other).await.unwrap();
        };
        add(newest).await;
        let append = async || backend.append(shard, entry.clone()).await.unwrap();
        assert_eq!(append().await, EntryId { ms: newest.ms, seq: newest.seq + 1 });
        assert_eq!(append().await, EntryId { ms: newest.ms + 1, seq: 0 });
        assert_eq!(append().await, EntryId { ms: newest.ms + 1, seq: 1 });
        // Somebody else leaves the crowded millisecond first, by more than one.
        let crowded = EntryId { ms: newest.ms + 2, ..newest };
        add(crowded).await;
        append().await;
        let later = EntryId { ms: crowded.ms + 10, seq: 5 };
        add(later).await;
        assert_eq!(append().await, EntryId { ms: later.ms, seq: 6 });
    });
}
