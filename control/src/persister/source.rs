//! The streams as the persister reads them: cursors, the memory of repeats, trimming, lag.

use std::collections::HashMap;
use std::time::Duration;

use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::dedupe::Dedupe;
use hubbub_common::entry::Entry;
use hubbub_common::ids::{EntryId, MessageId};
use hubbub_common::keys;
use hubbub_common::redis::{
    Commands, Epoch, Extent, ReadEntry, Replication, ShardReaders, agree, entries, xread,
};
use hubbub_common::shard::{Shard, Shards};
use redis::aio::MultiplexedConnection;
use redis::cmd;
use redis::streams::StreamRangeReply;
use tokio_postgres::Client;

use super::batch::{Batch, Dedupes};
use super::recover::Recovery;
use super::{Stopped, last};
use crate::app::App;

/// Entries of one shard in one batch: with every shard behind and every entry full, a quarter million messages.
const ENTRIES_MAX: usize = 16;
/// Entries read at once where none are written.
const PAGE_ENTRIES: usize = 100;
/// How long a read waits for entries.
const READ_WAIT: Duration = Duration::from_secs(1);
/// How long a read may take before its connection counts as broken.
const READ_MAX: Duration = Duration::from_secs(5);
/// How often streams are trimmed and the lag is looked up.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Source {
    reader: Reader,
    redis: Commands,
    shards: Shards,
    window_ms: u64,
    cursors: Vec<EntryId>,
    dedupes: Vec<Dedupe>,
    /// Entries of each stream that are persisted and not trimmed: what else it holds is the lag.
    kept: Vec<u64>,
    tended: Monotonic,
    recovery: Recovery,
    epoch: Epoch,
}

/// Who waits for entries.
enum Reader {
    /// One read of all streams; of what replicas have, where that is asked for.
    One(MultiplexedConnection, Option<Replication>),
    /// One for each, in a Cluster.
    Each(Box<ShardReaders>),
}

impl Reader {
    async fn start(app: &App) -> Result<Self, Stopped> {
        let replication = Replication::of(app.config.shared.redis.ack);
        if app.redis.servers().url().is_cluster() {
            let readers = ShardReaders::new(&app.redis, ENTRIES_MAX, READ_WAIT, replication);
            return Ok(Self::Each(Box::new(readers)));
        }
        let connection = app.redis.connect(&keys::bus(Shard::new(0)), Some(READ_MAX)).await?;
        Ok(Self::One(connection, replication))
    }

    async fn read(&mut self, cursors: &[(Shard, EntryId)]) -> Result<Vec<ReadEntry>, Stopped> {
        match self {
            Self::One(connection, replication) => {
                let read = xread(cursors, ENTRIES_MAX, READ_WAIT);
                let read = entries(read.query_async(connection).await?).ok_or(Stopped::Reply)?;
                if let (Some(replication), Some(entry)) = (replication, read.first())
                    && !replication.is_done(entry.shard, connection).await?
                {
                    return Ok(Vec::new());
                }
                Ok(read)
            }
            Self::Each(readers) => Ok(readers.read(cursors).await?),
        }
    }
}

impl Dedupes for Source {
    fn of(&mut self, shard: Shard) -> Option<&mut Dedupe> {
        self.dedupes.get_mut(shard.index())
    }

    fn has(&self, shard: Shard, id: MessageId) -> bool {
        self.recovery.has(shard, id)
    }
}

impl Source {
    /// Goes to the offsets, and remembers what stood in the window before them.
    pub(super) async fn start(app: &App, client: &Client, offsets: Vec<EntryId>) -> Result<Self, Stopped> {
        let window_ms = u64::try_from(app.config.shared.resume_window.as_millis()).unwrap_or(u64::MAX);
        let shards = app.config.shared.shards;
        let mut source = Self {
            reader: Reader::start(app).await?,
            redis: app.redis.clone(),
            shards,
            window_ms,
            dedupes: offsets.iter().map(|_| Dedupe::new(window_ms)).collect(),
            kept: vec![0; offsets.len()],
            cursors: offsets,
            tended: Monotonic::start(),
            recovery: Recovery::default(),
            epoch: agree(&mut app.redis.clone(), shards).await?,
        };
        let mut lost = HashMap::new();
        for shard in shards.all() {
            let offset = source.cursors.get(shard.index()).copied().unwrap_or_default();
            let last = source.remember(shard).await?;
            // An entry that is younger than the window is never trimmed.
            if last != offset && offset.ms > now_ms().saturating_sub(window_ms) {
                lost.insert(shard, offset);
            }
        }
        source.recovery = Recovery::look_up(client, shards, &lost, window_ms, &mut source.dedupes).await?;
        for (shard, offset) in lost {
            if let (Some(cursor), Some(kept)) =
                (source.cursors.get_mut(shard.index()), source.kept.get_mut(shard.index()))
            {
                *cursor = EntryId { ms: offset.ms.saturating_sub(window_ms), seq: 0 };
                *kept = 0;
            }
        }
        for shard in shards.all() {
            source.stay_within(shard).await?;
        }
        Ok(source)
    }

    /// How far each shard is persisted.
    pub(super) fn cursors(&self) -> impl Iterator<Item = (Shard, EntryId)> {
        self.shards.all().zip(self.cursors.iter().copied())
    }

    /// A Redis that lost data gives ids from its clock on, so what it gives next is past the offset, unless its
    /// clock went back as well: then the offset must not hide it.
    async fn stay_within(&mut self, shard: Shard) -> Result<(), Stopped> {
        let newest = Extent::of(&mut self.redis, shard).await?.last;
        let Some(cursor) = self.cursors.get_mut(shard.index()) else { return Ok(()) };
        if newest < *cursor {
            tracing::warn!(%shard, persisted = %cursor, %newest, "Redis has lost entries of a stream");
            *cursor = newest;
        }
        Ok(())
    }

    /// Trims what is older than two windows exactly, then reads from there to the offset. Gives the last entry read.
    async fn remember(&mut self, shard: Shard) -> Result<EntryId, Stopped> {
        let offset = self.cursors.get(shard.index()).copied().unwrap_or_default();
        let start = EntryId { ms: offset.ms.saturating_sub(2 * self.window_ms), seq: 0 };
        self.trim(shard, start, "=").await?;
        let mut from = format!("{start}");
        let mut newest = EntryId::ZERO;
        loop {
            let mut range = cmd("XRANGE");
            range.arg(keys::bus(shard)).arg(&from).arg(offset.to_string()).arg("COUNT").arg(PAGE_ENTRIES);
            let page: StreamRangeReply = range.query_async(&mut self.redis).await?;
            let Some(last) = page.ids.last() else { return Ok(newest) };
            from = format!("({}", last.id);
            for entry in &page.ids {
                let id: EntryId = entry.id.parse().map_err(|_| Stopped::Reply)?;
                newest = id;
                let bytes: Vec<u8> = entry.get(keys::ENTRY_FIELD).unwrap_or_default();
                if let Some(kept) = self.kept.get_mut(shard.index()) {
                    *kept += 1;
                }
                if let (Ok(entry), Some(dedupe)) =
                    (Entry::decode(&bytes), self.dedupes.get_mut(shard.index()))
                {
                    dedupe.feed(&entry, id);
                }
            }
        }
    }

    /// The next entries of all shards; waits a while where there are none.
    pub(super) async fn read(&mut self) -> Result<Vec<ReadEntry>, Stopped> {
        let cursors: Vec<_> = self.shards.all().zip(self.cursors.iter().copied()).collect();
        self.reader.read(&cursors).await
    }

    /// A batch is in Postgres: cursors move, and gateways can look up each room's newest event.
    pub(super) async fn committed(&mut self, batch: &Batch) -> Result<(), Stopped> {
        for (shard, offset) in &batch.offsets {
            if let Some(cursor) = self.cursors.get_mut(shard.index()) {
                *cursor = *offset;
            }
            self.recovery.reached(*shard, *offset);
        }
        for (shard, entries) in &batch.entries {
            if let Some(kept) = self.kept.get_mut(shard.index()) {
                *kept += entries;
            }
        }
        last::tell(&self.redis, self.shards, &batch.last, &batch.offsets).await
    }

    /// Once a second: trims behind both the offsets and two windows (a gateway that starts needs the second one to
    /// know what is a repeat), and counts the entries that wait.
    pub(super) async fn lag_if_due(&mut self) -> Result<Option<u64>, Stopped> {
        if self.tended.elapsed() < TEND_EVERY {
            return Ok(None);
        }
        self.tended = Monotonic::start();
        if agree(&mut self.redis, self.shards).await? != self.epoch {
            return Err(Stopped::OtherData);
        }
        let window_start = EntryId { ms: now_ms().saturating_sub(2 * self.window_ms), seq: 0 };
        let mut lag = 0;
        for shard in self.shards.all() {
            let cursor = self.cursors.get(shard.index()).copied().unwrap_or_default();
            let kept = self.kept.get(shard.index()).copied().unwrap_or(0);
            if kept > 0 {
                self.trim(shard, cursor.min(window_start), "~").await?;
            }
            let entries: u64 = cmd("XLEN").arg(keys::bus(shard)).query_async(&mut self.redis).await?;
            let of_shard = entries.saturating_sub(self.kept.get(shard.index()).copied().unwrap_or(0));
            let gauge =
                metrics::gauge!(hubbub_common::metrics::PERSISTER_LAG.name, "shard" => shard.to_string());
            gauge.set(f64::from(u32::try_from(of_shard).unwrap_or(u32::MAX)));
            lag += of_shard;
        }
        Ok(Some(lag))
    }

    /// Removes entries before an id; `how` is `=` for exactly, `~` for cheaply.
    async fn trim(&mut self, shard: Shard, before: EntryId, how: &str) -> Result<(), Stopped> {
        let mut trim = cmd("XTRIM");
        trim.arg(keys::bus(shard)).arg("MINID").arg(how).arg(before.to_string());
        let trimmed: u64 = trim.query_async(&mut self.redis).await?;
        if let Some(kept) = self.kept.get_mut(shard.index()) {
            *kept = kept.saturating_sub(trimmed);
        }
        Ok(())
    }
}
