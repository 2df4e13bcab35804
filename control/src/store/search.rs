//! Finding messages of a room by their words.
//!
//! Months that are over have an index of words ([`super::partitions::index_for_search`]); newer ones are looked through.
//! Which of the two is quicker depends on how common the words are, which Postgres can't know of words that its statistics
//! lack: it takes them for common, and would look through a whole room for a word that was said once. So each statement
//! here leaves it one way only, by `OFFSET 0`, and the rules choose ([`crate::search`]).

use std::ops::Range;
use std::time::Duration;

use hubbub_common::ids::RoomId;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::messages::{COLUMNS, Message, complete};
use super::sql::{Sql as _, rows_in_time, rows_within};
use crate::error::Error;

/// Whether a message has the words of `$4`; the expression is that of the index.
const HAS_WORDS: &str = "to_tsvector('simple', left(body, 65536)) @@ websearch_to_tsquery('simple', $4)";

/// What is looked for.
#[derive(Debug)]
pub struct Wanted {
    /// As they were typed.
    words: String,
    /// What the lower-case body of each message with these words is like. To see that takes a tenth of the time that
    /// making a `tsvector` does.
    patterns: Vec<String>,
}

/// What words mean; `None` where there is nothing to look for.
pub async fn wanted(client: &Client, words: &str) -> Result<Option<Wanted>, Error> {
    let row = client.one_row("SELECT websearch_to_tsquery('simple', $1)::text", &[&words]).await?;
    let query: String = row.get(0);
    Ok((!query.is_empty()).then(|| Wanted { words: words.to_owned(), patterns: patterns(&query) }))
}

/// Of a `tsquery` in its text form: `'it''s' & 'here'`. None where not each of its words has to be there.
///
/// The parser cuts words out of a body as they stand there, and then makes them lower-case.
fn patterns(query: &str) -> Vec<String> {
    // A quote or backslash in a word stands there twice; in a pattern anything will do in its place.
    let query = query.replace("''", "%").replace(r"\\", "_");
    // What joins words stands at even places, words at odd ones.
    let parts: Vec<&str> = query.split('\'').collect();
    if parts.iter().step_by(2).any(|joint| joint.contains(['|', '!'])) {
        return Vec::new();
    }
    parts.iter().skip(1).step_by(2).map(|word| format!("%{word}%")).collect()
}

/// Messages before this id are in months with an index of their words.
pub async fn indexed_before(client: &Client) -> Result<i64, Error> {
    let sql = "SELECT max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''?(\\d+)'))[1]::bigint)
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_index x ON x.indrelid = c.oid
               WHERE i.inhparent = 'messages'::regclass AND x.indisvalid
               AND x.indexrelid = to_regclass(c.relname || '_search')";
    Ok(client.one_row(sql, &[]).await?.get::<_, Option<i64>>(0).unwrap_or(0))
}

/// Where the newest of a room's messages begin, so many of those with these ids; `None` where there are fewer.
pub async fn begin_of(
    client: &Client,
    room: RoomId,
    ids: &Range<i64>,
    count: i64,
) -> Result<Option<i64>, Error> {
    let sql =
        "SELECT id FROM messages WHERE room = $1 AND id >= $2 AND id < $3 ORDER BY id DESC OFFSET $4 LIMIT 1";
    let rows = rows_in_time(client, sql, &[&room.as_i64(), &ids.start, &ids.end, &(count - 1)]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The newest messages that are found by looking at each. Where a body is not ASCII, the parser's lower case may be
/// another one than that of `lower`: it need not be like anything.
pub async fn look_through(
    client: &Client,
    room: RoomId,
    wanted: &Wanted,
    ids: &Range<i64>,
    limit: i64,
) -> Result<Vec<Message>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM (SELECT {COLUMNS} FROM messages WHERE room = $1 AND id >= $2 AND id < $3
                                ORDER BY id DESC OFFSET 0) AS each
         WHERE (octet_length(body) > char_length(body) OR lower(body) LIKE ALL ($5)) AND {HAS_WORDS} AND NOT deleted
         ORDER BY id DESC LIMIT $6"
    );
    let patterns: Vec<&str> = wanted.patterns.iter().map(String::as_str).collect();
    let (room_id, words) = (room.as_i64(), wanted.words.as_str());
    let rows =
        rows_in_time(client, &sql, &[&room_id, &ids.start, &ids.end, &words, &patterns, &limit]).await?;
    complete(client, room, &rows).await
}

/// The newest messages that are found by the index; `None` where that takes too long, because the words are common.
pub async fn by_index(
    client: &Client,
    room: RoomId,
    wanted: &Wanted,
    ids: &Range<i64>,
    limit: i64,
    time: Duration,
) -> Result<Option<Vec<Message>>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM (SELECT {COLUMNS} FROM messages WHERE {HAS_WORDS} AND room = $1 AND id >= $2 AND id < $3
                                AND NOT deleted OFFSET 0) AS found
         ORDER BY id DESC LIMIT $5"
    );
    let (room_id, words) = (room.as_i64(), wanted.words.as_str());
    match rows_within(client, time, &sql, &[&room_id, &ids.start, &ids.end, &words, &limit]).await {
        Ok(rows) => complete(client, room, &rows).await.map(Some),
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_with_the_words_is_like_the_patterns() {
        let check = |query: &str, expected: &[&str]| assert_eq!(patterns(query), expected, "{query}");
        check("'quick' & 'fox'", &["%quick%", "%fox%"]);
        check("'quick' <-> 'brown' & 'fox'", &["%quick%", "%brown%", "%fox%"]);
        check("'it''s'", &["%it%s%"]);
        check("'it'''", &["%it%%"]);
        check("'''tis'", &["%tis%"]);
        check(r"'a\\b'", &["%a_b%"]);
        // Not each has to be there.
        check("'quick' | 'fox'", &[]);
        check("'quick' & !'fox'", &[]);
        // In a word these are no operators.
        check("'/a|b!c'", &["%/a|b!c%"]);
        check("", &[]);
    }
}
