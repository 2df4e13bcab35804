//! Appending to the streams what comes by REST: the same path as a gateway's.
//!
//! Appends of a shard follow each other, so that their sequence numbers rise in stream order. Where the
//! connection breaks before the reply the outcome is unknown, and the caller hears so; with a nonce the request can be
//! repeated safely. A nonce is settled by the rule of every reader ([`hubbub_common::dedupe`]):
//! an instance that sends with nonces to a shard reads that shard's recent entries too, as far as it has to.
//! Where replicas are waited for and do not confirm in time, the caller hears that the outcome is unknown as well.

use hubbub_common::clock::now_ms;
use hubbub_common::config::Ack;
use hubbub_common::dedupe::Dedupe;
use hubbub_common::entry::{Entry, Notice, Origin, Record, encode, new_origin};
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::keys;
use hubbub_common::redis::{Commands, Fault, Replication, not_replicated};
use hubbub_common::shard::{Shard, Shards};
use hubbub_common::traces::{attribute, child};
use opentelemetry::trace::SpanKind;
use redis::streams::StreamRangeReply;
use redis::{RedisError, cmd, from_redis_value};
use tokio::sync::Mutex;

use crate::error::Error;

/// Entries read at once.
const ENTRIES_MAX: usize = 100;
/// How long the control stream is kept: far longer than any gateway is behind.
const NOTICES_KEPT_MS: u64 = 60 * 60 * 1_000;

/// See the module's text.
pub struct Publisher {
    shards: Shards,
    window_ms: u64,
    origin: Origin,
    by_shard: Vec<Mutex<OfShard>>,
    control: Mutex<OfShard>,
    /// Where replicas are waited for: `WAIT` holds up what comes after it, so appends then have connections of their own.
    replicated: Option<(Commands, Replication)>,
}

struct OfShard {
    /// Of the last entry appended.
    seq: u64,
    /// How far the stream was read for its nonces.
    read: EntryId,
    dedupe: Dedupe,
}

impl Publisher {
    /// Remembers nonces for `window_ms`.
    pub fn new(shards: Shards, window_ms: u64, ack: Ack, redis: &Commands) -> Self {
        let of_shard = || Mutex::new(OfShard { seq: 0, read: EntryId::ZERO, dedupe: Dedupe::new(window_ms) });
        let by_shard = shards.all().map(|_| of_shard()).collect();
        let replicated = Replication::of(ack).map(|replication| (redis.apart(), replication));
        Self { shards, window_ms, origin: new_origin(), by_shard, control: of_shard(), replicated }
    }

    /// Appends one record; gives its id, or that of the first with the same user and nonce.
    pub async fn append(&self, redis: &Commands, record: &Record<'_>) -> Result<MessageId, Error> {
        let shard = self.shards.of(record.room());
        let of_shard = self.by_shard.get(shard.index());
        let mut of_shard =
            of_shard.ok_or_else(|| Error::Internal("a shard out of range".to_owned()))?.lock().await;
        if let Some((user, nonce)) = record.nonce() {
            traced("nonces", shard, self.read_on(redis, shard, &mut of_shard)).await?;
            // Where replicas are waited for, a repeat is appended too: that it is confirmed says that the first is.
            if let Some(first) = of_shard.dedupe.find(user, nonce).filter(|_| self.replicated.is_none()) {
                return Ok(first);
            }
        }
        of_shard.seq += 1;
        let entry = encode(self.origin, of_shard.seq, &[record.encode()]);
        let mut add = cmd("XADD");
        add.arg(keys::bus(shard)).arg("*").arg(keys::ENTRY_FIELD).arg(entry);
        let appends = self.replicated.as_ref().map_or(redis, |(appends, _)| appends);
        let reply = traced("XADD", shard, appends.send(&add)).await;
        let mut reply = reply.map_err(|fault| match fault {
            Fault::Refused(error) => error.into(),
            Fault::Unknown(error) => unknown(&error),
        })?;
        if let Some((_, replication)) = &self.replicated {
            let is_done = traced("WAIT", shard, replication.is_done(shard, &mut reply.connection)).await;
            if !is_done.map_err(|error| unknown(&error))? {
                return Err(unknown(&not_replicated()));
            }
        }
        let id: String = from_redis_value(reply.value).map_err(RedisError::from)?;
        let id = id.parse::<EntryId>().ok().and_then(|entry| MessageId::pack(entry, 0));
        let id = id.ok_or_else(|| Error::Internal("XADD answered no entry id".to_owned()))?;
        if let Some((user, nonce)) = record.nonce() {
            // The same nonce may have come by a gateway meanwhile: who stands first in the stream counts.
            let read = traced("nonces", shard, self.read_on(redis, shard, &mut of_shard)).await;
            read.map_err(|error| Error::Unknown(format!("appended, and then: {error:?}")))?;
            return Ok(of_shard.dedupe.find(user, nonce).unwrap_or(id));
        }
        Ok(id)
    }

    /// Who wrote a message that stands in its stream.
    pub async fn author(
        &self,
        redis: &Commands,
        room: RoomId,
        msg: MessageId,
    ) -> Result<Option<UserId>, Error> {
        let id = msg.entry().to_string();
        let mut range = cmd("XRANGE");
        range.arg(keys::bus(self.shards.of(room))).arg(&id).arg(&id);
        let found: StreamRangeReply = range.query_async(&mut redis.clone()).await?;
        let bytes: Option<Vec<u8>> = found.ids.first().and_then(|entry| entry.get(keys::ENTRY_FIELD));
        let entry = bytes.as_deref().and_then(|bytes| Entry::decode(bytes).ok());
        Ok(entry.and_then(|entry| entry.author_in(room, msg.index())))
    }

    /// Tells every gateway.
    pub async fn notify(&self, redis: &Commands, notice: &Notice<'_>) -> Result<(), Error> {
        let mut control = self.control.lock().await;
        control.seq += 1;
        let entry = encode(self.origin, control.seq, &[notice.encode()]);
        let oldest_kept = EntryId { ms: now_ms().saturating_sub(NOTICES_KEPT_MS), seq: 0 };
        let mut add = cmd("XADD");
        add.arg(keys::bus(Shard::CONTROL)).arg("MINID").arg("~").arg(oldest_kept.to_string());
        add.arg("*").arg(keys::ENTRY_FIELD).arg(entry);
        add.query_async::<()>(&mut redis.clone()).await?;
        Ok(())
    }

    /// Feeds the memory of nonces with what was appended since the last time, within the window.
    async fn read_on(&self, redis: &Commands, shard: Shard, of_shard: &mut OfShard) -> Result<(), Error> {
        let window_start = EntryId { ms: now_ms().saturating_sub(self.window_ms), seq: 0 };
        if of_shard.read < window_start {
            of_shard.dedupe = Dedupe::new(self.window_ms);
            of_shard.read = window_start;
        }
        loop {
            let mut range = cmd("XRANGE");
            range.arg(keys::bus(shard)).arg(format!("({}", of_shard.read)).arg("+");
            range.arg("COUNT").arg(ENTRIES_MAX);
            let page: StreamRangeReply = range.query_async(&mut redis.clone()).await?;
            for read in &page.ids {
                let unreadable = || Error::Internal("XRANGE answered something else than entries".to_owned());
                of_shard.read = read.id.parse().map_err(|_| unreadable())?;
                let bytes: Vec<u8> = read.get(keys::ENTRY_FIELD).unwrap_or_default();
                if let Ok(entry) = Entry::decode(&bytes) {
                    of_shard.dedupe.feed(&entry, of_shard.read);
                }
            }
            if page.ids.len() < ENTRIES_MAX {
                return Ok(());
            }
        }
    }
}

/// Asks Redis something about a shard, under a span of its own where that is traced.
async fn traced<T>(name: &'static str, shard: Shard, ask: impl Future<Output = T>) -> T {
    let attributes = || {
        let number = i64::from(shard.number());
        vec![attribute("db.system.name", "redis"), attribute("hubbub.shard", number)]
    };
    child(SpanKind::Client, name, attributes, ask).await
}

/// What was sent may have been stored, or not.
fn unknown(error: &RedisError) -> Error {
    Error::Unknown(format!("Redis: {error}"))
}
