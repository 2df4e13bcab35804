//! What the connections of background work ask of Postgres for as long as they last.

/// Of the batch writer. The time-outs end what would keep the leader's lock and do nothing with it.
pub(super) const WRITER: &str = "SET application_name = 'hubbub-writer'; SET statement_timeout = '60s';
    SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '30s'";
