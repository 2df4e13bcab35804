//! Streams: `XADD`, `XREAD`, and a pub/sub channel beside each for what is not stored.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{FutureExt as _, StreamExt as _};
use hubbub_common::clock::now_ms;
use hubbub_common::ids::{EntryId, MessageId, RoomId};
use hubbub_common::keys;
use hubbub_common::redis::{CONNECT_MAX, Fault, entries, entry_id, first_id, is_broken, xread};
use hubbub_common::shard::Shard;
use redis::aio::MultiplexedConnection;
use redis::{Msg, Value, cmd, pipe};
use tokio::time::timeout;

use super::{RedisBackend, bus_error};
use crate::bus::backend::{AppendError, BusError, READ_WAIT, ReadEntry, Streams};

/// Entries of one shard in one read: with every shard full, some 50 MB.
pub(super) const READ_ENTRIES_MAX: usize = 100;
/// How long a blocking read may be overdue before its connection counts as broken.
const READ_OVERDUE: Duration = Duration::from_secs(2);
/// A run of a gateway that was silent for so long is forgotten.
const GATEWAY_FORGOTTEN_MS: u64 = 24 * 60 * 60 * 1_000;
/// The channels of all shards begin so.
const LIVE: &str = "live:";

impl Streams for RedisBackend {
    async fn append(&self, shard: Shard, entry: Bytes) -> Result<EntryId, AppendError> {
        let mut command = cmd("XADD");
        command.arg(keys::bus(shard)).arg("*").arg(keys::ENTRY_FIELD).arg(&*entry);
        let reply = match self.appends.send(&command).await {
            Ok(reply) => reply,
            Err(Fault::Refused(error)) => return Err(AppendError::Refused(error.to_string())),
            Err(Fault::Unknown(error)) => {
                // There may be a new primary; what the reader's server has to tell may be the past.
                self.forget_reader();
                return Err(AppendError::Unknown(error.to_string()));
            }
        };
        if let Some(replicas) = &self.replicas {
            replicas.appended(shard, &reply);
        }
        let Value::BulkString(id) = reply.value else {
            return Err(AppendError::Unknown("XADD answered no entry id".to_owned()));
        };
        entry_id(&id).ok_or_else(|| AppendError::Unknown("XADD answered no entry id".to_owned()))
    }

    fn shards_fail_apart(&self) -> bool {
        self.commands.servers().url().is_cluster()
    }

    fn awaits_replicas(&self) -> bool {
        self.replicas.is_some()
    }

    fn replicated(&self, shard: Shard) -> impl Future<Output = bool> + 'static {
        let confirmation = self.replicas.as_ref().map(|replicas| replicas.confirm(shard));
        async move {
            match confirmation {
                Some(confirmation) => confirmation.await,
                None => true,
            }
        }
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
        entries(reply).ok_or_else(|| BusError("XREAD answered something else than streams".to_owned()))
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

    async fn tail(&self, shard: Shard) -> Result<EntryId, BusError> {
        let mut command = cmd("XREVRANGE");
        command.arg(keys::bus(shard)).arg("+").arg("-").arg("COUNT").arg(1);
        let reply = command.query_async::<Value>(&mut self.commands()).await.map_err(bus_error)?;
        first_id(reply).ok_or_else(|| BusError("XREVRANGE answered something else than entries".to_owned()))
    }

    async fn rooms_last(&self, rooms: &[RoomId]) -> Result<Vec<MessageId>, BusError> {
        // One command for each shard, all at once: in a Cluster they go to several servers.
        let mut by_shard: BTreeMap<Shard, Vec<RoomId>> = BTreeMap::new();
        for room in rooms {
            by_shard.entry(self.shards.of(*room)).or_default().push(*room);
        }
        let look_up = by_shard.into_iter().map(|(shard, rooms)| async move {
            let mut command = cmd("HMGET");
            command.arg(keys::last(shard));
            for room in &rooms {
                command.arg(room.get());
            }
            let last: Vec<Option<String>> = command.query_async(&mut self.commands()).await?;
            let id = |id: Option<String>| id.and_then(|id| id.parse().ok()).unwrap_or(MessageId::ZERO);
            Ok(rooms.into_iter().zip(last.into_iter().map(id)).collect::<Vec<_>>())
        });
        let found = try_join_all(look_up).await.map_err(bus_error)?;
        let found: BTreeMap<RoomId, MessageId> = found.into_iter().flatten().collect();
        Ok(rooms.iter().map(|room| found.get(room).copied().unwrap_or(MessageId::ZERO)).collect())
    }

    async fn say(&self, shard: Shard, entry: Bytes) -> Result<(), BusError> {
        let mut command = cmd("PUBLISH");
        command.arg(keys::live(shard)).arg(&*entry);
        command.query_async::<i64>(&mut self.commands()).await.map_err(bus_error)?;
        Ok(())
    }

    async fn hear(&self) -> Result<Vec<Bytes>, BusError> {
        let present = self.channels.borrow_mut().take();
        let mut channels = match present {
            Some(channels) => channels,
            None => {
                let connect = async {
                    let mut pubsub = self.commands.anyone().await?.get_async_pubsub().await?;
                    pubsub.psubscribe(format!("{LIVE}*")).await?;
                    pubsub.subscribe(keys::answers(&self.run_id)).await?;
                    Ok(pubsub.into_on_message())
                };
                timeout(2 * CONNECT_MAX, connect)
                    .await
                    .map_err(|_| BusError("Redis does not take a connection for pub/sub".to_owned()))?
                    .map_err(bus_error)?
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
        *self.channels.borrow_mut() = Some(channels);
        Ok(heard)
    }

    async fn heartbeat(&self) -> Result<(), BusError> {
        let mut pipeline = pipe();
        pipeline.cmd("ZADD").arg(keys::GATEWAYS).arg(now_ms()).arg(&self.run_id).ignore();
        let long_gone = now_ms().saturating_sub(GATEWAY_FORGOTTEN_MS);
        pipeline.cmd("ZREMRANGEBYSCORE").arg(keys::GATEWAYS).arg("-inf").arg(long_gone).ignore();
        pipeline.query_async::<()>(&mut self.commands()).await.map_err(bus_error)
    }
}

impl RedisBackend {
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
        *self.reader.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    fn forget_reader(&self) {
        self.reader_id.set(None);
        *self.reader.borrow_mut() = None;
    }
}
