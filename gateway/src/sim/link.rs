//! A gateway's way to Redis, and all that can happen on it.
//!
//! Latency in both directions; a Redis that refuses connections; one that is silent, so that commands are lost or
//! arrive long after their sender gave up; single appends whose reply is lost, stored or not; errors.

mod rights;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_common::ids::{EntryId, RoomId};
use hubbub_common::redis::{Epoch, Extent};
use hubbub_common::shard::Shard;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::redis::{Channel, Redis};
use super::scene::Scene;
use crate::bus::backend::{AppendError, BusError, Footing, READ_WAIT, ReadEntry, RoomsLast, Streams, Survey};
use crate::bus::redis::Known;

/// After how long a command without a reply counts as lost.
const REPLY_MAX: Duration = Duration::from_millis(1_500);
/// By when a command that was lost on the way has arrived, if ever.
const LATE_MAX_MS: u64 = 3_000;

/// Latency where nothing is wrong, at most, and entries in one read.
const LATENCY_MS: u64 = 2;
const READS_AT_ONCE: u64 = 100;

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As it should be.
    Open,
    /// Connections are refused, and those that there were broke.
    Refusing,
    /// Nothing comes back.
    Silent,
}

/// The connection that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    None,
    New,
    /// It was there at the last survey.
    Surveyed,
}

/// See the module's text.
pub(super) struct Link {
    pub(super) scene: Rc<Scene>,
    pub(super) redis: Rc<Redis>,
    server_id: String,
    /// What presence is noted as.
    run: RefCell<String>,
    known: RefCell<Known>,
    heartbeat_ms: Cell<u64>,
    /// How long replicas may take to have what is read; `None` where nobody waits for them.
    confirms_within: Option<Duration>,
    way: Cell<Way>,
    /// Counts the changes of the way: what was under way at one of them is lost.
    changes: Cell<u64>,
    changed: Notify,
    interrupted: Notify,
    /// Whether there is a connection for commands.
    connected: Cell<bool>,
    reader: Cell<Reader>,
    pub(super) latency_ms_max: Cell<u64>,
    pub(super) reads_at_once_max: Cell<u64>,
    /// Appends whose reply is lost, in a thousand.
    pub(super) lost_per_mille: Cell<u64>,
    /// Commands that are refused, in a thousand.
    pub(super) refused_per_mille: Cell<u64>,
    channel: RefCell<Option<Rc<Channel>>>,
}

/// A command or its reply did not arrive.
struct Lost;

impl From<Lost> for BusError {
    fn from(_: Lost) -> Self {
        Self("the connection broke".to_owned())
    }
}

impl Link {
    pub(super) fn new(
        scene: &Rc<Scene>,
        redis: &Rc<Redis>,
        server_id: &str,
        confirms_within: Option<Duration>,
    ) -> Self {
        Self {
            scene: Rc::clone(scene),
            redis: Rc::clone(redis),
            server_id: server_id.to_owned(),
            run: RefCell::default(),
            known: RefCell::default(),
            heartbeat_ms: Cell::default(),
            confirms_within,
            way: Cell::new(Way::Open),
            changes: Cell::new(0),
            changed: Notify::new(),
            interrupted: Notify::new(),
            connected: Cell::new(false),
            reader: Cell::new(Reader::None),
            latency_ms_max: Cell::new(LATENCY_MS),
            reads_at_once_max: Cell::new(READS_AT_ONCE),
            lost_per_mille: Cell::new(0),
            refused_per_mille: Cell::new(0),
            channel: RefCell::default(),
        }
    }

    pub(super) fn way(&self) -> Way {
        self.way.get()
    }

    pub(super) fn set_way(&self, way: Way) {
        if self.way.replace(way) != way {
            self.changes.set(self.changes.get() + 1);
            if way == Way::Refusing {
                self.connected.set(false);
                self.reader.set(Reader::None);
                self.channel.take();
            }
            self.changed.notify_waiters();
        }
    }

    /// Whether commands take longer than they need, or forever.
    pub(super) fn is_troubled(&self) -> bool {
        self.way.get() != Way::Open
            || self.latency_ms_max.get() > LATENCY_MS
            || self.reads_at_once_max.get() < READS_AT_ONCE
    }

    /// Takes away whatever is wrong with it.
    pub(super) fn mend(&self) {
        self.set_way(Way::Open);
        self.latency_ms_max.set(LATENCY_MS);
        self.reads_at_once_max.set(READS_AT_ONCE);
        self.lost_per_mille.set(0);
        self.refused_per_mille.set(0);
    }

    /// Makes sure that there is a connection.
    async fn connect(&self) -> Result<(), BusError> {
        if !self.connected.get() {
            let failed = |_| BusError("no connection".to_owned());
            self.travel().await.map_err(failed)?;
            self.travel().await.map_err(failed)?;
            self.connected.set(true);
        }
        Ok(())
    }

    /// One way, whichever.
    async fn travel(&self) -> Result<(), Lost> {
        let before = self.changes.get();
        let latency_ms = self.scene.below(self.latency_ms_max.get() + 1);
        if latency_ms > 0 {
            let _ = timeout(Duration::from_millis(latency_ms), self.broken(before)).await;
        }
        let outcome = match self.way.get() {
            _ if self.changes.get() != before => Err(Lost),
            Way::Open => Ok(()),
            Way::Refusing => Err(Lost),
            Way::Silent => {
                let _ = timeout(REPLY_MAX, self.broken(before)).await;
                Err(Lost)
            }
        };
        if outcome.is_err() {
            self.connected.set(false);
            self.reader.set(Reader::None);
        }
        outcome
    }

    /// The way has changed.
    async fn broken(&self, before: u64) {
        loop {
            let changed = self.changed.notified();
            if self.changes.get() != before {
                return;
            }
            changed.await;
        }
    }

    /// A command that can be repeated.
    async fn command<T>(&self, run: impl FnOnce(&Redis) -> T) -> Result<T, BusError> {
        self.connect().await?;
        self.travel().await?;
        if self.scene.happens(self.refused_per_mille.get()) {
            return Err(BusError("LOADING".to_owned()));
        }
        let reply = run(&self.redis);
        self.travel().await?;
        Ok(reply)
    }

    fn lose_later(&self, shard: Shard, entry: Bytes) {
        if self.scene.happens(500) {
            self.redis.append_later(self.scene.below(LATE_MAX_MS), shard, entry);
        }
    }
}

fn unknown(_: Lost) -> AppendError {
    AppendError::Unknown("the connection broke".to_owned())
}

/// What the engine has in its hands.
pub(super) struct SimBackend(pub(super) Rc<Link>);

impl Streams for SimBackend {
    async fn append(&self, shard: Shard, entry: Bytes) -> Result<EntryId, AppendError> {
        let link = &self.0;
        link.connect().await.map_err(|error| AppendError::Refused(error.to_string()))?;
        if let Err(lost) = link.travel().await {
            link.lose_later(shard, entry);
            return Err(unknown(lost));
        }
        if link.scene.happens(link.refused_per_mille.get()) {
            return Err(AppendError::Refused("OOM".to_owned()));
        }
        if link.scene.happens(link.lost_per_mille.get()) {
            match link.scene.below(3) {
                0 => {}
                1 => drop(link.redis.append(shard, entry)),
                _ => link.lose_later(shard, entry),
            }
            link.connected.set(false);
            return Err(unknown(Lost));
        }
        let id = link.redis.append(shard, entry);
        link.travel().await.map_err(unknown)?;
        Ok(id)
    }

    async fn read(&self, cursors: &[(Shard, EntryId)]) -> Result<Vec<ReadEntry>, BusError> {
        let link = &self.0;
        if link.reader.get() == Reader::None {
            link.reader.set(Reader::New);
        }
        link.travel().await?;
        let count = usize::try_from(link.scene.between(1, link.reads_at_once_max.get())).unwrap_or(1);
        let before = link.changes.get();
        let waited = timeout(READ_WAIT, async {
            loop {
                let (changed, interrupted) = (link.redis.changed.notified(), link.interrupted.notified());
                let entries = link.redis.read(cursors, count);
                if !entries.is_empty() {
                    return Ok(entries);
                }
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = interrupted => return Ok(Vec::new()),
                    () = link.broken(before) => {
                        link.reader.set(Reader::None);
                        return Err(Lost);
                    }
                }
            }
        });
        let entries = waited.await.unwrap_or(Ok(Vec::new()))?;
        let place = link.redis.newest_append();
        link.travel().await?;
        if let Some(within) = link.confirms_within.filter(|_| !entries.is_empty()) {
            // `WAIT`, on the connection that was read from.
            link.travel().await?;
            if !link.redis.gets_replicated(place, within).await {
                return Err(BusError("too few replicas have what was appended".to_owned()));
            }
            link.travel().await?;
        }
        Ok(entries)
    }

    async fn interrupt_read(&self) {
        let _ = self.0.command(|_| self.0.interrupted.notify_waiters()).await;
    }

    async fn extent(&self, shard: Shard) -> Result<Extent, BusError> {
        self.0.command(|redis| redis.extent(shard)).await
    }

    fn is_surveyed(&self) -> bool {
        self.0.reader.get() == Reader::Surveyed
    }

    async fn survey(&self, cursors: &[(Shard, EntryId)]) -> Result<Survey, BusError> {
        let link = &self.0;
        link.reader.set(Reader::Surveyed);
        let has_entry = |(shard, cursor): &(Shard, EntryId)| link.redis.has(*shard, *cursor);
        link.travel().await?;
        let epoch = link.redis.epoch();
        let have: Vec<bool> = cursors.iter().map(has_entry).collect();
        // Two commands for each: the stream may be trimmed in between.
        link.travel().await?;
        link.travel().await?;
        // Each shard may have a server of its own.
        let footing = |((shard, _), has_cursor): (&(Shard, EntryId), bool)| {
            let footing = Footing { extent: link.redis.extent(*shard), has_cursor };
            (!link.scene.happens(link.refused_per_mille.get())).then_some(footing)
        };
        let footings: Vec<_> = cursors.iter().zip(have).map(footing).collect();
        link.travel().await?;
        if !footings.is_empty() && footings.iter().all(Option::is_none) {
            return Err(BusError("no shard could be surveyed".to_owned()));
        }
        Ok(Survey { epoch, footings })
    }

    async fn range(
        &self,
        shard: Shard,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<ReadEntry>, BusError> {
        self.0.command(|redis| redis.range(shard, from, to, count)).await
    }

    async fn trim(&self, shards: &[Shard], before: EntryId) -> Result<(), BusError> {
        self.0.command(|redis| shards.iter().for_each(|shard| redis.trim(*shard, before))).await
    }

    async fn rooms_last(&self, shard: Shard, rooms: &[RoomId]) -> Result<RoomsLast, BusError> {
        let last = |redis: &Redis| RoomsLast {
            told_to: redis.told_to(shard),
            last: rooms.iter().map(|room| redis.last(*room)).collect(),
        };
        self.0.command(last).await
    }

    async fn say(&self, _: Shard, entry: Bytes) -> Result<(), BusError> {
        self.0.command(|redis| redis.publish(&entry)).await
    }

    async fn hear(&self) -> Result<Vec<Bytes>, BusError> {
        let link = &self.0;
        let present = link.channel.borrow().clone();
        let channel = match present {
            Some(channel) => channel,
            None => {
                link.travel().await?;
                link.channel.borrow_mut().insert(link.redis.subscribe()).clone()
            }
        };
        let before = link.changes.get();
        let something = async {
            loop {
                let changed = link.redis.changed.notified();
                if !channel.borrow().is_empty() {
                    return Ok(());
                }
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = link.broken(before) => return Err(Lost),
                }
            }
        };
        timeout(READ_WAIT, something).await.unwrap_or(Ok(()))?;
        link.travel().await?;
        Ok(channel.take().into())
    }

    async fn heartbeat(&self) -> Result<Epoch, BusError> {
        self.0.command(Redis::epoch).await
    }
}

/// Waits so long for everything that is on its way.
pub(super) async fn let_everything_arrive() {
    sleep(REPLY_MAX + Duration::from_millis(LATE_MAX_MS)).await;
}
