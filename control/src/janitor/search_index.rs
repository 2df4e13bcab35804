//! The index for full-text search, of months that are over. One that grows with every message would cost the batch writer
//! nine tenths of its speed; the current month is searched room by room without one.

use std::time::Duration;

use tokio_postgres::Client;

use super::{DAY, Failed, horizon};
use crate::store::partitions;

/// How long a month is over before it is indexed: what was on its way has come by then.
const SETTLED: Duration = DAY;

/// Builds what is missing, and anew what was interrupted.
pub(super) async fn build(client: &Client) -> Result<(), Failed> {
    let settled = horizon(SETTLED);
    for (month, end) in partitions::all(client).await? {
        if end <= settled.as_i64() && partitions::index_for_search(client, &month).await? {
            tracing::info!(month, "a month that is over is indexed for search");
        }
    }
    Ok(())
}
