//! Search finds everything, newest first, however many messages a room has: in months with an index of words and without
//! one, at once or in parts, with words that are common, seldom, or written in capitals that are not ASCII.

use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Stack, wait};
use hubbub_common::clock::now_ms;
use hubbub_common::ids::MessageId;
use postgres::{Client as Database, NoTls};
use serde_json::json;

const FOLLOWS_MAX: Duration = Duration::from_mins(1);
/// In each of two months: more than are looked through at once.
const MESSAGES: i64 = 5_000;

/// The month of that many days ago: its table, and the range of its ids.
fn month(database: &mut Database, days_ago: i64) -> (String, i64, i64) {
    let at_ms = i64::try_from(now_ms()).unwrap() - days_ago * 24 * 60 * 60 * 1_000;
    let sql = "SELECT to_char(month, '\"messages_\"YYYY_MM'), extract(epoch FROM month)::bigint * 1000,
                      extract(epoch FROM month + interval '1 month')::bigint * 1000
               FROM (SELECT date_trunc('month', to_timestamp($1::bigint / 1000) AT TIME ZONE 'UTC') AS month) AS m";
    let row = database.query_one(sql, &[&at_ms]).unwrap();
    let id = |column| MessageId::floor_of_ms(u64::try_from(row.get::<_, i64>(column)).unwrap()).as_i64();
    (row.get(0), id(1), id(2))
}

/// Stores a month's messages of a room from its first id on, as the batch writer would have.
fn fill(database: &mut Database, room: i64, days_ago: i64) {
    let (table, from, to) = month(database, days_ago);
    let make = format!(
        "CREATE TABLE IF NOT EXISTS {table} PARTITION OF messages FOR VALUES FROM ({from}) TO ({to})"
    );
    database.batch_execute(&make).unwrap();
    let insert = "INSERT INTO messages (room, id, n, author, name, kind, body, deleted)
                  SELECT $1, $2::bigint + g, g, 1, 'ada', 'text', 'Common words ' || g || CASE
                      WHEN g = 10 THEN ' It''s the RAREST one' WHEN g = 4000 THEN ' the rarest of its day'
                      WHEN g = 11 THEN ' БЫСТРАЯ лиса' WHEN g = 12 THEN ' rarest, and gone' ELSE '' END, g = 12
                  FROM generate_series(1::bigint, $3) g";
    database.execute(insert, &[&room, &from, &MESSAGES]).unwrap();
}

/// Ids of all that is found, by as many answers as that takes, and how many were not full and still not the last.
fn find(rest: &Rest, room: i64, query: &str) -> (Vec<i64>, usize) {
    let (mut found, mut parts, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = rest.get(&format!("/rooms/{room}/search?limit=200&q={query}{cursor}")).unwrap();
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|item| item["id"].as_str().unwrap().parse::<i64>().unwrap()));
        let Some(next) = page["next"].as_str() else { return (found, parts) };
        parts += usize::from(items.len() < 200);
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn all_is_found_at_once_or_in_parts() {
    let builder =
        Stack::builder().gateways(0).controls(2).without_haproxy().env("HUBBUB_JANITOR_SECONDS", "1");
    // No answer has time for more than some messages; the other one for all.
    let builder = builder.env_of_part("control-1", "HUBBUB_SEARCH_MS", "1");
    let stack = builder.env_of_part("control-2", "HUBBUB_SEARCH_MS", "60000").start().unwrap();
    let rest = Rest::new(stack.control(0).url());
    let account = json!({"username": "ada", "password": "correct horse battery"});
    let token = rest.post("/auth/register", &account).unwrap()["token"].as_str().unwrap().to_owned();
    let (in_parts, at_once) = (rest.with_token(&token), Rest::new(stack.control(1).url()).with_token(&token));
    let made = in_parts.post("/rooms", &json!({"name": "lobby", "kind": "public"})).unwrap();
    let room: i64 = made["id"].as_str().unwrap().parse().unwrap();

    let mut database = Database::connect(stack.database_url().unwrap(), NoTls).unwrap();
    let (_, now_from, _) = month(&mut database, 0);
    let (_, then_from, _) = month(&mut database, 62);
    // Made ahead by the janitor; none of them is made here then.
    let there = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'messages'::regclass";
    let has_months = || (database.query_one(there, &[]).unwrap().get::<_, i64>(0) == 3).then_some(());
    assert!(wait::until(FOLLOWS_MAX, has_months).is_some());
    for days_ago in [0, 62] {
        fill(&mut database, room, days_ago);
        fill(&mut database, room + 1, days_ago);
    }
    let index = "SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid
                 WHERE indisvalid AND relname ~ '^messages_\\d{4}_\\d\\d_search$'";
    let is_indexed = || (database.query_one(index, &[]).unwrap().get::<_, i64>(0) == 1).then_some(());
    assert!(wait::until(FOLLOWS_MAX, is_indexed).is_some(), "the month that is over has an index");

    let both = |numbers: &[i64]| -> Vec<i64> {
        [now_from, then_from].iter().flat_map(|from| numbers.iter().map(move |n| from + n)).collect()
    };
    let all: Vec<i64> = (1..=MESSAGES).rev().filter(|n| *n != 12).collect();
    for (query, expected) in [
        ("rarest", both(&[4_000, 10])),
        ("Rarest+common", both(&[4_000, 10])),
        ("it%27s", both(&[10])),
        ("%22rarest+one%22", both(&[10])),
        ("rarest+-day", both(&[10])),
        ("rarest+or+%D0%BB%D0%B8%D1%81%D0%B0", both(&[4_000, 11, 10])),
        ("%D0%B1%D1%8B%D1%81%D1%82%D1%80%D0%B0%D1%8F", both(&[11])),
        ("4711", both(&[4_711])),
        ("common", both(&all)),
        ("nowhere", Vec::new()),
        ("%21%26", Vec::new()),
    ] {
        let (found, parts) = find(&at_once, room, query);
        assert_eq!(found, expected, "{query}, at once");
        assert_eq!(parts, 0, "{query}, at once");
        let (found, parts) = find(&in_parts, room, query);
        assert_eq!(found, expected, "{query}, in parts");
        assert!(parts > 0 || query == "common" || query == "%21%26", "{query} is answered in parts");
    }
}
