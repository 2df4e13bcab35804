//! What was acknowledged is in Postgres exactly once, and exactly one instance writes.

use std::collections::BTreeSet;
use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Part, Stack, find, wait};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio_postgres::NoTls;

use crate::client::{Client, Jar, Proof, mint};

pub(crate) const FOLLOWS_MAX: Duration = Duration::from_mins(1);
/// Times that the writer is killed in the middle.
const KILLS: usize = 12;
/// Messages sent around each kill.
const MESSAGES: usize = 100;

pub(crate) fn health(control: &Part) -> Option<Value> {
    let url = format!("{}/health", control.url());
    let text = ureq::get(url).call().ok()?.body_mut().read_to_string().ok()?;
    serde_json::from_str(&text).ok()
}

pub(crate) fn leads(control: &Part) -> bool {
    health(control).is_some_and(|health| health["batchWriterLeader"] == true)
}

/// Bodies of all messages, in the order of their ids, and the number of each in its room.
pub(crate) async fn stored(database_url: &str) -> Vec<(String, i64)> {
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

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_lost_is_neither_missed_nor_doubled() {
    let stack =
        block_in_place(|| Stack::builder().gateways(1).controls(1).without_haproxy().start().unwrap());
    let (control, gateway) = (stack.control(0), stack.gateway(0));
    let token = mint(&stack, 1, &json!("*"));
    let connect = async || {
        let mut client = Client::connect(gateway.url(), Proof::Bearer(&token), &mut Jar::default()).await;
        client.join("1", None).await;
        client
    };
    let bodies = async || -> Vec<String> {
        stored(stack.database_url().unwrap()).await.into_iter().map(|(body, _)| body).collect()
    };
    let persisted = |wanted: usize| {
        let rest = Rest::new(control.url()).with_token(&token);
        let there = || {
            let page = rest.get("/rooms/1/messages").ok()?;
            (page["items"].as_array()?.len() == wanted).then_some(())
        };
        assert!(block_in_place(|| wait::until(FOLLOWS_MAX, there)).is_some(), "{wanted} are persisted");
    };
    let mut client = connect().await;
    client.send("1", "first", "n1").await;
    client.send("1", "second", "n2").await;
    persisted(2);

    // As after a fail-over: the stream lacks its last entry, Postgres is ahead of it, and nobody remembers.
    control.kill().unwrap();
    gateway.kill().unwrap();
    let port = stack.redis().unwrap().url().rsplit(':').next().unwrap();
    let redis = |command: &str| {
        let cli = std::process::Command::new(find("redis-cli").unwrap())
            .args(["-p", port])
            .args(command.split(' '))
            .output();
        String::from_utf8_lossy(&cli.unwrap().stdout).into_owned()
    };
    let shard = hubbub_common::shard::Shards::new(64).unwrap().of("1".parse().unwrap());
    let stream = hubbub_common::keys::bus(shard);
    let last = redis(&format!("xrevrange {stream} + - count 1")).lines().next().unwrap().to_owned();
    assert_eq!(redis(&format!("xdel {stream} {last}")).trim(), "1");
    let (database, connection) = tokio_postgres::connect(stack.database_url().unwrap(), NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    database.execute("UPDATE shard_offsets SET ms = ms + 60000", &[]).await.unwrap();
    drop(database);
    connection.await.unwrap().unwrap();
    gateway.start().unwrap();
    let mut client = connect().await;
    client.send("1", "second", "n2").await;
    client.ask(json!({"op": "send", "room": "1", "body": "third"})).await;
    client.expect("ack").await;
    block_in_place(|| control.start().unwrap());
    persisted(3);
    assert_eq!(bodies().await, ["first", "second", "third"]);
    // And it goes on from there.
    client.send("1", "fourth", "n4").await;
    persisted(4);
    assert_eq!(bodies().await, ["first", "second", "third", "fourth"]);
}
