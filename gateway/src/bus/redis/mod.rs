//! The bus on Redis streams.
//!
//! Connections of three kinds, because a blocking read holds up everything behind it: for commands, for blocking
//! reads (one for all streams, or in a Cluster one for each), and for pub/sub. Each is made anew, lazily, after
//! it broke, to whoever is the primary then. Whether an append happened is certain only while its connection
//! lives: an error of the server means no, a broken connection means perhaps
//! ([`AppendError`](super::backend::AppendError)).

mod author;
mod directory;
mod presence;
mod roll;
mod start;
mod streams;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use hubbub_common::config::Ack;
use hubbub_common::entry::new_origin;
use hubbub_common::redis::{Commands, Freshness, Interrupter, Replication, ShardReaders};
use hubbub_common::shard::{Shard, Shards};
use redis::RedisError;
use redis::aio::{MultiplexedConnection, PubSubStream};

use super::backend::{BusError, READ_WAIT};
use author::Asked;
pub(crate) use roll::Known;
use streams::READ_ENTRIES_MAX;

/// See the module's text.
pub struct RedisBackend {
    server_id: String,
    /// Whether a control plane knows the messages that are no longer in their streams.
    has_history: bool,
    /// This process, as the control plane knows it: answers and operators' wishes name it.
    run_id: String,
    /// What presence is noted as, another each time that Redis has lost it: see [`Presence`](super::backend::Presence).
    run: RefCell<String>,
    known: RefCell<Known>,
    /// The last one that was said.
    heartbeat_ms: Cell<u64>,
    shards: Shards,
    commands: Commands,
    /// Where only what replicas have is read.
    replication: Option<Replication>,
    reader: RefCell<Option<MultiplexedConnection>>,
    /// `CLIENT ID` of the reader, to unblock it.
    reader_id: Cell<Option<i64>>,
    /// Whether the reader's connection was there at the last survey.
    surveyed: Cell<bool>,
    /// The readers of a Cluster, while nobody reads.
    shard_readers: RefCell<Option<ShardReaders>>,
    interrupter: Option<Interrupter>,
    freshness: Option<Freshness>,
    /// Times that the connection for reading, or one for appending, turned out to be of no use.
    breaks: Cell<u64>,
    /// With the number of breaks before it was made: one that only listens never finds out that its server is gone.
    channels: RefCell<Option<(u64, PubSubStream)>>,
    asked: RefCell<Asked>,
    /// Milliseconds in which a shard has nearly as many entries as have ids: a clock that was set back stands still
    /// for its streams.
    crowded_ms: RefCell<HashMap<Shard, u64>>,
}

impl RedisBackend {
    fn new(commands: Commands, shards: Shards, ack: Ack, server_id: &str, has_history: bool) -> Self {
        let replication = Replication::of(ack);
        let cluster = commands.servers().url().is_cluster();
        let readers = cluster.then(|| ShardReaders::new(&commands, READ_ENTRIES_MAX, READ_WAIT, replication));
        Self {
            server_id: server_id.to_owned(),
            has_history,
            run: RefCell::default(),
            known: RefCell::default(),
            heartbeat_ms: Cell::default(),
            run_id: format!("{server_id}#{:08x}", new_origin() >> 32),
            shards,
            commands,
            replication,
            reader: RefCell::new(None),
            reader_id: Cell::new(None),
            surveyed: Cell::new(false),
            interrupter: readers.as_ref().map(ShardReaders::interrupter),
            freshness: readers.as_ref().map(ShardReaders::freshness),
            shard_readers: RefCell::new(readers),
            breaks: Cell::new(0),
            channels: RefCell::new(None),
            asked: RefCell::default(),
            crowded_ms: RefCell::default(),
        }
    }

    /// The connection for commands.
    fn commands(&self) -> Commands {
        self.commands.clone()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn bus_error(error: RedisError) -> BusError {
    BusError(error.to_string())
}
