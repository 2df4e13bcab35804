//! The membership cache in Redis, from which gateways decide who may join.
//!
//! A user's rooms are written anew as a whole, from Postgres, after each change: running it twice, or late,
//! gives the same end, as one at a time does so for a user. A marker says that the cache is complete; a Redis that lost its data lacks it, and the
//! cache is filled for everybody.

use std::time::Duration;

use deadpool_postgres::Client;
use hubbub_common::ids::UserId;
use hubbub_common::keys;
use redis::cmd;

use crate::app::App;
use crate::bans;
use crate::error::Error;
use crate::store::{self, rooms};

/// Holds "members" in ASCII, and a user's id upon it: the lock of whoever writes their rooms.
const WRITE_LOCK: i64 = 0x6d_656d_6265_7273;
/// How often the marker is looked for.
const CHECK_EVERY: Duration = Duration::from_secs(3);
/// Users at a time while everybody's rooms are written.
const USERS_PER_PAGE: i64 = 1_000;

/// Writes one user's rooms.
pub async fn refresh(app: &App, user: UserId) -> Result<(), Error> {
    refresh_by(app, &mut app.database().await?, user).await
}

/// The same by a connection that is at hand.
pub async fn refresh_by(app: &App, database: &mut Client, user: UserId) -> Result<(), Error> {
    let transaction = database.transaction().await?;
    // Or what was read before a change could be written behind it.
    store::lock(&*transaction, WRITE_LOCK ^ user.as_i64()).await?;
    let roles = rooms::roles_of(&*transaction, user).await?;
    let key = keys::roles_of(user);
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    pipeline.cmd("DEL").arg(&key);
    if !roles.is_empty() {
        let set = pipeline.cmd("HSET").arg(&key);
        for (room, role) in roles {
            set.arg(room.get()).arg(role.as_str());
        }
    }
    pipeline.query_async::<()>(&mut app.redis.clone()).await?;
    transaction.commit().await?;
    Ok(())
}

/// Keeps the cache complete, for ever.
pub async fn keep(app: App) {
    loop {
        if let Err(error) = fill_if_lost(&app).await {
            tracing::debug!(?error, "the membership cache could not be checked");
        }
        if let Err(error) = bans::fill_if_lost(&app).await {
            tracing::debug!(?error, "the list of banned users could not be checked");
        }
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

/// Fills the cache where the marker is missing.
pub async fn fill_if_lost(app: &App) -> Result<(), Error> {
    let mut redis = app.redis.clone();
    if cmd("EXISTS").arg(keys::MEMBERSHIP_LOADED).query_async::<bool>(&mut redis).await? {
        return Ok(());
    }
    let mut after = 0;
    loop {
        let database = app.database().await?;
        let users = rooms::users_with_roles(&**database, after, USERS_PER_PAGE).await?;
        drop(database);
        let Some(last) = users.last() else { break };
        after = last.as_i64();
        for user in users {
            refresh(app, user).await?;
        }
    }
    cmd("SET").arg(keys::MEMBERSHIP_LOADED).arg(1).query_async::<()>(&mut redis).await?;
    tracing::info!("the membership cache is filled");
    Ok(())
}
