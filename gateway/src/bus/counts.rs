//! What the bus counts.

use hubbub_common::metrics as names;
use hubbub_common::shard::{Shard, Shards};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// See [`hubbub_common::metrics`].
pub(super) struct BusMetrics {
    pub(super) append_seconds: Histogram,
    pub(super) appended_records: Counter,
    pub(super) appends_stored: Counter,
    pub(super) appends_refused: Counter,
    pub(super) appends_unknown: Counter,
    pub(super) unconfirmed: Counter,
    pub(super) read_seconds: Histogram,
    pub(super) entry_age_seconds: Histogram,
    pub(super) read_entries: Counter,
    pub(super) records_new: Counter,
    pub(super) records_repeat: Counter,
    pub(super) records_unknown: Counter,
    pub(super) gaps_trimmed: Counter,
    pub(super) gaps_rewritten: Counter,
    pub(super) rights_rechecked: Counter,
    pub(super) scans: Counter,
    pub(super) scanned_entries: Counter,
    pub(super) resumed_from_window: Counter,
    pub(super) resumed_from_stream: Counter,
    pub(super) resumed_not: Counter,
    /// By shard.
    pub(super) lag: Vec<Gauge>,
    pub(super) window_bytes: Gauge,
    pub(super) window_frames: Gauge,
    pub(super) up: Gauge,
}

impl BusMetrics {
    pub(super) fn new(shards: Shards) -> Self {
        let lag = |shard: Shard| gauge!(names::BUS_LAG.name, "shard" => shard.to_string());
        let appends = |outcome: &'static str| counter!(names::BUS_APPENDS.name, "outcome" => outcome);
        let records = |verdict: &'static str| counter!(names::BUS_READ_RECORDS.name, "verdict" => verdict);
        let gaps = |reason: &'static str| counter!(names::BUS_GAPS.name, "reason" => reason);
        let resumes = |from: &'static str| counter!(names::BUS_RESUMES.name, "from" => from);
        Self {
            append_seconds: histogram!(names::BUS_APPEND_SECONDS.name),
            appended_records: counter!(names::BUS_APPENDED_RECORDS.name),
            appends_stored: appends("stored"),
            appends_refused: appends("refused"),
            appends_unknown: appends("unknown"),
            unconfirmed: counter!(names::BUS_UNCONFIRMED.name),
            read_seconds: histogram!(names::BUS_READ_SECONDS.name),
            entry_age_seconds: histogram!(names::BUS_ENTRY_AGE_SECONDS.name),
            read_entries: counter!(names::BUS_READ_ENTRIES.name),
            records_new: records("new"),
            records_repeat: records("repeat"),
            records_unknown: records("unknown"),
            gaps_trimmed: gaps("trimmed"),
            gaps_rewritten: gaps("rewritten"),
            rights_rechecked: counter!(names::BUS_RIGHTS_RECHECKED.name),
            scans: counter!(names::BUS_SCANS.name),
            scanned_entries: counter!(names::BUS_SCANNED_ENTRIES.name),
            resumed_from_window: resumes("window"),
            resumed_from_stream: resumes("stream"),
            resumed_not: resumes("nothing"),
            lag: shards.all().map(lag).collect(),
            window_bytes: gauge!(names::BUS_WINDOW_BYTES.name),
            window_frames: gauge!(names::BUS_WINDOW_FRAMES.name),
            up: gauge!(names::BUS_UP.name),
        }
    }
}
