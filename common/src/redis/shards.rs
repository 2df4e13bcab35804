//! Reading the streams of a Cluster as they grow.
//!
//! One command can't read streams of several slots, even where one node has them all. So each shard has a
//! connection of its own, to the node that owns its slot, and a blocking read on it. What is in flight stays in
//! flight between two calls: it is begun with the cursor that the caller has, and the cursor moves only by what
//! it brings.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::commands::Commands;
use super::entries::{ReadEntry, entries, xread};
use super::replicated::{Replication, not_replicated};
use super::timed_out;
use crate::ids::EntryId;
use crate::keys;
use crate::shard::Shard;

/// How long a blocking read may be overdue before its connection counts as broken.
const OVERDUE_MAX: Duration = Duration::from_secs(2);
/// Pause before a shard is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// See the module's text.
pub struct ShardReaders {
    commands: Commands,
    entries_max: usize,
    wait: Duration,
    replication: Option<Replication>,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    in_flight: HashSet<Shard>,
    /// Connections of shards that are not in flight.
    connections: HashMap<Shard, MultiplexedConnection>,
    /// Shards whose last read failed, and why.
    failing: HashMap<Shard, RedisError>,
    wake: Arc<Notify>,
    fresh: Arc<AtomicBool>,
}

/// Ends a waiting read early.
#[derive(Clone)]
pub struct Interrupter(Arc<Notify>);

impl Interrupter {
    /// Ends the read that waits, or the next one that would.
    pub fn interrupt(&self) {
        self.0.notify_one();
    }
}

/// Tells whether connections were made, whose servers may have other data than those before.
#[derive(Clone)]
pub struct Freshness(Arc<AtomicBool>);

impl Freshness {
    /// Whether a connection was made since that was set.
    pub fn is_fresh(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Whether it counts that connections were made so far.
    pub fn set(&self, fresh: bool) {
        self.0.store(fresh, Ordering::Release);
    }
}

struct Landed {
    shard: Shard,
    cursor: EntryId,
    outcome: RedisResult<Vec<ReadEntry>>,
    /// Unless it broke, or there was none.
    connection: Option<MultiplexedConnection>,
}

impl ShardReaders {
    /// Reads of at most `entries_max` entries of a shard, that wait for at most `wait`; of entries that replicas have,
    /// where that is asked for.
    pub fn new(
        commands: &Commands,
        entries_max: usize,
        wait: Duration,
        replication: Option<Replication>,
    ) -> Self {
        Self {
            commands: commands.clone(),
            entries_max,
            wait,
            replication,
            flights: FuturesUnordered::new(),
            in_flight: HashSet::new(),
            connections: HashMap::new(),
            failing: HashMap::new(),
            wake: Arc::default(),
            fresh: Arc::default(),
        }
    }

    /// What ends a read early.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::clone(&self.wake))
    }

    /// What tells of new connections.
    pub fn freshness(&self) -> Freshness {
        Freshness(Arc::clone(&self.fresh))
    }

    /// Entries after the cursors, which are in the order of their shards; oldest first within a shard. Waits a
    /// while where there are none. An error means that not one of the shards can be read.
    pub async fn read(&mut self, cursors: &[(Shard, EntryId)]) -> RedisResult<Vec<ReadEntry>> {
        let wake = Arc::clone(&self.wake);
        let mut over = std::pin::pin!(sleep(self.wait));
        let mut read = Vec::new();
        loop {
            for (shard, cursor) in cursors {
                if self.in_flight.insert(*shard) {
                    let flight = self.flight(*shard, *cursor);
                    self.flights.push(flight);
                }
            }
            tokio::select! {
                biased;
                Some(landed) = self.flights.next() => {
                    self.land(landed, cursors, &mut read);
                    while let Some(Some(landed)) = self.flights.next().now_or_never() {
                        self.land(landed, cursors, &mut read);
                    }
                    if !read.is_empty() {
                        return Ok(read);
                    }
                }
                () = wake.notified() => return Ok(read),
                () = &mut over => break,
            }
        }
        let failing = |(shard, _): &(Shard, EntryId)| self.failing.get(shard);
        match cursors.first().and_then(failing) {
            Some(error) if cursors.iter().all(|cursor| failing(cursor).is_some()) => Err(error.clone()),
            _ => Ok(read),
        }
    }

    fn land(&mut self, landed: Landed, cursors: &[(Shard, EntryId)], read: &mut Vec<ReadEntry>) {
        let Landed { shard, cursor, outcome, connection } = landed;
        self.in_flight.remove(&shard);
        match connection {
            Some(connection) => {
                self.connections.insert(shard, connection);
            }
            None => self.commands.is_out_of_date(),
        }
        match outcome {
            Ok(entries) => {
                self.failing.remove(&shard);
                // A read that was begun before the caller changed its mind about where to read counts for nothing.
                if cursors.binary_search(&(shard, cursor)).is_ok() {
                    read.extend(entries);
                }
            }
            Err(error) => {
                if self.failing.insert(shard, error.clone()).is_none() {
                    tracing::warn!(%shard, %error, "a shard can't be read");
                }
            }
        }
    }

    fn flight(&mut self, shard: Shard, cursor: EntryId) -> BoxFuture<'static, Landed> {
        let present = self.connections.remove(&shard);
        let commands = self.commands.clone();
        let was_failing = self.failing.contains_key(&shard);
        let command = xread(&[(shard, cursor)], self.entries_max, self.wait);
        let (answer_max, replication) = (self.wait + OVERDUE_MAX, self.replication);
        let fresh = Arc::clone(&self.fresh);
        let connect = async move {
            let connection = commands.connect(&keys::bus(shard), None).await?;
            fresh.store(true, Ordering::Release);
            Ok(connection)
        };
        let read = async move |connection: &mut MultiplexedConnection| {
            let reply = timeout(answer_max, command.query_async::<Value>(connection)).await;
            let reply = reply.unwrap_or_else(|_| Err(timed_out("a blocking read is overdue")))?;
            let read = entries(reply);
            let read = read.ok_or((ErrorKind::Parse, "XREAD answered something else than streams"))?;
            match replication {
                Some(replication) if !read.is_empty() => {
                    Ok(if replication.is_done(shard, connection).await? { Some(read) } else { None })
                }
                Some(_) | None => Ok(Some(read)),
            }
        };
        async move {
            if was_failing {
                sleep(RETRY_PAUSE).await;
            }
            let connected = match present {
                Some(connection) => Ok(connection),
                None => connect.await,
            };
            let (outcome, connection) = match connected {
                Ok(mut connection) => match read(&mut connection).await {
                    Ok(Some(entries)) => (Ok(entries), Some(connection)),
                    Ok(None) => (Err(not_replicated()), Some(connection)),
                    Err(error) => (Err(error), None),
                },
                Err(error) => (Err(error), None),
            };
            Landed { shard, cursor, outcome, connection }
        }
        .boxed()
    }
}
