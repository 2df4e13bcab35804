//! Who is kept out. Postgres knows; a set in Redis tells gateways and every instance, so that tokens of other applications
//! in a banned user's name are refused as well.
//!
//! A member that is no user says that the set is complete: a Redis that lost its data lacks it, and the set is filled anew.

use hubbub_common::entry::Notice;
use hubbub_common::ids::UserId;
use hubbub_common::keys::{BANNED, BANNED_COMPLETE};
use redis::cmd;

use crate::app::App;
use crate::error::Error;
use crate::store::users;

/// Users at a time while everybody who is banned is written.
const USERS_PER_PAGE: i64 = 1_000;

/// Whether tokens in this user's name are good for nothing.
pub async fn is_banned(app: &App, user: UserId) -> Result<bool, Error> {
    let mut member = cmd("SISMEMBER");
    member.arg(BANNED).arg(user.get());
    Ok(member.query_async(&mut app.redis.clone()).await?)
}

/// Writes what Postgres knows of a user, and tells gateways.
pub async fn refresh(app: &App, user: UserId) -> Result<(), Error> {
    let database = app.database().await?;
    let standing = users::standing(&**database, user).await?;
    drop(database);
    let is_banned = standing.is_some_and(|standing| standing.is_banned);
    let mut change = cmd(if is_banned { "SADD" } else { "SREM" });
    change.arg(BANNED).arg(user.get()).query_async::<()>(&mut app.redis.clone()).await?;
    app.publisher.notify(&app.redis, &Notice::BansChanged).await
}

/// Fills the set where it is not complete.
pub async fn fill_if_lost(app: &App) -> Result<(), Error> {
    let mut redis = app.redis.clone();
    if cmd("SISMEMBER").arg(BANNED).arg(BANNED_COMPLETE).query_async::<bool>(&mut redis).await? {
        return Ok(());
    }
    let mut after = 0;
    loop {
        let database = app.database().await?;
        let banned = users::banned(&**database, after, USERS_PER_PAGE).await?;
        drop(database);
        let Some(last) = banned.last() else { break };
        after = last.as_i64();
        let mut add = cmd("SADD");
        add.arg(BANNED);
        for user in &banned {
            add.arg(user.get());
        }
        add.query_async::<()>(&mut redis).await?;
    }
    cmd("SADD").arg(BANNED).arg(BANNED_COMPLETE).query_async::<()>(&mut redis).await?;
    app.publisher.notify(&app.redis, &Notice::BansChanged).await
}
