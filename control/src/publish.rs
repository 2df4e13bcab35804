//! Appending to the streams what comes by REST: the same path as a gateway's.
//!
//! Appends of a shard follow each other, so that their sequence numbers rise in stream order. Where the
//! connection breaks before the reply the outcome is unknown, and the caller hears `unavailable`; with a nonce
//! the request can be repeated safely.

use std::sync::LazyLock;

use hubbub_common::entry::{Origin, Record, encode, new_origin};
use hubbub_common::ids::{EntryId, MessageId};
use hubbub_common::keys;
use hubbub_common::shard::Shards;
use redis::Script;
use redis::aio::ConnectionManager;
use tokio::sync::Mutex;

use crate::error::Error;

/// `KEYS`: the stream, and a nonce's key where there is one. `ARGV`: the field, the entry, and for how many
/// milliseconds the nonce is remembered. Answers the entry's id, of the first append with this nonce.
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local first = KEYS[2] and redis.call('GET', KEYS[2])
          if first then return first end
          local id = redis.call('XADD', KEYS[1], '*', ARGV[1], ARGV[2])
          if KEYS[2] then redis.call('SET', KEYS[2], id, 'PX', ARGV[3]) end
          return id",
    )
});

/// See the module's text.
pub struct Publisher {
    shards: Shards,
    nonce_ms: u64,
    origin: Origin,
    /// By shard, the sequence number of the last entry.
    seqs: Vec<Mutex<u64>>,
}

impl Publisher {
    /// Remembers nonces for `nonce_ms`.
    pub fn new(shards: Shards, nonce_ms: u64) -> Self {
        let seqs = shards.all().map(|_| Mutex::new(0)).collect();
        Self { shards, nonce_ms, origin: new_origin(), seqs }
    }

    /// Appends one record; gives its id, or that of the first with the same user and nonce.
    pub async fn append(&self, redis: &ConnectionManager, record: &Record<'_>) -> Result<MessageId, Error> {
        let shard = self.shards.of(record.room());
        let seq = self.seqs.get(shard.index());
        let mut seq = seq.ok_or_else(|| Error::Internal("a shard out of range".to_owned()))?.lock().await;
        *seq += 1;
        let entry = encode(self.origin, *seq, &[record.encode()]);
        let mut append = APPEND.key(keys::bus(shard));
        if let Some((user, nonce)) = record.nonce() {
            append.key(keys::nonce(shard, user, nonce));
        }
        append.arg(keys::ENTRY_FIELD).arg(entry).arg(self.nonce_ms);
        let id: String = append.invoke_async(&mut redis.clone()).await?;
        let id = id.parse::<EntryId>().ok().and_then(|entry| MessageId::pack(entry, 0));
        id.ok_or_else(|| Error::Internal("XADD answered no entry id".to_owned()))
    }
}
