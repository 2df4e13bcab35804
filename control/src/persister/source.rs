//! The streams as the persister reads them: cursors, the memory of repeats, and batches made ahead of their writing.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use hubbub_common::clock::now_ms;
use hubbub_common::dedupe::{Dedupe, memory_ms};
use hubbub_common::entry::Entry;
use hubbub_common::ids::{EntryId, MessageId};
use hubbub_common::keys;
use hubbub_common::redis::{Commands, Extent, ReadEntry, Replication, ShardReaders, entries, range, xread};
use hubbub_common::shard::{Shard, Shards};
use redis::aio::MultiplexedConnection;
use redis::cmd;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::Stopped;
use super::batch::{Batch, Dedupes};
use super::lag::Position;
use super::recover::Recovery;
use super::task::Task;
use super::tend::trim;
use crate::app::App;

/// Entries of one shard that one batch takes, at most.
const ENTRIES_MAX: usize = 256;
/// Bytes that one batch takes, about: fewer entries of each shard are read where entries are large.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Batches that wait to be written, besides the one that is being made.
const BATCHES_AHEAD: usize = 1;
/// Entries read at once where none are written.
const PAGE_ENTRIES: usize = 100;
/// How long a read waits for entries.
const READ_WAIT: Duration = Duration::from_secs(1);
/// How long a read may take before its connection counts as broken.
const READ_MAX: Duration = Duration::from_secs(5);

/// See the module's text.
pub(super) struct Source {
    reader: Reader,
    shards: Shards,
    cursors: Vec<EntryId>,
    dedupes: Vec<Dedupe>,
    recovery: Recovery,
    /// Of an entry, lately.
    mean_bytes: usize,
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

    async fn read(&mut self, cursors: &[(Shard, EntryId)], count: usize) -> Result<Vec<ReadEntry>, Stopped> {
        match self {
            Self::One(connection, replication) => {
                let read = xread(cursors, count, READ_WAIT);
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

/// What stands in a stream up to its offset.
struct Remembered {
    position: Position,
    dedupe: Dedupe,
    newest: EntryId,
}

impl Source {
    /// Goes to the offsets, and remembers what stood in the window before them. Gives where each stream stands, too.
    pub(super) async fn start(
        app: &App,
        client: &Client,
        offsets: Vec<EntryId>,
    ) -> Result<(Self, Vec<Position>), Stopped> {
        let window_ms = app.config.resume_window_ms();
        let shards = app.config.shared.shards;
        let remember = shards.all().zip(offsets).map(|(shard, offset)| {
            let position = Position { shard, offset, kept: 0 };
            remember(&app.redis, position, window_ms)
        });
        let mut positions = Vec::new();
        let mut dedupes = Vec::new();
        let mut lost = HashMap::new();
        for remembered in try_join_all(remember).await? {
            let Position { shard, offset, .. } = remembered.position;
            // An entry that is younger than the window is never trimmed.
            if remembered.newest != offset && offset.ms > now_ms().saturating_sub(window_ms) {
                lost.insert(shard, offset);
            }
            positions.push(remembered.position);
            dedupes.push(remembered.dedupe);
        }
        let recovery = Recovery::look_up(client, shards, &lost, window_ms, &mut dedupes).await?;
        for position in &mut positions {
            if let Some(offset) = lost.get(&position.shard) {
                position.offset = EntryId { ms: offset.ms.saturating_sub(window_ms), seq: 0 };
                position.kept = 0;
            }
            stay_within(&app.redis, position).await?;
        }
        let cursors = positions.iter().map(|position| position.offset).collect();
        let reader = Reader::start(app).await?;
        let mean_bytes = BATCH_BYTES_MAX / usize::from(shards.count()) / PAGE_ENTRIES;
        Ok((Self { reader, shards, cursors, dedupes, recovery, mean_bytes }, positions))
    }

    /// Makes batches while others are written. The task ends with its first error, which comes last.
    pub(super) fn run(mut self) -> (mpsc::Receiver<Result<Batch, Stopped>>, Task) {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let task = tokio::spawn(async move {
            loop {
                let batch = self.next_batch().await;
                let is_last = batch.is_err();
                if sender.send(batch).await.is_err() || is_last {
                    return;
                }
            }
        });
        (batches, Task::new(task))
    }

    /// Waits until there is something to write.
    async fn next_batch(&mut self) -> Result<Batch, Stopped> {
        loop {
            let cursors: Vec<_> = self.shards.all().zip(self.cursors.iter().copied()).collect();
            let of_each = BATCH_BYTES_MAX / self.mean_bytes.max(1) / usize::from(self.shards.count());
            let entries = self.reader.read(&cursors, of_each.clamp(1, ENTRIES_MAX)).await?;
            if entries.is_empty() {
                continue;
            }
            let bytes: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
            self.mean_bytes = usize::midpoint(self.mean_bytes, bytes / entries.len());
            let batch = Batch::gather(&entries, self)?;
            for (shard, offset) in &batch.offsets {
                if let Some(cursor) = self.cursors.get_mut(shard.index()) {
                    *cursor = *offset;
                }
                self.recovery.reached(*shard, *offset);
            }
            return Ok(batch);
        }
    }
}

/// Trims what is older than a reader's memory exactly, then reads from there to the offset.
async fn remember(redis: &Commands, at: Position, window_ms: u64) -> Result<Remembered, Stopped> {
    let start = EntryId { ms: at.offset.ms.saturating_sub(memory_ms(window_ms)), seq: 0 };
    trim(redis, at.shard, start, "=").await?;
    let mut remembered = Remembered { position: at, dedupe: Dedupe::new(window_ms), newest: EntryId::ZERO };
    let mut from = format!("{start}");
    loop {
        let mut page = cmd("XRANGE");
        page.arg(keys::bus(at.shard)).arg(&from).arg(at.offset.to_string()).arg("COUNT").arg(PAGE_ENTRIES);
        let page = range(page.query_async(&mut redis.clone()).await?, at.shard).ok_or(Stopped::Reply)?;
        let Some(last) = page.last() else { return Ok(remembered) };
        remembered.newest = last.id;
        from = format!("({}", last.id);
        for read in &page {
            remembered.position.kept += 1;
            if let Ok(entry) = Entry::decode(&read.bytes) {
                remembered.dedupe.feed(&entry, read.id);
            }
        }
    }
}

/// A Redis that lost data gives ids from its clock on, so what it gives next is past the offset, unless its clock went
/// back as well: then the offset must not hide it.
async fn stay_within(redis: &Commands, position: &mut Position) -> Result<(), Stopped> {
    let newest = Extent::of(&mut redis.clone(), position.shard).await?.last;
    if newest < position.offset {
        tracing::warn!(shard = %position.shard, persisted = %position.offset, %newest, "Redis has lost entries of a stream");
        position.offset = newest;
    }
    Ok(())
}
