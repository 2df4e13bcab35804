//! Replays from the stream, for clients whose `since` lies behind the window.
//!
//! A scan reads one shard backwards, from where the window surely covers everything to before the oldest
//! `since` that waits; so what it has read is whole wherever it has to stop. Then it goes through the entries
//! forwards and keeps the frames of the rooms that are waited for.
//!
//! Repeats are dropped as the shard's own reader dropped them. What that one still remembers, it is asked. For
//! older messages the scan has to have met everything within a resume window before them; and because entries
//! are repeated too, within seconds, it begins some seconds earlier in any case.
//!
//! Scans are bounded in bytes and time, make pauses, and a few at most run at once; a shard has one at a time and
//! a few in a second, each of which serves everybody who has come to wait for it meanwhile: what a storm of
//! clients costs depends on the shards. Whom a scan does not reach gets `replayed: null`.

use std::collections::HashMap;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_common::dedupe::{Dedupe, REPEAT_MS, Verdict};
use hubbub_common::entry::Entry;
use hubbub_common::ids::{EntryId, MessageId, RoomId};
use hubbub_common::redis::Extent;
use hubbub_common::shard::Shard;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::JoinAsk;
use super::backend::{BusError, Directory, ReadEntry, Streams};
use super::engine::{Engine, Reading};
use super::reader::frame;
use super::task::spawn;
use super::window::Window;

/// Scans at once.
pub(super) const SCANS_MAX: usize = 2;
/// Entries in one read of a scan.
const PAGE_ENTRIES: usize = 64;
/// Between two reads of a scan, for everybody else's commands.
const PAGE_PAUSE: Duration = Duration::from_millis(2);
/// Between two scans of a shard, so that of those who come one after the other most are served by one.
const SCAN_PAUSE: Duration = Duration::from_millis(200);
/// How long a scan may read. Joins have to be answered.
const SCAN_MAX: Duration = Duration::from_secs(2);
/// How much further than the window begins now a scan goes, because frames are evicted while it runs.
const OVERLAP_MS: u64 = 10_000;

/// The frames of some rooms of a shard.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Which start of the shard's reader it belongs to.
    pub(super) attempt: u64,
    /// By room, after which event frames were looked for.
    wanted: Wanted,
    /// Every event after this one was met.
    complete_from: MessageId,
    /// Up to this one.
    to: MessageId,
    rooms: HashMap<RoomId, Vec<(MessageId, Bytes)>>,
}

type Wanted = HashMap<RoomId, MessageId>;

impl Scanned {
    /// What is known without looking: nothing.
    pub(super) fn nothing(asks: &[JoinAsk]) -> Self {
        Self {
            attempt: 0,
            wanted: wanted(asks),
            complete_from: MessageId::MAX,
            to: MessageId::ZERO,
            rooms: HashMap::new(),
        }
    }

    /// Whether it reaches nobody.
    pub(super) fn is_nothing(&self) -> bool {
        self.complete_from == MessageId::MAX
    }

    /// Whether a room's events after `since` were looked for.
    pub(super) fn is_about(&self, room: RoomId, since: MessageId) -> bool {
        self.wanted.get(&room).is_some_and(|oldest| since >= *oldest)
    }

    /// Whether all of those that were looked for were met.
    pub(super) fn reaches(&self, since: MessageId) -> bool {
        since >= self.complete_from
    }

    /// The newest event of a room that was met, of those that were looked for.
    pub(super) fn newest(&self, room: RoomId) -> MessageId {
        self.rooms.get(&room).and_then(|met| met.last()).map_or(MessageId::ZERO, |(id, _)| *id)
    }

    /// The frames of a room after `since`: what the scan met, then what the window holds. `None` where some of
    /// them may be in neither: a fail-over takes from the stream what was read before it, and `last` still names it.
    pub(super) fn splice(&self, window: &Window, room: RoomId, since: MessageId) -> Option<Vec<Bytes>> {
        if !self.is_about(room, since) || !self.reaches(since) {
            return None;
        }
        let newer = window.replay(room, since.max(self.to))?;
        if newer.is_empty() && window.last(room) > since.max(self.newest(room)) {
            return None;
        }
        let met = self.rooms.get(&room).map(Vec::as_slice).unwrap_or_default();
        let first = met.partition_point(|(id, _)| *id <= since);
        let mut frames: Vec<Bytes> = met.iter().skip(first).map(|(_, frame)| frame.clone()).collect();
        frames.extend(newer);
        Some(frames)
    }
}

/// The oldest `since` of each room.
fn wanted(asks: &[JoinAsk]) -> Wanted {
    let mut wanted = Wanted::new();
    for ask in asks {
        if let Some(since) = ask.since {
            let oldest = wanted.entry(ask.room).or_insert(since);
            *oldest = since.min(*oldest);
        }
    }
    wanted
}

/// The scans of a shard.
#[derive(Debug, Default)]
pub(super) struct ScanQueue {
    waiting: Vec<(Vec<JoinAsk>, oneshot::Sender<Rc<Scanned>>)>,
    under_way: bool,
    /// The stream begins after this event, as far as is known.
    begins_after: Option<MessageId>,
}

impl ScanQueue {
    /// The stream is another one.
    pub(super) fn forget(&mut self) {
        self.begins_after = None;
    }

    /// Whether a scan could find everything after this event.
    pub(super) fn may_reach(&self, since: MessageId) -> bool {
        self.begins_after.is_none_or(|begins_after| since >= begins_after)
    }
}

impl<B: Streams + Directory> Engine<B> {
    /// What the stream of a shard holds for rooms of a join; nothing when that takes too long.
    pub(super) async fn scan(
        self: &Rc<Self>,
        shard: Shard,
        rooms: Vec<JoinAsk>,
        time: Duration,
    ) -> Rc<Scanned> {
        let (scanned, wait) = oneshot::channel();
        {
            let mut state = self.state.borrow_mut();
            let Some(of_shard) = state.shard(shard) else { return Rc::new(Scanned::nothing(&rooms)) };
            of_shard.scans.waiting.push((rooms.clone(), scanned));
            if !mem::replace(&mut of_shard.scans.under_way, true) {
                spawn(Rc::clone(self).scan_for_all(shard));
            }
        }
        let nothing = || Rc::new(Scanned::nothing(&rooms));
        timeout(time, wait).await.map_or_else(|_| nothing(), |scanned| scanned.unwrap_or_else(|_| nothing()))
    }

    async fn scan_for_all(self: Rc<Self>, shard: Shard) {
        loop {
            let permit = self.scan_permits.acquire().await;
            let waiting = {
                let mut state = self.state.borrow_mut();
                let Some(of_shard) = state.shard(shard) else { return };
                let waiting = mem::take(&mut of_shard.scans.waiting);
                of_shard.scans.under_way = !waiting.is_empty();
                waiting
            };
            if waiting.is_empty() {
                return;
            }
            let asks: Vec<JoinAsk> = waiting.iter().flat_map(|(asks, _)| asks).copied().collect();
            let scanned = self.scan_stream(shard, &asks).await.unwrap_or_else(|error| {
                tracing::debug!(%shard, %error, "a scan failed");
                Scanned::nothing(&asks)
            });
            drop(permit);
            let scanned = Rc::new(scanned);
            for (_, waiting) in waiting {
                // Whoever gave up does not want to know.
                let _ = waiting.send(Rc::clone(&scanned));
            }
            sleep(SCAN_PAUSE).await;
        }
    }

    async fn scan_stream(&self, shard: Shard, asks: &[JoinAsk]) -> Result<Scanned, BusError> {
        let extent = self.backend.extent(shard).await?;
        let Some(plan) = self.plan(shard, asks, &extent) else { return Ok(Scanned::nothing(asks)) };
        self.metrics.scans.increment(1);
        let (pages, is_cut) = self.read_back(shard, plan.from, plan.to).await?;
        let extent = self.backend.extent(shard).await?;
        let oldest = pages.last().and_then(|page| page.last()).map(|entry| entry.id);
        let reached = reached(&plan, oldest, is_cut, &extent);
        let mut collector = Collector::new(self.resume_window_ms, self.resume_scan_bytes_max, asks);
        for page in pages.into_iter().rev() {
            {
                let mut state = self.state.borrow_mut();
                let Some(of_shard) = state.shard(shard) else { return Ok(Scanned::nothing(asks)) };
                let remembered_from_ms = of_shard.remembered_from_ms(self.resume_window_ms);
                for entry in page.iter().rev() {
                    collector.take(entry, &of_shard.dedupe, remembered_from_ms);
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(collector.finish(&plan, reached))
    }

    /// From where to where to scan, if that is of any use.
    fn plan(&self, shard: Shard, asks: &[JoinAsk], extent: &Extent) -> Option<Plan> {
        let (first, newest) = extent.ends?;
        let mut state = self.state.borrow_mut();
        let of_shard = state.shard(shard)?;
        // What this gateway has not read yet comes live.
        let Reading::Live { cursor, .. } = of_shard.reading else { return None };
        of_shard.scans.begins_after = Some(MessageId::before(first));
        let sinces = asks.iter().filter_map(|ask| ask.since);
        let oldest_since = sinces.filter(|since| of_shard.scans.may_reach(*since)).min()?;
        let margins = Margins::new(self.resume_window_ms);
        let margin_ms = margins.before(oldest_since, of_shard.remembered_from_ms(self.resume_window_ms));
        let from = EntryId { ms: oldest_since.ts().saturating_sub(margin_ms), seq: 0 };
        let attempt = of_shard.start.attempt;
        let evicted_to = asks.iter().filter_map(|ask| state.window.evicted_to(ask.room)).max()?;
        Some(Plan { attempt, margins, from, to: scan_to(evicted_to, newest, cursor) })
    }

    /// Pages of entries, newest first; whether a bound cut them off.
    async fn read_back(
        &self,
        shard: Shard,
        from: EntryId,
        to: EntryId,
    ) -> Result<(Vec<Vec<ReadEntry>>, bool), BusError> {
        let began = self.clock.elapsed();
        let (mut pages, mut bytes, mut to) = (Vec::new(), 0, to);
        loop {
            let page = self.backend.range(shard, from, to, PAGE_ENTRIES).await?;
            self.metrics.scanned_entries.increment(page.len() as u64);
            bytes += page.iter().map(|entry| entry.bytes.len()).sum::<usize>();
            let oldest = page.last().filter(|_| page.len() >= PAGE_ENTRIES).map(|entry| entry.id);
            pages.push(page);
            let Some(oldest) = oldest else { return Ok((pages, false)) };
            if bytes > self.resume_scan_bytes_max || self.clock.elapsed().saturating_sub(began) > SCAN_MAX {
                return Ok((pages, true));
            }
            to = previous(oldest);
            sleep(PAGE_PAUSE).await;
        }
    }
}

/// How long before an event repeats of it are looked for.
#[derive(Debug, Clone, Copy)]
struct Margins {
    /// Where the shard's reader remembers the nonces.
    entries_ms: u64,
    /// Where it does not.
    nonces_ms: u64,
}

impl Margins {
    fn new(window_ms: u64) -> Self {
        Self { entries_ms: REPEAT_MS.min(window_ms), nonces_ms: window_ms }
    }

    fn before(self, since: MessageId, remembered_from_ms: u64) -> u64 {
        if since.ts() >= remembered_from_ms { self.entries_ms } else { self.nonces_ms }
    }
}

/// What a scan reads.
#[derive(Debug)]
struct Plan {
    attempt: u64,
    margins: Margins,
    from: EntryId,
    to: EntryId,
}

/// Where a scan ends: not behind the cursor, because what this gateway has not read yet comes live.
fn scan_to(evicted_to: MessageId, newest: EntryId, cursor: EntryId) -> EntryId {
    let overlap = EntryId { ms: evicted_to.ts().saturating_add(OVERLAP_MS), seq: 0 };
    overlap.min(newest).min(cursor)
}

/// How far back a scan got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// The very first entry that there ever was.
    Beginning(MessageId),
    /// Every entry since this Unix millisecond.
    Since(u64),
    /// Nothing.
    Nowhere,
}

/// `extent` is that of after the scan: the beginning of the stream may have been trimmed while it went on.
fn reached(plan: &Plan, oldest: Option<EntryId>, is_cut: bool, extent: &Extent) -> Reached {
    match (oldest, extent.ends) {
        (Some(oldest), _) if is_cut => Reached::Since(oldest.ms + 1),
        (_, Some((first, _))) if first <= plan.from => Reached::Since(plan.from.ms),
        (Some(oldest), _) if extent.trimmed() == 0 => Reached::Beginning(MessageId::before(oldest)),
        (Some(oldest), _) => Reached::Since(oldest.ms + 1),
        (None, _) => Reached::Nowhere,
    }
}

/// The greatest id below this one.
fn previous(id: EntryId) -> EntryId {
    match id.seq.checked_sub(1) {
        Some(seq) => EntryId { ms: id.ms, seq },
        None => EntryId { ms: id.ms.saturating_sub(1), seq: u64::MAX },
    }
}

/// Picks the frames of some rooms out of entries, which it is given in stream order.
struct Collector {
    dedupe: Dedupe,
    wanted: Wanted,
    rooms: HashMap<RoomId, Vec<(MessageId, Bytes)>>,
    bytes: usize,
    bytes_max: usize,
    /// Frames up to this event were let go.
    dropped_to: MessageId,
    /// The latest it was told.
    remembered_from_ms: u64,
}

impl Collector {
    fn new(window_ms: u64, bytes_max: usize, asks: &[JoinAsk]) -> Self {
        Self {
            dedupe: Dedupe::new(window_ms),
            wanted: wanted(asks),
            rooms: HashMap::new(),
            bytes: 0,
            bytes_max,
            dropped_to: MessageId::ZERO,
            remembered_from_ms: 0,
        }
    }

    /// `live` is the memory of the shard's reader, which holds every nonce since `remembered_from_ms`.
    fn take(&mut self, read: &ReadEntry, live: &Dedupe, remembered_from_ms: u64) {
        self.remembered_from_ms = remembered_from_ms;
        let Ok(entry) = Entry::decode(&read.bytes) else { return };
        if !self.dedupe.first_time(entry.origin, entry.seq, read.id.ms) {
            return;
        }
        for (index, record) in entry.records() {
            let (Some(record), Some(id)) = (record, MessageId::pack(read.id, index)) else { continue };
            if let Some((user, nonce)) = record.nonce() {
                let verdict = self.dedupe.check(user, nonce, id);
                let is_new = if id.ts() >= remembered_from_ms {
                    live.find(user, nonce) == Some(id)
                } else {
                    verdict == Verdict::New
                };
                if !is_new {
                    continue;
                }
            }
            let is_wanted = self.wanted.get(&record.room()).is_some_and(|since| id > *since);
            if !is_wanted || !record.is_stored_event() {
                continue;
            }
            let frame = frame(&record, id);
            self.bytes += frame.len();
            self.rooms.entry(record.room()).or_default().push((id, frame));
            if self.bytes > self.bytes_max {
                self.rooms.clear();
                (self.bytes, self.dropped_to) = (0, id);
            }
        }
    }

    fn finish(mut self, plan: &Plan, reached: Reached) -> Scanned {
        let Margins { entries_ms, nonces_ms } = plan.margins;
        let complete_from = match reached {
            Reached::Beginning(before) => before,
            Reached::Since(ms) => {
                let if_remembered_ms = (ms + entries_ms).max(self.remembered_from_ms);
                MessageId::floor_of_ms(if_remembered_ms.min(ms + nonces_ms))
            }
            Reached::Nowhere => MessageId::MAX,
        };
        let complete_from = complete_from.max(self.dropped_to);
        // What came before may be repeats of what was not met.
        for met in self.rooms.values_mut() {
            met.drain(..met.partition_point(|(id, _)| *id <= complete_from));
        }
        Scanned {
            attempt: plan.attempt,
            wanted: self.wanted,
            complete_from,
            to: MessageId::through(plan.to),
            rooms: self.rooms,
        }
    }
}

#[cfg(test)]
mod tests;
