//! Rooms that keep messages for less time than the others: older ones are removed row by row.

use tokio_postgres::Client;

use super::{DAY, Failed, ROWS_AT_ONCE, horizon};
use crate::store::retention;

/// Removes what is too old in each such room.
pub(super) async fn apply(client: &mut Client) -> Result<(), Failed> {
    for (room, days) in retention::rooms(client).await? {
        let horizon = horizon(DAY.saturating_mul(days));
        let mut removed = 0;
        loop {
            let transaction = client.transaction().await?;
            let step = retention::remove_before(&transaction, room, horizon, ROWS_AT_ONCE).await?;
            transaction.commit().await?;
            removed += step;
            if step == 0 {
                break;
            }
        }
        if removed > 0 {
            tracing::info!(%room, removed, "messages that the room does not keep any longer are removed");
        }
    }
    Ok(())
}
