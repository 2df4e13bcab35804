//! The batch writer dies in every way, again and again, while everything that can be stored is sent; in the end Postgres
//! holds what the ledger of acknowledgements says, once.
//!
//! `HUBBUB_TEST_KILLS` says how often (`make kills`), `HUBBUB_TEST_SEED` which run.

use std::collections::{BTreeMap, BTreeSet};

use hubbub_benches::stack::{Kind, Part, Stack, wait};
use hubbub_common::clock::{Monotonic, now_ms};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio_postgres::{Client as Database, NoTls};

use crate::client::{Client, Jar, Person, Proof};
use crate::persister::{FOLLOWS_MAX, health, leads};

/// Where nothing else is asked for.
const KILLS: u64 = 10;
/// Operations around each kill, at most.
const OPERATIONS: u64 = 150;
const EMOJIS: [&str; 3] = ["👍", "🎉", "x"];

fn variable(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "what `make kills` says")]
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// What a message must be in the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Message {
    n: i64,
    body: String,
    nonce: Option<String>,
    edited_at: Option<i64>,
    deleted: bool,
}

/// What was asked and is not answered, by what it will be in the ledger.
#[derive(Debug, Clone)]
enum Asked {
    Message { body: String, nonce: Option<String> },
    Edit { msg: u64, body: String },
    Delete { msg: u64 },
    React { msg: u64, emoji: &'static str, on: bool },
}

/// Everything that was acknowledged, in the order of the stream.
#[derive(Default)]
struct Ledger {
    events: BTreeMap<u64, (u64, Asked)>,
    read: u64,
}

/// What Postgres must hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Books {
    messages: BTreeMap<u64, Message>,
    reactions: BTreeSet<(u64, String)>,
    /// The newest event read, and how many messages there are up to it.
    read: (u64, i64),
    counted: (i64, u64),
}

impl Ledger {
    fn books(&self) -> Books {
        let mut books = Books::default();
        for (id, (ts, asked)) in &self.events {
            match asked.clone() {
                Asked::Message { body, nonce } => {
                    let n = books.counted.0 + 1;
                    books.counted.0 = n;
                    books.read.0 = *id;
                    let message = Message { n, body, nonce, ..Message::default() };
                    books.messages.insert(*id, message);
                }
                Asked::Edit { msg, body } => {
                    let message = books.messages.get_mut(&msg).unwrap();
                    if !message.deleted {
                        (message.body, message.edited_at) = (body, Some(i64::try_from(*ts).unwrap()));
                    }
                }
                Asked::Delete { msg } => {
                    let message = books.messages.get_mut(&msg).unwrap();
                    (message.body, message.deleted) = (String::new(), true);
                }
                Asked::React { msg, emoji, on } => {
                    let reaction = (msg, emoji.to_owned());
                    if on {
                        books.reactions.insert(reaction)
                    } else {
                        books.reactions.remove(&reaction)
                    };
                }
            }
            books.counted.1 = *id;
        }
        books.read.0 = books.read.0.max(self.read);
        let read = books.messages.range(..=books.read.0).next_back();
        books.read.1 = read.map_or(0, |(_, message)| message.n);
        books
    }
}

async fn stored(database: &Database, user: &str) -> Books {
    let id = |value: i64| u64::try_from(value).unwrap();
    let mut books = Books::default();
    let messages = "SELECT id, n, body, nonce, edited_at, deleted FROM messages";
    for row in database.query(messages, &[]).await.unwrap() {
        let message = Message {
            n: row.get("n"),
            body: row.get("body"),
            nonce: row.get("nonce"),
            edited_at: row.get("edited_at"),
            deleted: row.get("deleted"),
        };
        assert!(books.messages.insert(id(row.get("id")), message).is_none(), "stored twice");
    }
    for row in database.query("SELECT msg, emoji FROM reactions", &[]).await.unwrap() {
        books.reactions.insert((id(row.get(0)), row.get(1)));
    }
    let read = "SELECT read_up_to, read_n FROM room_members WHERE user_id = $1";
    let row = database.query_one(read, &[&user.parse::<i64>().unwrap()]).await.unwrap();
    books.read = (id(row.get(0)), row.get(1));
    if let Some(row) = database.query_opt("SELECT messages, last_id FROM room_counters", &[]).await.unwrap() {
        books.counted = (row.get(0), id(row.get(1)));
    }
    books
}

async fn open(url: &str) -> Database {
    let (database, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    database
}

/// What is done to the writer; gives what makes it good.
async fn hit(stack: &Stack, random: &mut fastrand::Rng) -> Option<(usize, bool)> {
    let leader = stack.controls().iter().position(leads).unwrap_or_else(|| random.usize(0..2));
    match random.u8(0..10) {
        0..=2 => {
            stack.control(leader).kill().unwrap();
            Some((leader, false))
        }
        3 => {
            stack.control(leader).pause().unwrap();
            Some((leader, true))
        }
        4 => {
            let postgres = stack.postgres().unwrap();
            postgres.crash().unwrap();
            postgres.start().unwrap();
            None
        }
        _ => {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hubbub-writer'";
            open(stack.database_url().unwrap()).await.query(end, &[]).await.unwrap();
            None
        }
    }
}

fn heal(control: &Part, paused: bool) {
    if paused { control.resume().unwrap() } else { control.start().unwrap() }
}

/// Asks for something that fits what is known to be stored.
async fn ask(
    client: &mut Client,
    room: &str,
    number: u64,
    ledger: &mut Ledger,
    asked: &mut BTreeMap<u64, Asked>,
    random: &mut fastrand::Rng,
) {
    let acked: Vec<u64> = ledger
        .events
        .iter()
        .rev()
        .filter(|(_, (_, asked))| matches!(asked, Asked::Message { .. }))
        .map(|(id, _)| *id)
        .take(40)
        .collect();
    let (operation, what) = match (random.choice(&acked).copied(), random.u8(0..20)) {
        (Some(msg), 0..=2) => {
            let body = format!("edit {number}");
            let edit = json!({"op": "edit", "room": room, "id": msg.to_string(), "body": body});
            (edit, Asked::Edit { msg, body })
        }
        (Some(msg), 3) => {
            (json!({"op": "delete", "room": room, "id": msg.to_string()}), Asked::Delete { msg })
        }
        (Some(msg), 4..=6) => {
            let (emoji, on) = (EMOJIS[random.usize(0..EMOJIS.len())], random.u8(0..3) > 0);
            let react = json!({"op": "react", "room": room, "id": msg.to_string(), "emoji": emoji, "on": on});
            (react, Asked::React { msg, emoji, on })
        }
        (Some(msg), 7) => {
            ledger.read = ledger.read.max(msg);
            client.ask(json!({"op": "read", "room": room, "id": msg.to_string()})).await;
            return;
        }
        _ => {
            let body = format!("message {number}");
            // Some are repeated: the second one gets the first one's acknowledgement.
            let nonce = random.bool().then(|| (number - number % 2).to_string());
            let mut send = json!({"op": "send", "room": room, "body": body});
            if let Some(nonce) = &nonce {
                send["nonce"] = json!(nonce);
            }
            (send, Asked::Message { body, nonce })
        }
    };
    let reference = client.ask(operation).await;
    asked.insert(reference.as_u64().unwrap(), what);
}

/// Takes one acknowledgement.
async fn take(client: &mut Client, ledger: &mut Ledger, asked: &mut BTreeMap<u64, Asked>) {
    let event = client.find(|event| event["ref"].is_number()).await;
    let what = asked.remove(&event["ref"].as_u64().unwrap()).unwrap();
    if event["op"] == "error" {
        // A deleted message can't be edited or reacted to, and the gateway knows it.
        assert!(!matches!(what, Asked::Message { .. }), "{event} for {what:?}");
        return;
    }
    let id: u64 = event["id"].as_str().unwrap().parse().unwrap();
    let entry = (event["ts"].as_u64().unwrap(), what);
    ledger.events.entry(id).or_insert(entry);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_kills_the_writer_the_books_balance() {
    let kills = variable("HUBBUB_TEST_KILLS").unwrap_or(KILLS);
    let seed = variable("HUBBUB_TEST_SEED").unwrap_or_else(now_ms);
    println!("HUBBUB_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let builder =
        Stack::builder().gateways(1).controls(2).without_haproxy().env("HUBBUB_SENDS_PER_SECOND", "0");
    let builder = builder.env("HUBBUB_WAIT_SECONDS", "60").durable(true);
    let stack = block_in_place(|| builder.start().unwrap());
    let person = block_in_place(|| Person::register(stack.control(0).url(), "ada"));
    let room =
        block_in_place(|| person.rest.post("/rooms", &json!({"name": "lobby", "kind": "public"})).unwrap());
    let room = room["id"].as_str().unwrap();
    let token = person.rest.token().unwrap();
    let mut client = Client::connect(stack.gateway(0).url(), Proof::Bearer(token), &mut Jar::default()).await;
    client.join(room, None).await;

    let (mut ledger, mut asked, mut number) = (Ledger::default(), BTreeMap::new(), 0);
    let clock = Monotonic::start();
    for kill in 0..kills {
        let (operations, when) = (random.u64(20..OPERATIONS), random.u64(0..20));
        let mut away = None;
        for n in 0..operations {
            if n == when {
                away = hit(&stack, &mut random).await;
            }
            ask(&mut client, room, number, &mut ledger, &mut asked, &mut random).await;
            number += 1;
            while asked.len() > 50 {
                take(&mut client, &mut ledger, &mut asked).await;
            }
        }
        while !asked.is_empty() {
            take(&mut client, &mut ledger, &mut asked).await;
        }
        if let Some((control, paused)) = away {
            block_in_place(|| heal(stack.control(control), paused));
        }
        if kill % 50 == 49 {
            println!("{} faults, {number} operations, {:.0?}", kill + 1, clock.elapsed());
        }
    }
    assert!(stack.parts().filter(|part| part.kind() == Kind::Control).all(|control| control.pid().is_some()));
    let expected = ledger.books();
    let database = open(stack.database_url().unwrap()).await;
    let mut found = Books::default();
    let clock = Monotonic::start();
    while clock.elapsed() < FOLLOWS_MAX && found != expected {
        found = stored(&database, &person.id).await;
        tokio::task::yield_now().await;
    }
    let problem = || stack.controls().iter().map(health).collect::<Vec<Option<Value>>>();
    assert_eq!(found.messages.len(), expected.messages.len(), "{:?}", problem());
    assert_eq!(found, expected, "{:?}", problem());
    let drained = wait::until(FOLLOWS_MAX, || (health(stack.control(0))?["streamLag"] == 0).then_some(()));
    assert!(drained.is_some());
}
