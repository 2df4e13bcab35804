//! Users who want their messages erased.

use std::ops::Range;

use hubbub_common::ids::{MessageId, UserId};
use tokio_postgres::{Error, Row};

use super::sql::Sql;

/// Notes the wish, for every message up to one.
pub async fn wish(client: &impl Sql, user: UserId, up_to: MessageId, now_ms: u64) -> Result<(), Error> {
    let sql = "INSERT INTO erasures (user_id, up_to, wished_at) VALUES ($1, $2, $3)
               ON CONFLICT (user_id) DO UPDATE
               SET up_to = excluded.up_to, wished_at = excluded.wished_at, done_at = NULL";
    client.run(sql, &[&user.as_i64(), &up_to.as_i64(), &now_ms.cast_signed()]).await?;
    Ok(())
}

/// Wishes that are not fulfilled yet.
pub async fn pending(client: &impl Sql) -> Result<Vec<(UserId, MessageId)>, Error> {
    let sql = "SELECT user_id, up_to FROM erasures WHERE done_at IS NULL ORDER BY wished_at";
    let wish = |row: &Row| Some((UserId::from_i64(row.get(0))?, MessageId::from_i64(row.get(1))?));
    Ok(client.rows(sql, &[]).await?.iter().filter_map(wish).collect())
}

/// Empties a user's messages in some pages of a month; gives how many.
pub async fn erase(
    client: &impl Sql,
    month: &str,
    pages: Range<i64>,
    user: UserId,
    up_to: MessageId,
) -> Result<u64, Error> {
    // The name is one of our own, and the pages are numbers: nothing to escape.
    let (from, to) = (pages.start, pages.end);
    let sql = format!(
        "WITH erased AS (
             UPDATE {month} SET body = '', name = '', nonce = NULL, edited_at = NULL, deleted = true
             WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid AND author = $1 AND id <= $2
             AND (body <> '' OR name <> '' OR NOT deleted) RETURNING room, id),
         unused AS (DELETE FROM upload_uses u USING erased e WHERE u.room = e.room AND u.msg = e.id)
         SELECT count(*) FROM erased"
    );
    let row = client.one_row(&sql, &[&user.as_i64(), &up_to.as_i64()]).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

/// A wish is fulfilled, unless it was made anew meanwhile.
pub async fn done(client: &impl Sql, user: UserId, up_to: MessageId, now_ms: u64) -> Result<(), Error> {
    let sql = "UPDATE erasures SET done_at = $3 WHERE user_id = $1 AND up_to = $2";
    client.run(sql, &[&user.as_i64(), &up_to.as_i64(), &now_ms.cast_signed()]).await?;
    Ok(())
}
