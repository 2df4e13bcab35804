//! Removes what deleted rooms held: messages, reactions, and the notes on which uploads they name, so that the files go
//! too ([`crate::uploads::unused`]).
//!
//! One instance at a time does it, under a Postgres lock that ends with its transaction, in small batches. A room is noted
//! in the transaction that deletes it; what was on its way then is still persisted, so the note stays until that must have
//! come. Only what is older than the deletion goes: another application's tokens may name the same room again.

use std::time::Duration;

use hubbub_common::clock::{UnixMs, now_ms};
use hubbub_common::ids::{EntryId, MessageId};

use crate::app::App;
use crate::error::Error;
use crate::store::rooms as store;

/// Holds "purge" in ASCII: the lock of whoever removes.
const PURGE_LOCK: i64 = 0x70_7572_6765;
/// Messages removed in one transaction.
const AT_ONCE: i64 = 1_000;
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// How far clocks may be apart: Redis's makes the ids, ours the time of the deletion.
const CLOCKS_APART_MS: u64 = 5_000;
/// How long a note stays after the last message went.
const NOTED_MS: u64 = 24 * 60 * 60 * 1_000;

/// The last id that a room deleted now can have.
pub fn up_to(now: UnixMs) -> MessageId {
    let entry = EntryId { ms: now.saturating_add(CLOCKS_APART_MS), seq: 0 };
    MessageId::pack(entry, 0).unwrap_or(MessageId::ZERO)
}

/// Looks from time to time, for ever.
pub async fn run(app: App) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = purge(&app).await {
            tracing::warn!(?error, "what deleted rooms held could not be removed; it is tried again");
        }
    }
}

async fn purge(app: &App) -> Result<(), Error> {
    while purge_some(app).await? >= AT_ONCE {}
    Ok(())
}

/// Removes a batch; gives how many messages that was.
async fn purge_some(app: &App) -> Result<i64, Error> {
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    if !crate::store::try_lock(&*transaction, PURGE_LOCK).await? {
        return Ok(0);
    }
    let mut left = AT_ONCE;
    for (room, up_to) in store::deleted(&*transaction).await? {
        let removed = store::remove_messages(&*transaction, room, up_to, left).await?;
        left -= removed;
        if left <= 0 {
            break;
        }
        if up_to.ts().saturating_add(NOTED_MS) < now_ms() {
            store::forget_deleted(&*transaction, room).await?;
        }
    }
    transaction.commit().await?;
    Ok(AT_ONCE - left)
}
