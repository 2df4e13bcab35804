//! What a core counts: plain cells on the hot path, handed to Prometheus once a second.

use std::cell::Cell;

use hubbub_common::metrics as names;
use hubbub_common::protocol::{CloseCode, ErrorCode};
use metrics::{Counter, Gauge, counter, gauge};

/// A counter that only its own thread touches.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    fn get(&self) -> u64 {
        self.0.get()
    }
}

/// What is true now, read at each flush.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    pub(crate) connections: usize,
    pub(crate) rooms: usize,
    pub(crate) subscriptions: usize,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames_in: Count,
    pub(crate) bytes_in: Count,
    pub(crate) frames_out: Count,
    pub(crate) bytes_out: Count,
    pub(crate) writes: Count,
    pub(crate) published: Count,
    pub(crate) events: Count,
    pub(crate) deliveries: Count,
    /// Ephemeral events not given to a receiver that was behind.
    pub(crate) dropped_behind: Count,
    /// Events for connections that were closing, and frames of evicted ones.
    pub(crate) dropped_closing: Count,
    pub(crate) turn_ns: Count,
    pub(crate) inbox_batches: Count,
}

/// Reads one counter.
type Read = fn(&Counters) -> u64;

/// The handles behind the counters of one core.
pub(crate) struct Exporter {
    core: String,
    counters: Vec<(Counter, Read)>,
    turn_seconds: Gauge,
    gauges: [Gauge; 3],
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
                (of(names::DELIVERIES), |c| c.deliveries.get()),
                (dropped("behind"), |c| c.dropped_behind.get()),
                (dropped("closing"), |c| c.dropped_closing.get()),
                (of(names::INBOX_BATCHES), |c| c.inbox_batches.get()),
            ],
            turn_seconds: now(names::TURN_SECONDS),
            gauges: [now(names::CONNECTIONS), now(names::ROOMS), now(names::SUBSCRIPTIONS)],
            core,
        }
    }

    /// Hands over what was counted.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn flush(&self, counters: &Counters, gauges: Gauges) {
        for (handle, read) in &self.counters {
            handle.absolute(read(counters));
        }
        self.turn_seconds.set(counters.turn_ns.get() as f64 / 1e9);
        let [connections, rooms, subscriptions] = &self.gauges;
        connections.set(gauges.connections as f64);
        rooms.set(gauges.rooms as f64);
        subscriptions.set(gauges.subscriptions as f64);
    }

    /// Counts a handshake by the status of its answer. Rare enough to look the handle up.
    pub(crate) fn handshake(&self, status: u16) {
        counter!(names::HANDSHAKES.name, "core" => self.core.clone(), "status" => status.to_string())
            .increment(1);
    }

    /// Counts an error event.
    pub(crate) fn error(&self, code: ErrorCode) {
        counter!(names::ERRORS.name, "core" => self.core.clone(), "code" => code.as_str()).increment(1);
    }

    /// Counts a connection that the server closed.
    pub(crate) fn close(&self, code: CloseCode) {
        counter!(names::CLOSES.name, "core" => self.core.clone(), "reason" => code.reason()).increment(1);
    }
}
