//! The months of `messages`: made, listed, dropped, without a lock that a reader would wait for.
//!
//! A month is a table of its own that is attached, because `CREATE TABLE … PARTITION OF` and a plain `DETACH` wait for
//! every reader, and every later reader waits behind them. `ATTACH` and `DETACH … CONCURRENTLY` let readers pass.

use std::ops::Range;

use hubbub_common::ids::MessageId;
use tokio_postgres::{Client, Error, Row};

use super::sql::Sql as _;

/// Holds "months" in ASCII: whoever makes a month holds it.
const LOCK: i64 = 0x6d6f_6e74_6873;

/// A month of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Month {
    /// Of the table.
    pub name: String,
    /// The ids of its messages.
    pub ids: Range<i64>,
}

/// The month of a moment, `ahead` months later.
pub async fn month_of(client: &Client, at_ms: u64, ahead: i32) -> Result<Month, Error> {
    let row = client
        .one_row(
            "SELECT to_char(month, '\"messages_\"YYYY_MM'), extract(epoch FROM month)::bigint * 1000,
                    extract(epoch FROM month + interval '1 month')::bigint * 1000
             FROM (SELECT date_trunc('month', to_timestamp($1 / 1000) AT TIME ZONE 'UTC')
                          + make_interval(months => $2) AS month) AS months",
            &[&at_ms.cast_signed(), &ahead],
        )
        .await?;
    let id = |column: usize| MessageId::floor_of_ms(row.get::<_, i64>(column).cast_unsigned()).as_i64();
    Ok(Month { name: row.get(0), ids: id(1)..id(2) })
}

/// Makes a month, if it is not there.
pub async fn ensure(client: &mut Client, month: &Month) -> Result<(), Error> {
    let attached = "SELECT 1 FROM pg_inherits WHERE inhparent = 'messages'::regclass
                    AND inhrelid = to_regclass($1) AND NOT inhdetachpending";
    if client.maybe_row(attached, &[&month.name]).await?.is_some() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.run("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    if transaction.maybe_row(attached, &[&month.name]).await?.is_none() {
        // The name comes from the database itself, and the bounds are numbers: nothing to escape.
        let (name, from, to) = (&month.name, month.ids.start, month.ids.end);
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {name} (LIKE messages INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
             ALTER TABLE messages ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"
        );
        transaction.batch_execute(&make).await?;
    }
    transaction.commit().await
}

/// Every month that is attached, or whose detaching was interrupted; oldest first, with its last id, exclusive.
pub async fn all(client: &Client) -> Result<Vec<(String, i64)>, Error> {
    let sql = "SELECT c.relname::text, (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''?(\\d+)'))[1]::bigint
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'messages'::regclass ORDER BY 2";
    let rows = client.rows(sql, &[]).await?;
    Ok(rows.iter().filter_map(|row| Some((row.get(0), row.get::<_, Option<i64>>(1)?))).collect())
}

/// Tables of months that are no part of `messages` any more: what was detached and not dropped.
pub async fn detached(client: &Client) -> Result<Vec<String>, Error> {
    let sql = "SELECT c.relname::text FROM pg_class c
               WHERE c.relkind = 'r' AND c.relname ~ '^messages_\\d{4}_\\d\\d$'
               AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'messages'::regclass)
               AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)";
    Ok(client.rows(sql, &[]).await?.iter().map(|row: &Row| row.get(0)).collect())
}

/// Takes a month out of `messages`; goes on where that was interrupted.
pub async fn detach(client: &Client, name: &str) -> Result<(), Error> {
    let pending = "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass($1)";
    let Some(row) = client.maybe_row(pending, &[&name]).await? else { return Ok(()) };
    let how = if row.get(0) { "FINALIZE" } else { "CONCURRENTLY" };
    client.batch_execute(&format!("ALTER TABLE messages DETACH PARTITION {name} {how}")).await
}

/// The last id of a month by its table's name, exclusive.
pub async fn end_of(client: &Client, name: &str) -> Result<Option<i64>, Error> {
    let sql =
        "SELECT extract(epoch FROM to_date(right($1, 7), 'YYYY_MM') + interval '1 month')::bigint * 1000";
    let row = client.maybe_row(sql, &[&name]).await?;
    Ok(row.map(|row| MessageId::floor_of_ms(row.get::<_, i64>(0).cast_unsigned()).as_i64()))
}

/// How large a month's table is, in pages.
pub async fn pages(client: &Client, name: &str) -> Result<i64, Error> {
    let sql = "SELECT pg_relation_size(to_regclass($1)) / current_setting('block_size')::bigint";
    Ok(client.one_row(sql, &[&name]).await?.get::<_, Option<i64>>(0).unwrap_or(0))
}

/// Builds a month's index for search, if it has none; whether there was anything to do. The expression is that of
/// [`super::search`].
pub async fn index_for_search(client: &Client, name: &str) -> Result<bool, Error> {
    let index = format!("{name}_search");
    let is_valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
    match client.maybe_row(is_valid, &[&index.as_str()]).await? {
        Some(row) if row.get(0) => return Ok(false),
        // What an interrupted run left.
        Some(_) => client.batch_execute(&format!("DROP INDEX CONCURRENTLY {index}")).await?,
        None => {}
    }
    // As long as it takes; each is a statement of its own, because the last one works in no transaction.
    for sql in [
        "SET statement_timeout = 0".to_owned(),
        "SET maintenance_work_mem = '256MB'".to_owned(),
        // Cut, because a tsvector holds no more than a megabyte.
        format!(
            "CREATE INDEX CONCURRENTLY {index} ON {name} USING gin (to_tsvector('simple', left(body, 65536)))"
        ),
    ] {
        client.batch_execute(&sql).await?;
    }
    Ok(true)
}

/// Removes some reactions to messages before an id. Parameters: the id, how many.
pub const DROP_REACTIONS: &str = "DELETE FROM reactions WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM reactions WHERE msg < $1 LIMIT $2))";

/// The same for notes which messages name an upload.
pub const DROP_USES: &str = "DELETE FROM upload_uses WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM upload_uses WHERE msg < $1 LIMIT $2))";

/// Drops a table of [`detached`].
pub async fn drop(client: &Client, name: &str) -> Result<(), Error> {
    client.batch_execute(&format!("DROP TABLE IF EXISTS {name}")).await
}
