//! Streams: `XADD`, `XREAD`, and a pub/sub channel beside each for what is not stored.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use hubbub_common::clock::now_ms;
use hubbub_common::ids::{EntryId, MessageId, RoomId};
use hubbub_common::keys;
use hubbub_common::shard::Shard;
use redis::aio::MultiplexedConnection;
use redis::{Msg, Value, cmd, pipe};
use tokio::time::timeout;

use super::{CONNECT_MAX, RedisBackend, bus_error, is_broken, parse};
use crate::bus::backend::{AppendError, BusError, READ_WAIT, ReadEntry, Streams};

/// Entries of one shard in one read: with every shard full, some 50 MB.
const READ_ENTRIES_MAX: usize = 100;
/// How long a blocking read may be overdue before its connection counts as broken.
const READ_OVERDUE: Duration = Duration::from_secs(2);
/// A run of a gateway that was silent for so long is forgotten.
const GATEWAY_FORGOTTEN_MS: u64 = 24 * 60 * 60 * 1_000;
/// The channels of all shards begin so.
const LIVE: &str = "live:";

impl Streams for RedisBackend {
    async fn append(&self, shard: Shard, entry: Bytes) -> Result<EntryId, AppendError> {
        // Before the command is sent, every error means that it was not.
        let mut connection =
            self.commands().await.map_err(|error| AppendError::Refused(error.to_string()))?;
        let mut command = cmd("XADD");
        command.arg(keys::bus(shard)).arg("*").arg(keys::ENTRY_FIELD).arg(&*entry);
        match command.query_async::<Vec<u8>>(&mut connection).await {
            Ok(id) => parse::parse_id(&id)
                .ok_or_else(|| AppendError::Unknown("XADD answered no entry id".to_owned())),
            Err(error) if is_broken(&error) => {
                self.forget_if_broken(&error);
                Err(AppendError::Unknown(error.to_string()))
            }
            Err(error) => Err(AppendError::Refused(error.to_string())),
        }
    }

    async fn read(&self, cursors: &[(Shard, EntryId)]) -> Result<Vec<ReadEntry>, BusError> {
        let mut connection = self.reader().await?;
        let mut command = cmd("XREAD");
        let wait_ms = u64::try_from(READ_WAIT.as_millis()).unwrap_or(1_000);
        command.arg("COUNT").arg(READ_ENTRIES_MAX).arg("BLOCK").arg(wait_ms).arg("STREAMS");
        for (shard, _) in cursors {
            command.arg(keys::bus(*shard));
        }
        for (_, cursor) in cursors {
            command.arg(cursor.to_string());
        }
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
        parse::entries(reply, keys::shard_of_bus)
            .ok_or_else(|| BusError("XREAD answered something else than streams".to_owned()))
    }

    async fn interrupt_read(&self) {
        if let Some(id) = self.reader_id.get() {
            // Where it fails, the read ends by itself within READ_WAIT.
            let _ = self
                .run(async |connection: &mut MultiplexedConnection| {
                    cmd("CLIENT").arg("UNBLOCK").arg(id).query_async::<i64>(connection).await
                })
                .await;
        }
    }

    async fn tail(&self, shard: Shard) -> Result<EntryId, BusError> {
        let reply = self
            .run(async |connection: &mut MultiplexedConnection| {
                let mut command = cmd("XREVRANGE");
                command.arg(keys::bus(shard)).arg("+").arg("-").arg("COUNT").arg(1);
                command.query_async::<Value>(connection).await
            })
            .await?;
        parse::first_id(reply)
            .ok_or_else(|| BusError("XREVRANGE answered something else than entries".to_owned()))
    }

    async fn rooms_last(&self, rooms: &[RoomId]) -> Result<Vec<MessageId>, BusError> {
        let last: Vec<Option<String>> = self
            .run(async |connection: &mut MultiplexedConnection| {
                let mut pipeline = pipe();
                for room in rooms {
                    pipeline.hget(keys::last(self.shards.of(*room)), room.get());
                }
                pipeline.query_async(connection).await
            })
            .await?;
        Ok(last.into_iter().map(|id| id.and_then(|id| id.parse().ok()).unwrap_or(MessageId::ZERO)).collect())
    }

    async fn say(&self, shard: Shard, entry: Bytes) -> Result<(), BusError> {
        self.run(async |connection: &mut MultiplexedConnection| {
            cmd("PUBLISH").arg(keys::live(shard)).arg(&*entry).query_async::<i64>(connection).await
        })
        .await?;
        Ok(())
    }

    async fn hear(&self) -> Result<Vec<Bytes>, BusError> {
        let present = self.channels.borrow_mut().take();
        let mut channels = match present {
            Some(channels) => channels,
            None => {
                let connect = self.client.get_async_pubsub();
                let mut pubsub = timeout(CONNECT_MAX, connect)
                    .await
                    .map_err(|_| BusError("Redis does not take a connection for pub/sub".to_owned()))?
                    .map_err(bus_error)?;
                pubsub.psubscribe(format!("{LIVE}*")).await.map_err(bus_error)?;
                pubsub.subscribe(keys::answers(&self.run_id)).await.map_err(bus_error)?;
                pubsub.into_on_message()
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
        self.run(async |connection: &mut MultiplexedConnection| {
            let mut pipeline = pipe();
            pipeline.cmd("ZADD").arg(keys::GATEWAYS).arg(now_ms()).arg(&self.run_id).ignore();
            let long_gone = now_ms().saturating_sub(GATEWAY_FORGOTTEN_MS);
            pipeline.cmd("ZREMRANGEBYSCORE").arg(keys::GATEWAYS).arg("-inf").arg(long_gone).ignore();
            pipeline.query_async::<()>(connection).await
        })
        .await?;
        Ok(())
    }
}

impl RedisBackend {
    /// The connection for blocking reads, made where there is none.
    async fn reader(&self) -> Result<MultiplexedConnection, BusError> {
        let present = self.reader.borrow().clone();
        if let Some(connection) = present {
            return Ok(connection);
        }
        let mut connection = self.connect(None).await.map_err(bus_error)?;
        let id = cmd("CLIENT").arg("ID").query_async::<i64>(&mut connection).await.map_err(bus_error)?;
        self.reader_id.set(Some(id));
        *self.reader.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    fn forget_reader(&self) {
        self.reader_id.set(None);
        *self.reader.borrow_mut() = None;
    }
}
