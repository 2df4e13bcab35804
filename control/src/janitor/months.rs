//! Months of messages: made before the first message of each comes, dropped as a whole when all of it is too old.

use hubbub_common::clock::now_ms;
use hubbub_common::ids::MessageId;
use tokio_postgres::Client;

use super::{Failed, in_steps};
use crate::store::partitions;

/// Months that stand ready besides the current one: also for an instance whose janitor fails for a few weeks.
const AHEAD: i32 = 2;

/// Makes the current month and those after it.
pub(super) async fn make_ahead(client: &mut Client) -> Result<(), Failed> {
    for ahead in 0..=AHEAD {
        let month = partitions::month_of(client, now_ms(), ahead).await?;
        partitions::ensure(client, &month).await?;
    }
    Ok(())
}

/// Drops every month that has only older messages, and what refers to them.
pub(super) async fn drop_before(client: &Client, horizon: MessageId) -> Result<(), Failed> {
    for (name, end) in partitions::all(client).await? {
        if end <= horizon.as_i64() {
            partitions::detach(client, &name).await?;
        }
    }
    // A table that is left says what is still to be done: it goes last.
    for name in partitions::detached(client).await? {
        if let Some(end) = partitions::end_of(client, &name).await?.filter(|end| *end <= horizon.as_i64()) {
            for sql in [partitions::DROP_REACTIONS, partitions::DROP_USES] {
                in_steps(client, sql, end).await?;
            }
            partitions::drop(client, &name).await?;
            tracing::info!(name, "a month of messages that nobody keeps any longer is dropped");
        }
    }
    Ok(())
}
