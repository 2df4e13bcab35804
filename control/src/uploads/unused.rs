//! Removes what no message names, and what was announced and never came.
//!
//! One instance at a time does it, under a Postgres lock that ends with its transaction (so that it works through a
//! pooler). The file goes first, then the row: whatever dies in between, the next run does the rest.

use std::time::{Duration, UNIX_EPOCH};

use hubbub_common::clock::now_ms;

use super::disk::PUT_MAX;
use super::{Store, count};
use crate::app::App;
use crate::error::Error;
use crate::store::uploads as store;

/// Holds "upload" in ASCII: the lock of whoever removes.
const REMOVER_LOCK: i64 = 0x7570_6c6f_6164;
/// Removed in one transaction.
const AT_ONCE: i64 = 100;
/// How often it is looked, at most and at least.
const EVERY_MIN: Duration = Duration::from_secs(1);
const EVERY_MAX: Duration = Duration::from_mins(10);

/// Looks from time to time, for ever.
pub async fn run(app: App) {
    let every = (app.config.uploads.unused_kept / 10).clamp(EVERY_MIN, EVERY_MAX);
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = clean(&app).await {
            tracing::warn!(?error, "unused uploads could not be removed; it is tried again");
        }
    }
}

async fn clean(app: &App) -> Result<(), Error> {
    if let Store::Disk(disk, _) = &app.uploads {
        disk.sweep(UNIX_EPOCH + Duration::from_millis(now_ms()).saturating_sub(PUT_MAX * 2)).await?;
    }
    while clean_some(app).await? == AT_ONCE {}
    Ok(())
}

/// Removes some; gives how many.
async fn clean_some(app: &App) -> Result<i64, Error> {
    // Until its link has ended, a file may still come.
    let kept = app.config.uploads.unused_kept.saturating_add(app.config.uploads.link_life);
    let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    if !crate::store::try_lock(&*transaction, REMOVER_LOCK).await? {
        return Ok(0);
    }
    let unused = store::unused(&*transaction, now_ms().saturating_sub(kept_ms), AT_ONCE).await?;
    for id in &unused {
        app.uploads.remove(*id).await?;
    }
    store::remove(&*transaction, &unused).await?;
    transaction.commit().await?;
    for _ in &unused {
        count("unused");
    }
    Ok(i64::try_from(unused.len()).unwrap_or(AT_ONCE))
}
