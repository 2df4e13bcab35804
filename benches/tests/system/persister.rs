//! What was acknowledged is in Postgres exactly once, and exactly one instance writes.

use std::collections::BTreeSet;
use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Part, Stack, wait};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio_postgres::NoTls;

use crate::client::{Client, Jar, Proof};

const FOLLOWS_MAX: Duration = Duration::from_mins(1);
/// Times that the writer is killed in the middle.
const KILLS: usize = 12;
/// Messages sent around each kill.
const MESSAGES: usize = 100;

fn health(control: &Part) -> Option<Value> {
    let url = format!("{}/health", control.url());
    let text = ureq::get(url).call().ok()?.body_mut().read_to_string().ok()?;
    serde_json::from_str(&text).ok()
}

fn leads(control: &Part) -> bool {
    health(control).is_some_and(|health| health["batchWriterLeader"] == true)
}

/// Bodies of all messages, in the order of their ids, and the number of each in its room.
async fn stored(database_url: &str) -> Vec<(String, i64)> {
    let (client, connection) = tokio_postgres::connect(database_url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let rows = client.query("SELECT body, n FROM messages ORDER BY id", &[]).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_stores_each_message_once() {
    let builder =
        Stack::builder().gateways(1).controls(1).without_haproxy().env("HUBBUB_SENDS_PER_SECOND", "0");
    let stack = block_in_place(|| builder.start().unwrap());
    let control = stack.control(0);
    let rest = Rest::new(control.url());
    let made = block_in_place(|| {
        rest.post("/auth/register", &json!({"username": "ada", "password": "correct horse battery"})).unwrap()
    });
    let token = made["token"].as_str().unwrap();
    let rest = rest.with_token(token);
    let room = block_in_place(|| rest.post("/rooms", &json!({"name": "lobby", "kind": "public"})).unwrap());
    let room = room["id"].as_str().unwrap();
    let mut client = Client::connect(stack.gateway(0).url(), Proof::Bearer(token), &mut Jar::default()).await;
    client.join(room, None).await;
    let mut acked = Vec::new();
    for kill in 0..KILLS {
        for n in 0..MESSAGES {
            let body = format!("{kill}-{n}");
            client.ask(json!({"op": "send", "room": room, "body": body, "nonce": body})).await;
        }
        // Somewhere in the middle of what was asked, another place each time.
        for n in 0..MESSAGES {
            if n == kill * MESSAGES / KILLS {
                block_in_place(|| control.kill().unwrap());
            }
            let ack = client.expect("ack").await;
            acked.push(ack["id"].as_str().unwrap().parse::<u64>().unwrap());
        }
        block_in_place(|| control.start().unwrap());
    }
    assert_eq!(acked.len(), acked.iter().collect::<BTreeSet<_>>().len());
    let database_url = stack.database_url().unwrap();
    let total = KILLS * MESSAGES;
    let last_id = acked.iter().max().unwrap().to_string();
    let persisted = block_in_place(|| {
        wait::until(FOLLOWS_MAX, || {
            let page = rest.get(&format!("/rooms/{room}/messages?limit=1")).ok()?;
            (page["items"][0]["id"] == last_id.as_str()).then_some(())
        })
    });
    assert!(persisted.is_some(), "the last message is persisted");
    let stored = stored(database_url).await;
    let expected: Vec<(String, i64)> =
        (0..KILLS).flat_map(|kill| (0..MESSAGES).map(move |n| format!("{kill}-{n}"))).zip(1..).collect();
    assert_eq!(stored.len(), total);
    assert_eq!(stored, expected);
}

#[test]
fn exactly_one_instance_leads_and_another_takes_over() {
    let stack = Stack::builder().gateways(0).controls(2).without_haproxy().start().unwrap();
    let leaders = || stack.controls().iter().filter(|control| leads(control)).collect::<Vec<_>>();
    let first = wait::until(FOLLOWS_MAX, || leaders().pop()).expect("a leader");
    assert_eq!(leaders().len(), 1);
    first.kill().unwrap();
    let second = stack.controls().iter().find(|control| control.name() != first.name()).unwrap();
    assert!(wait::until(FOLLOWS_MAX, || leads(second).then_some(())).is_some(), "the other one takes over");
    first.start().unwrap();
    // The one that came back follows.
    assert!(leads(second) && !leads(first));
    let rest = Rest::new(first.url());
    let made = rest
        .post("/auth/register", &json!({"username": "ada", "password": "correct horse battery"}))
        .unwrap();
    let rest = rest.with_token(made["token"].as_str().unwrap());
    let room = rest.post("/rooms", &json!({"name": "lobby", "kind": "public"})).unwrap();
    let messages = format!("/rooms/{}/messages", room["id"].as_str().unwrap());
    let sent = rest.post(&messages, &json!({"body": "through either"})).unwrap();
    let seen = wait::until(FOLLOWS_MAX, || {
        let page = rest.get(&messages).ok()?;
        (page["items"][0]["id"] == sent["id"]).then_some(())
    });
    assert!(seen.is_some());
}
