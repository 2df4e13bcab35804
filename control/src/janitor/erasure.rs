//! Users who want their messages erased: name and text go, the place in the room's order stays.
//!
//! There is no index by author, which every message would have to pay for; the months are read through, a piece at a
//! time. What was sent before the wish and is still in the streams is waited for, and what of it is edited later is
//! refused by the batch writer.

use hubbub_common::clock::now_ms;
use hubbub_common::ids::MessageId;
use tokio_postgres::Client;

use super::Failed;
use crate::app::App;
use crate::persister;
use crate::store::{erasures, partitions};

/// Pages of a table (of 8 KiB) read and changed in one transaction.
const PAGES_AT_ONCE: i64 = 8_192;

/// Fulfils every wish.
pub(super) async fn apply(app: &App, client: &Client) -> Result<(), Failed> {
    for (user, up_to) in erasures::pending(client).await? {
        if !persister::is_past(&app.redis, client, app.config.shared.shards, up_to).await? {
            continue;
        }
        let mut erased = 0;
        for (month, _) in partitions::all(client).await? {
            let pages = partitions::pages(client, &month).await?;
            let mut from = 0;
            while from < pages {
                let piece = from..from + PAGES_AT_ONCE;
                erased += erasures::erase(client, &month, piece, user, up_to).await?;
                from += PAGES_AT_ONCE;
            }
        }
        erasures::done(client, user, up_to, now_ms()).await?;
        tracing::info!(%user, erased, "a user's messages are erased");
    }
    Ok(())
}

/// Up to where a wish that is made now goes.
pub(crate) fn up_to_now() -> MessageId {
    MessageId::floor_of_ms(now_ms() + 1)
}
