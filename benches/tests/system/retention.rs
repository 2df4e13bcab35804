//! What is stored for years: months made ahead and dropped online, rooms that keep less, users who are erased.

use std::process::Command;

use hubbub_benches::stack::{Stack, sibling, wait};
use postgres::{Client as Database, NoTls};
use serde_json::json;

use crate::client::Person;
use crate::persister::FOLLOWS_MAX;

fn stack(retention_days: &str) -> Stack {
    let builder =
        Stack::builder().gateways(0).controls(2).without_haproxy().env("HUBBUB_JANITOR_SECONDS", "1");
    builder.env("HUBBUB_RETENTION_DAYS", retention_days).start().unwrap()
}

fn open(stack: &Stack) -> Database {
    let mut database = Database::connect(stack.database_url().unwrap(), NoTls).unwrap();
    // Whoever waits for a lock fails the test.
    database.batch_execute("SET statement_timeout = '10s'").unwrap();
    database
}

fn months(database: &mut Database) -> Vec<String> {
    let sql =
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'messages'::regclass ORDER BY 1";
    database.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// The id of a message of that many days ago.
fn id_of(days_ago: u64) -> i64 {
    let ms = hubbub_common::clock::now_ms() - days_ago * 24 * 60 * 60 * 1_000;
    hubbub_common::ids::MessageId::floor_of_ms(ms).as_i64()
}

/// As the batch writer would have stored it then, in a month of that time.
fn store(database: &mut Database, room: i64, days_ago: u64, author: i64) -> i64 {
    let id = id_of(days_ago);
    let month = "SELECT to_char(month, '\"messages_\"YYYY_MM'), extract(epoch FROM month)::bigint * 1000,
                        extract(epoch FROM month + interval '1 month')::bigint * 1000
                 FROM (SELECT date_trunc('month', now() AT TIME ZONE 'UTC' - make_interval(days => $1)) AS month) AS m";
    let row = database.query_one(month, &[&i32::try_from(days_ago).unwrap()]).unwrap();
    let bound = |column: usize| {
        let ms = u64::try_from(row.get::<_, i64>(column)).unwrap();
        hubbub_common::ids::MessageId::floor_of_ms(ms).as_i64()
    };
    let make = format!(
        "CREATE TABLE IF NOT EXISTS {} PARTITION OF messages FOR VALUES FROM ({}) TO ({})",
        row.get::<_, String>(0),
        bound(1),
        bound(2)
    );
    database.batch_execute(&make).unwrap();
    let insert = "INSERT INTO messages (room, id, n, author, name, kind, body, nonce)
                  VALUES ($1, $2, 1, $3, 'ada', 'text', 'secret', 'n')";
    database.execute(insert, &[&room, &id, &author]).unwrap();
    database.execute("INSERT INTO reactions VALUES ($1, $2, 9, 'x')", &[&room, &id]).unwrap();
    database.execute("INSERT INTO upload_uses VALUES (5, $1, $2)", &[&room, &id]).unwrap();
    id
}

fn count(database: &mut Database, table: &str) -> i64 {
    database.query_one(&format!("SELECT count(*) FROM {table}"), &[]).unwrap().get(0)
}

fn until(what: &str, check: impl FnMut() -> Option<()>) {
    assert!(wait::until(FOLLOWS_MAX, check).is_some(), "{what}");
}

#[test]
fn months_are_made_ahead_and_dropped_while_somebody_reads() {
    let stack = stack("90");
    let (mut reader, mut other) = (open(&stack), open(&stack));
    until("this month and the next two are there", || (months(&mut other).len() == 3).then_some(()));
    // A long read, as of a backup, begins before an old month is to be dropped.
    let (old, kept) = (store(&mut other, 1_000, 200, 7), store(&mut other, 1_000, 40, 7));
    let mut reading = reader.transaction().unwrap();
    reading.query("SELECT count(*) FROM messages", &[]).unwrap();
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    until("detaching waits for the reader", || {
        (other.query_one(pending, &[]).unwrap().get::<_, i64>(0) == 1).then_some(())
    });
    // Nobody waits behind it, neither reader nor writer.
    let person = Person::register(stack.control(0).url(), "ada");
    let room = person.rest.post("/rooms", &json!({"name": "lobby", "kind": "public"})).unwrap();
    let messages = format!("/rooms/{}/messages", room["id"].as_str().unwrap());
    person.rest.post(&messages, &json!({"body": "hello"})).unwrap();
    until("messages are stored and read meanwhile", || {
        (person.rest.get(&messages).ok()?["items"].as_array()?.len() == 1).then_some(())
    });
    reading.rollback().unwrap();
    until("then it is dropped, with what refers to it", || {
        let gone = "SELECT count(*) FROM reactions WHERE msg = $1";
        let left = other.query_one(gone, &[&old]).unwrap().get::<_, i64>(0);
        let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^messages_\\d'";
        (left == 0 && other.query_one(tables, &[]).unwrap().get::<_, i64>(0) == 4).then_some(())
    });
    // A month that is over, and that is kept, is indexed for search.
    let index = "SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid
                 WHERE indisvalid AND relname ~ '^messages_\\d{4}_\\d\\d_search$'";
    until("it is indexed", || (other.query_one(index, &[]).unwrap().get::<_, i64>(0) == 1).then_some(()));
    let rest = other.query("SELECT msg FROM reactions", &[]).unwrap();
    assert_eq!(rest.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [kept]);
    assert_eq!(count(&mut other, "upload_uses"), 1);
}

#[test]
fn a_room_may_keep_less() {
    let stack = stack("0");
    let mut database = open(&stack);
    until("months are there", || (months(&mut database).len() == 3).then_some(()));
    for days_ago in [5, 35, 95] {
        store(&mut database, 1, days_ago, 7);
        store(&mut database, 2, days_ago, 7);
    }
    let retention = |days: &str| {
        let mut command = Command::new(sibling("hubbub-control").unwrap());
        command.args(["room", "retention", "1", days]);
        command.env("HUBBUB_DATABASE_URL", stack.database_url().unwrap());
        command.env("HUBBUB_REDIS_URL", stack.redis_url().unwrap());
        command.env("HUBBUB_JWT_SECRET", stack.jwt_secret());
        command.output().unwrap().status.code()
    };
    assert_eq!(retention("0"), Some(2));
    assert_eq!(retention("30"), Some(0));
    let left = "SELECT count(*) FILTER (WHERE room = 1), count(*) FILTER (WHERE room = 2) FROM messages";
    until("older ones are removed from this room alone", || {
        let row = database.query_one(left, &[]).unwrap();
        ((row.get::<_, i64>(0), row.get::<_, i64>(1)) == (1, 3)).then_some(())
    });
    assert_eq!((count(&mut database, "reactions"), count(&mut database, "upload_uses")), (4, 4));
    assert_eq!(retention("none"), Some(0));
    assert_eq!(count(&mut database, "room_retention"), 0);
}

#[test]
fn who_wishes_it_is_erased() {
    let stack = stack("0");
    let mut database = open(&stack);
    until("months are there", || (months(&mut database).len() == 3).then_some(()));
    let [ada, bob] = ["ada", "bob"].map(|name| Person::register(stack.control(0).url(), name));
    let [a, b] = [&ada, &bob].map(|person| person.id.parse::<i64>().unwrap());
    for days_ago in [5, 35] {
        store(&mut database, 1, days_ago, a);
        store(&mut database, 2, days_ago, b);
    }
    let room = ada.rest.post("/rooms", &json!({"name": "lobby", "kind": "public"})).unwrap();
    let messages = format!("/rooms/{}/messages", room["id"].as_str().unwrap());
    ada.rest.post(&messages, &json!({"body": "on its way while it is wished"})).unwrap();
    let mut command = Command::new(sibling("hubbub-control").unwrap());
    command.args(["user", "erase-messages", "ada"]);
    command.env("HUBBUB_DATABASE_URL", stack.database_url().unwrap());
    command.env("HUBBUB_REDIS_URL", stack.redis_url().unwrap());
    command.env("HUBBUB_JWT_SECRET", stack.jwt_secret());
    assert!(command.output().unwrap().status.success());
    // Whoever does it is killed while it may be at it; another instance does the rest.
    stack.control(0).kill().unwrap();
    stack.control(0).start().unwrap();
    until("the wish is fulfilled", || {
        let row = database.query_one("SELECT count(*) FROM erasures WHERE done_at IS NOT NULL", &[]).unwrap();
        (row.get::<_, i64>(0) == 1).then_some(())
    });
    let told = "SELECT count(*) FILTER (WHERE deleted AND body = '' AND name = '' AND nonce IS NULL),
                       count(*) FILTER (WHERE body = 'secret' AND NOT deleted) FROM messages";
    let row = database.query_one(told, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 2));
    assert_eq!(count(&mut database, "upload_uses"), 2);
    // What comes after the wish is no part of it.
    ada.rest.post(&messages, &json!({"body": "afterwards"})).unwrap();
    until("later messages stay", || {
        let page = ada.rest.get(&messages).ok()?;
        (page["items"].as_array()?.last()?["body"] == "afterwards").then_some(())
    });
}
