//! What a core counts: plain cells on the hot path, handed to Prometheus once a second.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hubbub_common::gateways::GatewayCounts;
use hubbub_common::metrics as names;
use hubbub_common::protocol::{CloseCode, ErrorCode};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// A counter that only its own thread touches.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// What is true now, read at each flush.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    pub(crate) connections: usize,
    pub(crate) rooms: usize,
    pub(crate) subscriptions: usize,
    pub(crate) outboxes_spare: usize,
}

/// Requests to a ring and what came back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RingCounts {
    pub(crate) enters: u64,
    pub(crate) submissions: u64,
    pub(crate) completions: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// WebSockets that began.
    pub(crate) begun: Count,
    /// And ended.
    pub(crate) ended: Count,
    pub(crate) frames_in: Count,
    pub(crate) bytes_in: Count,
    pub(crate) frames_out: Count,
    pub(crate) bytes_out: Count,
    pub(crate) writes: Count,
    pub(crate) published: Count,
    pub(crate) events: Count,
    /// Sessions that events were for.
    pub(crate) receivers: Count,
    pub(crate) deliveries: Count,
    pub(crate) replayed: Count,
    /// Ephemeral events not given to a receiver that was behind.
    pub(crate) dropped_behind: Count,
    /// Events for connections that were closing.
    pub(crate) dropped_closing: Count,
    /// Frames and bytes put into outboxes.
    pub(crate) frames_queued: Count,
    pub(crate) bytes_queued: Count,
    /// Taken out of outboxes unsent.
    pub(crate) frames_discarded: Count,
    pub(crate) bytes_discarded: Count,
    /// Clients cut off because they read too slowly.
    pub(crate) evicted: Count,
    pub(crate) sockets_full: Count,
    pub(crate) inbox_batches: Count,
    /// Most batches that waited in the inbox since the last flush.
    pub(crate) inbox_depth_max: Cell<usize>,
    pub(crate) turns: Times,
}

impl Counters {
    fn outbox_frames(&self) -> u64 {
        self.frames_queued.get().wrapping_sub(self.frames_out.get() + self.frames_discarded.get())
    }

    /// What operators see of it.
    pub(crate) fn for_operators(&self) -> GatewayCounts {
        GatewayCounts {
            published: self.published.get(),
            delivered: self.deliveries.get(),
            handshakes: self.begun.get(),
            evicted: self.evicted.get(),
        }
    }

    fn outbox_bytes(&self) -> u64 {
        self.bytes_queued.get().wrapping_sub(self.bytes_out.get() + self.bytes_discarded.get())
    }
}

/// Buckets of [`Times`]: one for each power of two of nanoseconds, up to seventeen seconds.
const BUCKETS: usize = 35;

/// Durations, gathered for a histogram: two cells each.
#[derive(Debug)]
pub(crate) struct Times([(Cell<u64>, Cell<u64>); BUCKETS]);

impl Default for Times {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
}

impl Times {
    pub(crate) fn add(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (ns.checked_ilog2().unwrap_or(0) as usize).min(BUCKETS - 1);
        if let Some((count, sum_ns)) = self.0.get(bucket) {
            count.set(count.get() + 1);
            sum_ns.set(sum_ns.get().saturating_add(ns));
        }
    }

    /// Hands everything over, each bucket by its mean.
    #[expect(clippy::cast_precision_loss, reason = "a histogram is of floats")]
    fn flush(&self, histogram: &Histogram) {
        for (count, sum_ns) in &self.0 {
            let (count, sum_ns) = (count.take(), sum_ns.take());
            if count > 0 {
                let times = usize::try_from(count).unwrap_or(usize::MAX);
                histogram.record_many(sum_ns as f64 / 1e9 / count as f64, times);
            }
        }
    }
}

/// Reads one counter.
type Read = fn(&Counters) -> u64;

/// The handles behind the counters of one core.
pub(crate) struct Exporter {
    core: String,
    counters: Vec<(Counter, Read)>,
    turn_seconds: Histogram,
    gauges: [Gauge; 7],
    sends: RingExporter,
    polls: RingExporter,
    /// Those that came up.
    errors: RefCell<Vec<(ErrorCode, Counter)>>,
}

struct RingExporter([Counter; 3]);

impl RingExporter {
    fn new(core: &str, ring: &'static str) -> Self {
        let of = |metric: names::Metric| counter!(metric.name, "core" => core.to_owned(), "ring" => ring);
        Self([of(names::RING_ENTERS), of(names::RING_SUBMISSIONS), of(names::RING_COMPLETIONS)])
    }

    fn flush(&self, counts: RingCounts) {
        let [enters, submissions, completions] = &self.0;
        enters.absolute(counts.enters);
        submissions.absolute(counts.submissions);
        completions.absolute(counts.completions);
    }
}

impl Exporter {
    pub(crate) fn new(core: u16) -> Self {
        let core = core.to_string();
        let of = |metric: names::Metric| counter!(metric.name, "core" => core.clone());
        let dropped = |reason: &'static str| counter!(names::DELIVERIES_DROPPED.name, "core" => core.clone(), "reason" => reason);
        let now = |metric: names::Metric| gauge!(metric.name, "core" => core.clone());
        Self {
            counters: vec![
                (of(names::FRAMES_IN), |c| c.frames_in.get()),
                (of(names::BYTES_IN), |c| c.bytes_in.get()),
                (of(names::FRAMES_OUT), |c| c.frames_out.get()),
                (of(names::BYTES_OUT), |c| c.bytes_out.get()),
                (of(names::WRITES), |c| c.writes.get()),
                (of(names::PUBLISHED), |c| c.published.get()),
                (of(names::EVENTS), |c| c.events.get()),
                (of(names::RECEIVERS), |c| c.receivers.get()),
                (of(names::DELIVERIES), |c| c.deliveries.get()),
                (of(names::REPLAYED), |c| c.replayed.get()),
                (of(names::FRAMES_QUEUED), |c| c.frames_queued.get()),
                (of(names::FRAMES_DISCARDED), |c| c.frames_discarded.get()),
                (of(names::SOCKETS_FULL), |c| c.sockets_full.get()),
                (dropped("behind"), |c| c.dropped_behind.get()),
                (dropped("closing"), |c| c.dropped_closing.get()),
                (of(names::INBOX_BATCHES), |c| c.inbox_batches.get()),
            ],
            turn_seconds: histogram!(names::TURN_SECONDS.name, "core" => core.clone()),
            gauges: [
                now(names::CONNECTIONS),
                now(names::ROOMS),
                now(names::SUBSCRIPTIONS),
                now(names::OUTBOXES_SPARE),
                now(names::OUTBOX_FRAMES),
                now(names::OUTBOX_BYTES),
                now(names::INBOX_DEPTH_MAX),
            ],
            sends: RingExporter::new(&core, "sends"),
            polls: RingExporter::new(&core, "polls"),
            errors: RefCell::default(),
            core,
        }
    }

    /// Hands over what was counted.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn flush(&self, counters: &Counters, gauges: Gauges, sends: RingCounts, polls: RingCounts) {
        for (handle, read) in &self.counters {
            handle.absolute(read(counters));
        }
        counters.turns.flush(&self.turn_seconds);
        let [connections, rooms, subscriptions, spare, frames, bytes, inbox] = &self.gauges;
        connections.set(gauges.connections as f64);
        rooms.set(gauges.rooms as f64);
        subscriptions.set(gauges.subscriptions as f64);
        spare.set(gauges.outboxes_spare as f64);
        frames.set(counters.outbox_frames() as f64);
        bytes.set(counters.outbox_bytes() as f64);
        inbox.set(counters.inbox_depth_max.take() as f64);
        self.sends.flush(sends);
        self.polls.flush(polls);
    }

    /// Counts a handshake by the status of its answer. Rare enough to look the handle up.
    pub(crate) fn handshake(&self, status: u16) {
        counter!(names::HANDSHAKES.name, "core" => self.core.clone(), "status" => status.to_string())
            .increment(1);
    }

    /// Counts an error event. A client may provoke these as fast as it can write.
    pub(crate) fn error(&self, code: ErrorCode) {
        let mut errors = self.errors.borrow_mut();
        if let Some((_, counter)) = errors.iter().find(|(of, _)| *of == code) {
            return counter.increment(1);
        }
        let counter = counter!(names::ERRORS.name, "core" => self.core.clone(), "code" => code.as_str());
        counter.increment(1);
        errors.push((code, counter));
    }

    /// Counts a connection that the server closed.
    pub(crate) fn close(&self, code: CloseCode) {
        counter!(names::CLOSES.name, "core" => self.core.clone(), "reason" => code.reason()).increment(1);
    }
}
