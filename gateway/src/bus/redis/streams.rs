//! Streams: `XADD`, `XREAD` and what surrounds them, and a pub/sub channel beside each for what is not stored.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use futures_util::{FutureExt as _, StreamExt as _};
use hubbub_common::gateways::GatewayReport;
use hubbub_common::ids::{ENTRIES_PER_MS_MAX, EntryId, MessageId, RoomId};
use hubbub_common::keys;
use hubbub_common::redis::{
    CONNECT_MAX, Epoch, Extent, Fault, RESPONSE_MAX, agree, entries, entry_id, is_broken, not_replicated,
    range, xread,
};
use hubbub_common::shard::Shard;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{ErrorKind, Msg, RedisError, RedisResult, Value, cmd};
use tokio::time::timeout;

use super::{RedisBackend, bus_error};
use crate::bus::backend::{AppendError, BusError, Footing, READ_WAIT, ReadEntry, RoomsLast, Streams, Survey};

/// Entries of one shard in one read: with every shard full, some 50 MB.
pub(super) const READ_ENTRIES_MAX: usize = 100;
/// How long a blocking read may be overdue before its connection counts as broken.
const READ_OVERDUE: Duration = Duration::from_secs(2);
/// From here on the next entry of a shard goes into the next millisecond.
const CROWDED_SEQ: u64 = ENTRIES_PER_MS_MAX / 2;
/// The channels of all shards begin so.
const LIVE: &str = "live:";

impl Streams for RedisBackend {
    async fn append(&self, shard: Shard, entry: Bytes) -> Result<EntryId, AppendError> {
        let crowded_ms = self.crowded_ms.borrow_mut().remove(&shard);
        let id = crowded_ms.map_or_else(|| "*".to_owned(), |ms| format!("{}-*", ms + 1));
        let mut command = cmd("XADD");
        command.arg(keys::bus(shard)).arg(id).arg(keys::ENTRY_FIELD).arg(&*entry);
        let reply = match self.commands.send(&command).await {
            Ok(reply) => reply,
            // Somebody else was first, or the clock has caught up.
            Err(Fault::Refused(error)) if crowded_ms.is_some() && is_too_small(&error) => {
                return Box::pin(self.append(shard, entry)).await;
            }
            Err(Fault::Refused(error)) => return Err(AppendError::Refused(error.to_string())),
            Err(Fault::Unknown(error)) => {
                // There may be a new primary; what the reader's server has to tell may be the past.
                self.forget_reader();
                return Err(AppendError::Unknown(error.to_string()));
            }
        };
        let Value::BulkString(id) = reply.value else {
            return Err(AppendError::Unknown("XADD answered no entry id".to_owned()));
        };
        let id = entry_id(&id).ok_or_else(|| AppendError::Unknown("XADD answered no entry id".to_owned()))?;
        if id.seq >= CROWDED_SEQ {
            self.crowded_ms.borrow_mut().insert(shard, id.ms);
        }
        Ok(id)
    }

    fn shards_fail_apart(&self) -> bool {
        self.commands.servers().url().is_cluster()
    }

    async fn read(&self, cursors: &[(Shard, EntryId)]) -> Result<Vec<ReadEntry>, BusError> {
        let shard_readers = self.shard_readers.borrow_mut().take();
        if let Some(mut readers) = shard_readers {
            let read = readers.read(cursors).await;
            *self.shard_readers.borrow_mut() = Some(readers);
            return read.map_err(bus_error);
        }
        let mut connection = self.reader().await?;
        let command = xread(cursors, READ_ENTRIES_MAX, READ_WAIT);
        let reply =
            match timeout(READ_WAIT + READ_OVERDUE, command.query_async::<Value>(&mut connection)).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(error)) => {
                    if is_broken(&error) {
                        self.forget_reader();
                    }
                    return Err(bus_error(error));
                }
                Err(_) => {
                    self.forget_reader();
                    return Err(BusError("Redis does not answer a blocking read".to_owned()));
                }
            };
        let read = entries(reply);
        let read = read.ok_or_else(|| BusError("XREAD answered something else than streams".to_owned()))?;
        if let (Some(replication), Some(entry)) = (self.replication, read.first()) {
            let is_done = replication.is_done(entry.shard, &mut connection).await;
            let is_done = is_done.inspect_err(|_| self.forget_reader()).map_err(bus_error)?;
            if !is_done {
                return Err(bus_error(not_replicated()));
            }
        }
        Ok(read)
    }

    async fn interrupt_read(&self) {
        if let Some(interrupter) = &self.interrupter {
            interrupter.interrupt();
        }
        if let Some(id) = self.reader_id.get() {
            // Where it fails, the read ends by itself within READ_WAIT.
            let mut unblock = cmd("CLIENT");
            unblock.arg("UNBLOCK").arg(id);
            let _ = unblock.query_async::<i64>(&mut self.commands()).await;
        }
    }

    async fn extent(&self, shard: Shard) -> Result<Extent, BusError> {
        Extent::of(&mut self.commands(), shard).await.map_err(bus_error)
    }

    fn is_surveyed(&self) -> bool {
        match &self.freshness {
            Some(freshness) => !freshness.is_fresh(),
            None => self.reader.borrow().is_some() && self.surveyed.get(),
        }
    }

    async fn survey(&self, cursors: &[(Shard, EntryId)]) -> Result<Survey, BusError> {
        if let Some(freshness) = &self.freshness {
            freshness.set(false);
            let survey = self.survey_on(&self.commands(), cursors).await;
            return survey.map_err(bus_error).inspect_err(|_| freshness.set(true));
        }
        // The very connection that is read from, so that both are about the same server.
        let connection = self.reader().await?;
        self.surveyed.set(true);
        let survey = self.survey_on(&connection, cursors);
        // That connection has no time limit of its own.
        let survey = timeout(RESPONSE_MAX, survey).await;
        let survey = survey.map_or_else(
            |_| Err(BusError("Redis does not answer a survey".to_owned())),
            |survey| survey.map_err(bus_error),
        );
        survey.inspect_err(|_| self.forget_reader())
    }

    async fn range(
        &self,
        shard: Shard,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<ReadEntry>, BusError> {
        let mut command = cmd("XREVRANGE");
        command.arg(keys::bus(shard)).arg(to.to_string()).arg(from.to_string());
        command.arg("COUNT").arg(count);
        let reply = command.query_async::<Value>(&mut self.commands()).await.map_err(bus_error)?;
        range(reply, shard)
            .ok_or_else(|| BusError("XREVRANGE answered something else than entries".to_owned()))
    }

    async fn trim(&self, shards: &[Shard], before: EntryId) -> Result<(), BusError> {
        let before = before.to_string();
        // One command for each shard, all at once: in a Cluster they go to several servers.
        let trim = |shard: &Shard| {
            let mut command = cmd("XTRIM");
            // Whole nodes of the stream only, which costs next to nothing.
            command.arg(keys::bus(*shard)).arg("MINID").arg("~").arg(&before);
            async move { command.query_async::<u64>(&mut self.commands()).await }
        };
        try_join_all(shards.iter().map(trim)).await.map_err(bus_error)?;
        Ok(())
    }

    async fn rooms_last(&self, shard: Shard, rooms: &[RoomId]) -> Result<RoomsLast, BusError> {
        let mut command = cmd("HMGET");
        command.arg(keys::last(shard)).arg(keys::LAST_TOLD_TO);
        for room in rooms {
            command.arg(room.get());
        }
        let reply: Vec<Option<String>> =
            command.query_async(&mut self.commands()).await.map_err(bus_error)?;
        let mut reply = reply.into_iter();
        let told_to = reply.next().flatten().and_then(|id| id.parse().ok()).unwrap_or(EntryId::ZERO);
        let last = reply.map(|id| id.and_then(|id| id.parse().ok()).unwrap_or(MessageId::ZERO));
        Ok(RoomsLast { told_to, last: last.collect() })
    }

    async fn say(&self, shard: Shard, entry: Bytes) -> Result<(), BusError> {
        let mut command = cmd("PUBLISH");
        command.arg(keys::live(shard)).arg(&*entry);
        command.query_async::<i64>(&mut self.commands()).await.map_err(bus_error)?;
        Ok(())
    }

    async fn hear(&self) -> Result<Vec<Bytes>, BusError> {
        let present = self.channels.borrow_mut().take();
        let (breaks, mut channels) = match present {
            Some((breaks, channels)) if breaks == self.breaks.get() => (breaks, channels),
            Some(_) | None => {
                let breaks = self.breaks.get();
                let connect = async {
                    let mut pubsub = self.commands.anyone().await?.get_async_pubsub().await?;
                    pubsub.psubscribe(format!("{LIVE}*")).await?;
                    pubsub.subscribe(keys::answers(&self.run_id)).await?;
                    Ok(pubsub.into_on_message())
                };
                let channels = timeout(2 * CONNECT_MAX, connect)
                    .await
                    .map_err(|_| BusError("Redis does not take a connection for pub/sub".to_owned()))?
                    .map_err(bus_error)?;
                (breaks, channels)
            }
        };
        let mut heard = Vec::new();
        let mut take = |message: &Msg| {
            if message.get_channel_name().starts_with(LIVE) {
                heard.push(Bytes::copy_from_slice(message.get_payload_bytes()));
            } else {
                self.take_answer(message.get_payload_bytes());
            }
        };
        match timeout(READ_WAIT, channels.next()).await {
            Ok(Some(message)) => take(&message),
            Ok(None) => return Err(BusError("the pub/sub connection broke".to_owned())),
            Err(_) => {}
        }
        while let Some(Some(message)) = channels.next().now_or_never() {
            take(&message);
        }
        *self.channels.borrow_mut() = Some((breaks, channels));
        Ok(heard)
    }

    async fn heartbeat(&self) -> Result<Epoch, BusError> {
        agree(&mut self.commands(), self.shards).await.map_err(bus_error)
    }

    fn run(&self) -> Option<String> {
        Some(self.run_id.clone())
    }

    async fn report(&self, report: &GatewayReport, lives: Duration) -> Result<(), BusError> {
        let json = serde_json::to_string(report).map_err(|error| BusError(error.to_string()))?;
        // Beside the roll, which has it by this name.
        let noted_as = self.run.borrow().clone();
        if noted_as.is_empty() {
            return Ok(());
        }
        let mut set = cmd("SET");
        set.arg(keys::gateway(&noted_as)).arg(json).arg("EX").arg(lives.as_secs().max(1));
        set.query_async::<()>(&mut self.commands()).await.map_err(bus_error)
    }
}

/// Whether a stream has an entry with this id or a later one.
fn is_too_small(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.starts_with("The ID specified in XADD is equal or smaller"))
}

/// The cursor's entry is asked for first: one that is gone by trimming is then before what the stream begins with.
async fn footing(mut connection: impl ConnectionLike, shard: Shard, cursor: EntryId) -> RedisResult<Footing> {
    let mut at_cursor = cmd("XRANGE");
    at_cursor.arg(keys::bus(shard)).arg(cursor.to_string()).arg(cursor.to_string());
    let at_cursor = range(at_cursor.query_async::<Value>(&mut connection).await?, shard)
        .ok_or((ErrorKind::Parse, "XRANGE answered something else than entries"))?;
    let extent = Extent::of(&mut connection, shard).await?;
    Ok(Footing { extent, has_cursor: !at_cursor.is_empty() })
}

impl RedisBackend {
    async fn survey_on(
        &self,
        connection: &(impl ConnectionLike + Clone),
        cursors: &[(Shard, EntryId)],
    ) -> RedisResult<Survey> {
        let epoch = agree(&mut connection.clone(), self.shards).await?;
        let footings = cursors.iter().map(|(shard, cursor)| footing(connection.clone(), *shard, *cursor));
        let footings = join_all(footings).await;
        match footings.iter().find_map(|footing| footing.as_ref().err()) {
            // One connection for all of them: it is of no use.
            Some(error) if !self.shards_fail_apart() || footings.iter().all(Result::is_err) => {
                Err(error.clone())
            }
            Some(_) | None => Ok(Survey { epoch, footings: footings.into_iter().map(Result::ok).collect() }),
        }
    }

    /// The connection for blocking reads, made where there is none.
    async fn reader(&self) -> Result<MultiplexedConnection, BusError> {
        let present = self.reader.borrow().clone();
        if let Some(connection) = present {
            return Ok(connection);
        }
        let connect = async {
            let mut connection = self.commands.connect(&keys::bus(Shard::new(0)), None).await?;
            let id = cmd("CLIENT").arg("ID").query_async::<i64>(&mut connection).await?;
            Ok((connection, id))
        };
        let (connection, id) = connect.await.map_err(bus_error)?;
        self.reader_id.set(Some(id));
        self.surveyed.set(false);
        *self.reader.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    fn forget_reader(&self) {
        self.breaks.set(self.breaks.get() + 1);
        self.reader_id.set(None);
        *self.reader.borrow_mut() = None;
    }
}
