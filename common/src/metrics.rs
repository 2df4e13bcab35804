//! The name of every metric, by Prometheus conventions: base units, `_total` for counters.

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it counts, with its unit and labels.
    pub help: &'static str,
}

macro_rules! names {
    ($($ident:ident: $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $ident: Metric = Metric { name: $name, help: $help };)*

        /// Every metric.
        pub const ALL: &[Metric] = &[$($ident),*];
    };
}

/// Tells the installed recorder what each metric means: counters end in `_total`, histograms in `_seconds`.
pub fn describe_all() {
    for Metric { name, help } in ALL {
        if name.ends_with("_total") {
            metrics::describe_counter!(*name, *help);
        } else if name.ends_with("_seconds") {
            metrics::describe_histogram!(*name, *help);
        } else {
            metrics::describe_gauge!(*name, *help);
        }
    }
}

names! {
    CONNECTIONS: "hubbub_gateway_connections", "Open WebSockets, by core.";
    CONNECTIONS_MAX: "hubbub_gateway_connections_max", "Open WebSockets that the process admits.";
    HANDSHAKES: "hubbub_gateway_handshakes_total", "Handshakes by core and status: the HTTP status of the answer.";
    FRAMES_IN: "hubbub_gateway_frames_received_total", "WebSocket frames received, by core.";
    BYTES_IN: "hubbub_gateway_received_bytes_total", "Bytes received on WebSockets, by core.";
    FRAMES_OUT: "hubbub_gateway_frames_sent_total", "WebSocket frames written, by core.";
    BYTES_OUT: "hubbub_gateway_sent_bytes_total", "Bytes written to WebSockets, by core.";
    WRITES: "hubbub_gateway_writes_total", "Write operations submitted, by core; frames sent per write say how well they batch.";
    SUBSCRIPTIONS: "hubbub_gateway_subscriptions", "Sessions joined to rooms, by core.";
    ROOMS: "hubbub_gateway_rooms", "Rooms with at least one session, by core.";
    PUBLISHED: "hubbub_gateway_published_total", "Records that sessions asked to publish, by core.";
    EVENTS: "hubbub_gateway_events_total", "Events of rooms that reached a core, by core.";
    DELIVERIES: "hubbub_gateway_deliveries_total", "Events put into outboxes by fan-out, by core.";
    DELIVERIES_DROPPED: "hubbub_gateway_deliveries_dropped_total", "Events not put into an outbox, by core and reason.";
    ERRORS: "hubbub_gateway_errors_total", "Error events sent, by core and code.";
    CLOSES: "hubbub_gateway_closes_total", "Connections that the server closed, by core and reason.";
    TURN_SECONDS: "hubbub_gateway_turn_busy", "Seconds spent handling inboxes and fan-out, by core.";
    INBOX_BATCHES: "hubbub_gateway_inbox_batches_total", "Batches that the bus handed to a core, by core.";
    BUS_UP: "hubbub_bus_up", "1 while the bus answers.";
    BUS_APPENDS: "hubbub_bus_appends_total", "Entries appended to streams, by outcome.";
    BUS_APPENDED_RECORDS: "hubbub_bus_appended_records_total", "Records in appended entries; divided by appends, the packing.";
    BUS_APPEND_SECONDS: "hubbub_bus_append_seconds", "Time from asking for an append to its reply.";
    BUS_READ_ENTRIES: "hubbub_bus_read_entries_total", "Entries read from streams.";
    BUS_READ_RECORDS: "hubbub_bus_read_records_total", "Records read from streams, by verdict: new, repeat, unknown.";
    BUS_WINDOW_BYTES: "hubbub_bus_window_bytes", "Recent frames kept for sessions that resume.";
    BUS_WINDOW_FRAMES: "hubbub_bus_window_frames", "Recent frames kept for sessions that resume.";

    REQUESTS: "hubbub_control_requests_total", "HTTP requests by method, route and status.";
    REQUEST_SECONDS: "hubbub_control_request_seconds", "Time to answer HTTP requests, by method and route.";
    POOL_CONNECTIONS: "hubbub_control_database_connections", "Connections to Postgres, by state: idle, used.";
    POOL_CONNECTIONS_MAX: "hubbub_control_database_connections_max", "Connections to Postgres that the pool may open.";
    PERSISTER_LEADER: "hubbub_persister_leader", "1 on the instance that writes the streams into Postgres.";
    PERSISTED: "hubbub_persister_records_total", "Records persisted, by kind.";
    PERSISTER_LAG: "hubbub_persister_lag_entries", "Entries that wait to be persisted, by shard.";
    PERSISTER_COMMIT_SECONDS: "hubbub_persister_commit_seconds", "Time of one batch transaction.";
}
