//! The bus on Redis streams.
//!
//! Three connections, because a blocking read holds up everything behind it: one for commands, one for
//! `XREAD BLOCK`, one for pub/sub. Each is made anew, lazily, after it broke. Whether an append happened is
//! certain only while its connection lives: an error of the server means no, a broken connection means
//! perhaps ([`AppendError`](super::backend::AppendError)).
//!
//! Absent so far: Sentinel, Cluster, TLS.

mod author;
mod directory;
mod parse;
mod start;
mod streams;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hubbub_common::entry::new_origin;
use hubbub_common::shard::Shards;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncConnectionConfig, Client, RedisError};

use super::backend::BusError;
use author::Asked;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a command may take to be answered.
const RESPONSE_MAX: Duration = Duration::from_secs(2);

/// See the module's text.
pub struct RedisBackend {
    client: Client,
    /// This run of this gateway: presence that an earlier run left behind must not count as ours.
    run_id: String,
    shards: Shards,
    commands: RefCell<Option<MultiplexedConnection>>,
    reader: RefCell<Option<MultiplexedConnection>>,
    /// `CLIENT ID` of the reader, to unblock it.
    reader_id: Cell<Option<i64>>,
    channels: RefCell<Option<PubSubStream>>,
    asked: RefCell<Asked>,
}

impl RedisBackend {
    fn new(client: Client, shards: Shards, server_id: &str) -> Self {
        Self {
            client,
            run_id: format!("{server_id}#{:08x}", new_origin() >> 32),
            shards,
            commands: RefCell::new(None),
            reader: RefCell::new(None),
            reader_id: Cell::new(None),
            channels: RefCell::new(None),
            asked: RefCell::default(),
        }
    }

    async fn connect(&self, response_max: Option<Duration>) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(response_max);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// The connection for commands, made where there is none.
    async fn commands(&self) -> Result<MultiplexedConnection, RedisError> {
        let present = self.commands.borrow().clone();
        if let Some(connection) = present {
            return Ok(connection);
        }
        let connection = self.connect(Some(RESPONSE_MAX)).await?;
        *self.commands.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    /// Runs one command or pipeline, and lets go of a connection that broke.
    async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, BusError> {
        let mut connection = self.commands().await.map_err(bus_error)?;
        let outcome = command(&mut connection).await;
        if let Err(error) = &outcome {
            self.forget_if_broken(error);
        }
        outcome.map_err(bus_error)
    }

    fn forget_if_broken(&self, error: &RedisError) {
        if is_broken(error) {
            *self.commands.borrow_mut() = None;
        }
    }
}

/// Whether the connection is of no use any more.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn bus_error(error: RedisError) -> BusError {
    BusError(error.to_string())
}
