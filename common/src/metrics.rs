//! The name of every metric, by Prometheus conventions: base units, `_total` for counters.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// How it behaves.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// What it counts, with its unit and labels.
    pub help: &'static str,
}

macro_rules! names {
    ($($ident:ident: $kind:ident $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $ident: Metric = Metric { kind: Kind::$kind, name: $name, help: $help };)*

        /// Every metric.
        pub const ALL: &[Metric] = &[$($ident),*];
    };
}

/// Tells the installed recorder what each metric means.
pub fn describe_all() {
    for Metric { kind, name, help } in ALL {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

names! {
    CONNECTIONS: Gauge "hubbub_gateway_connections", "Open WebSockets, by core.";
    CONNECTIONS_MAX: Gauge "hubbub_gateway_connections_max", "Open WebSockets that the process admits.";
    HANDSHAKES: Counter "hubbub_gateway_handshakes_total", "Handshakes by core and status: the HTTP status of the answer.";
    FRAMES_IN: Counter "hubbub_gateway_frames_received_total", "WebSocket frames received, by core.";
    BYTES_IN: Counter "hubbub_gateway_received_bytes_total", "Bytes received on WebSockets, by core.";
    FRAMES_OUT: Counter "hubbub_gateway_frames_sent_total", "WebSocket frames written, by core.";
    BYTES_OUT: Counter "hubbub_gateway_sent_bytes_total", "Bytes written to WebSockets, by core.";
    WRITES: Counter "hubbub_gateway_writes_total", "Write operations submitted, by core; frames sent per write say how well they batch.";
    SUBSCRIPTIONS: Gauge "hubbub_gateway_subscriptions", "Sessions joined to rooms, by core.";
    ROOMS: Gauge "hubbub_gateway_rooms", "Rooms with at least one session, by core.";
    PUBLISHED: Counter "hubbub_gateway_published_total", "Records that sessions asked to publish, by core.";
    EVENTS: Counter "hubbub_gateway_events_total", "Events of rooms that reached a core, by core.";
    RECEIVERS: Counter "hubbub_gateway_receivers_total", "Sessions that events were for, by core: each is a delivery or a dropped one.";
    DELIVERIES: Counter "hubbub_gateway_deliveries_total", "Events put into outboxes by fan-out, by core.";
    DELIVERIES_DROPPED: Counter "hubbub_gateway_deliveries_dropped_total", "Events not put into an outbox, by core and reason: behind (an ephemeral event for a slow reader), closing.";
    REPLAYED: Counter "hubbub_gateway_replayed_total", "Events put into outboxes for sessions that resume, by core.";
    FRAMES_QUEUED: Counter "hubbub_gateway_frames_queued_total", "Frames put into outboxes, by core: each is sent, discarded or waiting.";
    FRAMES_DISCARDED: Counter "hubbub_gateway_frames_discarded_total", "Frames taken out of outboxes unsent, by core: of slow readers that were cut off, and of clients that had gone.";
    OUTBOX_FRAMES: Gauge "hubbub_gateway_outbox_frames", "Frames that wait in outboxes, by core.";
    OUTBOX_BYTES: Gauge "hubbub_gateway_outbox_bytes", "Bytes that wait in outboxes, by core.";
    OUTBOXES_SPARE: Gauge "hubbub_gateway_outboxes_spare", "Empty outboxes kept for the next connections with something to send, by core.";
    SOCKETS_FULL: Counter "hubbub_gateway_sockets_full_total", "Times that a socket did not take all of a write, by core.";
    RING_SUBMISSIONS: Counter "hubbub_gateway_ring_submissions_total", "Requests handed to io_uring, by core and ring: sends, polls.";
    RING_COMPLETIONS: Counter "hubbub_gateway_ring_completions_total", "Completions taken from io_uring, by core and ring: sends, polls.";
    RING_ENTERS: Counter "hubbub_gateway_ring_enters_total", "System calls that carried requests to io_uring, by core and ring: sends, polls.";
    INBOX_DEPTH_MAX: Gauge "hubbub_gateway_inbox_depth_max", "Most batches found waiting in a core's inbox during the last second, by core.";
    ERRORS: Counter "hubbub_gateway_errors_total", "Error events sent, by core and code.";
    CLOSES: Counter "hubbub_gateway_closes_total", "Connections that the server closed, by core and reason.";
    TURN_SECONDS: Histogram "hubbub_gateway_turn_seconds", "Time from the first thing that was ready to the end of the turn, by core.";
    INBOX_BATCHES: Counter "hubbub_gateway_inbox_batches_total", "Batches that the bus handed to a core, by core.";
    BUS_UP: Gauge "hubbub_bus_up", "1 while the bus answers.";
    BUS_APPENDS: Counter "hubbub_bus_appends_total", "Entries appended to streams, by outcome.";
    BUS_UNCONFIRMED: Counter "hubbub_bus_unconfirmed_entries_total", "Entries that did not come back from their stream in time, with `HUBBUB_ACK=replicated` because too few replicas had them; their senders hear `internal`.";
    BUS_APPENDED_RECORDS: Counter "hubbub_bus_appended_records_total", "Records in appended entries; divided by appends, the packing.";
    BUS_APPEND_SECONDS: Histogram "hubbub_bus_append_seconds", "Time from asking for an append to its reply.";
    BUS_READ_SECONDS: Histogram "hubbub_bus_read_seconds", "Time from asking for entries to their reply, where some were there or came; includes the wait for the first.";
    BUS_ENTRY_AGE_SECONDS: Histogram "hubbub_bus_entry_age_seconds", "Age of entries when they are read, by the clocks of Redis and of this host; in milliseconds, rounded down.";
    BUS_LAG: Gauge "hubbub_bus_shard_lag_seconds", "Age of the oldest entry of a shard read during the last second, by shard; 0 where none was.";
    BUS_READ_ENTRIES: Counter "hubbub_bus_read_entries_total", "Entries read from streams.";
    BUS_READ_RECORDS: Counter "hubbub_bus_read_records_total", "Records read from streams, by verdict: new, repeat, unknown.";
    BUS_GAPS: Counter "hubbub_bus_gaps_total", "Times that a shard's sessions were told to read history, by reason: trimmed (before it was read), rewritten (the stream is another one).";
    BUS_RIGHTS_RECHECKED: Counter "hubbub_bus_rights_rechecked_total", "Users whose rights were looked up anew behind a gap.";
    BUS_RESUMES: Counter "hubbub_bus_resumes_total", "Rooms joined with since, by what the replay came from: window, stream, nothing (the client reads history).";
    BUS_SCANS: Counter "hubbub_bus_scans_total", "Scans of streams for clients that resume behind the window.";
    BUS_SCANNED_ENTRIES: Counter "hubbub_bus_scanned_entries_total", "Entries read by scans.";
    BUS_WINDOW_BYTES: Gauge "hubbub_bus_window_bytes", "Recent frames kept for sessions that resume.";
    BUS_WINDOW_FRAMES: Gauge "hubbub_bus_window_frames", "Recent frames kept for sessions that resume.";

    REQUESTS: Counter "hubbub_control_requests_total", "HTTP requests by method, route and status.";
    REQUEST_SECONDS: Histogram "hubbub_control_request_seconds", "Time to answer HTTP requests, by method and route.";
    POOL_CONNECTIONS: Gauge "hubbub_control_database_connections", "Connections to Postgres, by pool (primary, replica) and state: idle, used.";
    POOL_CONNECTIONS_MAX: Gauge "hubbub_control_database_connections_max", "Connections to Postgres that a pool may open, by pool.";
    POOL_WAITING: Gauge "hubbub_control_database_waiting", "Requests that wait for a connection to Postgres, by pool.";
    REPLICA_BEHIND_SECONDS: Gauge "hubbub_control_replica_behind_seconds", "How far the replica for history is behind at most; past the bound the primary is read.";
    UPLOADS: Counter "hubbub_control_uploads_total", "Uploads by event: presigned, complete, refused, unused (removed, because no message refers to them).";
    PERSISTER_LEADER: Gauge "hubbub_persister_leader", "1 on the instance that writes the streams into Postgres.";
    PERSISTED: Counter "hubbub_persister_records_total", "Records persisted, by kind.";
    PERSISTER_LAG: Gauge "hubbub_persister_lag_entries", "Entries that wait to be persisted, by shard.";
    PERSISTER_LAG_SECONDS: Gauge "hubbub_persister_lag_seconds", "Age of the oldest entry that waits to be persisted; 0 where none does.";
    PERSISTER_PROBLEM: Gauge "hubbub_persister_problem", "1 while messages don't reach Postgres, by reason: redis, database, database-read-only, database-full, entry.";
    PERSISTER_COMMIT_SECONDS: Histogram "hubbub_persister_commit_seconds", "Time of one batch transaction.";
}
